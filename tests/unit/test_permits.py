"""Permits: any task may be cleared on any day, safely."""

from __future__ import annotations

import pytest

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import GATES, TEARDOWNS, Step
from feature_delivery.domain.records import Feature, FeatureState, PromotionState
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.services.control.permits import take_permit
from tests.support.cooperation import bring, nothing_is_left, now_of, to_the_end
from tests.support.stepping import go_on, kill, until
from tests.support.world import PRODUCTION, SHOP, World

APPROVE = DecisionKind.APPROVE
CONFIRMATION, VERDICT = Step.WAIT_FOR_CONFIRMATION, Step.WAIT_FOR_VERDICT


def state_of(world: World, feature: Feature, step: Step) -> str:
    return world.runs.states(RunRef(SHOP, feature.run_id))[step]


def confirmed(world: World) -> Feature:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    return feature


@pytest.mark.parametrize("step", sorted(Step))
def test_a_task_cleared_after_the_delivery_has_no_effect(world: World, step: Step) -> None:
    bring(world, "SHOP-1", VERDICT)
    to_the_end(world)
    feature = world.features()[0]
    branches, platform = dict(world.repository.branches), world.platform.places["production"].history[:]
    world.clear(feature, step)
    world.run()
    assert world.repository.branches == branches
    assert world.platform.places["production"].history == platform
    assert now_of(world, feature).state is FeatureState.DELIVERED
    assert not world.parked(feature)
    nothing_is_left(world)


@pytest.mark.parametrize("step", sorted(set(Step) - TEARDOWNS))
@pytest.mark.parametrize("kind", [DecisionKind.KEEP, DecisionKind.ROLL_BACK])
def test_a_task_cleared_while_production_waits_for_its_verdict_does_not_keep_it_from_it(
    world: World, step: Step, kind: DecisionKind
) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    before = len(world.witness.shipped)
    world.clear(feature, step)
    world.run()
    assert world.decide(feature, "max", VERDICT, kind)
    world.run()
    assert len(world.witness.shipped) == before
    promotion = world.books.promotion(feature)
    assert promotion is not None
    assert promotion.state in {PromotionState.KEPT, PromotionState.ROLLED_BACK}
    to_the_end(world)
    nothing_is_left(world)


@pytest.mark.parametrize("step", sorted(set(Step) - GATES))
def test_any_step_may_be_killed_and_retried_with_its_old_process_reporting_late(world: World, step: Step) -> None:
    if step in {Step.RESTORE_BRANCH, Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK, Step.NOTIFY_ROLLBACK} | {
        Step.RELEASE_PREPROD
    }:
        feature = bring(world, "SHOP-1", VERDICT)
        world.decide(feature, "max", VERDICT, DecisionKind.ROLL_BACK)
    elif step in TEARDOWNS | {Step.CLOSE_ISSUE, Step.DECIDE_ROLLBACK}:
        feature = bring(world, "SHOP-1", VERDICT)
        world.decide(feature, "max", VERDICT, DecisionKind.KEEP)
    elif step in {Step.REFRESH_CANDIDATE, Step.PROMOTE, Step.DEPLOY_PRODUCTION, Step.TEST_PRODUCTION} | {
        Step.OBSERVE_PRODUCTION
    }:
        feature = confirmed(world)
    elif step in {Step.REGISTER_FEATURE, Step.CREATE_BRANCH, Step.RESERVE_DEVELOPMENT, Step.PROVISION_DEVELOPMENT}:
        world.start("SHOP-1")
        feature = world.features()[0]
    else:
        feature = bring(world, "SHOP-1", Step.WAIT_FOR_CODE)
        assert feature.branch is not None
        world.push(feature.branch)
        world.open_request(feature)
        world.observe(feature)
        world.decide(feature, "rob", Step.WAIT_FOR_REVIEW, APPROVE)
        world.decide(feature, "tom", Step.WAIT_FOR_ACCEPTANCE, APPROVE)
    process = until(world, step, "reports")
    kill(world, process, lives_on=True)
    old = world.processes.pop(world.processes.index(process))
    world.run()
    world.processes.append(old)
    go_on(world, old)
    world.run()
    world.witness.check_at_rest()
    to_the_end(world)
    nothing_is_left(world)


