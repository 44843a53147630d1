"""What is GitLab's own about issues."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from feature_delivery.domain.errors import Misconfigured, NotFound, Refused
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.project import TrackerConfig
from feature_delivery.ports.tracker import IssueState
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.gitlab import BOT
from tests.fakes.hosts.gitlab_state import GUEST
from tests.support.gitlab_stage import KEY, GitLabStage, gitlab_stage, moment, seen


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GitLabStage]:
    with gitlab_stage(tmp_path) as made:
        yield made


def labels(stage: GitLabStage) -> list[str]:
    return sorted(stage.fake.project.issues[1].labels)


def test_a_team_uses_its_own_labels_scoped_ones_too(stage: GitLabStage) -> None:
    stage.given(KEY)
    states = {
        "open": ("status::backlog",),
        "in_progress": ("status::doing", "status::review"),
        "done": ("status::live",),
    }
    for premium in (False, True):
        stage.fake.premium, stage.fake.project.issues[1].labels = premium, []
        tracker = stage.tracker(states=states)
        for state, held in (
            (IssueState.OPEN, "status::backlog"),
            (IssueState.IN_PROGRESS, "status::doing"),
            (IssueState.DONE, "status::live"),
            (IssueState.IN_PROGRESS, "status::doing"),
        ):
            tracker.move(KEY, state)
            assert labels(stage) == [held]
            issue = tracker.find(KEY)
            assert issue is not None
            assert issue.state is state
        stage.fake.project.issues[1].labels = ["Status::Review", "bug"]
        before = len(stage.fake.server.calls("PUT"))
        tracker.move(KEY, IssueState.IN_PROGRESS)  # recognised, whatever its case
        assert len(stage.fake.server.calls("PUT")) == before
        tracker.move(KEY, IssueState.OPEN)
        assert labels(stage) == ["bug", "status::backlog"]


def test_one_change_moves_an_issue_and_none_when_it_is_there(stage: GitLabStage) -> None:
    stage.given(KEY)
    tracker = stage.tracker()
    for _ in range(2):
        tracker.move(KEY, IssueState.IN_PROGRESS)
    assert len(stage.fake.server.calls("PUT")) == 1
    tracker.move(KEY, IssueState.DONE)
    assert (len(stage.fake.server.calls("PUT")), labels(stage)) == (2, [])


def test_what_gitlab_leaves_out_without_a_word_is_refused_with_the_role(stage: GitLabStage) -> None:
    """The author of an issue may close it, and has no say in labels and assignees."""
    stage.fake.write_issue("Gift cards", "", by=BOT)
    stage.fake.project.members[BOT] = GUEST
    tracker = stage.tracker()
    with pytest.raises(Refused, match=r"move SHOP-1 to 'in_progress'.* left out add labels .* the role Reporter"):
        tracker.move(KEY, IssueState.IN_PROGRESS)
    with pytest.raises(NotFound, match="nobody of that login be given issues"):
        tracker.assign(KEY, "bob")
    stage.fake.project.issues[1].assignees = [stage.fake.user("bob")]
    with pytest.raises(Refused, match="lacks the role Reporter"):
        tracker.assign(KEY, None)


def test_a_confidential_issue_is_not_taken_for_missing_by_an_account_that_is_not_shown_it(stage: GitLabStage) -> None:
    stage.given(KEY).confidential = True
    tracker = stage.tracker()
    assert tracker.find(KEY) is not None
    stage.fake.project.members[BOT] = GUEST
    for key in (KEY, FeatureKey("SHOP-7")):
        with pytest.raises(Refused, match=r"may be confidential\. Give the account .* the role Reporter"):
            tracker.find(key)
    with pytest.raises(Refused, match="confidential"):
        tracker.create(KEY, title="Gift cards", description="", reporter="mia")


def test_an_administrator_is_shown_everything_and_is_no_member(stage: GitLabStage) -> None:
    del stage.fake.project.members[BOT]
    stage.fake.bot.is_admin = True
    assert stage.tracker().find(KEY) is None


def test_a_project_that_cannot_be_seen_is_no_proof_that_an_issue_is_missing(stage: GitLabStage) -> None:
    stage.given(KEY)
    del stage.fake.project.members[BOT]
    with pytest.raises(NotFound, match="may not see it"):
        stage.tracker().find(KEY)
    stage.fake.project.members[BOT] = 30
    stage.fake.project.features["issues"] = "disabled"
    with pytest.raises(Refused, match="issues switched off"):
        stage.tracker().find(KEY)


def test_a_key_of_another_prefix_is_not_looked_for(stage: GitLabStage) -> None:
    stage.given(KEY)
    assert stage.tracker().find(FeatureKey("WEB-1")) is None
    assert stage.fake.server.calls() == []
    with pytest.raises(Misconfigured, match=r"tracker\.prefix"):
        type(stage.tracker())(stage.login(), config=TrackerConfig(kind="gitlab", project="shop/cart"))


def test_a_new_issue_says_who_asked_for_it_and_carries_out_no_orders(stage: GitLabStage) -> None:
    issue = stage.tracker().create_new(
        title="x" * 300, description="Sell them.\n/close\n/title gone", reporter="mia --> <script>\n/close"
    )
    kept = stage.fake.project.issues[1]
    assert (len(issue.title), kept.title[:2], kept.state, issue.state) == (255, "xx", "opened", IssueState.OPEN)
    assert issue.description == "Sell them.\n\\/close\n\\/title gone"
    assert kept.description.endswith(" Requested by mia -- scriptclose.")
    assert stage.tracker().create_new(title="y", description="", reporter="").description == ""


def test_a_login_is_found_whatever_its_case_and_one_person_takes_an_issue(stage: GitLabStage) -> None:
    stage.given(KEY)
    stage.fake.project.issues[1].assignees = [stage.fake.user("carol"), stage.fake.user("dave")]
    assert stage.tracker().assign(KEY, "BOB").assignee == "bob"
    before = len(stage.fake.server.calls("PUT"))
    stage.tracker().assign(KEY, "Bob")
    assert len(stage.fake.server.calls("PUT")) == before
    with pytest.raises(NotFound, match=r"GitLab knows nobody of that login\. Correct the login"):
        stage.tracker().assign(KEY, "nobody/../1")
    with pytest.raises(NotFound, match="Give them access"):
        stage.tracker().assign(KEY, "eve")


def test_only_our_own_comment_counts_whoever_copies_its_marker(stage: GitLabStage) -> None:
    issue = stage.given(KEY)
    stage.tracker().comment(KEY, "/close\nShipped", marker="shipped")
    body = issue.notes.pop().body
    stage.fake.note(stage.fake.project, issue, stage.fake.user("eve"), body)
    stage.tracker().comment(KEY, "Shipped", marker="shipped")
    assert seen(issue) == ["/close\nShipped", "Shipped"]
    assert issue.state == "opened"


def test_changed_issues_are_complete_over_many_pages(stage: GitLabStage) -> None:
    since = moment()
    for _ in range(230):
        stage.fake.write_issue("Gift cards", "")
    found = stage.tracker().changed_issues(since)
    assert [one.key for one in found] == [f"SHOP-{number}" for number in range(230, 0, -1)]
    assert len(stage.fake.server.calls()) == 3
    assert stage.tracker().changed_issues(stage.fake.project.issues[230].updated + timedelta(milliseconds=1)) == ()


def test_an_issue_whose_author_has_left_is_still_one(stage: GitLabStage) -> None:
    stage.given(KEY)
    shown = {**stage.fake.project.shown_issue(stage.fake.project.issues[1]), "author": None, "description": None}
    stage.fake.server.faults.next_answers.append(Answer(200, shown))
    issue = stage.tracker().find(KEY)
    assert issue is not None
    assert (issue.reporter, issue.description) == ("ghost", "")
