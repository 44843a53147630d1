"""Attempts: what the branch is at decides, whatever order the news comes in; absence is not deletion."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import AttemptState, FeatureState
from feature_delivery.services.control.attempts import BranchFacts
from tests.support.cooperation import bring, nothing_is_left, now_of, to_the_end
from tests.support.stepping import go_on, until
from tests.support.world import PRODUCTION, World

APPROVE, REJECT = DecisionKind.APPROVE, DecisionKind.REJECT
REVIEW, ACCEPTANCE, VERDICT = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_VERDICT


def test_the_same_news_again_changes_nothing(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    for _ in range(3):
        world.observe(feature)
    assert now_of(world, feature).attempt_number == 1


def test_a_newer_commit_supersedes_and_the_environments_pass_on(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    generation = {e.name: e.generation for e in world.books.environments(feature=feature)}
    assert feature.branch is not None
    world.push(feature.branch, force=True)
    world.observe(feature)
    world.run()
    assert [a.state for a in world.books.attempts(feature)] == [AttemptState.SUPERSEDED, AttemptState.ACTIVE]
    world.decide(feature, "rob", REVIEW, APPROVE)
    world.run()
    now = {e.name: e.generation for e in world.books.environments(feature=feature)}
    assert set(now) == set(generation)
    assert all(now[name] > generation[name] for name in now)


@pytest.mark.parametrize("step", [Step.DEPLOY_DEVELOPMENT, Step.CHECK_UNIT, Step.BUILD_CANDIDATE, Step.TEST_PREPROD])
@pytest.mark.parametrize("at", ["takes", "performs", "reports", "goes on"])
def test_a_push_while_a_task_runs_rewinds_and_its_late_result_does_not_count(world: World, step: Step, at: str) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CODE)
    assert feature.branch is not None
    world.push(feature.branch)
    world.open_request(feature)
    world.observe(feature)
    world.decide(feature, "rob", REVIEW, APPROVE)
    process = until(world, step, at)
    head = world.push(feature.branch)
    world.observe(feature)
    world.schedule()
    go_on(world, process)
    world.run()
    assert world.parked(feature) == [REVIEW]
    attempt = world.books.attempt(now_of(world, feature))
    assert attempt is not None
    assert (attempt.number, attempt.commit) == (2, head)
    assert world.books.candidate(feature, 2) is None
    to_the_end(world)


def test_a_branch_moved_away_and_back_is_delivered(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert feature.branch is not None
    head = world.repository.branches[feature.branch]
    world.repository.branches[feature.branch] = world.repository.branches[PRODUCTION]
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_CODE]
    world.repository.branches[feature.branch] = head
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [REVIEW]


def test_a_rejected_commit_is_not_taken_up_again_by_itself(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.decide(feature, "rob", REVIEW, REJECT)
    world.run()
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_CODE]


def test_a_push_after_the_promotion_waits_for_the_verdict(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert feature.branch is not None
    late = world.push(feature.branch)
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [VERDICT]
    assert now_of(world, feature).next_commit == late
    world.decide(feature, "max", VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_REWORK]
    world.observe(feature)
    world.run()
    assert now_of(world, feature).attempt_number == 2
    assert world.parked(feature) == [REVIEW]


def test_the_whole_feature_comes_again_after_a_rollback(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert feature.branch is not None
    world.decide(feature, "max", VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    assert "feature/SHOP-1" not in world.repository.files(world.repository.branches[PRODUCTION])
    world.push(feature.branch, path="fix")
    world.observe(feature)
    bring(world, "SHOP-1", VERDICT)
    assert {"feature/SHOP-1", "fix"} <= set(world.repository.files(world.repository.branches[PRODUCTION]))


def test_one_listing_without_the_branch_proves_nothing(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert feature.branch is not None
    head = world.repository.branches.pop(feature.branch)
    world.observe(feature)
    world.observe(feature)
    assert now_of(world, feature).state is FeatureState.ACTIVE
    world.repository.branches[feature.branch] = head
    world.observe(feature)
    world.time += timedelta(hours=1)
    world.repository.branches.pop(feature.branch)
    world.observe(feature)
    assert now_of(world, feature).state is FeatureState.ACTIVE


def test_a_branch_that_stays_away_ends_the_feature(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    assert feature.branch is not None
    world.repository.branches.pop(feature.branch)
    world.observe(feature)
    world.time += timedelta(minutes=11)
    world.observe(feature)
    world.run()
    assert now_of(world, feature).state is FeatureState.ABANDONED
    nothing_is_left(world)


def test_a_listing_without_production_is_no_evidence(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    for hours in (0, 1, 2):
        facts = BranchFacts(head=None, listing_has_production=False, seen_at=world.time + timedelta(hours=hours))
        world.mail.append((feature.run_id, facts, ""))
        world.tell(0)
    assert now_of(world, feature).branch_seen_gone is None


def test_a_feature_in_production_is_not_abandoned(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert feature.branch is not None
    world.repository.branches.pop(feature.branch)
    for _ in range(3):
        world.observe(feature)
        world.time += timedelta(hours=1)
    assert now_of(world, feature).state is FeatureState.ACTIVE


def test_a_push_does_not_break_a_provisioning_that_runs(world: World) -> None:
    world.start("SHOP-1")
    process = until(world, Step.PROVISION_DEVELOPMENT, "reports")
    feature = world.features()[0]
    assert feature.branch is not None
    for _ in range(2):
        world.push(feature.branch)
        world.observe(feature)
    go_on(world, process)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_MERGE_REQUEST]


def test_a_new_commit_revives_a_run_that_was_skipped_by_hand(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CODE)
    world.mark(feature, Step.WAIT_FOR_CODE, "skipped")
    world.run()
    assert not world.parked(feature)
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_MERGE_REQUEST]
