"""The board with a thousand features in a real browser: how long until somebody sees it.

Every visit is a fresh browser profile that has kept nothing, logged in by Airflow's own token; what is timed is the
browser's *first contentful paint*, from the click on. The features are rows like those of the board's own tests.
"""

from __future__ import annotations

import math
import shutil
import sys
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import httpx
from figures import Figure
from sqlalchemy.orm import Session
from stage import EMPTY, PERSON

from feature_delivery.adapters.ledger.tables import metadata
from feature_delivery.bootstrap.settings import URL_PREFIX

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from stage import Stage

FEATURES = 1000
GOAL_FIRST_PAINT_S = 1.0
PATIENCE_MILLISECONDS = 60_000
PAINT = """() => new Promise(seen => new PerformanceObserver(list => {
    const found = list.getEntriesByName("first-contentful-paint")[0];
    if (found) seen(found.startTime);
}).observe({type: "paint", buffered: true}))"""
WEIGHT = "() => performance.getEntriesByType('navigation')[0].decodedBodySize"


def measure(stage: Stage, *, rounds: int) -> list[Figure]:
    """Look at the overview, at one of its columns as a whole, and at a feature's page."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the rows and the browser's options are the tests' own
    from tests.support.board_world import crowd  # noqa: PLC0415
    from tests.support.chromium import PROGRAMS, QUIET  # noqa: PLC0415

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        return [
            Figure("board", f"first paint with {FEATURES} features", math.nan, "s", GOAL_FIRST_PAINT_S, "no Chromium")
        ]
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where there is a browser

    with Session(stage.engine) as session, session.begin():
        crowd(session, FEATURES, project=EMPTY)
    try:
        with (
            sync_playwright() as playwright,
            closing(playwright.chromium.launch(executable_path=program, args=list(QUIET))) as browser,
        ):
            return _visits(browser, stage, rounds)
    finally:
        clear(stage)


def _visits(browser: Browser, stage: Stage, rounds: int) -> list[Figure]:
    token = token_of(stage)
    _visit(browser, stage, token, "/")  # once before it counts: templates are compiled
    changed = [_after_a_change(browser, stage, token, number) for number in range(rounds)]
    again = [_visit(browser, stage, token, "/") for _ in range(rounds)]
    column = [_visit(browser, stage, token, "/?all=review")[0] for _ in range(rounds)]
    feature = [_visit(browser, stage, token, f"/{EMPTY}/SHOP-10002")[0] for _ in range(rounds)]
    paints = [seconds for seconds, _ in again]
    note = f"median of {rounds} fresh browsers, the highest {max(paints):.2f} s"
    why = "the server reads every feature anew"
    return [
        Figure("board", f"first paint with {FEATURES} features", median(paints), "s", GOAL_FIRST_PAINT_S, note, paints),
        Figure("board", "the first after a change", median(changed), "s", GOAL_FIRST_PAINT_S, why, changed),
        Figure("board", "one column as a whole", median(column), "s", None, "a quarter of the features", column),
        Figure("board", "a feature's page", median(feature), "s", None, "", feature),
        Figure(
            "board",
            "weight of the overview",
            median(weight for _, weight in again) / 1024,
            "",
            None,
            "KiB, before compression",
        ),
    ]


def _visit(browser: Browser, stage: Stage, token: str, path: str) -> tuple[float, float]:
    """Open a page as somebody who has never been there; returns seconds to the first paint, and bytes of the page."""
    with closing(browser.new_context(viewport={"width": 1440, "height": 900})) as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.add_cookies([{"name": "_token", "value": token, "url": stage.instance.address}])
        page = context.new_page()
        page.goto(f"{stage.instance.address}{URL_PREFIX}/board{path}")
        if page.locator("#live").count() == 0:
            raise RuntimeError(f"{path} of the board did not show itself: {page.title()!r}.")
        return float(page.evaluate(PAINT)) / 1000, float(page.evaluate(WEIGHT))


def _after_a_change(browser: Browser, stage: Stage, token: str, number: int) -> float:
    one = "(SELECT id FROM fd_feature WHERE project = :project AND key = :key)"
    stage.change(f"DELETE FROM fd_gate WHERE feature_id = {one}", project=EMPTY, key=f"SHOP-{10_900 + number}")  # noqa: S608 - of our own
    return _visit(browser, stage, token, "/")[0]


def token_of(stage: Stage) -> str:
    """Log in as Airflow's login page does."""
    body = {"username": PERSON, "password": stage.instance.settings.passwords()[PERSON]}
    answer = httpx.post(f"{stage.instance.address}/auth/token", json=body, timeout=60, trust_env=False)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def clear(stage: Stage) -> None:
    mine = "(SELECT id FROM fd_feature WHERE project = :project AND key LIKE 'SHOP-%')"
    # The instance works on them like on any other: whatever belongs to one goes.
    for table in reversed(metadata.sorted_tables):
        if "feature_id" in table.c:
            stage.change(f"DELETE FROM {table.name} WHERE feature_id IN {mine}", project=EMPTY)  # noqa: S608 - of our own
    stage.change("DELETE FROM fd_feature WHERE project = :project AND key LIKE 'SHOP-%'", project=EMPTY)
