"""The reaper's other half: what must run, and when a task is left to bring it up itself."""

from __future__ import annotations

from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Feature
from feature_delivery.domain.upkeep import Found
from feature_delivery.services.control.reap import plan_reaping
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
