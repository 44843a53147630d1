"""Gates: no wake-up is lost, none is false, and waiting hides a run from the scheduler."""

from __future__ import annotations

import pytest

from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import CHECKS, ORDER, Step
from feature_delivery.domain.project import Choices
from feature_delivery.domain.records import Feature, FeatureState, GateState
from feature_delivery.ports.runs import RunRef
from tests.support.cooperation import bring, now_of, to_the_end
from tests.support.stepping import go_on, kill, until
from tests.support.world import SHOP, World, shop

APPROVE, REJECT = DecisionKind.APPROVE, DecisionKind.REJECT
REVIEW, ACCEPTANCE, CONFIRMATION = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION


def shelved(world: World, feature: Feature) -> bool:
    return world.runs.runs[RunRef(SHOP, feature.run_id)].shelved is not None


def test_a_run_at_a_gate_lies_on_the_shelf_and_comes_back_with_the_decision(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert shelved(world, feature)
    world.decide(feature, "rob", REVIEW, APPROVE)
    assert not shelved(world, feature)


def test_a_run_that_began_before_a_step_was_added_lies_on_the_shelf_as_well(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = world.runs.states

    def without(run: RunRef) -> dict[Step, str]:
        return {step: state for step, state in known(run).items() if step is not Step.CHECK_SYNTAX}

    monkeypatch.setattr(world.runs, "states", without)
    assert shelved(world, bring(world, "SHOP-1", REVIEW))


@pytest.mark.parametrize("at", ["asks", "answered"])
def test_a_decision_while_the_gate_is_opening_is_not_lost(world: World, at: str) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_MERGE_REQUEST)
    world.open_request(feature)
    world.observe(feature)
    process = until(world, REVIEW, at)
    world.decide(feature, "rob", REVIEW, APPROVE)
    go_on(world, process)
    world.run()
    assert world.parked(feature) == [ACCEPTANCE]


@pytest.mark.parametrize("at", ["asks", "answered"])
def test_a_push_while_a_gate_is_opening_rewinds_once(world: World, at: str) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.decide(feature, "rob", REVIEW, APPROVE)
    process = until(world, ACCEPTANCE, at)
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    go_on(world, process)
    world.run()
    assert world.parked(feature) == [REVIEW]
    assert now_of(world, feature).attempt_number == 2
    assert now_of(world, feature).rewind_to is None


def test_a_resolution_that_was_never_ended_does_not_end_the_gate_of_the_next_attempt(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.decide(feature, "rob", REVIEW, APPROVE)
    process = until(world, ACCEPTANCE, "answered")
    world.decide(feature, "tom", ACCEPTANCE, APPROVE)  # resolved, the task has not parked yet
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    go_on(world, process)
    world.run()
    world.decide(feature, "rob", REVIEW, APPROVE)
    world.run()
    assert world.parked(feature) == [ACCEPTANCE]


def test_a_killed_gate_task_asks_again_and_the_gate_is_one(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.clear(feature, REVIEW)
    process = until(world, REVIEW, "answered")
    kill(world, process)
    world.run()
    assert world.parked(feature) == [REVIEW]
    assert [g.state for g in world.books.gates(feature) if g.step is REVIEW] == [GateState.OPEN]


def test_a_gate_cleared_alone_gives_the_later_gate_back(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    world.clear(feature, Step.WAIT_FOR_CODE, with_downstream=False)
    world.run()
    world.decide(feature, "tom", ACCEPTANCE, APPROVE)
    world.run()
    assert world.parked(feature) == [CONFIRMATION]


def test_a_gate_cleared_alone_and_marked_by_hand_gives_the_later_gate_back(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    world.mark(feature, ACCEPTANCE, "success")
    world.run()
    world.clear(feature, ACCEPTANCE, with_downstream=False)
    world.run()
    assert world.parked(feature) == [ACCEPTANCE, CONFIRMATION]
    world.mark(feature, ACCEPTANCE, "success")
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert gate.step is CONFIRMATION
    assert gate.step in world.parked(feature)


def test_a_later_gate_reached_by_a_hand_mark_waits_for_the_earlier_one(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.mark(feature, Step.NOTIFY_TESTERS, "success")
    world.run()
    assert world.parked(feature) == [REVIEW, ACCEPTANCE]
    world.decide(feature, "rob", REVIEW, APPROVE)
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert gate.step in world.parked(feature)
    to_the_end(world)


def test_a_gate_marked_successful_by_hand_ships_nothing(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    world.mark(feature, ACCEPTANCE, "success")
    world.run()
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_TURN]
    assert not world.witness.shipped
    world.decide(feature, "tom", ACCEPTANCE, APPROVE)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_VERDICT]


def test_a_step_that_fails_leads_to_a_gate_that_says_why(world: World) -> None:
    world.start("SHOP-1")
    world.run()
    feature = world.features()[0]
    assert feature.branch is not None
    world.push(feature.branch, content="red checks")
    world.observe(feature)
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert gate.step is Step.WAIT_FOR_MERGE_REQUEST
    assert gate.blocked == "red in checks"
    told = [(o.payload["step"], o.payload["to"]) for o in world.books.outbox(feature) if ":alert:" in o.marker]
    assert told == [(step, ["dan"]) for step in sorted(CHECKS, key=ORDER.__getitem__)]


def test_checks_that_turn_green_by_a_clear_open_the_gate_again(world: World) -> None:
    world.start("SHOP-1")
    world.run()
    world.mishaps = 1
    feature = world.features()[0]
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_MERGE_REQUEST]
    world.clear(feature, Step.DEPLOY_DEVELOPMENT)
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert not gate.blocked


def test_a_failure_behind_the_start_does_not_keep_a_cleared_start_shut(world: World) -> None:
    gated = World(project=shop(Choices(start_gate=True)))
    gated.start("SHOP-1")
    gated.run()
    feature = gated.features()[0]
    gated.mishaps = 1
    gated.decide(feature, "dan", Step.WAIT_FOR_START, APPROVE)
    gated.run()
    gated.clear(feature, Step.REGISTER_FEATURE)
    gated.run()
    assert gated.parked(feature) == [Step.WAIT_FOR_CODE]
    gated.close()


def test_the_gates_of_a_cancelled_feature_are_over(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.cancel(feature)
    world.clear(feature, REVIEW)
    world.run()
    assert world.runs.states(RunRef(SHOP, feature.run_id))[REVIEW] == "skipped"
    assert now_of(world, feature).state is FeatureState.CANCELLED
