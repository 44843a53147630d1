"""Production's lock: one holder, first come first, no expiry; foreign commits and break glass."""

from __future__ import annotations

from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Feature, Promotion, PromotionState
from feature_delivery.services.control.gates import settle
from tests.support.cooperation import bring, now_of, to_the_end
from tests.support.stepping import kill, until
from tests.support.world import PRODUCTION, SHOP, World

APPROVE, KEEP, ROLL_BACK = DecisionKind.APPROVE, DecisionKind.KEEP, DecisionKind.ROLL_BACK
CONFIRMATION, TURN, VERDICT = Step.WAIT_FOR_CONFIRMATION, Step.WAIT_FOR_TURN, Step.WAIT_FOR_VERDICT


def holder(world: World) -> str | None:
    row = world.books.project(SHOP)
    assert row is not None
    return world.books.feature_by_id(row.lock_feature_id).key if row.lock_feature_id else None


def frozen(world: World) -> str:
    row = world.books.project(SHOP)
    assert row is not None
    return row.frozen_reason


def promotion_of(world: World, feature: Feature) -> Promotion:
    found = world.books.promotion(feature)
    assert found is not None
    return found


def queued(world: World, *keys: str) -> list[Feature]:
    """Bring features to the gate before production, in this order, behind ``SHOP-9`` that holds it."""
    waiting = [bring(world, key, CONFIRMATION) for key in keys]
    bring(world, "SHOP-9", VERDICT)
    for feature in waiting:
        world.decide(feature, "max", CONFIRMATION, APPROVE)
        world.run()
    return waiting


def keep(world: World, key: str) -> None:
    feature = next(f for f in world.features() if f.key == key)
    assert world.decide(feature, "max", VERDICT, KEEP)
    world.run()


def test_production_goes_to_whoever_came_first(world: World) -> None:
    second, first = queued(world, "SHOP-2", "SHOP-1")
    assert world.parked(second) == [TURN]
    assert world.parked(first) == [TURN]
    keep(world, "SHOP-9")
    assert holder(world) == "SHOP-2"
    keep(world, "SHOP-2")
    assert holder(world) == "SHOP-1"


def test_the_next_feature_is_woken_by_the_one_that_frees_production(world: World) -> None:
    (feature,) = queued(world, "SHOP-1")
    keep(world, "SHOP-9")
    assert world.parked(feature) == [VERDICT]


def test_the_candidate_is_built_and_tested_again_on_what_shipped_before(world: World) -> None:
    (feature,) = queued(world, "SHOP-1")
    keep(world, "SHOP-9")
    promotion = promotion_of(world, feature)
    assert {"feature/SHOP-1", "feature/SHOP-9"} <= set(world.repository.files(promotion.candidate))
    assert world.repository.commit(promotion.candidate).tree in world.witness.green


def test_a_feature_cleared_back_while_it_queues_does_not_get_production(world: World) -> None:
    one, _ = queued(world, "SHOP-1", "SHOP-2")
    world.clear(one, Step.WAIT_FOR_REVIEW)
    until(world, Step.BUILD_CANDIDATE, "takes")
    nine = next(f for f in world.features() if f.key == "SHOP-9")
    world.decide(nine, "max", VERDICT, KEEP)
    assert holder(world) == "SHOP-2"
    world.run()
    keep(world, "SHOP-2")
    assert world.parked(one) == [VERDICT]


def test_a_feature_whose_run_was_ended_by_hand_does_not_get_production_and_keeps_its_place(world: World) -> None:
    ended, next_one, last = queued(world, "SHOP-1", "SHOP-2", "SHOP-3")
    world.mark_run(ended, "failed")
    keep(world, "SHOP-9")
    assert holder(world) == "SHOP-2"
    world.clear(ended, TURN)
    world.run()
    assert world.parked(ended) == [TURN], "it queues again"
    keep(world, "SHOP-2")
    assert holder(world) == "SHOP-1"
    assert world.parked(last) == [TURN]
    assert world.parked(next_one) != [TURN]


def test_production_stays_free_while_nobody_is_there_to_take_it(world: World) -> None:
    """Nor does an event about the feature itself, which asks for it, give it to a run that has ended."""
    (ended,) = queued(world, "SHOP-1")
    world.mark_run(ended, "success")
    keep(world, "SHOP-9")
    with world.begin() as unit:
        settle(unit, world.project, unit.books.feature_by_id(ended.id))
    assert holder(world) is None
    world.clear(ended, TURN)
    world.run()
    assert holder(world) == "SHOP-1"


