"""Broken glass and freeze windows: people and calendars are overridden, loudly; what was not tested never ships."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_delivery.domain.freezes import window
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.people import Answer, DecisionKind
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.records import Feature, FeatureState, PromotionState
from feature_delivery.services.control import glass, turn
from feature_delivery.services.control.flags import flag
from feature_delivery.services.control.gates import run_of
from tests.support.cooperation import bring, now_of
from tests.support.world import PRODUCTION, World, shop

REVIEW, ACCEPTANCE, CONFIRMATION = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION
TURN, VERDICT = Step.WAIT_FOR_TURN, Step.WAIT_FOR_VERDICT
APPROVE, KEEP, ROLL_BACK = DecisionKind.APPROVE, DecisionKind.KEEP, DecisionKind.ROLL_BACK
FRIDAY = datetime(2026, 1, 2, 17, 0, tzinfo=UTC)
MONDAY = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.close()


@pytest.fixture
def frozen() -> Iterator[World]:
    """A Friday evening in a shop that freezes over the weekend."""
    weekend = window("Weekend", "Fri 16:00 - Mon 08:00", "UTC")
    found = World(project=replace(shop(), freezes=(weekend,)))
    found.time = FRIDAY
    yield found
    found.close()


def break_(world: World, feature: Feature, gate: Step, kind: DecisionKind = APPROVE, **more: str) -> Answer:
    answer = world.override(feature, gate, kind, **more)
    world.run()
    return answer


def at(world: World, feature: Feature) -> Step | None:
    gate = world.books.open_gate(now_of(world, feature))
    return gate.step if gate is not None else None


def newer(world: World, feature: Feature, content: str = "") -> None:
    assert feature.branch is not None
    world.push(feature.branch, content=content)
    world.observe(feature)
    world.run()
    world.observe(feature)
    world.run()


def messages(world: World) -> list[OutboxEntry]:
    return [e for e in world.books.of(OutboxEntry) if e.kind is Errand.MESSAGE and "BREAK GLASS" in e.payload["text"]]


def test_an_operator_alone_takes_a_tested_feature_through_its_gates_to_production(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    for gate in (REVIEW, ACCEPTANCE, CONFIRMATION):
        assert at(world, feature) is gate
        assert break_(world, feature, gate)
    assert at(world, feature) is VERDICT
    said = [(d.way, d.role, d.person, d.address, d.accepted) for d in world.books.decisions(feature)]
    assert said == [("break-glass", "operator", "olga", "192.0.2.7", True)] * 3
    assert len(messages(world)) == 3, "each is told"
    assert {"max", "mia", "olga", "tom", "tina"} <= set(messages(world)[1].payload["to"])
    assert "Reason: It burns." in messages(world)[0].payload["text"]


@pytest.mark.parametrize(
    ("by", "why", "gate", "sentence"),
    [
        ("max", "It burns.", ACCEPTANCE, "max is no operator of shop: olga may break glass."),
        ("eve", "It burns.", ACCEPTANCE, "eve is nobody of shop"),
        ("olga", "  ", ACCEPTANCE, "needs a reason"),
        ("olga", "It burns.", CONFIRMATION, "does not wait at preprod.wait_for_confirmation"),
        ("olga", "It burns.", TURN, "does not wait at production.wait_for_turn"),
    ],
)
def test_glass_that_may_not_be_broken_is_refused_and_kept(
    world: World, by: str, why: str, gate: Step, sentence: str
) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    answer = break_(world, feature, gate, by=by, why=why)
    assert not answer
    assert sentence in answer.reason
    assert at(world, feature) is ACCEPTANCE
    last = world.books.decisions(feature)[-1]
    assert (last.accepted, last.reason, last.way) == (False, answer.reason, "break-glass")
    assert messages(world) == []


def test_red_tests_are_never_overridden(world: World) -> None:
    before = world.repository.branches[PRODUCTION]
    feature = bring(world, "SHOP-1", REVIEW)
    newer(world, feature, "red preprod")
    assert break_(world, feature, REVIEW)
    for gate in (ACCEPTANCE, VERDICT):
        answer = break_(world, feature, gate, APPROVE if gate is ACCEPTANCE else KEEP)
        assert not answer
    answer = break_(world, feature, ACCEPTANCE)
    assert "stands for people, not for work or tests" in answer.reason
    assert at(world, feature) is ACCEPTANCE
    assert world.repository.branches[PRODUCTION] == before


def test_an_override_is_bound_to_its_commit(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    assert break_(world, feature, ACCEPTANCE)
    newer(world, feature)
    assert at(world, feature) is REVIEW, "a newer commit is looked at by everybody again"


def test_who_broke_glass_at_one_gate_may_still_decide_at_another_by_their_own_role(world: World) -> None:
    people = world.project.people
    olga = replace(people.persons[PersonName("olga")], roles=frozenset({Who.OPERATOR, Who.MANAGER}))
    world.project = replace(world.project, people=replace(people, persons={**people.persons, olga.name: olga}))
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    assert break_(world, feature, ACCEPTANCE)
    assert world.decide(feature, "olga", CONFIRMATION, APPROVE)


def test_the_verdict_may_be_given_by_breaking_glass_but_says_which(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert "say keep or roll_back" in break_(world, feature, VERDICT).reason
    assert break_(world, feature, VERDICT, ROLL_BACK)
    promotion = world.books.promotion(feature)
    assert promotion is not None
    assert promotion.state is PromotionState.ROLLED_BACK


def test_gates_that_wait_for_events_are_not_overridden(world: World) -> None:
    world.start("SHOP-1")
    world.run()
    feature = world.features()[-1]
    assert "waits for an event" in break_(world, feature, Step.WAIT_FOR_CODE).reason


def test_in_a_freeze_a_feature_waits_for_its_turn_until_the_window_ends(frozen: World) -> None:
    feature = bring(frozen, "SHOP-1", CONFIRMATION)
    assert frozen.decide(feature, "max", CONFIRMATION, APPROVE)
    frozen.run()
    assert at(frozen, feature) is TURN
    found = flag(frozen.books, frozen.project, feature, TURN)
    assert found.waits_for == (
        "Weekend freezes production until Mon 2026-01-05 08:00 (UTC). May override it, with a reason: olga."
    )
    assert found.until == MONDAY
    assert frozen.runs.runs[run_of(feature)].shelved == MONDAY
    frozen.time = MONDAY - timedelta(minutes=1)
    with frozen.begin() as unit:
        assert turn.grant(unit, frozen.project) is None
    frozen.time = MONDAY
    with frozen.begin() as unit:
        given = turn.grant(unit, frozen.project)
        assert given is not None
        assert given.key == "SHOP-1"
    frozen.run()
    assert at(frozen, feature) is VERDICT


def test_a_freeze_is_overridden_for_one_feature_and_one_window_only(frozen: World) -> None:
    first, second = bring(frozen, "SHOP-1", CONFIRMATION), bring(frozen, "SHOP-2", CONFIRMATION)
    for feature in (first, second):
        assert frozen.decide(feature, "max", CONFIRMATION, APPROVE)
        frozen.run()
    assert (at(frozen, first), at(frozen, second)) == (TURN, TURN)
    assert break_(frozen, second, TURN)
    assert (at(frozen, first), at(frozen, second)) == (TURN, VERDICT), "the one in an emergency goes before the queue"
    assert [d.kind for d in frozen.books.decisions(second) if d.way == "break-glass"] == [DecisionKind.OVERRIDE]
    assert "overrode the freeze for SHOP-2" in messages(frozen)[0].payload["text"]
    frozen.decide(second, "max", VERDICT, KEEP)
    frozen.run()
    assert at(frozen, first) is TURN


def test_without_a_freeze_there_is_nothing_to_override(world: World) -> None:
    bring(world, "SHOP-1", VERDICT)
    second = bring(world, "SHOP-2", CONFIRMATION)
    world.decide(second, "max", CONFIRMATION, APPROVE)
    world.run()
    assert at(world, second) is TURN
    assert "nothing to override" in break_(world, second, TURN).reason


def test_a_freeze_that_begins_after_the_turn_stops_what_has_not_moved_production(frozen: World) -> None:
    frozen.time = FRIDAY - timedelta(hours=2)
    feature = bring(frozen, "SHOP-1", CONFIRMATION)
    assert frozen.decide(feature, "max", CONFIRMATION, APPROVE)
    while frozen.books.lock_project(frozen.project.name).lock_feature_id is None:
        frozen.schedule()
        frozen.advance(0)
    frozen.time = FRIDAY
    before = frozen.repository.branches[PRODUCTION]
    frozen.run()
    assert frozen.repository.branches[PRODUCTION] == before
    assert at(frozen, feature) is TURN
    assert frozen.books.lock_project(frozen.project.name).lock_feature_id is None, "one that may go needs it"
    frozen.time = MONDAY
    with frozen.begin() as unit:
        turn.grant(unit, frozen.project)
    frozen.run()
    assert at(frozen, feature) is VERDICT


def test_a_rollback_and_a_verdict_are_never_frozen(frozen: World) -> None:
    frozen.time = FRIDAY - timedelta(hours=3)
    feature = bring(frozen, "SHOP-1", VERDICT)
    frozen.time = FRIDAY
    assert frozen.decide(feature, "max", VERDICT, ROLL_BACK)
    frozen.run()
    promotion, commit = frozen.books.promotion(feature), frozen.repository.commit
    assert promotion is not None
    assert promotion.state is PromotionState.ROLLED_BACK
    assert commit(frozen.repository.branches[PRODUCTION]).tree == commit(promotion.before).tree
    assert now_of(frozen, feature).state is FeatureState.ACTIVE


def test_a_freed_lock_is_as_loud_and_kept_with_its_holder(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    with world.begin() as unit:
        refused = glass.free_lock(unit, world.project, "It hangs.", person=PersonName("max"), address="192.0.2.9")
        freed = glass.free_lock(unit, world.project, "It hangs.", person=PersonName("olga"), address="192.0.2.9")
    assert (bool(refused), bool(freed), freed.reason) == (False, True, "SHOP-1")
    rows = [(d.person, d.kind, d.accepted, d.way, d.role, d.address) for d in world.books.decisions(feature)][-2:]
    assert rows == [
        ("max", DecisionKind.FREE_LOCK, False, "break-glass", "manager", "192.0.2.9"),
        ("olga", DecisionKind.FREE_LOCK, True, "break-glass", "operator", "192.0.2.9"),
    ]
    assert "freed production's lock for SHOP-1" in messages(world)[0].payload["text"]
