"""What is peculiar to issues on Gitea and Forgejo; what every tracker does is in ``test_tracker_contract.py``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_delivery.adapters.trackers.gitea import GiteaTracker
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.project import TrackerConfig
from feature_delivery.ports.tracker import Issue, IssueState
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.gitea import BOT
from tests.fakes.hosts.gitea_state import Label
from tests.support.gitea_stage import GiteaStage, gitea_stage

KEY, OTHER_KEY = FeatureKey("SHOP-1"), FeatureKey("SHOP-2")
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GiteaStage]:
    with gitea_stage(tmp_path) as made:
        yield made


def found(tracker: GiteaTracker, key: FeatureKey = KEY) -> Issue:
    issue = tracker.find(key)
    assert issue
    return issue


def labels(stage: GiteaStage, number: int = 1) -> list[str]:
    return sorted(label.name for label in stage.fake.repository.issues[number].labels)


def test_a_request_is_no_issue_although_it_has_a_number_like_one(stage: GiteaStage) -> None:
    stage.given(KEY)
    stage.push("feature/SHOP-1")
    assert stage.fake.person("bob").open("feature/SHOP-1") == 2
    assert stage.tracker.find(OTHER_KEY) is None
    assert [issue.key for issue in stage.tracker.changed_issues(EPOCH)] == [KEY]
    for attempt in (
        lambda: stage.tracker.comment(OTHER_KEY, "hello", marker="m"),
        lambda: stage.tracker.move(OTHER_KEY, IssueState.DONE),
        lambda: stage.tracker.assign(OTHER_KEY, None),
    ):
        with pytest.raises(NotFound, match="SHOP-2"):
            attempt()
    assert stage.fake.repository.issues[2].state == "open"


def test_a_key_of_another_prefix_is_nobody_s(stage: GiteaStage) -> None:
    stage.given(KEY)
    assert stage.tracker.find(FeatureKey("CART-1")) is None
    assert stage.tracker.find(FeatureKey("SHOP_X-1")) is None


def test_a_repository_that_we_do_not_see_is_not_taken_for_a_missing_issue(stage: GiteaStage) -> None:
    stage.given(KEY)
    assert stage.tracker.find(OTHER_KEY) is None
    stage.fake.repository.rights[BOT] = "none"
    with pytest.raises(Misconfigured, match=r"tracker\.project"):
        stage.tracker.find(KEY)


def test_the_tracker_gives_out_the_numbers(stage: GiteaStage) -> None:
    with pytest.raises(Refused, match="gives out the numbers itself"):
        stage.tracker.create(KEY, title="Gift cards", description="", reporter="mia")


def test_a_new_issue_has_the_next_number_and_tells_who_reported_it(stage: GiteaStage) -> None:
    stage.given(KEY)
    made = stage.tracker.create_new(title="Gift cards", description="Sell them.", reporter="mia")
    assert (made.key, made.title, made.description, made.reporter) == (OTHER_KEY, "Gift cards", "Sell them.", "mia")
    assert found(stage.tracker, OTHER_KEY) == made
    assert "*Reported by mia.*" in stage.fake.repository.issues[2].body


def test_nobody_else_can_say_who_reported_an_issue(stage: GiteaStage) -> None:
    stage.tracker.create_new(title="Gift cards", description="", reporter="mia <script>\n# mallory")
    body = stage.fake.repository.issues[1].body
    assert found(stage.tracker).reporter == "mia script mallory"
    assert "\n# mallory" not in body
    stage.fake.issue(title="Copied", body=body, by="eve")
    assert found(stage.tracker, OTHER_KEY).reporter == "eve"


def test_in_progress_is_a_label_that_is_created_once(stage: GiteaStage) -> None:
    stage.given(KEY)
    stage.given(OTHER_KEY)
    for key in (KEY, KEY, OTHER_KEY):
        stage.tracker.move(key, IssueState.IN_PROGRESS)
    assert labels(stage) == labels(stage, 2) == ["in progress"]
    assert len(stage.fake.repository.labels) == 1
    stage.tracker.move(KEY, IssueState.DONE)
    assert (labels(stage), stage.fake.repository.issues[1].state) == ([], "closed")


def test_the_project_s_own_labels_are_used_and_others_of_a_state_are_recognised(stage: GiteaStage) -> None:
    repository = stage.fake.repository
    repository.owned_by_organisation = True
    repository.organisation_labels = [Label(900, "Status/Doing", "#fff")]
    repository.labels = [Label(901, "wip", "#fff"), Label(902, "shipped", "#fff"), Label(903, "bug", "#fff")]
    tracker = stage.tracker_with(
        states={"open": ("todo",), "in_progress": ("status/doing", "WIP"), "done": ("shipped",)}
    )
    issue = stage.given(KEY)
    issue.labels = [repository.labels[0], repository.labels[2]]
    assert found(tracker).state is IssueState.IN_PROGRESS
    tracker.move(KEY, IssueState.IN_PROGRESS)
    assert labels(stage) == ["bug", "wip"]
    tracker.move(KEY, IssueState.DONE)
    assert (labels(stage), found(tracker).state) == (["bug", "shipped"], IssueState.DONE)
    tracker.move(KEY, IssueState.IN_PROGRESS)
    assert (labels(stage), found(tracker).state) == (["Status/Doing", "bug"], IssueState.IN_PROGRESS)
    tracker.move(KEY, IssueState.OPEN)
    assert (labels(stage), found(tracker).state) == (["bug", "todo"], IssueState.OPEN)


def test_a_label_that_is_missing_and_may_not_be_created_is_named(stage: GiteaStage) -> None:
    stage.given(KEY)
    stage.fake.repository.rights[BOT] = "read"
    with pytest.raises(Refused, match="no label 'in progress', and we may not create it"):
        stage.tracker.move(KEY, IssueState.IN_PROGRESS)
    with pytest.raises(Refused, match="lacks write access to the repository's issues"):
        stage.tracker.move(KEY, IssueState.DONE)


def test_a_move_that_was_killed_halfway_is_completed(stage: GiteaStage) -> None:
    stage.given(KEY)
    stage.tracker.move(KEY, IssueState.IN_PROGRESS)
    broken = ("DELETE", "/labels/", Answer(503))
    stage.fake.server.faults.rules.append(broken)
    with pytest.raises(Unavailable):
        stage.tracker.move(KEY, IssueState.DONE)
    assert found(stage.tracker).state is IssueState.DONE
    stage.fake.server.faults.rules.remove(broken)
    stage.tracker.move(KEY, IssueState.DONE)
    assert labels(stage) == []


def test_a_person_who_is_not_there_or_has_no_access_is_not_given_the_issue(stage: GiteaStage) -> None:
    stage.given(KEY)
    with pytest.raises(NotFound, match="knows no such person"):
        stage.tracker.assign(KEY, "nobody")
    stage.fake.user("guest", right="read")
    with pytest.raises(Refused, match="collaborator with write access"):
        stage.tracker.assign(KEY, "guest")
    assert found(stage.tracker).assignee is None
    stage.fake.user("bob")
    assert stage.tracker.assign(KEY, "bob").assignee == "bob"
    assert stage.tracker.assign(KEY, None).assignee is None


def test_an_assignment_that_is_silently_dropped_is_refused(stage: GiteaStage) -> None:
    """Who may not write gets a 201 there, and nobody is assigned."""
    stage.fake.issue(title="Ours", by=BOT)
    stage.fake.user("bob")
    stage.fake.repository.rights[BOT] = "read"
    with pytest.raises(Refused, match="not given to this person"):
        stage.tracker.assign(KEY, "bob")


def test_an_issue_that_depends_on_an_open_one_is_not_said_to_be_done(stage: GiteaStage) -> None:
    stage.given(KEY).blocked = True
    with pytest.raises(Refused, match="depends on something that is still open"):
        stage.tracker.move(KEY, IssueState.DONE)


def test_a_link_is_one_comment_that_is_updated(stage: GiteaStage) -> None:
    stage.given(KEY)
    for address in ("http://a", "http://b", "http://b"):
        stage.tracker.link(KEY, url=address, title="Preview", marker="preprod")
    stage.tracker.link(KEY, url="http://c", title="Request", marker="request")
    assert stage.comments(1) == ["Preview: http://b", "Request: http://c"]


def test_changed_issues_are_complete_on_small_pages_and_the_newest_change_comes_first(stage: GiteaStage) -> None:
    begin = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
    for number in range(1, 8):
        issue = stage.given(FeatureKey(f"SHOP-{number}"))
        issue.updated = begin + timedelta(minutes=number)
    stage.fake.repository.issues[3].closed = begin
    stage.fake.page_size = 2
    since = begin + timedelta(minutes=3, milliseconds=500)
    keys = [issue.key for issue in stage.tracker.changed_issues(since)]
    assert keys == [f"SHOP-{number}" for number in (7, 6, 5, 4, 3)]
    assert stage.tracker.changed_issues(begin + timedelta(hours=1)) == ()


def test_issues_without_a_prefix_for_their_keys_are_refused(stage: GiteaStage) -> None:
    with pytest.raises(Misconfigured, match=r"tracker\.prefix"):
        GiteaTracker(stage.login, config=TrackerConfig(kind="gitea", project="shop/cart"))
