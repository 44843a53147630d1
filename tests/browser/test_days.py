"""A tester's, a reviewer's and a manager's day at the board."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from feature_delivery.bootstrap import settings
from feature_delivery.domain.names import PersonName, ProjectName, feature_key
from feature_delivery.domain.process import Step
from feature_delivery.services.control import brake
from feature_delivery.web.board import pulse
from feature_delivery.web.transaction import begin
from tests.browser.changes import happens, push
from tests.browser.conftest import Visit
from tests.support.web_app import Shop


def key(page: Page, name: str, column: str) -> Locator:
    """Return a feature's card's key, if it is in that column."""
    region = page.get_by_role("region", name=re.compile(f"^{column}"))
    return region.locator(".key").filter(has_text=re.compile(f"^{name}$"))


def test_a_testers_day(visit: Visit, busy: Shop) -> None:
    page = visit("tess")
    page.get_by_role("link", name="2 wait for me").click()
    expect(page).to_have_url(re.compile(r"\?person=me$"))
    expect(page.locator(".card")).to_have_count(2)
    assert sorted(page.locator(".card .key").all_inner_texts()) == ["SHOP-8", "SHOP-9"]

    page.get_by_role("link", name="SHOP-8").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("SHOP-8 Gift cards at the checkout")
    question = page.get_by_role("region", name="Acceptance")
    expect(question).to_contain_text("1 approval of: tess.")
    expect(question.get_by_role("link", name="Try it in Pre-production")).to_have_attribute(
        "rel", "noopener noreferrer"
    )
    expect(question).to_contain_text("50 tests")

    question.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("alert")).to_contain_text("A rejection needs a comment that tells the developer why.")
    page.get_by_label("Comment").fill("The balance is wrong:\nit shows 12.00 and not 10.00.")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("status").filter(has_text="rejected")).to_be_visible()
    row = page.get_by_role("region", name="Decisions").get_by_role("row").filter(has_text="tess").first
    expect(row).to_contain_text("The balance is wrong")
    expect(row).to_contain_text("board")

    page.get_by_role("link", name="Board", exact=True).first.click()
    expect(key(page, "SHOP-8", "Development")).to_have_count(1)
    expect(page.get_by_role("link", name="1 waits for me")).to_be_visible()

    page.get_by_role("link", name=re.compile("SHOP-9")).click()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status").filter(has_text="Your decision counts: approved.")).to_be_visible()
    assert busy.state(Step.WAIT_FOR_ACCEPTANCE, run_id="SHOP-9") == "success"
    page.get_by_role("link", name="Board", exact=True).first.click()
    expect(page.get_by_role("link", name="0 wait for me")).to_be_visible()


def test_a_managers_day(visit: Visit, busy: Shop) -> None:
    page = visit("max", "/?person=me")
    assert sorted(page.locator(".card .key").all_inner_texts()) == ["SHOP-11", "SHOP-14", "SHOP-16"]
    page.get_by_role("link", name="SHOP-11").click()
    page.get_by_label("Comment").fill("As agreed.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status").filter(has_text="approved")).to_be_visible()

    page.goto(f"{busy.address}/board/shop/SHOP-14")
    expect(page.get_by_role("region", name="Verdict")).to_contain_text("Keep or roll back: max, olga may say so.")
    expect(page.get_by_role("button", name="Roll back")).to_be_enabled()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("status").filter(has_text="Your decision counts: kept.")).to_be_visible()
    assert busy.state(Step.WAIT_FOR_VERDICT, run_id="SHOP-14") == "success"
    with begin() as unit:
        row = unit.books.project(ProjectName("shop"))
        first = unit.books.feature(ProjectName("shop"), feature_key("SHOP-12"))
        assert row is not None
        assert first is not None
        assert row.lock_feature_id == first.id, "the next in the queue has production"

    page.goto(f"{busy.address}/board/shop/SHOP-16")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".facts .state")).to_have_text("delivered")

    page.get_by_role("link", name="Figures").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Figures")
    expect(page.get_by_role("region", name="Waiting per gate")).to_contain_text("Acceptance")
    page.get_by_label("Time", exact=True).select_option("26")
    expect(page).to_have_url(re.compile("weeks=26"))
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.path().read_text().startswith("project,week,releases")


def test_an_operator_rolls_back_on_a_phone(visit: Visit, busy: Shop) -> None:
    page = visit("olga", "/shop/SHOP-14", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.get_by_label("Comment").fill("Payments fail.")
    button = page.get_by_role("button", name="Roll back")
    box = button.bounding_box()
    assert box is not None
    assert box["height"] >= 40
    button.tap()
    expect(page.get_by_role("status").filter(has_text="rolled back")).to_be_visible()
    assert busy.state(Step.WAIT_FOR_VERDICT, run_id="SHOP-14") == "success"


def test_others_see_a_decision_without_loading_the_page_again(visit: Visit) -> None:
    board, feature, reviewer = visit("tess"), visit("tess", "/shop/SHOP-6"), visit("rita", "/shop/SHOP-6")
    expect(board.locator("#live-mark")).to_have_text("live")
    card = board.locator(".card").filter(has_text="SHOP-6")
    expect(card).to_contain_text("rita")
    board.evaluate("window.kept = true")
    reviewer.get_by_role("button", name="Approve").click()
    expect(reviewer.get_by_role("status").filter(has_text="approved")).to_be_visible()
    expect(card).not_to_contain_text("rita")
    expect(feature.get_by_role("region", name="Decisions")).to_contain_text("approved")
    assert board.evaluate("window.kept") is True


def test_what_is_being_written_and_read_survives_a_change_elsewhere(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    page.get_by_role("button", name="Reject").click()
    refusal = page.get_by_role("alert").filter(has_text="A rejection needs a comment")
    expect(refusal).to_be_visible()
    page.get_by_role("region", name="Tests").locator("summary").first.click()
    comment = page.get_by_label("Comment")
    comment.press_sequentially("Half a sent")
    happens(page, "SHOP-8")
    comment.press_sequentially("ence")
    expect(comment).to_have_value("Half a sentence")
    expect(comment).to_be_focused()
    expect(refusal).to_have_count(1)
    expect(page.locator("#live details[open]")).to_have_count(1)

    for where in (
        page.get_by_role("region", name="Told and heard").locator("summary").first,
        page.get_by_role("region", name="Environments").get_by_role("link").last,
    ):
        where.focus()
        happens(page, "SHOP-8")
        expect(where).to_be_focused()
    expect(refusal).to_have_count(1)


def test_a_form_says_that_what_it_is_about_has_changed(visit: Visit) -> None:
    tester, operator = visit("tess", "/shop/SHOP-8"), visit("olga", "/shop/SHOP-8")
    operator.get_by_text("Break glass", exact=True).click()
    operator.get_by_label("Reason").fill("The tester is ill.")
    changed = "has changed meanwhile: look at it again"
    happens(operator, "SHOP-8")
    expect(operator.get_by_text(changed)).to_have_count(0)
    push("SHOP-8")
    for page, forms in ((tester, 1), (operator, 2)):
        expect(page.locator("form.decide:visible").filter(has_text=changed)).to_have_count(forms)
        happens(page, "SHOP-8")
        expect(page.locator("form.decide:visible").filter(has_text=changed)).to_have_count(forms)
    expect(operator.get_by_label("Reason")).to_have_value("The tester is ill.")


def test_why_the_brake_may_go_survives_a_change_elsewhere(visit: Visit, busy: Shop) -> None:
    with begin() as unit:
        brake.pull(unit, settings.project(ProjectName("shop")), "Wait.", person=PersonName("olga"))
    pulse.snapshots.forget()
    operator, other, reviewer = visit("olga"), visit("dora"), visit("rita", "/shop/SHOP-7")
    link = other.get_by_role("link", name=re.compile("SHOP-9"))
    link.focus()
    why = operator.get_by_label("Why it may be released")
    why.press_sequentially("All of th")
    reviewer.get_by_role("button", name="Approve").click()
    for page in (operator, other):
        expect(page.locator(".card").filter(has_text="SHOP-7")).not_to_contain_text("rita")
    why.press_sequentially("em are demos.")
    expect(why).to_have_value("All of them are demos.")
    expect(link).to_be_focused()


def test_a_decision_about_what_has_changed_meanwhile_is_not_taken(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8", java_script_enabled=False)  # it has not heard of the change yet
    push("SHOP-8")
    page.get_by_label("Comment").fill("It works.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("alert")).to_contain_text("look again")
    expect(page.get_by_label("Comment")).to_have_value("It works.")


def test_without_scripts_everything_can_be_read_and_decided(visit: Visit, busy: Shop) -> None:
    page = visit("tess", java_script_enabled=False)
    page.get_by_label("Key, title or person").fill("gift cards")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="SHOP-8").click()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status").filter(has_text="approved")).to_be_visible()
    assert busy.state(Step.WAIT_FOR_ACCEPTANCE, run_id="SHOP-8") == "success"


def test_two_clicks_are_one_decision(visit: Visit) -> None:
    page = visit("tess", "/shop/SHOP-8")
    page.get_by_role("button", name="Approve").dblclick()
    expect(page.get_by_role("status").filter(has_text="approved")).to_be_visible()
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key("SHOP-8"))
        assert feature is not None
        assert [d.person for d in unit.books.decisions(feature) if d.person == "tess"] == ["tess"]


def test_a_decision_by_the_keyboard_alone(visit: Visit, busy: Shop) -> None:
    page = visit("tess")
    page.keyboard.press("/")
    page.keyboard.type("SHOP-9")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(1)
    tab_to(page, "document.activeElement.classList.contains('open')")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("SHOP-9")
    tab_to(page, "document.activeElement.name === 'comment'")
    page.keyboard.type("Works.")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Your decision counts: approved.")).to_be_visible()
    assert busy.state(Step.WAIT_FOR_ACCEPTANCE, run_id="SHOP-9") == "success"


def tab_to(page: Page, reached: str) -> None:
    page.wait_for_load_state()  # what is not there yet is not in the order of tabs
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate(reached):
            return
    raise AssertionError(f"30 tabs do not reach it: {reached}")


def test_a_page_of_somebody_else_on_the_same_machine_can_neither_decide_nor_frame_the_board(
    visit: Visit, busy: Shop
) -> None:
    thief = visit("tess").context.new_page()  # with the cookie of tess: to browsers another port is the same site
    form = f"""<form method="post" action="{busy.address}/board/shop/SHOP-8/decisions">
        <input name="gate" value="{Step.WAIT_FOR_ACCEPTANCE}"><input name="kind" value="approve">
        <button>Win a prize</button></form><iframe src="{busy.address}/board/"></iframe>"""
    thief.route("http://127.0.0.1:9/", lambda route: route.fulfill(content_type="text/html", body=form))
    thief.goto("http://127.0.0.1:9/")
    assert thief.frames[1].url.startswith("chrome-error:")
    thief.get_by_role("button", name="Win a prize").click()
    expect(thief.get_by_role("alert")).to_contain_text("This did not come from a page of the board.")
    assert busy.state(Step.WAIT_FOR_ACCEPTANCE, run_id="SHOP-8") == "awaiting_input"

    # What gets into a page all the same does not run, and can tell nobody.
    thief.goto(f"{busy.address}/board/")
    with thief.expect_event("requestfailed") as stopped:
        thief.evaluate("""() => {
            const script = document.createElement("script");
            script.textContent = "window.taken = true";
            document.body.append(script, Object.assign(new Image(), {src: "http://127.0.0.1:9/?cookie"}));
            document.body.insertAdjacentHTML("beforeend", "<p id='x' onclick='window.taken = true'>x</p>");
            document.getElementById("x").click();
        }""")
    assert (stopped.value.url, stopped.value.failure) == ("http://127.0.0.1:9/?cookie", "csp")
    assert thief.evaluate("window.taken") is None
