"""Merge requests and reviews on the host: what counts, what is put right, what is taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import AttemptState, FeatureState
from feature_delivery.ports.git_host import RequestState, ReviewKind
from feature_delivery.services.control.requests import observe_request
from tests.support.stage import Stage
from tests.support.world import PREPROD, PRODUCTION

APPROVE, REJECT = ReviewKind.APPROVE, ReviewKind.REJECT
MERGE_REQUEST, REVIEW = Step.WAIT_FOR_MERGE_REQUEST, Step.WAIT_FOR_REVIEW
ACCEPTANCE, VERDICT = Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_VERDICT


def ours(stage: Stage, number: int) -> str:
    return "\n".join(stage.host.texts(number, by="delivery-bot"))


def test_a_request_from_a_fork_does_not_count_and_says_so_once(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    page = stage.opened(feature, by="eve", fork=True)
    stage.settle()
    stage.host.write(page.request.number, "eve", "Why?")
    stage.settle()
    assert stage.parked(feature) == [MERGE_REQUEST]
    assert stage.feature().request_number is None
    texts = stage.host.texts(page.request.number, by="delivery-bot")
    assert len(texts) == 1
    assert "not delivered from a fork" in texts[0]


def test_a_fork_is_refused_even_where_the_feature_has_no_such_branch(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    page = stage.host.open(BranchName("feature/SHOP-1-theirs"), PREPROD, by="eve", fork=True)
    stage.settle()
    assert "not delivered from a fork" in ours(stage, page.request.number)
    assert stage.parked(feature) == [MERGE_REQUEST]


def test_a_request_aimed_at_production_is_pointed_at_preprod_with_a_comment(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    page = stage.opened(feature, target=PRODUCTION)
    stage.settle()
    assert page.request.target == PREPROD
    assert ours(stage, page.request.number).count("Only a delivery moves main") == 1
    assert stage.parked(feature) == [REVIEW]
    assert stage.host.calls["retarget"] == 1


def test_a_request_pointed_at_production_again_is_answered_again_but_not_at_once(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    page = stage.opened(feature, target=PRODUCTION)
    stage.settle()
    page.request, page.changed_at = replace(page.request, target=PRODUCTION), stage.time
    stage.reconcile()
    stage.errands()
    assert page.request.target == PRODUCTION
    stage.time += timedelta(minutes=15)
    page.changed_at = stage.time
    stage.settle()
    assert page.request.target == PREPROD


def test_a_request_on_top_of_another_feature_does_not_count(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    page = stage.opened(feature, target=BranchName("feature/SHOP-9-base"))
    stage.settle()
    assert stage.parked(feature) == [MERGE_REQUEST]
    assert "waits until that one has shipped" in ours(stage, page.request.number)
    page.request, page.changed_at = replace(page.request, target=PREPROD), stage.time
    stage.settle()
    assert stage.parked(feature) == [REVIEW]


def test_a_request_that_is_older_than_the_delivery_is_found(stage: Stage) -> None:
    head = stage.push(BranchName("feature/SHOP-1-gift"))
    page = stage.host.open(BranchName("feature/SHOP-1-gift"), PREPROD)
    stage.host.review(page.request.number, "rob", APPROVE)
    stage.time += timedelta(days=3)
    stage.start("SHOP-1", "feature/SHOP-1-gift")
    stage.run()
    stage.reconcile()
    stage.errands()
    assert stage.feature().request_number == page.request.number
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    assert page.request.head == head


def test_closing_a_request_cancels_nothing(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    number = stage.page().request.number
    stage.host.end(number, RequestState.CLOSED)
    stage.settle()
    assert "cancels nothing" in ours(stage, number)
    assert stage.feature().state is FeatureState.ACTIVE
    again = stage.opened(feature)
    stage.settle()
    assert stage.feature().request_number == again.request.number


def by_hand(stage: Stage, how: str, *, extra: str = "") -> CommitSha:
    """Merge the feature's head into pre-production as a host does; ``extra``: something else comes along."""
    repository, at = stage.repository, stage.repository.branches[PREPROD]
    branch = stage.feature().branch
    assert branch is not None
    head = repository.branches[branch]
    merged = dict(repository.files(head)) | ({"extra": extra} if extra else {})
    match how:
        case "merge":
            made = repository.write(merged, (at, head), "Merge", "dan@example.com").sha
        case "squash":
            made = repository.write(merged, (at,), "Squash", "dan@example.com").sha
        case _:
            first = repository.write({**repository.files(at), "part": "1"}, (at,), "Part", "dan@example.com").sha
            made = repository.write(merged, (first,), "Rest", "dan@example.com").sha
    repository.branches[PREPROD] = made
    stage.host.end(stage.page().request.number, RequestState.MERGED)
    return made


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_a_merge_by_hand_into_preprod_ships_nothing_and_is_put_right(stage: Stage, how: str) -> None:
    stage.at(REVIEW)
    number, production = stage.page().request.number, stage.repository.branches[PRODUCTION]
    by_hand(stage, how)
    stage.settle()
    assert stage.repository.branches[PRODUCTION] == stage.repository.branches[PREPROD] == production
    assert "preprod was put back to main" in ours(stage, number)
    assert stage.feature().state is FeatureState.ACTIVE
    assert stage.pending(Errand.LEVEL_PREPROD)[0].sent_at is not None
    assert not [message for message in stage.messages.sent if "olga" in message.to]


