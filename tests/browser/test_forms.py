"""Forms of an open page while what they are about changes: nobody decides about what they have not looked at."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from feature_delivery.bootstrap import settings
from feature_delivery.domain.names import PersonName, ProjectName, feature_key
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Decision, Gate, GateState, PromotionState, now
from feature_delivery.services.control import brake
from feature_delivery.web.board import pulse
from feature_delivery.web.transaction import begin
from tests.browser.changes import NEW, changed, happens, push
from tests.browser.conftest import Visit
from tests.support.board_app import cookie
from tests.support.board_world import Planted, promote

CHANGED = "What this is about has changed meanwhile: look at it again."
LOOKED = "I have looked at it again"
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
# Clicks on whatever can be clicked in the very moment in which it is put in place, before it is painted.
HASTE = """new MutationObserver(() => {
    for (const one of document.querySelectorAll("#live form button")) one.click();
}).observe(document.getElementById("live"), {childList: true, subtree: true})"""


def gate_of(planted: Planted) -> Gate:
    gate = planted.books.open_gate(planted.feature)
    assert gate is not None
    return gate


def said(key: str, person: str) -> list[Decision]:
    """What somebody said about a feature, whether it counts or not."""
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key(key))
        assert feature is not None
        return [one for one in unit.books.decisions(feature) if one.person == person]


def in_focus(page: Page) -> str:
    return str(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))


def test_who_comes_back_to_a_tab_decides_about_what_they_had_seen_or_looks_again(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    other = page.context.new_page()
    other.goto(page.url)
    comment, approve = page.get_by_label("Comment"), page.get_by_role("button", name="Approve")
    comment.fill("It works.")
    approve.focus()
    happens(page, "SHOP-8")
    expect(approve).to_be_focused()
    expect(approve).to_be_enabled()
    expect(page.get_by_text(CHANGED)).to_have_count(0)

    page.evaluate(HIDE, arg=True)
    push("SHOP-8")
    expect(other.get_by_text(CHANGED)).to_be_visible()
    commit = page.locator("form.decide input[name=commit]")
    seen = commit.get_attribute("value")
    page.bring_to_front()
    page.evaluate(HIDE, arg=False)
    expect(page.get_by_text(CHANGED)).to_be_visible()
    expect(approve).to_be_disabled()
    assert in_focus(page) == "DIV.changed"
    assert commit.get_attribute("value") == seen, "whatever sends it all the same is refused"
    page.keyboard.press("Enter")
    expect(comment).to_have_value("It works.")

    page.get_by_role("button", name=LOOKED).click()
    expect(page.get_by_text(CHANGED)).to_have_count(0)
    expect(other.get_by_text(CHANGED)).to_be_visible()
    approve.click()
    expect(page.get_by_role("status").filter(has_text="Your decision counts: approved.")).to_be_visible()
    assert [(one.accepted, one.commit, one.comment) for one in said("SHOP-8", "tess")] == [(True, NEW, "It works.")]


def test_what_one_person_wrote_is_not_sent_by_who_logs_in_after_them_in_another_tab(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    page.get_by_label("Comment").fill("It works.")
    page.context.add_cookies(
        [{"name": "_token", "value": cookie("max@shop/ö"), "url": page.url.partition("/board")[0]}]
    )
    with changed("SHOP-8"):
        pass
    expect(page.get_by_title("You", exact=True)).to_have_text("max@shop/ö")
    expect(page.get_by_text("It works.")).to_have_count(0)
    page.evaluate("document.same = true")
    happens(page, "SHOP-8")
    assert page.evaluate("document.same"), "a page of their own is loaded no more"


def test_no_key_pressed_at_one_gate_decides_at_the_next(visit: Visit) -> None:
    page = visit("max", "/shop/SHOP-11")
    page.get_by_label("Comment").fill("As agreed.")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    page.evaluate(HIDE, arg=True)
    with changed("SHOP-14") as planted:
        before = planted.books.promotion(planted.feature, planted.attempt)
        assert before is not None
        before.state, before.ended_at = PromotionState.KEPT, now()
    with changed("SHOP-11") as planted:
        gate_of(planted).step = Step.WAIT_FOR_VERDICT
        promote(planted, PromotionState.DEPLOYED)
        planted.books.lock_project(ProjectName("shop")).lock_feature_id = planted.feature.id
    page.evaluate(HIDE, arg=False)
    expect(page.get_by_role("region", name="Verdict")).to_be_visible()
    assert in_focus(page) == "DIV.changed"
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep")).to_be_disabled()
    assert said("SHOP-11", "max") == []

    expect(page.get_by_role("button", name=LOOKED)).to_be_enabled()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=LOOKED)).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert in_focus(page) == "FORM.decide"
    keep = page.get_by_role("button", name="Keep")
    expect(keep).to_be_enabled()
    assert said("SHOP-11", "max") == []
    page.keyboard.press("Tab")
    expect(page.get_by_label("Comment")).to_have_value("As agreed.")
    page.keyboard.press("Tab")
    expect(keep).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Your decision counts: kept.")).to_be_visible()


def test_glass_is_broken_for_what_was_looked_at(visit: Visit) -> None:
    page = visit("olga", "/shop/SHOP-8")
    page.get_by_text("Break glass", exact=True).click()
    page.get_by_label("Reason").fill("The tester is ill.")
    form = page.locator("form.glass-form")
    button = form.get_by_role("button", name="Break glass: Approve")
    button.hover()
    page.mouse.down()
    push("SHOP-8")
    expect(form.get_by_text(CHANGED)).to_be_visible()
    page.mouse.up()
    expect(button).to_be_disabled()
    form.get_by_role("button", name=LOOKED).click()
    button.click()
    expect(page.get_by_role("status").filter(has_text="Your decision counts: approved.")).to_be_visible()
    assert [(one.commit, one.comment) for one in said("SHOP-8", "olga")] == [(NEW, "The tester is ill.")]


def test_only_the_brake_that_was_looked_at_is_released_and_why_stays_written(visit: Visit) -> None:
    project, olga = settings.project(ProjectName("shop")), PersonName("olga")
    with begin() as unit:
        assert brake.pull(unit, project, "Wait.", person=olga)
    pulse.snapshots.forget()
    page = visit("olga")
    why = page.get_by_label("Why it may be released")
    why.press_sequentially("All of th")
    with changed("SHOP-8"), begin() as unit:
        assert brake.release(unit, project, "Fine.", person=olga)
    expect(page.get_by_text("There is nothing to decide here any more.")).to_be_visible()
    why.press_sequentially("em are de")
    page.keyboard.press("Enter")
    with changed("SHOP-8"), begin() as unit:
        assert brake.pull(unit, project, "Wait again.", person=olga)
    expect(page.get_by_text(CHANGED)).to_be_visible()
    expect(why).to_be_focused()
    why.press_sequentially("mos.")
    page.keyboard.press("Enter")
    release = page.get_by_role("button", name="Release the brake of The shop")
    expect(release).to_be_disabled()
    expect(page.get_by_text("Wait again.")).to_be_visible()

    page.get_by_role("button", name=LOOKED).click()
    expect(release).to_be_enabled()
    expect(why).to_have_value("All of them are demos.")
    why.press("Enter")
    expect(page.get_by_text("The brake is on:")).to_have_count(0)
    with begin() as unit:
        assert unit.books.brake(project.name) is None


def test_what_is_being_written_stays_when_its_question_goes_and_comes_again(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    comment = page.get_by_label("Comment")
    comment.press_sequentially("The balance ")
    with changed("SHOP-8") as planted:
        gate_of(planted).state = GateState.RESOLVED
    gone = page.get_by_text("There is nothing to decide here any more. What you wrote stays")
    expect(gone).to_be_visible()
    expect(comment).to_be_focused()
    comment.press_sequentially("is wrong")
    happens(page, "SHOP-8")
    comment.press_sequentially(".")
    expect(comment).to_be_focused()
    expect(page.locator("form.decide button:enabled")).to_have_count(0)

    with changed("SHOP-8") as planted:
        planted.pushed()
        planted.waits(Step.WAIT_FOR_ACCEPTANCE, since=now())
    expect(page.get_by_text(CHANGED)).to_be_visible()
    expect(gone).to_have_count(0)
    expect(comment).to_be_focused()
    page.get_by_role("button", name=LOOKED).click()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("status").filter(has_text="rejected")).to_be_visible()
    assert [(one.attempt, one.comment) for one in said("SHOP-8", "tess")] == [(2, "The balance is wrong.")]


def test_no_click_counts_before_what_it_would_hit_was_to_be_seen(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    page.evaluate(HASTE)
    push("SHOP-8")
    looked = page.get_by_role("button", name=LOOKED)
    expect(looked).to_be_enabled()
    looked.click()
    expect(looked).to_have_count(0)
    expect(page.get_by_role("button", name="Approve")).to_be_enabled()
    assert said("SHOP-8", "tess") == []


def test_a_question_that_was_gone_for_a_while_is_looked_at_again(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    approve = page.get_by_role("button", name="Approve")
    with changed("SHOP-8") as planted:
        gate_of(planted).state = GateState.RESOLVED
    expect(approve).to_have_count(0)
    with changed("SHOP-8") as planted:
        planted.pushed()
        planted.waits(Step.WAIT_FOR_ACCEPTANCE, since=now())
    expect(page.get_by_text(CHANGED)).to_be_visible()
    expect(approve).to_be_disabled()


def test_who_comes_back_to_a_page_finds_what_they_wrote_and_that_it_was_about_something_else(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    page.get_by_label("Comment").fill("It works.")
    for changes in (False, True):
        page.get_by_role("link", name="Board", exact=True).first.click()
        expect(page).to_have_url(re.compile("/board/$"))
        if changes:
            push("SHOP-8")
        page.go_back()
        expect(page.get_by_label("Comment")).to_have_value("It works.")
        expect(page.get_by_text(CHANGED)).to_have_count(int(changes))
        expect(page.get_by_role("button", name="Approve")).to_be_enabled(enabled=not changes)
    page.get_by_role("button", name=LOOKED).click()
    expect(page.get_by_role("button", name="Approve")).to_be_enabled()
