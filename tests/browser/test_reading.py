"""The board for everybody: by keyboard, on a phone, in the dark, in another language, with hostile titles."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit

PAGES = (
    "/",
    "/?q=nothing+of+this",
    "/shop/SHOP-8",
    "/shop/SHOP-4",
    "/shop/SHOP-9",
    "/shop/SHOP-16",
    "/figures",
    "/shop/NO-1",
)
PHONE = {"width": 390, "height": 844}


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


def test_hostile_titles_are_text_and_break_no_page(look: Visit) -> None:
    for path, width in (("/", 1440), ("/", 390), ("/shop/SHOP-9", 1440), ("/shop/SHOP-9", 390)):
        page = look("tess", path, viewport={"width": width, "height": 844})
        expect(page.locator("main")).to_contain_text("<script>alert('x')</script>")
        assert page.locator("main script, main b:has-text('bold')").count() == 0
        # What is written from right to left turns nothing around it.
        expect(page.get_by_text("tess").first).to_be_visible()
        if width == 390:
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_keeps_people_out(
    look: Visit, violations: Callable[[Page], list[str]], path: str, scheme: str
) -> None:
    page = look("tess", path, color_scheme=scheme)
    assert violations(page) == []


def test_nothing_serious_keeps_people_out_on_a_phone(look: Visit, violations: Callable[[Page], list[str]]) -> None:
    for path in ("/", "/shop/SHOP-8", "/figures"):
        assert violations(look("tess", path, viewport=PHONE)) == [], path


def test_a_phone_scrolls_one_way(look: Visit) -> None:
    for path in PAGES:
        page = look("tess", path, viewport=PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    page = look("tess", "/", viewport=PHONE)
    page.get_by_role("navigation", name="Columns").get_by_role("link", name=re.compile("Production queue")).click()
    expect(page.get_by_role("heading", name="Production queue")).to_be_in_viewport()


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


def test_a_decision_is_reached_by_the_tab_key_alone(look: Visit) -> None:
    page = look("tess", "/shop/SHOP-8")
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(str(page.evaluate("document.activeElement.value || document.activeElement.name || ''")))
        if seen[-1] == "reject":
            break
    assert [one for one in seen if one] == ["comment", "approve", "reject"]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


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
    assert sorted(page.locator(".card .key").all_inner_texts()) == ["SHOP-8", "SHOP-9"]
    page.get_by_role("link", name="Clear").click()
    assert page.locator(".card").count() > 20
    page.get_by_role("searchbox").fill("no such thing")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Show everything").click()
    assert page.locator(".card").count() > 20
