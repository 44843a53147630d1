"""People at their browsers, in a busy shop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.board_app import cookie
from tests.support.web_app import Shop

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
PATIENCE_MILLISECONDS = 20_000
SERIOUS = ("serious", "critical")

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture
def airflow_database(busy_database: str) -> str:
    """Every test that changes something begins with the busy shop."""
    return busy_database


Visit = Callable[..., Page]


def visitor(chromium: Browser, shop: Shop, opened: ExitStack) -> Visit:
    """Return what opens a page of the board as somebody; whatever goes wrong in a page fails the test."""

    def visit(name: str, path: str = "/", **options: Any) -> Page:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = opened.enter_context(closing(chromium.new_context(locale=options.pop("locale", "en-GB"), **options)))
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.add_cookies([{"name": "_token", "value": cookie(name), "url": shop.address}])
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        opened.callback(lambda: _nothing(wrong))
        page.goto(f"{shop.address}/board{path}")
        return page

    return visit


def _nothing(wrong: list[str]) -> None:
    # A refusal is an answer that the browser mentions too.
    real = [one for one in wrong if "409 (Conflict)" not in one and "404 (Not Found)" not in one]
    assert real == [], "something went wrong in a page"


@pytest.fixture
def visit(chromium: Browser, busy: Shop) -> Iterator[Visit]:
    """Open pages of a shop of this test's own."""
    with ExitStack() as opened:
        yield visitor(chromium, busy, opened)


@pytest.fixture
def look(chromium: Browser, shown: Shop) -> Iterator[Visit]:
    """Open pages of a shop that nobody changes."""
    with ExitStack() as opened:
        yield visitor(chromium, shown, opened)


@pytest.fixture
def violations() -> Callable[[Page], list[str]]:
    """Return what axe-core finds serious in a page."""

    def look_at(page: Page) -> list[str]:
        page.evaluate(AXE)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {json.dumps([node['html'][:200] for node in one['nodes'][:3]])}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]

    return look_at