def test_a_conflict_at_the_refresh_sends_the_feature_back_and_frees_production(world: World) -> None:
    one, two = bring(world, "SHOP-1", Step.WAIT_FOR_CODE), bring(world, "SHOP-2", Step.WAIT_FOR_CODE)
    for feature in (one, two):
        assert feature.branch is not None
        world.push(feature.branch, path="shop")
        world.observe(feature)
    bring(world, "SHOP-1", CONFIRMATION)
    bring(world, "SHOP-2", VERDICT)
    world.decide(one, "max", CONFIRMATION, APPROVE)
    world.run()
    keep(world, "SHOP-2")
    assert holder(world) is None
    assert world.parked(one) == [Step.WAIT_FOR_CODE]
    to_the_end(world)


def test_a_foreign_commit_freezes_promotions_until_it_is_adopted(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.hotfix()
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(feature) == [TURN]
    assert frozen(world)
    assert holder(world) is None
    assert world.adopt()
    (written,) = [e for e, _ in world.books.happened(SHOP, since=None, limit=50) if e.kind == "adopted"]
    assert written.person == "olga"
    assert f"olga adopted {world.repository.branches[PRODUCTION][:10]} as the new head of main." in written.text
    world.run()
    assert world.parked(feature) == [VERDICT]
    assert "hotfix" in world.repository.files(world.repository.branches[PRODUCTION])


def test_a_second_foreign_commit_can_be_adopted_as_well(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.hotfix()
    world.observe_production()
    world.hotfix("another")
    assert not world.adopt()
    world.observe_production()
    assert world.adopt()
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(feature) == [VERDICT]


def test_a_foreign_commit_that_is_gone_again_thaws_production(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    before = world.repository.branches[PRODUCTION]
    world.hotfix()
    world.observe_production()
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(feature) == [TURN]
    world.repository.branches[PRODUCTION] = before
    world.observe_production()
    world.run()
    assert world.parked(feature) == [VERDICT]


def test_an_old_answer_about_production_freezes_nothing(world: World) -> None:
    old = world.repository.branches[PRODUCTION]
    bring(world, "SHOP-1", VERDICT)
    new = world.repository.branches[PRODUCTION]
    world.repository.branches[PRODUCTION] = old
    world.observe_production()
    world.repository.branches[PRODUCTION] = new
    assert not frozen(world)


def test_a_candidate_that_met_a_foreign_commit_is_built_after_the_adoption(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_REVIEW)
    world.hotfix()
    world.decide(feature, "rob", Step.WAIT_FOR_REVIEW, APPROVE)
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert "foreign" in gate.blocked
    assert world.adopt()
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert not gate.blocked


def test_a_freeze_between_turn_and_promotion_is_waited_out_at_the_gate(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    until(world, Step.PROMOTE, "takes")
    world.hotfix()
    world.observe_production()
    world.run()
    assert world.parked(feature) == [TURN]
    world.adopt()
    world.run()
    assert world.parked(feature) == [VERDICT]


def test_a_lock_broken_before_promotion_goes_to_the_next_and_the_first_comes_again(world: World) -> None:
    two = bring(world, "SHOP-2", CONFIRMATION)
    one = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(one, "max", CONFIRMATION, APPROVE)
    kill(world, until(world, Step.REFRESH_CANDIDATE, "performs"), again=False)
    world.run()
    world.decide(two, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(two) == [TURN]
    assert world.break_lock()
    world.run()
    assert world.parked(two) == [VERDICT]
    to_the_end(world)
    assert len(world.witness.shipped) == 2


def test_a_lock_broken_before_the_verdict_freezes_production(world: World) -> None:
    (waiting,) = queued(world, "SHOP-1")
    assert world.break_lock()
    world.run()
    assert frozen(world)
    assert world.parked(waiting) == [TURN]
    assert holder(world) is None


def test_a_broken_lock_comes_back_when_the_candidate_itself_is_adopted(world: World) -> None:
    queued(world, "SHOP-1")
    world.break_lock()
    assert world.adopt()
    assert holder(world) == "SHOP-9"
    to_the_end(world)


def test_a_feature_whose_lock_was_broken_may_still_be_rolled_back(world: World) -> None:
    (waiting,) = queued(world, "SHOP-1")
    nine = next(f for f in world.features() if f.key == "SHOP-9")
    world.break_lock()
    assert world.decide(nine, "max", VERDICT, ROLL_BACK)
    world.run()
    assert promotion_of(world, nine).state is PromotionState.ROLLED_BACK
    assert world.parked(waiting) == [VERDICT]


def test_what_people_took_back_by_hand_counts_as_rolled_back(world: World) -> None:
    queued(world, "SHOP-1")
    nine = next(f for f in world.features() if f.key == "SHOP-9")
    world.break_lock()
    world.hotfix()
    assert world.adopt()
    world.run()
    assert promotion_of(world, nine).state is PromotionState.ROLLED_BACK
    assert world.parked(nine) == [Step.WAIT_FOR_REWORK]
    to_the_end(world)
