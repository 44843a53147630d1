"""What a push says of its pusher, whenever it is heard, and what it starts, whatever else is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feature_delivery.domain.errors import Conflict, Error, Unavailable
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName, CommitSha, feature_key
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import FeatureState
from feature_delivery.ports.git_host import ReviewKind
from feature_delivery.services.control import reconcile as module
from feature_delivery.services.control import webhooks
from feature_delivery.services.control.attempts import give_up
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.pushers import kept
from feature_delivery.services.control.start import Start, start
from tests.support.cooperation import bring
from tests.support.stage import Stage, outside_shop
from tests.support.world import PRODUCTION

REVIEW, ACCEPTANCE = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE
NEW, OTHER = BranchName("feature/SHOP-9-cards"), BranchName("feature/SHOP-8-tax")
FOUND, LATE = BranchName("feature/SHOP-9"), BranchName("feature/SHOP-7")


def may_not_approve(stage: Stage, key: str, person: str) -> bool:
    stage.word(person, ReviewKind.APPROVE, key=key)
    stage.reconcile()
    return stage.parked(stage.feature(key)) == [REVIEW]


def test_a_pusher_is_heard_also_when_a_look_has_found_their_push_before(stage: Stage) -> None:
    """The commits are somebody else's, and so is the request: the push is all that tells of them."""
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.push(feature.branch, who="dan")
    stage.reconcile()
    stage.reconcile([Hint(branch=feature.branch, pushed=True, person="rob")])
    assert may_not_approve(stage, "SHOP-1", "rob")
    assert not may_not_approve(stage, "SHOP-1", "rita")


