"""Which commit a word on GitLab is about: approvals name none, and stay there when somebody pushes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.git_hosts.gitlab.answers import Approval, Approvals, Note, Reviewer, User, Version
from feature_delivery.adapters.git_hosts.gitlab.reviews import Facts, words_of
from feature_delivery.ports.git_host import Review, ReviewKind
from tests.support.gitlab_stage import FEATURE, PRODUCTION, GitLabStage, gitlab_stage

Said = tuple[str, ReviewKind, str, str]
APPROVE, REJECT = ReviewKind.APPROVE, ReviewKind.REJECT


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GitLabStage]:
    with gitlab_stage(tmp_path) as made:
        made.push(FEATURE)
        made.opened()
        yield made


def said(stage: GitLabStage) -> list[Said]:
    return [short(review) for review in stage.host().request(1).reviews]


def short(review: Review) -> Said:
    return review.person, review.kind, review.commit, review.comment


def head(stage: GitLabStage) -> str:
    return str(stage.fake.project.git.head(FEATURE))


def test_an_approval_that_gitlab_keeps_over_a_push_counts_for_the_old_commit_only(stage: GitLabStage) -> None:
    stage.fake.person("carol").approve(1)
    old = head(stage)
    stage.push(FEATURE)
    assert stage.fake.person("amy").call("GET", "/merge_requests/1/approvals")["approved"]
    assert said(stage) == [("carol", APPROVE, old, "")]
    stage.fake.person("carol").unapprove(1)
    assert said(stage) == []
    stage.fake.person("carol").approve(1)
    assert said(stage) == [("carol", APPROVE, head(stage), "")]


def test_another_target_is_another_version_with_the_same_head(stage: GitLabStage) -> None:
    stage.fake.person("carol").approve(1)
    stage.host().retarget(1, PRODUCTION)
    assert len(stage.fake.project.requests[1].versions) == 2
    assert said(stage) == [("carol", APPROVE, head(stage), "")]


def test_a_push_that_gitlab_has_not_looked_at_yet_gets_no_approval(stage: GitLabStage) -> None:
    stage.fake.person("carol").approve(1)
    old = head(stage)
    stage.push(FEATURE)
    stage.fake.project.requests[1].versions.pop()
    assert stage.host().request(1).head != old
    assert said(stage) == [("carol", APPROVE, old, "")]
    stage.fake.project.requests[1].versions.clear()
    assert said(stage) == []


def test_an_older_gitlab_that_does_not_say_when_is_asked_for_its_own_note(stage: GitLabStage) -> None:
    stage.fake.tells_approval_times = False
    stage.fake.person("carol").approve(1)
    old = head(stage)
    stage.push(FEATURE)
    stage.fake.person("dave").approve(1)
    assert said(stage) == [("carol", APPROVE, old, ""), ("dave", APPROVE, head(stage), "")]
    request = stage.fake.project.requests[1]
    request.notes = [note for note in request.notes if note.user.username != "carol"]
    assert said(stage) == [("dave", APPROVE, head(stage), "")]  # nobody knows what carol has seen


def test_requested_changes_count_for_their_commit_whoever_was_asked_for_a_review(stage: GitLabStage) -> None:
    old = head(stage)
    stage.fake.request_changes(1, "carol", "Prices are wrong.")  # becomes the one reviewer
    stage.fake.request_changes(1, "dave", "Names too.")  # is none, and the free edition takes no second one
    assert [one.user.username for one in stage.fake.project.requests[1].reviewers] == ["carol"]
    stage.push(FEATURE)
    assert said(stage) == [("carol", REJECT, old, "Prices are wrong."), ("dave", REJECT, old, "Names too.")]


def test_a_rejection_ends_with_an_approval_and_does_not_come_back_with_its_end(stage: GitLabStage) -> None:
    for person in ("carol", "dave"):
        stage.fake.request_changes(1, person, "No.")
        stage.fake.person(person).approve(1)
    assert [(person, kind) for person, kind, _, _ in said(stage)] == [("carol", APPROVE), ("dave", APPROVE)]
    for person in ("carol", "dave"):
        stage.fake.person(person).unapprove(1)
    assert said(stage) == []


def test_requesting_changes_takes_an_approval_back(stage: GitLabStage) -> None:
    stage.fake.person("carol").approve(1)
    stage.fake.request_changes(1, "carol", "On second thoughts, no.")
    assert said(stage) == [("carol", REJECT, head(stage), "On second thoughts, no.")]


def test_who_is_asked_again_has_said_nothing_of_this_commit(stage: GitLabStage) -> None:
    stage.fake.request_changes(1, "carol", "No.")
    old = head(stage)
    stage.fake.ask_again(1, "carol")
    assert said(stage) == []
    stage.push(FEATURE)
    assert said(stage) == [("carol", REJECT, old, "No.")]


def test_a_state_without_a_note_is_dated_by_the_last_words(stage: GitLabStage) -> None:
    stage.fake.request_changes(1, "carol", "No.")
    request = stage.fake.project.requests[1]
    request.notes = [note for note in request.notes if not note.system]
    old = head(stage)
    stage.push(FEATURE)
    assert said(stage) == [("carol", REJECT, old, "No.")]
    request.notes.clear()
    assert [one[:3] for one in said(stage)] == [("carol", REJECT, old)]  # by when they were asked


def test_people_cannot_put_words_into_gitlabs_mouth(stage: GitLabStage) -> None:
    for person in ("carol", "eve"):
        stage.write(1, person, "approved this merge request")
        stage.write(1, person, "requested changes")
    assert said(stage) == []
    stage.fake.tells_approval_times = False  # GitLab's own note dates the approval then
    stage.fake.person("carol").approve(1)
    old = head(stage)
    stage.push(FEATURE)
    for text in ("approved this merge request", "requested changes"):
        stage.write(1, "carol", text)
    assert said(stage) == [("carol", APPROVE, old, "requested changes")]  # her words of that moment


def test_a_listing_of_notes_and_versions_is_read_to_its_end(stage: GitLabStage) -> None:
    stage.fake.most_per_page = 2
    first = head(stage)
    stage.fake.request_changes(1, "carol", "No.")
    for i in range(5):
        stage.write(1, "bob", f"{i}")
        stage.push(FEATURE)
    stage.fake.request_changes(1, "dave", "Neither.")
    assert said(stage) == [("carol", REJECT, first, "No."), ("dave", REJECT, head(stage), "Neither.")]


# --- whatever happens in whatever order -------------------------------------------------------------------------------

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(minutes=10)


def sha(number: int) -> str:
    return f"{number:040x}"


@given(
    pushes=st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True),
    approved=st.one_of(st.none(), st.integers(0, 41)),
    requested=st.lists(st.integers(0, 41), max_size=4),
)
def test_nobody_has_said_anything_of_a_commit_that_was_not_the_head_then(
    pushes: list[int], approved: int | None, requested: list[int]
) -> None:
    carol = User(id=1, username="carol")
    times = sorted(pushes)
    notes = [
        Note(
            id=i,
            body="requested changes",
            author=carol,
            created_at=(said := BEGIN + at * DAY),
            updated_at=said,
            system=True,
        )
        for i, at in enumerate(requested)
    ]
    facts = Facts(
        approvals=Approvals(
            approved_by=[] if approved is None else [Approval(user=carol, approved_at=BEGIN + approved * DAY)]
        ),
        reviewers=[Reviewer(user=carol, state="requested_changes")] if requested and approved is None else [],
        notes=notes,
        versions=[
            Version(id=i, head_commit_sha=sha(at), created_at=BEGIN + at * DAY)
            for i, at in reversed([*enumerate(times)])
        ],
    )
    found = words_of(facts)
    for review in found:
        at = (review.at - BEGIN) // DAY
        assert review.commit == sha(max(time for time in times if time <= at))
    assert len({(one.person, one.commit) for one in found}) == len(found)
    approvals = [one for one in found if one.kind is APPROVE]
    assert len(approvals) <= (approved is not None)
    assert [one.at for one in found] == sorted(one.at for one in found)
