"""A rollback may have been done without Airflow: the run's steps come to it later and confirm what is there."""

from __future__ import annotations

import pytest

from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import PromotionState
from feature_delivery.ports.runs import RunRef
from tests.support.cooperation import bring, now_of
from tests.support.world import SHOP, World

STEPS = (Step.RESTORE_BRANCH, Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK, Step.NOTIFY_ROLLBACK)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_a_rollback_that_is_done_confirms_it_and_touches_nothing(world: World, step: Step) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_VERDICT)
    assert world.decide(feature, "max", Step.WAIT_FOR_VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    branches, history = dict(world.repository.branches), world.platform.places["production"].history[:]
    environment = world.books.environment(SHOP, "production")
    assert environment is not None
    generation = environment.generation

    world.clear(feature, step)
    world.run()

    states = world.runs.states(RunRef(SHOP, feature.run_id))
    assert {states[one] for one in STEPS} == {"success"}
    assert world.parked(feature) == [Step.WAIT_FOR_REWORK]
    assert world.repository.branches == branches
    assert world.platform.places["production"].history == history
    assert environment.generation == generation
    promotion = world.books.promotion(now_of(world, feature))
    assert promotion is not None
    assert promotion.state is PromotionState.ROLLED_BACK