def test_what_somebody_pushed_is_theirs_below_what_others_push_later(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    for person in ("rob", "dan"):
        stage.push(feature.branch, who="dan")
        stage.reconcile([Hint(branch=feature.branch, pushed=True, person=person)])
    assert stage.feature().attempt_number == 3
    assert may_not_approve(stage, "SHOP-1", "rob")


def test_whose_push_started_a_delivery_may_not_approve_it(stage: Stage) -> None:
    stage.reconcile()
    stage.tracker.given(feature_key("SHOP-9"))
    stage.push(NEW, who="dan")
    stage.reconcile([Hint(branch=NEW, pushed=True, person="rob")])
    bring(stage, "SHOP-9", REVIEW)
    stage.errands()
    assert may_not_approve(stage, "SHOP-9", "rob")
    assert not may_not_approve(stage, "SHOP-9", "rita")


def pushed(branch: BranchName, person: str) -> Hint:
    return Hint(branch=branch, pushed=True, person=person)


def test_all_who_pushed_in_one_round_of_webhooks_are_heard(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.push(feature.branch, who="dan")
    stage.reconcile([pushed(feature.branch, "rob"), pushed(feature.branch, "dan")])
    assert may_not_approve(stage, "SHOP-1", "rob")
    assert not may_not_approve(stage, "SHOP-1", "rita")


@pytest.mark.parametrize("what", ["heads", "fetch"])
@pytest.mark.parametrize("key", ["SHOP-1", "SHOP-9"])
def test_a_pusher_is_not_forgotten_when_the_host_does_not_answer_the_look_that_their_webhook_asks_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, what: str, key: str
) -> None:
    """The next look finds the commit, and nobody tells it whose push it was; the webhook may be given up by then."""
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.reconcile()
    branch = feature.branch if key == "SHOP-1" else NEW
    stage.tracker.given(feature_key("SHOP-9"))
    stage.push(branch, who="dan")

    def down(*_commits: CommitSha) -> None:
        raise Unavailable("It does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(stage.repository, what, down)
        if what == "heads" or key == "SHOP-1":  # one that cannot be started is listed as moved once more instead
            with pytest.raises(Unavailable):
                stage.reconcile([pushed(branch, "rob")])
        else:
            stage.reconcile([pushed(branch, "rob")])
    stage.reconcile()
    bring(stage, key, REVIEW)
    stage.errands()
    assert may_not_approve(stage, key, "rob")
    assert not may_not_approve(stage, key, "rita")


def test_whoever_pushed_to_a_branch_before_a_delivery_finds_it_may_not_approve_it() -> None:
    stage = Stage(project=outside_shop(start_on_push=False))
    try:
        stage.reconcile()
        stage.push(FOUND, who="dan")
        stage.push(OTHER, who="dan")
        stage.reconcile([pushed(FOUND, "rob"), pushed(OTHER, "rob")])
        assert stage.features() == []
        stage.start("SHOP-9")  # a form that names no branch: it is found by its key
        stage.start("SHOP-8", OTHER)
        stage.tracker.given(feature_key("SHOP-7"))
        with stage.begin() as unit:
            start(unit, stage.project, Start(key=feature_key("SHOP-7")))
        stage.push(LATE, who="dan")
        stage.reconcile([pushed(LATE, "rob")])  # while the feature has no branch yet
        for key, branch in (("SHOP-9", FOUND), ("SHOP-8", OTHER), ("SHOP-7", LATE)):
            feature = bring(stage, key, REVIEW)
            assert feature.branch == branch
            assert feature.pushers == ["rob"]
            assert may_not_approve(stage, key, "rob")
        with stage.begin() as unit:
            assert kept(unit, stage.project) == {}
    finally:
        stage.close()


def test_who_pushed_is_forgotten_with_the_branch_and_heard_beside_a_webhook_that_says_nothing(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.reconcile()
    stage.project = replace(stage.project, choices=replace(stage.project.choices, start_on_push=False))
    stage.push(NEW)
    webhooks._look(stage.control, stage.project, [pushed(feature.branch, "rob"), pushed(NEW, "rob"), None])
    assert stage.feature().pushers == ["rob"]
    with stage.begin() as unit:
        assert kept(unit, stage.project) == {NEW: ["rob"]}
    del stage.repository.branches[NEW]
    stage.reconcile()
    with stage.begin() as unit:
        assert kept(unit, stage.project) == {}


def test_who_pushed_for_a_delivery_that_was_given_up_may_not_approve_the_next_one_from_that_branch(
    stage: Stage,
) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.push(feature.branch, who="dan")
    stage.reconcile([pushed(feature.branch, "rob")])
    with stage.begin() as unit:
        give_up(
            unit, stage.project, enter(unit, stage.project, "SHOP-1"), FeatureState.CANCELLED, "Not now.", person="max"
        )
    stage.start("SHOP-1", feature.branch)
    assert stage.feature().delivery == 2
    assert stage.feature().pushers == ["rob"]


def test_a_push_starts_a_delivery_anew_where_the_newest_one_is_over_and_an_earlier_one_not_shown_yet(
    stage: Stage,
) -> None:
    stage.decide(stage.at(Step.WAIT_FOR_VERDICT), "max", Step.WAIT_FOR_VERDICT, DecisionKind.KEEP)
    stage.settle()
    shipped = stage.feature()
    assert (shipped.state, shipped.branch is not None) == (FeatureState.SHIPPED, True)
    branch = BranchName("feature/SHOP-1-more")
    stage.push(branch)
    stage.reconcile([pushed(branch, "rob")])
    assert stage.feature().delivery == 1
    with stage.begin() as unit:
        start(unit, stage.project, Start(key=shipped.key))
    with stage.begin() as unit:
        again = enter(unit, stage.project, "SHOP-1__2")
        give_up(unit, stage.project, again, FeatureState.CANCELLED, "Not now.", person="max")
    stage.push(branch)
    stage.reconcile([pushed(branch, "rob")])
    assert (stage.feature().delivery, stage.feature().branch) == (3, branch)


def test_a_listing_that_is_not_whole_starts_no_old_branch_when_the_next_one_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that is restored, or made anew, shows no branch for a moment, and the host says that all is well."""
    for number in range(20, 25):
        stage.push(BranchName(f"feature/SHOP-{number}-old"))
    stage.reconcile()
    some = {BranchName("feature/SHOP-20-old"): stage.repository.branches[BranchName("feature/SHOP-20-old")]}
    for listing in ({}, some):
        with monkeypatch.context() as patched:
            patched.setattr(stage.repository, "heads", lambda listing=listing: dict(listing))
            stage.reconcile()
        stage.reconcile()
    assert stage.features() == []


@pytest.mark.parametrize("error", [Unavailable("It cannot be read."), Conflict("A run of that name is there.")])
def test_a_branch_that_cannot_be_started_keeps_nothing_else_waiting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Error
) -> None:
    stage.at(REVIEW)
    stage.reconcile()
    bad, good = BranchName("feature/SHOP-8-bad"), NEW
    for branch, key in ((bad, "SHOP-8"), (good, "SHOP-9")):
        stage.tracker.given(feature_key(key))
        stage.push(branch)
    head = stage.repository.branches[bad]

    def fetch(*commits: CommitSha) -> None:
        if head in commits:
            raise error

    stage.word("rob", ReviewKind.APPROVE)
    with monkeypatch.context() as patched:
        patched.setattr(stage.repository, "fetch", fetch)
        assert f"SHOP-8: {error}" in stage.reconcile()
    assert {f.key for f in stage.features()} == {"SHOP-1", "SHOP-9"}
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    stage.reconcile()
    tried_again = isinstance(error, Unavailable)
    assert ("SHOP-8" in {f.key for f in stage.features()}) is tried_again
    assert PRODUCTION in stage.repository.branches
    assert module.reconcile(stage.control, stage.project) == []