@pytest.mark.parametrize("later", [True, False])
def test_a_request_that_was_rolled_back_and_is_shown_as_merged_with_a_later_release_was_not_merged_by_hand(
    stage: Stage,
    later: bool,  # noqa: FBT001
) -> None:
    """A rollback keeps history: what is released next has the commits below it, and hosts see no more than that."""
    stage.at(VERDICT)
    page = stage.page()
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.ROLL_BACK)
    stage.settle()
    if later:
        stage.decide(stage.at(VERDICT, "SHOP-2"), "max", VERDICT, DecisionKind.KEEP)
        stage.settle()
    stage.host.end(page.request.number, RequestState.MERGED)
    stage.settle()
    said = ours(stage, page.request.number)
    assert ("a later release contains its commits" in said) is later
    assert ("Merging by hand" in said) is not later
    assert bool(stage.pending(Errand.LEVEL_PREPROD)) is not later
    feature = stage.feature()
    assert (feature.state, feature.request_number) == (FeatureState.ACTIVE, None)
    assert feature.branch is not None
    stage.push(feature.branch)
    stage.reconcile()
    again = stage.opened(stage.feature())
    stage.reconcile()
    assert stage.feature().request_number == again.request.number


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_preprod_with_anything_else_in_it_is_left_for_people(stage: Stage, how: str) -> None:
    stage.at(REVIEW)
    number, made = stage.page().request.number, by_hand(stage, how, extra="not of the feature")
    stage.settle()
    assert stage.repository.branches[PREPROD] == made
    assert "left as it is" in ours(stage, number)
    assert [message for message in stage.messages.sent if "olga" in message.to]


def test_a_branch_deleted_by_the_merge_is_put_back(stage: Stage) -> None:
    stage.at(REVIEW)
    branch, number = stage.feature().branch, stage.page().request.number
    assert branch is not None
    head = stage.repository.branches[branch]
    by_hand(stage, "squash")
    del stage.repository.branches[branch]
    stage.settle()
    assert stage.repository.branches[branch] == head
    assert f"{branch} was deleted by it and put back" in ours(stage, number)


