"""Runs that somebody ended in Airflow: people are told once what they may do, and nothing comes back by itself."""

from __future__ import annotations

import pytest

from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Feature, FeatureState, Gate
from feature_delivery.services.control.status_comment import waits_for
from tests.support.cooperation import bring, nothing_is_left, now_of, to_the_end
from tests.support.stepping import until
from tests.support.world import World

ACCEPTANCE, VERDICT = Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_VERDICT


def gate_of(world: World, feature: Feature) -> Gate:
    found = world.books.open_gate(now_of(world, feature))
    assert found is not None
    return found


def told(world: World, feature: Feature) -> list[str]:
    return [
        str(entry.payload["text"])
        for entry in world.books.outbox(feature)
        if entry.kind is Errand.MESSAGE and "was ended in Airflow" in str(entry.payload["text"])
    ]


def ended(world: World, key: str, gate: Step, state: str = "failed") -> Feature:
    feature = bring(world, key, gate)
    world.mark_run(feature, state)
    world.run()
    return feature


@pytest.mark.parametrize("state", ["failed", "success"])
def test_people_are_told_once_and_the_gate_says_what_they_may_do(world: World, state: str) -> None:
    feature = ended(world, "SHOP-1", ACCEPTANCE, state)
    assert [world.tell_of_ended_runs() for _ in range(3)] == [["SHOP-1"], [], []]
    (text,) = told(world, feature)
    assert text == (
        "SHOP-1: Its run was ended in Airflow (failed), and nothing is left to go on from preprod.wait_for_acceptance. "
        "To go on, clear preprod.wait_for_acceptance in the run SHOP-1; to give the feature up, "
        "'feature-delivery cancel SHOP-1'."
    ), "a teardown found the feature alive, and failed: so did the run, whatever it was marked"
    assert f"SHOP-1: {gate_of(world, feature).blocked}" == text
    with world.peek() as books:
        said = waits_for(books, world.project, now_of(world, feature))
    assert said.startswith("**Stopped** before *Acceptance*: Its run was ended"), "nobody there is asked for a word"
    (entry,) = [e for e in world.books.outbox(feature) if e.payload.get("text") == text]
    assert entry.payload["to"] == ["max", "mia", "olga"]
    assert [e.text for e in world.books.events(feature) if e.kind == "run_ended"] == [text]


def test_a_run_that_was_ended_does_not_come_back_by_itself(world: World) -> None:
    feature = ended(world, "SHOP-1", ACCEPTANCE)
    before = world.runs.states(next(iter(world.runs.runs)))
    world.tell_of_ended_runs()
    world.time += world.project.people.policies[ACCEPTANCE].timeout or world.project.choices.abandon_after
    for _ in range(3):
        world.run()
        world.tell_of_ended_runs()
    world.wait(world.project.choices.abandon_after)
    assert world.runs.states(next(iter(world.runs.runs))) == before
    assert now_of(world, feature).state is FeatureState.ACTIVE
    assert gate_of(world, feature).step is ACCEPTANCE, "no deadline passes for people who cannot decide"


def test_whoever_clears_the_gate_has_it_go_on_and_the_sentence_is_gone(world: World) -> None:
    feature = ended(world, "SHOP-1", ACCEPTANCE)
    world.tell_of_ended_runs()
    world.clear(feature, Step.TEST_PREPROD)
    world.tell_of_ended_runs()
    assert gate_of(world, feature).blocked == "", "the run goes on, though its gate has not asked yet"
    world.run()
    assert world.parked(feature) == [ACCEPTANCE]
    world.mark_run(feature, "failed")
    world.run()
    assert world.tell_of_ended_runs() == ["SHOP-1"], "ended once more, told once more"
    to_the_end(world)
    nothing_is_left(world)


def test_what_is_said_meanwhile_counts_once_the_gate_asks_again(world: World) -> None:
    feature = ended(world, "SHOP-1", ACCEPTANCE)
    world.tell_of_ended_runs()
    assert world.decide(feature, "tom", ACCEPTANCE, DecisionKind.APPROVE)
    world.run()
    assert gate_of(world, feature).blocked.startswith("Its run was ended"), "it still says why nothing moves"
    assert world.tell_of_ended_runs() == []
    world.clear(feature, ACCEPTANCE)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_CONFIRMATION]
    assert gate_of(world, feature).blocked == ""


def test_whoever_cancels_it_gives_it_up(world: World) -> None:
    feature = ended(world, "SHOP-1", ACCEPTANCE)
    world.tell_of_ended_runs()
    assert world.cancel(feature)
    world.run()
    assert world.tell_of_ended_runs() == []
    assert now_of(world, feature).state is FeatureState.CANCELLED
    nothing_is_left(world)


def test_a_run_ended_while_a_step_worked_is_told_of_by_that_step_and_who_holds_production(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CONFIRMATION)
    world.decide(feature, "max", Step.WAIT_FOR_CONFIRMATION, DecisionKind.APPROVE)
    until(world, Step.DEPLOY_PRODUCTION, "performs")
    world.mark_run(feature, "failed")
    world.run()
    assert world.tell_of_ended_runs() == ["SHOP-1"]
    (text,) = told(world, feature)
    assert text.endswith("It holds production. To go on, clear production.deploy in the run SHOP-1."), "no cancelling"
    world.clear(feature, Step.DEPLOY_PRODUCTION)
    world.run()
    assert world.parked(feature) == [VERDICT]
    to_the_end(world)


def test_what_was_kept_after_its_run_had_been_ended_still_has_a_way_to_its_end(world: World) -> None:
    feature = ended(world, "SHOP-1", VERDICT)
    assert world.decide(feature, "max", VERDICT, DecisionKind.KEEP)
    world.run()
    assert world.tell_of_ended_runs() == ["SHOP-1"]
    assert told(world, feature)[-1].endswith("To go on, clear production.wait_for_verdict in the run SHOP-1.")
    world.clear(feature, VERDICT)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_DEMONSTRATION]
    world.mark_run(feature, "failed")
    world.run()
    assert world.tell_of_ended_runs() == ["SHOP-1"]
    assert told(world, feature)[-1].endswith("clear completion.wait_for_demonstration in the run SHOP-1.")


def test_a_delivery_that_nobody_ended_is_never_told_of(world: World) -> None:
    for gate in (Step.WAIT_FOR_CODE, Step.WAIT_FOR_REVIEW, ACCEPTANCE, VERDICT, Step.WAIT_FOR_DEMONSTRATION):
        bring(world, "SHOP-1", gate)
        assert world.tell_of_ended_runs() == [], gate
    to_the_end(world)
    (feature,) = world.features()
    assert (feature.state, told(world, feature)) == (FeatureState.DELIVERED, [])
