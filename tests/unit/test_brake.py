"""The brake: more than a few destructions at once stop and ask, and an operator's word lets exactly those go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from feature_delivery.domain.names import FeatureKey, PersonName
from feature_delivery.domain.outbox import OutboxEntry
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import Choices
from feature_delivery.domain.records import BrakeKind, Environment, EnvironmentState, Event, Feature, FeatureState
from feature_delivery.domain.upkeep import Found, ReapPlan
from feature_delivery.services.control import brake
from feature_delivery.services.control.attempts import give_up
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.reap import plan_reaping, reaped
from tests.support.cooperation import bring
from tests.support.world import SHOP, World, shop

OLGA, MAX = PersonName("olga"), PersonName("max")


@pytest.fixture
def careful() -> Iterator[World]:
    world = World(project=shop(Choices(start_gate=False, destroy_at_most=2)))
    yield world
    world.close()


def over(world: World, *keys: str) -> None:
    """Let features have ended long ago, their environments still there."""
    with world.begin() as unit:
        for key in keys:
            feature = Feature(project=SHOP, key=FeatureKey(key), delivery=1, run_id=key, title="", started=True)
            feature.state = FeatureState.ABANDONED
            unit.books.add(feature)
            row = Environment(project=SHOP, name=name_of(key), kind="development", feature_id=feature.id)
            row.state = EnvironmentState.READY
            unit.books.add(row)


def name_of(key: str) -> str:
    return f"development-{key.lower()}"


def plan(world: World, *keys: str) -> ReapPlan:
    with world.begin() as unit:
        instance = unit.books.instance()
        return plan_reaping(
            unit,
            world.project,
            [
                Found(name=name_of(key), kind="development", key=FeatureKey(key), instance=instance, foreign=False)
                for key in keys
            ],
        )


def destroyed(plan: ReapPlan) -> set[str]:
    return {one.name for one in plan.destroy}


def test_a_few_are_destroyed_without_asking(careful: World) -> None:
    over(careful, "SHOP-1", "SHOP-2")
    assert destroyed(plan(careful, "SHOP-1", "SHOP-2")) == {name_of("SHOP-1"), name_of("SHOP-2")}
    assert careful.books.brake(SHOP) is None


def test_more_destroy_nothing_and_nothing_after_it_either(careful: World) -> None:
    keys = ("SHOP-1", "SHOP-2", "SHOP-3")
    over(careful, *keys)
    stopped = plan(careful, *keys)
    assert destroyed(stopped) == set()
    assert "3 environments of shop could go at once" in stopped.report[0]
    # Two of them were removed by hand since: that is no word of an operator.
    assert destroyed(plan(careful, "SHOP-3")) == set()
    on = careful.books.brake(SHOP)
    assert on is not None
    assert on.kind is BrakeKind.DESTRUCTIONS
    assert [e.kind for e in careful.books.of(Event)].count("brake") == 1
    told = [o for o in careful.books.of(OutboxEntry) if "could go at once" in str(o.payload.get("text"))]
    assert told
    assert {"olga", "max"} <= set(told[0].payload["to"])


def test_a_release_lets_go_what_was_looked_at_and_nothing_else(careful: World) -> None:
    keys = ("SHOP-1", "SHOP-2", "SHOP-3")
    over(careful, *keys)
    plan(careful, *keys)
    with careful.begin() as unit:
        answer = brake.release(unit, careful.project, "All three are over.", person=OLGA)
    assert answer
    assert "development-shop-1, development-shop-2, development-shop-3 may go now" in answer.reason
    over(careful, "SHOP-4", "SHOP-5", "SHOP-6")
    more = (*keys, "SHOP-4", "SHOP-5", "SHOP-6")
    stopped = plan(careful, *more)
    assert destroyed(stopped) == set()
    assert "(development-shop-4, development-shop-5, development-shop-6)" in stopped.report[0]
    with careful.begin() as unit:
        assert brake.release(unit, careful.project, "These, too.", person=OLGA)
    assert len(destroyed(plan(careful, *more))) == 6


def test_an_environment_made_later_under_the_same_name_was_not_looked_at(careful: World) -> None:
    keys = ("SHOP-1", "SHOP-2", "SHOP-3")
    over(careful, *keys)
    plan(careful, *keys)
    with careful.begin() as unit:
        brake.release(unit, careful.project, "All three are over.", person=OLGA)
    for one in plan(careful, *keys).destroy:
        with careful.begin() as unit:
            reaped(unit, careful.project, one.name, one.generation)
    with careful.begin() as unit:
        for feature in unit.books.features():
            again = Feature(project=SHOP, key=feature.key, delivery=2, run_id=f"{feature.key}__2", title="")
            again.state = FeatureState.ABANDONED
            unit.books.add(again)
            row = Environment(project=SHOP, name=name_of(feature.key), kind="development", feature_id=again.id)
            unit.books.add(row)
    assert destroyed(plan(careful, *keys)) == set()


def test_who_looked_at_an_older_brake_does_not_release_the_one_that_is_on_since(careful: World) -> None:
    seen = ("SHOP-1", "SHOP-2", "SHOP-3")
    over(careful, *seen)
    plan(careful, *seen)
    first = careful.books.brake(SHOP)
    assert first is not None
    assert f"brake release --project shop --brake {first.id} --reason" in first.reason, "the command can be copied"
    with careful.begin() as unit:
        assert brake.release(unit, careful.project, "All three are over.", person=OLGA, number=first.id)
    others = ("SHOP-4", "SHOP-5", "SHOP-6")
    over(careful, *others)
    plan(careful, *seen, *others)
    with careful.begin() as unit:
        late = brake.release(unit, careful.project, "All three are over.", person=OLGA, number=first.id)
    assert not late
    second = careful.books.brake(SHOP)
    assert second is not None
    assert late.reason == (
        f"The brake of shop that is on is number {second.id} by now, not {first.id}: look again. {second.reason}"
    )
    assert not {name_of(key) for key in others} & destroyed(plan(careful, *seen, *others))
    with careful.begin() as unit:
        assert brake.release(unit, careful.project, "These, too.", person=OLGA, number=second.id)
        assert "is off" in brake.release(unit, careful.project, "Again.", person=OLGA, number=second.id).reason


def test_only_an_operator_with_a_reason_uses_the_brake(careful: World) -> None:
    with careful.begin() as unit:
        assert "max is no operator of shop: olga may" in brake.pull(unit, careful.project, "Wait.", person=MAX).reason
        assert "needs a reason" in brake.pull(unit, careful.project, "  ", person=OLGA).reason
        assert "is off" in brake.release(unit, careful.project, "Go on.", person=OLGA).reason
        assert brake.pull(unit, careful.project, "Something closes our issues.", person=OLGA)
        assert "is on already" in brake.pull(unit, careful.project, "Again.", person=OLGA).reason
        assert "max is no operator" in brake.release(unit, careful.project, "Go on.", person=MAX).reason
        assert brake.release(unit, careful.project, "It was the tracker.", person=OLGA)


def test_a_brake_pulled_by_hand_keeps_teardown_waiting_and_deliveries_going(careful: World) -> None:
    feature = bring(careful, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    with careful.begin() as unit:
        assert brake.pull(unit, careful.project, "Something closes our issues.", person=OLGA)
    careful.cancel(feature)
    careful.run()
    environments = {one.name for one in careful.books.environments(SHOP)}
    assert {"development-shop-1", "preprod-shop-1"} <= environments
    refused = [line for line in careful.log if "olga stopped all destruction in shop" in line]
    assert {Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD} <= {s for s in Step if any(s in line for line in refused)}
    with careful.begin() as unit:
        assert brake.release(unit, careful.project, "It was the tracker.", person=OLGA)
    careful.run()
    assert {one.kind for one in careful.books.environments(SHOP)} <= {"production"}, "what was refused is done again"


def test_a_host_that_shows_nothing_any_more_tears_nothing_down(careful: World) -> None:
    features = [bring(careful, f"SHOP-{n}", Step.WAIT_FOR_MERGE_REQUEST) for n in (1, 2, 3, 4)]
    for feature in features:
        with careful.begin() as unit:
            known = enter(unit, careful.project, feature.run_id)
            give_up(unit, careful.project, known, FeatureState.ABANDONED, "Its branch was deleted.")
    on = careful.books.brake(SHOP)
    assert on is not None
    assert len(on.about) == 3, "it went on with the third of at most two"
    careful.time += timedelta(hours=1)
    careful.run()
    assert len(careful.books.environments(SHOP)) >= 3
