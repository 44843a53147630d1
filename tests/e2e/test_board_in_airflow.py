"""The board as most people meet it: they log in to Airflow, find it in the navigation, and decide there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from feature_delivery.web import hardening
from tests.support.delivering import DAG, DeliveringShop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
PATIENCE_MILLISECONDS = 60_000


@pytest.fixture
def page(chromium: Browser, shop: DeliveringShop) -> Iterator[Page]:
    """Dora's browser at Airflow's login; she likes it dark."""
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    viewport = ViewportSize(width=1440, height=900)
    with closing(chromium.new_context(viewport=viewport, color_scheme="dark", locale="en-GB")) as context:
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        opened = context.new_page()
        opened.goto(shop.now.instance.address)
        opened.get_by_label("Username").fill("dora")
        opened.get_by_label("Password").fill(shop.now.instance.settings.passwords()["dora"])
        opened.get_by_role("button", name="Sign in").click()
        yield opened


def test_a_gate_is_decided_on_the_board_within_airflows_pages(shop: DeliveringShop, page: Page) -> None:
    key = shop.at_start()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)

    page.get_by_role("link", name="Deliveries").click()
    board = page.frame_locator("iframe[title=Deliveries]")
    expect(board.locator("#live-mark")).to_have_text("live")
    assert board.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(18, 21, 28)"
    card = board.get_by_role("region", name=re.compile("^Development")).locator(".card").filter(has_text=key)
    expect(card).to_contain_text("dora")
    card.get_by_role("link", name=key).click()

    question = board.get_by_role("region", name="Start")
    question.get_by_label("Comment").fill("I take it.")
    question.get_by_role("button", name="Approve").click()
    expect(board.get_by_role("status").filter(has_text="Your decision counts: approved.")).to_be_visible()
    expect(board.get_by_role("region", name="Decisions").get_by_role("row").filter(has_text="dora")).to_contain_text(
        "I take it."
    )
    # The run goes on by itself, and the page sees it.
    expect(board.locator(".station").filter(has_text="Create the branch")).to_have_class(re.compile("done"))
    said = [one for one in shop.play.stage.feature(key)["decisions"] if one["who"] == "dora"]
    assert [(one["kind"], one["accepted"], one["way"]) for one in said] == [("approve", True, "board")]

    # A log link leaves the frame for Airflow's own page; there, the run has its feature as a tab.
    board.locator(".station").filter(has_text="Create the branch").get_by_role("link", name="log").click()
    expect(page).to_have_url(re.compile(f"/dags/{DAG}/runs/{key}/tasks/intake.create_branch"))
    answer = page.goto(f"{shop.now.instance.address}/dags/{DAG}/runs/{key}")
    assert answer is not None
    assert answer.headers["content-security-policy"] == hardening.HEADERS["Content-Security-Policy"]
    page.get_by_role("link", name="Feature", exact=True).click()
    feature = page.frame_locator("iframe[title=Feature]")
    expect(feature.get_by_role("heading", level=1)).to_contain_text(key)
    assert wrong == []

    # A page from elsewhere shows Airflow's in no frame.
    foreign = page.context.new_page()
    with foreign.expect_console_message(lambda said: "frame-ancestors" in said.text):
        foreign.set_content(f"<iframe src='{shop.now.instance.address}/'></iframe>")
