"""The board for everybody: by keyboard, on a phone, in the dark, in another language, with hostile titles."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import Visit

PAGES = (
    "/",
    "/?q=nothing+of+this",
    "/shop/SHOP-8",
    "/shop/SHOP-4",
    "/shop/SHOP-16",
    "/figures",
    "/shop/NO-1",
)
PHONE = ViewportSize(width=390, height=844)
DESKTOP = ViewportSize(width=1440, height=900)


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim().split(/\\s+/)[0]"))


def test_who_may_not_decide_sees_why(look: Visit) -> None:
    page = look("mallory", "/shop/SHOP-8")
    for name in ("Approve", "Reject"):
        button = page.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        expect(button).to_have_accessible_description(
            "mallory is nobody of shop: add them to 'people' in its project file."
        )
    expect(page.get_by_label("Comment")).to_be_disabled()
    expect(page.get_by_role("region", name="Tests")).to_contain_text("14 tests")
    author = look("dora", "/shop/SHOP-6")
    expect(author.get_by_role("region", name="Review")).to_contain_text("dora is not reviewer of this project")


def test_the_page_says_what_was_told_and_heard_and_what_did_not_count(look: Visit) -> None:
    page = look("tess", "/shop/SHOP-8")
    told = page.get_by_role("region", name="Told and heard")
    expect(told).to_contain_text("some were not sent")
    told.get_by_text("2 messages").click()
    row = told.get_by_role("row").filter(has_text="Look at <i>it</i>.")
    expect(row).to_contain_text("The chat did not answer within 10 s.")
    told.get_by_text("1 webhook").click()
    expect(told.get_by_role("row").filter(has_text="gitea")).to_contain_text("feature/SHOP-8-a-branch is looked at.")
    refused = page.get_by_role("region", name="Decisions").get_by_role("row").filter(has_text="dora")
    expect(refused).to_contain_text("does not count")
    expect(refused).to_contain_text("I wrote it <b>well</b>.")
    expect(refused).to_contain_text("somebody else must approve at Review.")
    expect(page.get_by_role("region", name="Deployments").get_by_role("row")).to_have_count(3)
    red = look("dora", "/shop/SHOP-4")
    expect(red.locator(".suite").first).to_contain_text("1 of 15 failed")
    expect(red.locator(".suite pre").first).to_contain_text("assert Decimal('12.00') == Decimal('10.00')")
    expect(red.locator(".station.failed")).to_contain_text("Syntax, unit and functional tests")


def test_hostile_titles_are_text_and_break_no_page(look: Visit) -> None:
    for path in ("/", "/shop/SHOP-9"):
        page = look("tess", path)
        for size in (DESKTOP, PHONE):
            page.set_viewport_size(size)
            expect(page.locator("main")).to_contain_text("<script>alert('x')</script>")
            assert page.locator("main script, main b:has-text('bold')").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        # What is written from right to left turns nothing around it: the key stands before the title.
        title = page.locator("bdi").filter(has_text="<script>").first
        key = page.locator(".key").filter(has_text="SHOP-9").first
        box, before = title.bounding_box(), key.bounding_box()
        assert box is not None
        assert before is not None
        assert (before["y"], before["x"]) <= (box["y"] + box["height"], box["x"] + 1)


@pytest.mark.parametrize("path", PAGES)
def test_nothing_serious_keeps_people_out_and_a_phone_scrolls_one_way(
    look: Visit, violations: Callable[[Page], list[str]], path: str
) -> None:
    page = look("tess", path)
    assert violations(page) == [], "by light"
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.emulate_media(color_scheme="dark")
    assert violations(page) == [], "on a phone, in the dark"


def test_a_phone_has_its_columns_one_below_the_other_and_a_way_to_each(look: Visit) -> None:
    page = look("tess", "/", viewport=PHONE)
    lefts = page.locator(".column:not(.none)").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")
    assert len(set(lefts)) == 1
    page.get_by_role("navigation", name="Columns").get_by_role("link", name=re.compile("Production queue")).click()
    expect(page.get_by_role("heading", name="Production queue")).to_be_in_viewport()
    page.goto(page.url.partition("?")[0].partition("#")[0] + "shop/SHOP-8")
    page.get_by_role("link", name="step 15 of 23").click()
    expect(page.locator(".station.here")).to_be_in_viewport()


def test_the_way_shows_where_the_feature_stands_and_every_log_within_its_frame(look: Visit) -> None:
    page = look("max", "/shop/SHOP-14", viewport={"width": 1100, "height": 700}, locale="ru-RU")
    way = page.get_by_role("complementary", name="Путь")
    expect(way.locator(".station:not(.back)")).to_have_count(23)
    expect(way.locator(".station.here")).to_be_in_viewport()
    expect(way.locator(".station.here")).to_contain_text("Откатить или оставить")
    logs = way.locator("a.log")
    assert logs.count() > 24, "stations with several tasks have a log for each"
    narrow = (ViewportSize(width=961, height=700), ViewportSize(width=320, height=700))
    for size in (DESKTOP, PHONE, *narrow):
        page.set_viewport_size(size)
        beyond = way.evaluate(
            """way => [...way.querySelectorAll("a.log, .what")].filter(
                one => one.getBoundingClientRect().right > way.getBoundingClientRect().right
            ).map(one => one.textContent)"""
        )
        assert beyond == [], size


def test_the_board_is_walked_by_keys(look: Visit) -> None:
    page = look("tess")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    expect(page.get_by_role("link", name="To the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("/")
    search = page.get_by_role("searchbox")
    expect(search).to_be_focused()
    page.keyboard.type("/")
    expect(search).to_have_value("/")

    page.get_by_role("link", name="SHOP-15").focus()
    for key, at in [
        ("ArrowDown", "SHOP-2"),
        ("ArrowUp", "SHOP-15"),
        ("ArrowUp", "SHOP-15"),
        ("ArrowRight", "SHOP-6"),
        ("ArrowDown", "SHOP-7"),
        ("ArrowRight", "SHOP-8"),
        ("ArrowLeft", "SHOP-7"),
    ]:
        page.keyboard.press(key)
        assert focused(page) == at, key
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("SHOP-7")


def test_the_dark_is_dark(look: Visit) -> None:
    colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    assert look("tess", color_scheme="light").evaluate(colour) > 600
    assert look("tess", color_scheme="dark").evaluate(colour) < 150


def test_russian_is_the_browsers_word_or_the_readers(look: Visit) -> None:
    page = look("tess", "/shop/SHOP-8", locale="ru-RU")
    expect(page.get_by_role("button", name="Одобрить")).to_be_enabled()
    assert page.evaluate("document.documentElement.lang") == "ru"
    expect(page.get_by_role("region", name="Приёмка")).to_contain_text("Нужно одобрений: 1. Решает: tess.")
    page.get_by_role("link", name="EN").click()
    expect(page.get_by_role("button", name="Approve")).to_be_enabled()
    page.get_by_role("link", name="Board", exact=True).first.click()
    expect(page.get_by_role("heading", name="Acceptance")).to_be_visible()
    expect(page.locator(".card").nth(20)).to_be_visible()
    ages = page.locator("time.since").all_inner_texts()
    assert all(re.fullmatch(r"(\d+\s(d|h|min|s)\s?)+", age) for age in ages), ages


def test_times_are_the_readers_own(look: Visit) -> None:
    text = "td time"
    there = look("tess", "/shop/SHOP-8", timezone_id="Asia/Tokyo").locator(text).first
    here = look("tess", "/shop/SHOP-8", timezone_id="America/New_York").locator(text).first
    expect(there).to_have_attribute("title", re.compile("UTC$"))
    assert there.inner_text() != here.inner_text()


def test_filters_apply_when_chosen_and_are_cleared(look: Visit) -> None:
    page = look("max")
    page.get_by_label("Waits for", exact=True).select_option("tess")
    expect(page).to_have_url(re.compile(r"person=tess"))
    expect(page.locator(".card")).to_have_count(2)
    assert sorted(page.locator(".card .key").all_inner_texts()) == ["SHOP-8", "SHOP-9"]
    page.get_by_role("link", name="Clear").click()
    expect(page.locator(".card").nth(20)).to_be_visible()
    page.get_by_role("searchbox").fill("no such thing")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Show everything").click()
    expect(page.locator(".card").nth(20)).to_be_visible()