def test_a_merge_that_was_never_seen_open_is_put_right_too(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    page = stage.opened(feature)
    assert feature.branch is not None
    repository = stage.repository
    repository.branches[PREPROD] = repository.branches[feature.branch]
    page.request = replace(page.request, state=RequestState.MERGED)
    stage.settle()
    assert repository.branches[PREPROD] == repository.branches[PRODUCTION]
    assert stage.parked(stage.feature()) == [MERGE_REQUEST]


def test_a_merge_by_hand_while_the_host_is_down_is_put_right_later(stage: Stage) -> None:
    stage.at(REVIEW)
    by_hand(stage, "merge")
    stage.reconcile()
    stage.host.down = Unavailable("The host is down.")
    stage.errands()
    stage.host.down = None
    stage.time += timedelta(minutes=5)
    stage.settle()
    assert stage.repository.branches[PREPROD] == stage.repository.branches[PRODUCTION]


def test_a_merge_by_hand_into_production_freezes_promotions_and_says_so(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    assert feature.branch is not None
    page = stage.opened(feature, target=PRODUCTION)
    stage.reconcile()
    page.request = replace(page.request, state=RequestState.MERGED)
    page.changed_at = stage.time
    repository = stage.repository
    head = repository.branches[feature.branch]
    made = repository.write(repository.files(head), (repository.branches[PRODUCTION], head), "Merge", "x@y.z").sha
    repository.branches[PRODUCTION] = made
    stage.settle()
    with stage.peek() as books:
        row = books.project(stage.project.name)
    assert row is not None
    assert row.frozen_commit == made
    assert "no release" in ours(stage, page.request.number)


# --- reviews


def accepted(stage: Stage) -> list[tuple[str, str, bool]]:
    feature = stage.feature()
    found = stage.books.decisions(feature, feature.attempt_number)
    return [(d.person, d.kind, d.accepted) for d in found if d.step is REVIEW]


def test_a_dismissed_review_takes_the_approval_back_and_the_run_waits_for_review_again(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", APPROVE)
    stage.reconcile()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    stage.host.dismiss(stage.page().request.number, "rob")
    stage.reconcile()
    assert stage.parked(stage.feature()) == [REVIEW]
    assert accepted(stage) == [("rob", "approve", False)]
    assert "withdrawn" in stage.kinds()
    stage.word("rob", APPROVE)
    stage.reconcile()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    assert accepted(stage) == [("rob", "approve", False), ("rob", "approve", True)]


def test_a_review_changed_to_changes_requested_sends_the_attempt_back(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", APPROVE)
    stage.reconcile()
    stage.word("rob", REJECT, "Prices are wrong.")
    stage.reconcile()
    feature = stage.feature()
    attempt = stage.books.attempt(feature)
    assert attempt is not None
    assert attempt.state is AttemptState.REJECTED
    assert "Prices are wrong." in attempt.reason
    assert stage.parked(feature) == [Step.WAIT_FOR_CODE]


def test_an_approval_that_others_make_up_for_changes_nothing_when_taken_back(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", APPROVE)
    stage.word("rita", APPROVE)
    stage.reconcile()
    stage.host.dismiss(stage.page().request.number, "rob")
    stage.reconcile()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]


def test_what_was_approved_elsewhere_is_not_taken_back_by_the_host(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    stage.decide(feature, "rob", REVIEW, DecisionKind.APPROVE)
    stage.run()
    stage.host.write(stage.page().request.number, "rita", "Nice.")
    stage.reconcile()
    assert accepted(stage) == [("rob", "approve", True)]
    assert stage.parked(stage.feature()) == [ACCEPTANCE]


def test_a_promoted_attempt_keeps_its_review(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", APPROVE)
    stage.at(VERDICT)
    stage.host.dismiss(stage.page().request.number, "rob")
    stage.reconcile()
    assert stage.parked(stage.feature()) == [VERDICT]
    assert accepted(stage) == [("rob", "approve", True)]


def test_a_review_of_an_older_commit_does_not_count(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.word("rob", APPROVE)
    stage.push(feature.branch)
    stage.reconcile()
    assert stage.feature().attempt_number == 2
    assert accepted(stage) == []
    assert stage.parked(stage.feature()) == [REVIEW]


def test_an_older_look_takes_back_nothing_that_was_said_after_it(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    before, seen_at = stage.host.request(stage.page().request.number), stage.time
    stage.word("rob", APPROVE)
    stage.reconcile()
    with stage.begin() as unit:
        observe_request(unit, stage.project, feature.run_id, before, seen_at=seen_at)
    stage.run()
    assert accepted(stage) == [("rob", "approve", True)]
    assert stage.parked(stage.feature()) == [ACCEPTANCE]


def test_the_author_of_the_request_does_not_approve_it(stage: Stage) -> None:
    feature = stage.at(MERGE_REQUEST)
    stage.opened(feature, by="rob")
    stage.reconcile()
    stage.word("rob", APPROVE)
    stage.reconcile()
    assert accepted(stage) == [("rob", "approve", False)]
    assert stage.parked(stage.feature()) == [REVIEW]


def test_a_review_dismissed_in_the_queue_for_production_takes_the_feature_out_of_it(stage: Stage) -> None:
    stage.at(VERDICT, "SHOP-1")
    stage.at(REVIEW, "SHOP-2")
    stage.word("rob", APPROVE, key="SHOP-2")
    stage.reconcile()
    stage.at(Step.WAIT_FOR_TURN, "SHOP-2")
    stage.host.dismiss(stage.page("SHOP-2").request.number, "rob")
    stage.reconcile()
    assert stage.parked(stage.feature("SHOP-2")) == [REVIEW]
    assert stage.feature("SHOP-2").id not in {p.feature_id for p in stage.books.queue(stage.project.name) if p.waiting}
    said = stage.books.decisions(stage.feature("SHOP-2"))[0]
    assert (said.way, said.accepted, said.withdrawn_at is None) == ("review", False, False)


def test_a_review_that_glass_was_broken_for_is_not_taken_back_by_the_host(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert stage.override(feature, REVIEW, DecisionKind.APPROVE)
    stage.run()
    stage.host.write(stage.page().request.number, "rita", "Why?")
    stage.reconcile()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
