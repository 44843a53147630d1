"""What is GitHub's own in ``GitHubTracker``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_delivery.domain.errors import Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import IssueState
from tests.contracts.github_world import FEATURE, KEY, LONG_AGO, PREPROD, GitHubWorld, github_world
from tests.fakes.hosts.common import Answer

OTHER = FeatureKey("SHOP-2")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitHubWorld]:
    with github_world(tmp_path) as made:
        yield made


def test_a_key_is_the_prefix_and_githubs_number(world: GitHubWorld) -> None:
    world.fake.open_issue("mia", "Gift cards", "Sell them.")
    tracker = world.tracker()
    issue = tracker.find(KEY)
    assert issue
    assert (issue.key, issue.title, issue.description, issue.reporter) == (KEY, "Gift cards", "Sell them.", "mia")
    assert issue.url.endswith("/shop/cart/issues/1")
    for key in ("CART-1", "SHOP-2", "SHOPS-1"):
        assert tracker.find(FeatureKey(key)) is None


def test_a_pull_request_is_no_issue(world: GitHubWorld) -> None:
    world.fake.open_pull("bob", FEATURE, PREPROD)
    tracker = world.tracker()
    assert tracker.find(KEY) is None
    assert tracker.changed_issues(LONG_AGO) == ()
    with pytest.raises(NotFound, match="no issue SHOP-1"):
        tracker.move(KEY, IssueState.DONE)


def test_an_issue_that_was_deleted_or_transferred_is_not_there(world: GitHubWorld) -> None:
    world.fake.open_issue("mia", "Deleted").deleted = True
    world.fake.open_issue("mia", "Transferred").moved_to = "shop/other/7"
    elsewhere = world.fake.shapes.issue(world.fake.items[2], "shop/other")
    world.server.faults.rules.append(("GET", "^/repos/shop/other/issues/7$", Answer(200, {**elsewhere, "number": 7})))
    tracker = world.tracker()
    assert tracker.find(KEY) is None
    assert tracker.find(OTHER) is None


def test_an_issue_transferred_to_the_same_number_elsewhere_is_not_ours(world: GitHubWorld) -> None:
    world.fake.open_issue("mia", "Transferred").moved_to = "shop/other/1"
    elsewhere = world.fake.shapes.issue(world.fake.items[1], "shop/other")
    world.server.faults.rules.append(("GET", "^/repos/shop/other/issues/1$", Answer(200, elsewhere)))
    assert world.tracker().find(KEY) is None


def test_a_repository_that_the_token_may_not_see_is_not_an_issue_that_is_gone(world: GitHubWorld) -> None:
    world.fake.open_issue("mia", "Gift cards")
    world.fake.add("out", role="", token="ghp_out")
    with pytest.raises(NotFound, match="may not see it"):
        world.tracker(world.login("ghp_out")).find(KEY)
    with pytest.raises(Misconfigured):
        world.tracker(world.login("wrong")).find(KEY)


def test_issues_that_are_switched_off_are_named(world: GitHubWorld) -> None:
    world.fake.open_issue("mia", "Gift cards")
    world.fake.more["has_issues"] = False
    with pytest.raises(Refused, match="issues switched off"):
        world.tracker().find(KEY)
    assert any("switched off" in one.sentence and not one.well for one in world.tracker().examine())


def test_states_are_open_or_closed_and_a_label(world: GitHubWorld) -> None:
    item = world.fake.open_issue("mia", "Gift cards")
    item.labels = ["bug"]
    tracker = world.tracker()
    for state, github, labels in (
        (IssueState.IN_PROGRESS, ("open", None), ["bug", "in progress"]),
        (IssueState.DONE, ("closed", "completed"), ["bug"]),
        (IssueState.IN_PROGRESS, ("open", "reopened"), ["bug", "in progress"]),
        (IssueState.OPEN, ("open", "reopened"), ["bug"]),
    ):
        for _ in range(2):
            tracker.move(KEY, state)
        found = tracker.find(KEY)
        assert found
        assert found.state is state
        assert ((item.state, item.reason), item.labels) == (github, labels)
    assert world.fake.labels == ["bug", "in progress"]


def test_a_project_names_its_own_labels_and_recognises_others(world: GitHubWorld) -> None:
    item = world.fake.open_issue("mia", "Gift cards")
    world.fake.labels += ["Doing/now", "coding", "todo"]
    item.labels = ["todo"]
    states = {"in_progress": ("doing/now", "coding"), "open": ("todo",), "done": ("shipped",)}
    tracker = world.tracker(states=states)
    tracker.move(KEY, IssueState.IN_PROGRESS)
    assert item.labels == ["Doing/now"]
    item.labels = ["coding"]
    tracker.move(KEY, IssueState.IN_PROGRESS)
    assert item.labels == ["coding"]
    tracker.move(KEY, IssueState.DONE)
    assert item.labels == ["shipped"]
    tracker.move(KEY, IssueState.OPEN)
    assert item.labels == ["todo"]


def test_what_github_leaves_out_without_a_word_is_refused_naming_the_right(world: GitHubWorld) -> None:
    item = world.fake.open_issue("mia", "Gift cards")
    world.fake.add("reader", role="read", token="ghp_reader")
    tracker = world.tracker(world.login("ghp_reader"))
    with pytest.raises(Refused, match="'Issues: write'"):
        tracker.move(KEY, IssueState.DONE)
    with pytest.raises(Refused, match="'Issues: write'"):
        tracker.assign(KEY, "carol")
    assert (item.state, item.assignees) == ("open", [])


def test_a_login_that_may_not_have_issues_is_not_found(world: GitHubWorld) -> None:
    world.fake.open_issue("mia", "Gift cards")
    tracker = world.tracker()
    with pytest.raises(NotFound, match="nobody of that login"):
        tracker.assign(KEY, "no/body?")
    assert tracker.assign(KEY, "Carol").assignee == "Carol"
    world.forget()
    assert tracker.assign(KEY, "carol").assignee == "Carol"
    assert world.server.calls("PATCH") == []
    assert tracker.assign(KEY, None).assignee is None


def test_keys_are_given_out_by_github(world: GitHubWorld) -> None:
    tracker = world.tracker()
    with pytest.raises(Refused, match="numbers its issues itself"):
        tracker.create(KEY, title="Gift cards", description="", reporter="mia")
    made = tracker.create_new(title="Gift cards", description="Sell them.", reporter="mia")
    assert (made.key, made.reporter, made.description) == (KEY, "shop-bot", "Sell them.")
    assert (world.fake.items[1].body or "").endswith("--> Requested by mia.")
    assert tracker.create(KEY, title="Other", description="", reporter="eve") == made


def test_a_link_is_one_comment_that_is_replaced(world: GitHubWorld) -> None:
    world.fake.open_issue("mia", "Gift cards")
    for _ in range(130):
        world.fake.write(1, "carol", "When?")
    tracker = world.tracker()
    for url in ("http://a", "http://b", "http://b"):
        tracker.link(KEY, url=url, title="Merge request", marker="request")
    tracker.comment(KEY, "Shipped.", marker="request")
    assert [text for text in world.fake.texts(1) if text != "When?"] == ["Merge request: http://b", "Shipped."]
    assert len(world.server.calls("PATCH")) == 1


def test_changed_issues_are_complete_and_cost_a_page_each(world: GitHubWorld) -> None:
    world.fake.ahead = -timedelta(days=2)
    world.fake.open_issue("mia", "Old")
    world.fake.ahead = timedelta()
    numbers = [world.fake.open_issue("mia", f"Issue {index}").number for index in range(130)]
    world.fake.open_pull("bob", FEATURE, PREPROD)
    found = world.tracker().changed_issues(datetime.now(UTC) - timedelta(hours=1))
    assert [issue.key for issue in found] == [f"SHOP-{number}" for number in reversed(numbers)]
    assert len(world.server.exchanges) == 2


def test_a_tracker_that_is_down_is_unavailable(world: GitHubWorld) -> None:
    world.server.faults.next_answers.append(Answer(502, b"", {"Content-Type": "text/html"}))
    with pytest.raises(Unavailable):
        world.tracker().find(KEY)


def test_the_examination_looks_at_the_webhook_for_issues(world: GitHubWorld) -> None:
    world.fake.add("root", role="admin", token="ghp_admin")
    world.fake.add_hook("http://127.0.0.1:9/feature-delivery/webhooks/shop", "s", ["push"])
    found = {one.what: one for one in world.tracker(world.login("ghp_admin")).examine()}
    assert list(found) == ["token", "repository", "rights", "webhook"]
    assert "not sent for issues" in found["webhook"].sentence
