"""What is Redmine's own, on our fake; ``tests/integration/test_redmine.py`` asks the real one the same and more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feature_delivery.adapters.trackers.redmine import RedmineTracker
from feature_delivery.adapters.trackers.unseen import unmarked
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import IssueState
from tests.contracts.redmine_bench import CONFIG
from tests.fakes.hosts.redmine import FakeRedmine, User, fake_redmine

KEY = FeatureKey("SHOP-1")


@pytest.fixture
def redmine() -> Iterator[FakeRedmine]:
    with fake_redmine() as fake:
        fake.give(1)
        yield fake


def tracker(fake: FakeRedmine, **config: Any) -> RedmineTracker:
    return RedmineTracker(fake.login(), config=replace(CONFIG, **config))


def notes(fake: FakeRedmine) -> list[str]:
    return [unmarked(one.notes) for one in fake.issues[1].journals]


def without(fake: FakeRedmine, *permissions: str) -> None:
    fake.manager.permissions -= set(permissions)


def test_a_wrong_key_is_not_taken_for_an_empty_tracker(redmine: FakeRedmine) -> None:
    mine = RedmineTracker(replace(redmine.login(), secret="wrong"), config=CONFIG)
    for call in (lambda: mine.find(KEY), lambda: mine.changed_issues(datetime.now(UTC) - timedelta(days=1))):
        with pytest.raises(Misconfigured, match="API key of the Connection 'redmine'"):
            call()
    assert [one.path for one in redmine.server.calls()] == ["/users/current.json"] * 2


def test_what_redmine_leaves_out_in_silence_is_refused(redmine: FakeRedmine) -> None:
    without(redmine, "add_issue_notes")
    with pytest.raises(Refused, match=r"left the note out.*'Add notes'"):
        tracker(redmine).comment(KEY, "Hello", marker="m")
    without(redmine, "edit_issues")
    redmine.manager.permissions |= {"add_issue_notes"}
    with pytest.raises(Refused, match=r"left it as it was.*'Manager'"):
        tracker(redmine).assign(KEY, "bob")
    with pytest.raises(Refused, match=r"left it in 'New', without a word.*'Manager'.*'Closed'"):
        tracker(redmine).move(KEY, IssueState.DONE)
    assert redmine.issues[1].status == 1


def test_the_way_is_found_over_several_statuses_and_past_the_other_end(redmine: FakeRedmine) -> None:
    redmine.manager.workflow = {1: {2, 6}, 2: {1, 4}, 4: {3}, 3: {5}, 6: {5}}
    tracker(redmine).move(KEY, IssueState.DONE)
    assert redmine.issues[1].status == 5
    redmine.move(1, 1)
    redmine.manager.workflow = {1: {2, 6}, 2: {1}, 6: {5}}
    with pytest.raises(Refused, match=r"no way to 'Closed' for us\. From 'In Progress' it leads to 'New'"):
        tracker(redmine).move(KEY, IssueState.DONE)
    assert redmine.issues[1].status == 1


def test_a_redmine_before_5_is_moved_by_trying(redmine: FakeRedmine) -> None:
    redmine.old = True
    mine = tracker(redmine)
    mine.move(KEY, IssueState.DONE)
    found = mine.find(KEY)
    assert found
    assert found.state is IssueState.DONE
    redmine.manager.workflow = {}
    with pytest.raises(Refused, match=r"left it in 'Closed', without a word.*'Manager'.*'In Progress'"):
        mine.move(KEY, IssueState.IN_PROGRESS)


def test_where_notes_cannot_be_edited_a_link_that_changed_is_a_new_note(redmine: FakeRedmine) -> None:
    mine = tracker(redmine)
    for url in ("http://one", "http://one", "http://two"):
        mine.link(KEY, url=url, title="Preview", marker="preview")
    assert notes(redmine) == ["Preview: http://two"]
    redmine.old = True
    for _ in range(2):
        mine.link(KEY, url="http://three", title="Preview", marker="preview")
    assert notes(redmine) == ["Preview: http://two", "Preview: http://three"]


def test_an_administrator_finds_people_by_one_question(redmine: FakeRedmine) -> None:
    admin = RedmineTracker(redmine.login("admin"), config=CONFIG)
    assert admin.assign(KEY, "bob").assignee == "bob"
    assert not redmine.server.calls("GET", "memberships")


def test_who_hides_behind_a_number_is_shown_by_name(redmine: FakeRedmine) -> None:
    ghost = User(99, "ghost", redmine.developer)
    redmine.issues[1].assignee = ghost
    found = tracker(redmine).find(KEY)
    assert found
    assert found.assignee == "Ghost Test"


def test_members_are_looked_through_page_by_page(redmine: FakeRedmine) -> None:
    redmine.page = 1
    assert tracker(redmine).assign(KEY, "eve").assignee == "eve"
    with pytest.raises(NotFound, match="'nobody'"):
        tracker(redmine).assign(KEY, "nobody")


def test_who_is_asked_once_is_not_asked_again(redmine: FakeRedmine) -> None:
    for number in range(2, 12):
        redmine.give(number)
    assert len(tracker(redmine).changed_issues(datetime.now(UTC) - timedelta(days=1))) == 11
    assert len(redmine.server.calls("GET", "/users/7.json")) == 1


def test_doctor_names_what_is_missing(redmine: FakeRedmine) -> None:
    without(redmine, "add_issue_notes", "edit_own_issue_notes")
    mine = tracker(redmine, states={"done": ("Shipped",)}, issue_type="Epic")
    wrong = {one.what: one.sentence for one in mine.examine() if not one.well}
    assert set(wrong) == {"rights", "workflow", "issue type"}
    assert "'Add notes'" in wrong["rights"]
    assert "'Shipped'" in wrong["workflow"]
    assert "'Epic'" in wrong["issue type"]
    redmine.users["bot"].role = None
    assert any("no member" in one.sentence for one in tracker(redmine).examine() if not one.well)
    redmine.rest_enabled = False
    (only,) = tracker(redmine).examine()
    assert not only.well
    assert "enable the REST API" in only.sentence


def test_keys_without_a_prefix_cannot_be_made(redmine: FakeRedmine) -> None:
    with pytest.raises(Misconfigured, match=r"tracker\.prefix"):
        tracker(redmine, prefix="")


@pytest.mark.parametrize("project", ["../users", "a b", "shop?x=1", "%2e%2e"])
def test_a_projects_name_stays_in_its_place_of_the_address(redmine: FakeRedmine, project: str) -> None:
    with pytest.raises(Misconfigured, match=r"tracker\.project"):
        tracker(redmine, project=project).changed_issues(datetime.now(UTC))
    paths = [call.path for call in redmine.server.calls("GET", "/projects")]
    assert len(paths) == 1
    assert paths[0].count("/") == 2