def test_a_task_that_does_not_run_gets_no_permit(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    task = TaskRef(run=RunRef(SHOP, feature.run_id), step=Step.PROMOTE, try_number=1, task_instance="forged")
    with pytest.raises(Refused, match="not running"), world.begin() as unit:
        take_permit(unit, world.project, task)


def test_a_promotion_marked_on_by_hand_is_refused_without_the_sign_offs(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    for step in (Step.WAIT_FOR_ACCEPTANCE, CONFIRMATION, Step.WAIT_FOR_TURN, Step.REFRESH_CANDIDATE):
        world.mark(feature, step, "success")
    world.run()
    assert state_of(world, feature, Step.PROMOTE) == "failed"
    assert not world.witness.shipped
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert "lacks the approval" in gate.blocked


def test_nothing_of_an_active_feature_is_torn_down(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    places = dict(world.platform.places)
    for step in sorted(TEARDOWNS):
        world.runs.mark(RunRef(SHOP, feature.run_id), step, "queued")
    world.run()
    assert world.platform.places == places
    assert {state_of(world, feature, step) for step in TEARDOWNS} == {"failed"}


def test_a_promote_task_killed_after_the_push_is_recognised_by_its_next_try(world: World) -> None:
    feature = confirmed(world)
    process = until(world, Step.PROMOTE, "reports")
    kill(world, process)
    world.run()
    promotion = world.books.promotion(feature)
    assert promotion is not None
    assert promotion.state is PromotionState.DEPLOYED
    assert world.repository.branches[PRODUCTION] == promotion.candidate


def test_a_promote_task_killed_for_good_is_finished_by_a_clear(world: World) -> None:
    feature = confirmed(world)
    kill(world, until(world, Step.PROMOTE, "reports"), again=False)
    world.run()
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    assert now_of(world, feature).attempt_number == 1
    assert not world.cancel(feature)
    world.clear(feature, Step.WAIT_FOR_TURN)
    world.run()
    assert world.parked(feature) == [VERDICT]
    assert len(world.witness.shipped) == 1


def test_while_a_promotion_is_begun_no_other_candidate_is_built(world: World) -> None:
    feature = confirmed(world)
    kill(world, until(world, Step.PROMOTE, "reports"), again=False)
    world.run()
    candidates = len(world.books.candidates_of(world.repository.branches[PRODUCTION]))
    world.clear(feature, Step.BUILD_CANDIDATE)
    world.run()
    assert len(world.books.candidates_of(world.repository.branches[PRODUCTION])) == candidates
    assert world.parked(feature) == [VERDICT]


@pytest.mark.parametrize("kind", ["candidate_built", "deployed", "suite_done", "done"])
def test_a_refresh_killed_between_its_results_goes_on_in_its_next_try(world: World, kind: str) -> None:
    second = bring(world, "SHOP-2", CONFIRMATION)
    first = bring(world, "SHOP-1", VERDICT)
    world.decide(second, "max", CONFIRMATION, APPROVE)
    world.run()
    world.decide(first, "max", VERDICT, DecisionKind.KEEP)
    world.finish()
    process = until(world, Step.REFRESH_CANDIDATE, f"reports {kind}")
    world.advance(world.processes.index(process))
    kill(world, process)
    world.run()
    assert world.parked(second) == [VERDICT]
    assert len(world.witness.shipped) == 2


def test_a_refresh_that_is_called_back_goes_on_under_its_generation_and_its_next_try_does_not(world: World) -> None:
    """What it waits for is named by the generation: with a new one each time it was called back it never ended."""
    second = bring(world, "SHOP-2", CONFIRMATION)
    first = bring(world, "SHOP-1", VERDICT)
    world.decide(second, "max", CONFIRMATION, APPROVE)
    world.run()
    world.decide(first, "max", VERDICT, DecisionKind.KEEP)
    world.finish()
    generations = []
    for again in (True, True, False):
        process = until(world, Step.REFRESH_CANDIDATE, "reports deployed")
        if not again:
            kill(world, process)
            process = until(world, Step.REFRESH_CANDIDATE, "reports deployed")
        with world.begin() as unit:
            work = take_permit(unit, world.project, process.task)
        assert work.environment is not None
        generations.append(work.environment.generation)
    assert generations[0] == generations[1] < generations[2]


def test_a_redelivery_waits_for_the_teardown_of_the_delivery_before(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    world.cancel(feature)
    world.start("SHOP-1")
    until(world, Step.RESERVE_DEVELOPMENT, "takes")
    to_the_end(world)
    assert [f.state for f in world.features()] == [FeatureState.CANCELLED, FeatureState.DELIVERED]
    nothing_is_left(world)


def test_the_branch_of_a_newer_delivery_is_not_deleted_by_the_older_one(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    world.decide(feature, "max", VERDICT, DecisionKind.KEEP)
    process = until(world, Step.DELETE_BRANCHES, "takes")
    assert feature.branch is not None
    world.start("SHOP-1", branch=feature.branch)
    go_on(world, process)
    assert feature.branch in world.repository.branches


def test_commits_pushed_after_the_promotion_are_kept(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert feature.branch is not None
    late = world.push(feature.branch)
    world.observe(feature)
    world.decide(feature, "max", VERDICT, DecisionKind.KEEP)
    world.run()
    assert world.repository.branches[feature.branch] == late
    assert any("has not shipped" in str(o.payload) for o in world.books.outbox(feature))


def test_a_turn_marked_by_hand_promotes_nothing_without_the_lock(world: World) -> None:
    bring(world, "SHOP-2", VERDICT)
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    world.decide(feature, "tom", Step.WAIT_FOR_ACCEPTANCE, APPROVE)
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    world.run()
    world.mark(feature, Step.WAIT_FOR_TURN, "success")
    world.mark(feature, Step.REFRESH_CANDIDATE, "success")
    world.run()
    assert state_of(world, feature, Step.PROMOTE) == "failed"
    assert [key for key, _ in world.witness.shipped] == ["SHOP-2"]


def test_tests_marked_green_by_hand_promote_nothing(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CODE)
    assert feature.branch is not None
    world.push(feature.branch, content="red preprod")
    world.open_request(feature)
    world.observe(feature)
    for person, gate in (("rob", Step.WAIT_FOR_REVIEW), ("tom", Step.WAIT_FOR_ACCEPTANCE), ("max", CONFIRMATION)):
        world.decide(feature, person, gate, APPROVE)
    world.run()
    row = world.books.lock_project(SHOP)
    row.lock_feature_id = feature.id  # even if it held production
    for step in (Step.TEST_PREPROD, Step.WAIT_FOR_ACCEPTANCE, CONFIRMATION, Step.WAIT_FOR_TURN, Step.REFRESH_CANDIDATE):
        world.mark(feature, step, "success")
    world.run()
    assert state_of(world, feature, Step.PROMOTE) == "failed"
    assert not world.witness.shipped
    row.lock_feature_id = None


def test_nothing_is_promoted_onto_a_frozen_production(world: World) -> None:
    feature = confirmed(world)
    until(world, Step.PROMOTE, "takes")
    world.hotfix()
    world.observe_production()
    process = until(world, Step.PROMOTE, "takes")
    go_on(world, process)
    assert state_of(world, feature, Step.PROMOTE) == "failed"
    assert world.books.promotion(feature) is None


def test_a_setup_cleared_after_a_rejection_still_lets_its_teardown_run(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    world.decide(feature, "tom", Step.WAIT_FOR_ACCEPTANCE, DecisionKind.REJECT)
    world.run()
    world.clear(feature, Step.RESERVE_PREPROD, with_downstream=False)
    world.runs.mark(RunRef(SHOP, feature.run_id), Step.RESERVE_PREPROD, "queued")
    world.run()
    assert state_of(world, feature, Step.RESERVE_PREPROD) == "success"


def test_what_was_rolled_back_before_the_feature_was_kept_is_over(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    world.decide(feature, "max", VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    to_the_end(world)
    world.start("SHOP-1")
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_REVIEW)
    world.decide(feature, "rob", Step.WAIT_FOR_REVIEW, APPROVE)
    until(world, Step.BUILD_CANDIDATE, "performs")
    assert world.granted_work[Step.BUILD_CANDIDATE].past == ()
