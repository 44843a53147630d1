"""The reaper's other half: what must run, and when a task is left to bring it up itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from feature_delivery.domain.names import CommitSha, FeatureKey, PersonName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Environment, EnvironmentState, Feature
from feature_delivery.domain.upkeep import Doomed, Found, ReapPlan
from feature_delivery.services.control import brake
from feature_delivery.services.control.reap import plan_reaping, reaped
from tests.support.cooperation import bring, to_the_end
from tests.support.stepping import go_on, until
from tests.support.world import World


def needed(world: World, feature: Feature) -> tuple[str, ...]:
    with world.begin() as unit:
        kinds = {"production": None, "development": feature.key, "preprod": feature.key}
        listing = [
            Found(
                name=f"{kind}-{key.lower()}" if key else kind,
                kind=kind,
                key=key,
                instance=unit.books.instance(),
                foreign=False,
            )
            for kind, key in kinds.items()
        ]
        return plan_reaping(unit, world.project, listing).needed


def test_what_a_waiting_feature_has_is_needed(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    assert needed(world, feature) == ("production", "development-shop-1", "preprod-shop-1")


def test_an_environment_that_a_task_is_changing_is_left_to_it(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CONFIRMATION)
    assert world.decide(feature, "max", Step.WAIT_FOR_CONFIRMATION, DecisionKind.APPROVE)
    deploy = until(world, Step.DEPLOY_PRODUCTION, "performs")
    assert "production" not in needed(world, feature)
    go_on(world, deploy)
    assert "production" in needed(world, feature)


def test_what_is_torn_down_is_not_needed_and_production_always_is(world: World) -> None:
    bring(world, "SHOP-1", Step.WAIT_FOR_VERDICT)
    to_the_end(world)
    assert needed(world, world.features()[0]) == ("production",)


A = CommitSha("a" * 40)


def listed(world: World, **changes: Any) -> ReapPlan:
    """One round over a platform that lists production."""
    with world.begin() as unit:
        found = Found(
            name="production",
            kind="production",
            key=None,
            instance=unit.books.instance(),
            foreign=False,
            address="http://shop.test",
            commit=A,
            metrics_path="/metrics",
            health_path="/healthz",
        )
        return plan_reaping(unit, world.project, [replace(found, **changes)])


def production(world: World) -> Environment | None:
    return world.books.environment(world.project.name, "production")


@pytest.mark.parametrize(
    "changes",
    [
        {"foreign": True},
        {"instance": "somebody-else"},
        {"name": "preprod-shop-1"},
        {"commit": None},
        {"commit": "--upload-pack=x"},
        {"address": ""},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_not_our_production_or_does_not_run_is_not_taken_for_it(world: World, changes: dict[str, Any]) -> None:
    assert listed(world, **changes).destroy == ()
    assert world.books.of(Environment) == []


def test_production_is_known_before_its_first_delivery_which_is_then_compared_with_it(world: World) -> None:
    assert listed(world).needed == ("production",)
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_VERDICT)
    assert world.granted_work[Step.PROMOTE].production_address == "http://shop.test"
    row = production(world)
    assert row is not None
    delivered = row.commit
    assert delivered not in {None, A}
    listed(world)
    assert (row.commit, len([e for e in world.books.of(Environment) if e.kind == "production"])) == (delivered, 1)
    listed(world, commit=delivered, metrics_path="/new", address="http://moved.test")
    assert (row.metrics_path, row.address) == ("/new", "http://moved.test")
    to_the_end(world)
    assert feature.id != row.feature_id
    assert row.state is EnvironmentState.READY, "no feature's end takes production along"


def test_a_task_that_is_changing_production_tells_where_it_is_itself(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CONFIRMATION)
    assert world.decide(feature, "max", Step.WAIT_FOR_CONFIRMATION, DecisionKind.APPROVE)
    until(world, Step.DEPLOY_PRODUCTION, "performs")
    listed(world)
    row = production(world)
    assert row is not None
    assert row.commit is None


@pytest.mark.parametrize("kind", ["production", "preprod", "development"])
def test_what_was_learnt_of_production_can_never_be_reaped(world: World, kind: str) -> None:
    listed(world)
    row = production(world)
    assert row is not None
    for key in (None, FeatureKey("SHOP-1")):
        assert listed(world, kind=kind, key=key).destroy == ()
    with world.begin() as unit:
        reaped(unit, world.project, "production", row.generation)
    assert row.state is EnvironmentState.READY


def unlisted(world: World) -> ReapPlan:
    """One round over a platform that lists nothing."""
    with world.begin() as unit:
        return plan_reaping(unit, world.project, [])


def test_what_went_when_nobody_waited_for_it_any_more_is_looked_for_and_written_down(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_VERDICT)
    assert unlisted(world).destroy == (), "a feature on its way keeps what is not listed just now"
    to_the_end(world)
    assert unlisted(world).destroy == ()
    row = world.books.environment(world.project.name, "preprod-shop-1")
    assert row is not None
    row.state, row.destroyed_at = EnvironmentState.READY, None  # as a teardown leaves it that waited in vain
    with world.begin() as unit:
        assert brake.pull(unit, world.project, "Let us look.", person=PersonName("olga"))
    assert unlisted(world).destroy == ()
    with world.begin() as unit:
        assert brake.release(unit, world.project, "We looked.", person=PersonName("olga"))
    (doomed,) = unlisted(world).destroy
    assert doomed == Doomed(name=row.name, kind="preprod", key=feature.key, generation=row.generation)
    with world.begin() as unit:
        reaped(unit, world.project, doomed.name, doomed.generation)
    assert row.state is EnvironmentState.DESTROYED
    assert unlisted(world).destroy == ()


def test_what_went_long_ago_is_written_down_a_few_at_a_time(world: World) -> None:
    bring(world, "SHOP-1", Step.WAIT_FOR_VERDICT)
    to_the_end(world)
    rows = [world.books.environment(world.project.name, f"{kind}-shop-1") for kind in ("development", "preprod")]
    for row in rows:
        assert row is not None
        row.state, row.destroyed_at = EnvironmentState.READY, None
    few = replace(world.project, choices=replace(world.project.choices, destroy_at_most=1))
    with world.begin() as unit:
        assert len(plan_reaping(unit, few, []).destroy) == 1
    assert len(unlisted(world).destroy) == 2
