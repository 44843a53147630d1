"""Production's lock: one holder, first come first, no expiry; foreign commits and break glass."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from feature_delivery.domain.errors import Conflict, Unavailable
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import Choices
from feature_delivery.domain.records import Feature, Promotion, PromotionState
from feature_delivery.services.control.adoption import adopt
from feature_delivery.services.control.flags import flag
from feature_delivery.services.control.gates import settle
from feature_delivery.services.control.production import observe_production
from tests.support.cooperation import bring, now_of, to_the_end
from tests.support.stage import Stage
from tests.support.stepping import kill, until
from tests.support.world import PRODUCTION, SHOP, World, shop

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
    """It was asked before the promotion, and is told after it."""
    old = world.repository.branches[PRODUCTION]
    bring(world, "SHOP-1", VERDICT)
    with world.begin() as unit:
        assert observe_production(unit, world.project, old, known=old) == "an old answer"
    assert not frozen(world)


def test_production_put_back_to_an_earlier_release_freezes_and_names_what_it_lacks(world: World) -> None:
    old = world.repository.branches[PRODUCTION]
    feature = bring(world, "SHOP-1", VERDICT)
    new = world.repository.branches[PRODUCTION]
    world.repository.branches[PRODUCTION] = old
    world.observe_production()
    assert frozen(world) == (
        f"main was put back to {old[:10]}, an earlier release, by hand and not by a rollback. It lacks SHOP-1. To "
        "roll SHOP-1 back, say 'feature-delivery rollback SHOP-1', which goes on from there; or put main at "
        f"{new} again."
    )
    (told,) = [e for e in world.books.outbox(feature) if "frozen:" in e.marker]
    assert (told.payload["to"], told.payload["text"]) == (["olga"], frozen(world))
    assert frozen(world) in [event.text for event in world.books.events(feature)]
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert flag(world.books, world.project, now_of(world, feature), VERDICT).waits_for.startswith(frozen(world))
    world.repository.branches[PRODUCTION] = new
    world.observe_production()
    assert not frozen(world)
    assert world.decide(feature, "max", VERDICT, KEEP)


def test_production_put_back_too_far_names_everything_it_lacks_and_where_a_rollback_begins(world: World) -> None:
    old = world.repository.branches[PRODUCTION]
    bring(world, "SHOP-1", VERDICT)
    keep(world, "SHOP-1")
    before = world.repository.branches[PRODUCTION]
    bring(world, "SHOP-2", VERDICT)
    world.repository.branches[PRODUCTION] = old
    world.observe_production()
    assert f"It lacks SHOP-1, SHOP-2. To roll SHOP-2 back, put main at {before}, say 'feature" in frozen(world)
    two = next(f for f in world.features() if f.key == "SHOP-2")
    assert world.decide(two, "max", VERDICT, ROLL_BACK)
    world.repository.branches[PRODUCTION] = before
    world.run()
    assert promotion_of(world, two).restored == before
    world.observe_production()
    assert (holder(world), frozen(world)) == (None, "")


def test_the_first_look_sees_it_and_says_so_once(stage: Stage) -> None:
    old = stage.repository.branches[PRODUCTION]
    feature = stage.at(VERDICT)
    stage.reconcile()
    new = stage.repository.branches[PRODUCTION]
    stage.repository.branches[PRODUCTION] = old
    assert "production is frozen" in stage.reconcile()
    assert [said for said in stage.reconcile() if said.startswith("production")] == []
    assert len([e for e in stage.books.outbox(feature) if "frozen:" in e.marker]) == 1
    stage.repository.branches[PRODUCTION] = new
    assert "the foreign commit is gone" in stage.reconcile()


def test_what_production_has_lost_is_kept_by_nobody_and_may_be_rolled_back(world: World) -> None:
    """Not by a person, a deadline or clear evidence: its branches would go, and nothing would hold it any more."""
    old = world.repository.branches[PRODUCTION]
    feature = bring(world, "SHOP-1", VERDICT)
    world.repository.branches[PRODUCTION] = old
    world.observe_production()
    assert not world.decide(feature, "max", VERDICT, KEEP)
    assert world.books.decisions(feature)[-1].reason.startswith("SHOP-1 cannot be kept while nobody has said whether")
    world.wait(timedelta(days=15))
    assert promotion_of(world, feature).state is PromotionState.DEPLOYED
    assert not world.adopt(), "while it waits for its verdict"
    assert "Roll it back with 'feature-delivery rollback SHOP-1'" in world.log[-1]
    assert world.decide(feature, "max", VERDICT, ROLL_BACK)
    world.run()
    assert (promotion_of(world, feature).state, promotion_of(world, feature).restored) == ("rolled_back", old)
    assert world.platform.places["production"].commit == old
    assert (holder(world), frozen(world)) == (None, "")
    assert feature.branch in world.repository.branches
    to_the_end(world)


def test_evidence_keeps_nothing_that_production_has_lost_and_tells_people(world: World) -> None:
    world.project = shop(Choices(start_gate=False, automatic_verdict=True))
    old = world.repository.branches[PRODUCTION]
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    until(world, Step.OBSERVE_PRODUCTION, "performs")
    new = world.repository.branches[PRODUCTION]
    world.repository.branches[PRODUCTION] = old
    world.observe_production()
    world.run()
    assert world.parked(feature) == [VERDICT]
    (told,) = [e for e in world.books.outbox(feature) if "not_kept:" in e.marker]
    assert "SHOP-1 cannot be kept" in told.payload["text"]
    world.repository.branches[PRODUCTION] = new
    world.observe_production()
    world.wait(timedelta(seconds=1))
    world.run()
    promotion = world.promotion(feature)
    assert promotion is not None
    assert promotion.state is PromotionState.KEPT, "nobody's word was asked for: nor is it after the freeze"


def test_branches_of_what_has_shipped_stay_while_production_lacks_it(world: World) -> None:
    """Nobody had noticed yet when it was kept."""
    old = world.repository.branches[PRODUCTION]
    feature = bring(world, "SHOP-1", VERDICT)
    new = world.repository.branches[PRODUCTION]
    world.repository.branches[PRODUCTION] = old
    assert world.decide(feature, "max", VERDICT, KEEP)
    world.run()
    assert {feature.branch, "candidate/SHOP-1"} <= set(world.repository.branches)
    world.repository.branches[PRODUCTION] = new
    world.clear(feature, Step.DELETE_BRANCHES, with_downstream=False)
    world.run()
    assert {feature.branch, "candidate/SHOP-1"}.isdisjoint(world.repository.branches)


@pytest.mark.parametrize("adopted", [True, False])
def test_a_candidate_that_met_a_foreign_commit_is_built_when_it_is_adopted_or_gone(
    world: World, *, adopted: bool
) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_REVIEW)
    before = world.repository.branches[PRODUCTION]
    world.hotfix()
    world.decide(feature, "rob", Step.WAIT_FOR_REVIEW, APPROVE)
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert "foreign" in gate.blocked
    if adopted:
        assert world.adopt()
    else:
        world.repository.branches[PRODUCTION] = before
        world.observe_production()
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


def lost(world: World) -> Feature:
    """Bring SHOP-9 into production, and let an operator break its lock."""
    queued(world, "SHOP-1")
    assert world.break_lock()
    return next(f for f in world.features() if f.key == "SHOP-9")


def test_a_hotfix_on_top_of_what_lost_its_lock_leaves_it_in_production(world: World) -> None:
    nine = lost(world)
    world.hotfix()
    assert world.adopt()
    world.run()
    assert (holder(world), frozen(world)) == ("SHOP-9", "")
    assert promotion_of(world, nine).state is PromotionState.UNCERTAIN
    (written,) = [e for e, _ in world.books.happened(SHOP, since=None, limit=50) if e.kind == "adopted" and e.person]
    assert written.text.endswith("SHOP-9 is still in it and holds production again: keep it or roll it back.")
    assert world.decide(nine, "max", VERDICT, ROLL_BACK)
    world.run()
    files = world.repository.files(world.repository.branches[PRODUCTION])
    assert ("hotfix" in files, nine.branch in files) == (True, False)
    to_the_end(world)


def test_a_hotfix_on_the_same_lines_of_what_lost_its_lock_leaves_it_to_people(world: World) -> None:
    nine = lost(world)
    assert nine.branch is not None
    world.hotfix(nine.branch)
    assert world.adopt()
    assert holder(world) == "SHOP-9"
    assert promotion_of(world, nine).state is PromotionState.UNCERTAIN


def test_a_promotion_that_moved_and_was_not_reported_is_found_below_a_hotfix(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    kill(world, until(world, Step.PROMOTE, "performs"), again=False)
    assert promotion_of(world, feature).state is PromotionState.INTENDED
    with suppress(Conflict):
        world.repository.promote(
            PRODUCTION, old=promotion_of(world, feature).before, new=promotion_of(world, feature).candidate
        )
    assert world.break_lock()
    world.hotfix()
    assert world.adopt()
    assert holder(world) == "SHOP-1"
    assert promotion_of(world, feature).state is PromotionState.UNCERTAIN
    to_the_end(world)


@pytest.mark.parametrize("by_force", [True, False])
def test_what_people_took_back_by_hand_counts_as_rolled_back(world: World, *, by_force: bool) -> None:
    nine = lost(world)
    promotion = promotion_of(world, nine)
    if by_force:
        world.repository.branches[PRODUCTION] = promotion.before
    else:
        before = world.repository.files(promotion.before)
        made = world.repository.write(before, (promotion.candidate,), "Revert it", "olga@example.com")
        world.repository.branches[PRODUCTION] = made.sha
    assert world.adopt()
    world.run()
    assert promotion_of(world, nine).state is PromotionState.ROLLED_BACK
    assert world.parked(nine) == [Step.WAIT_FOR_REWORK]
    to_the_end(world)


def test_a_rollback_goes_on_when_its_lock_was_broken_and_a_hotfix_adopted(world: World) -> None:
    nine = lost(world)
    assert world.decide(nine, "max", VERDICT, ROLL_BACK)
    kill(world, until(world, Step.RESTORE_BRANCH, "takes"), again=False)
    world.run()
    assert world.break_lock()
    world.hotfix()
    assert world.adopt()
    assert (holder(world), promotion_of(world, nine).state) == ("SHOP-9", PromotionState.ROLLING_BACK)
    world.clear(nine, Step.RESTORE_BRANCH)
    world.run()
    assert promotion_of(world, nine).state is PromotionState.ROLLED_BACK
    assert "hotfix" in world.repository.files(world.repository.branches[PRODUCTION])


def test_a_commit_is_looked_at_again_when_something_was_promoted_meanwhile(world: World) -> None:
    bring(world, "SHOP-1", VERDICT)
    head = world.repository.branches[PRODUCTION]
    with pytest.raises(Unavailable, match="Say it again"), world.begin() as unit:
        adopt(unit, world.project, head, person=PersonName("olga"), held={})
