"""The verdict: reached whatever failed, given once, by people, by evidence or by the deadline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import Choices, HostConfig
from feature_delivery.domain.records import Feature, FeatureState, Promotion, PromotionState
from feature_delivery.ports.git_host import DeploymentState
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control.face import places
from feature_delivery.services.control.journey import Spent, spans
from feature_delivery.services.control.permits import request_still_open
from tests.support.cooperation import bring, nothing_is_left, now_of, to_the_end
from tests.support.stepping import go_on, kill, until
from tests.support.world import PRODUCTION, Outcome, World, shop

KEEP, ROLL_BACK = DecisionKind.KEEP, DecisionKind.ROLL_BACK
VERDICT, CODE, CONFIRMATION = Step.WAIT_FOR_VERDICT, Step.WAIT_FOR_CODE, Step.WAIT_FOR_CONFIRMATION
REWORK, DEMONSTRATION = Step.WAIT_FOR_REWORK, Step.WAIT_FOR_DEMONSTRATION


def promotion_of(world: World, feature: Feature) -> Promotion:
    found = world.books.promotion(feature)
    assert found is not None
    return found


def promoted(world: World, content: str) -> Feature:
    """Bring a feature with this content into production."""
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch, content=content)
    world.observe(feature)
    return bring(world, "SHOP-1", VERDICT)


def test_keep_ships_tears_down_closes_and_waits_for_the_demonstration(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert world.decide(feature, "max", VERDICT, KEEP)
    world.run()
    assert world.parked(feature) == [DEMONSTRATION]
    assert now_of(world, feature).state is FeatureState.SHIPPED
    nothing_is_left(world)
    assert world.decide(feature, "max", DEMONSTRATION, DecisionKind.APPROVE)
    world.run()
    assert now_of(world, feature).state is FeatureState.DELIVERED


def test_branches_on_a_host_go_after_its_request_is_shown_as_merged_but_not_never(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert world.decide(feature, "max", VERDICT, KEEP)
    hosted = replace(world.project, host=HostConfig(kind="github", connection="c", repository="shop/cart"))
    with world.begin() as unit:
        assert request_still_open(unit.books, world.project, feature) == ""
        assert "not shown as merged yet" in request_still_open(unit.books, hosted, feature)
        (told,) = [e for e in unit.books.outbox(feature) if e.kind is Errand.REQUEST_STATE]
        told.sent_at = told.created_at
        assert request_still_open(unit.books, hosted, feature) == ""
        told.sent_at = None
    world.wait(timedelta(minutes=3))
    with world.begin() as unit:
        assert request_still_open(unit.books, hosted, feature) == ""


def test_a_rollback_brings_the_tree_before_back_and_waits_for_rework(world: World) -> None:
    before = world.repository.commit(world.repository.branches[PRODUCTION])
    feature = promoted(world, "red production")
    assert world.decide(feature, "olga", VERDICT, ROLL_BACK)
    world.run()
    now = world.repository.commit(world.repository.branches[PRODUCTION])
    assert now.tree == before.tree
    assert now.sha != before.sha
    assert world.platform.places["production"].commit == now.sha
    assert world.parked(feature) == [REWORK]
    assert "development-shop-1" in world.platform.places
    assert feature.branch in world.repository.branches


def test_the_wait_for_a_fix_after_a_rollback_is_time_spent_on_people(world: World) -> None:
    feature = promoted(world, "red production")
    assert world.decide(feature, "olga", VERDICT, ROLL_BACK)
    world.run()
    assert feature.branch is not None
    world.wait(timedelta(hours=5))
    world.push(feature.branch, content="mended")
    world.observe(feature)
    (waited,) = [s for s in spans(world.books.gates(feature), [], until=world.time) if s.step is REWORK]
    assert (waited.spent, waited.open, waited.seconds >= timedelta(hours=5).total_seconds()) == (
        Spent.PEOPLE,
        False,
        True,
    )


def test_a_deploy_that_fails_after_the_branch_moved_keeps_the_lock_and_opens_the_verdict(world: World) -> None:
    feature = promoted(world, "bad deploy")
    row = world.books.project(world.project.name)
    assert row is not None
    assert row.lock_feature_id == feature.id
    assert promotion_of(world, feature).state is PromotionState.UNCERTAIN
    told = [o.payload["to"] for o in world.books.outbox(feature) if "alert" in o.marker]
    assert told == [["max", "mia", "olga"]]


def test_a_deploy_that_was_killed_counts_as_uncertain_at_the_verdict(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    kill(world, until(world, Step.DEPLOY_PRODUCTION, "performs"), again=False)
    world.run()
    assert world.parked(feature) == [VERDICT]
    assert promotion_of(world, feature).state is PromotionState.UNCERTAIN


def test_a_deploy_that_was_killed_is_not_shown_as_under_way_once_another_was_let(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    kill(world, until(world, Step.DEPLOY_PRODUCTION, "performs"), again=False)
    world.run()
    assert world.decide(feature, "olga", VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    promotion = promotion_of(world, feature)
    assert promotion.state is PromotionState.ROLLED_BACK
    shown = {place.kind: place for place in places(world.books, world.project, now_of(world, feature))}
    production = shown[EnvironmentKind.PRODUCTION]
    assert (production.commit, production.state) == (promotion.restored, DeploymentState.DONE)


def test_a_deploy_that_was_killed_is_not_shown_as_under_way_once_its_release_is_kept(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    kill(world, until(world, Step.DEPLOY_PRODUCTION, "performs"), again=False)
    world.run()
    assert world.decide(feature, "max", VERDICT, KEEP)
    world.run()
    states = [place.state for place in places(world.books, world.project, now_of(world, feature))]
    assert DeploymentState.RUNNING not in states


def test_what_is_not_deployed_yet_cannot_be_kept(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    until(world, Step.DEPLOY_PRODUCTION, "performs")
    assert not world.decide(feature, "max", VERDICT, KEEP)
    world.run()
    assert world.decide(feature, "max", VERDICT, KEEP)


@pytest.mark.parametrize("at", ["takes", "performs", "reports", "ends"])
@pytest.mark.parametrize(
    ("step", "content"),
    [
        (Step.DEPLOY_PRODUCTION, ""),
        (Step.DEPLOY_PRODUCTION, "bad deploy"),
        (Step.TEST_PRODUCTION, ""),
        (Step.TEST_PRODUCTION, "red production"),
        (Step.OBSERVE_PRODUCTION, ""),
    ],
)
def test_a_rollback_decided_while_production_is_still_worked_on_is_carried_out(
    world: World, step: Step, at: str, content: str
) -> None:
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch, content=content)
    world.observe(feature)
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    process = until(world, step, at)
    assert world.decide(feature, "max", VERDICT, ROLL_BACK)
    go_on(world, process)
    world.run()
    assert promotion_of(world, feature).state is PromotionState.ROLLED_BACK
    assert world.parked(feature) == [REWORK]


@pytest.mark.parametrize("kind", [KEEP, ROLL_BACK])
def test_a_verdict_given_after_its_gate_was_marked_by_hand_is_acted_on(world: World, kind: DecisionKind) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    world.mark(feature, VERDICT, "success")
    world.run()
    assert world.decide(feature, "max", VERDICT, kind)
    world.run()
    assert world.parked(feature) == [DEMONSTRATION if kind is KEEP else REWORK]


def test_a_rollback_that_is_not_verified_keeps_production_locked(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    world.decide(feature, "max", VERDICT, ROLL_BACK)
    process = until(world, Step.TEST_ROLLBACK, "performs")
    world.mishaps = 1
    go_on(world, process)
    world.run()
    assert promotion_of(world, feature).state is PromotionState.ROLLING_BACK
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert gate.step is REWORK
    assert gate.blocked
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    assert now_of(world, feature).attempt_number == 1
    world.clear(feature, Step.DEPLOY_ROLLBACK)
    world.run()
    assert promotion_of(world, feature).state is PromotionState.ROLLED_BACK


def test_a_hotfix_on_top_survives_the_rollback(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    world.hotfix()
    world.decide(feature, "max", VERDICT, ROLL_BACK)
    world.run()
    files = world.repository.files(world.repository.branches[PRODUCTION])
    assert "hotfix" in files
    assert "feature/SHOP-1" not in files


@pytest.mark.parametrize(
    ("content", "observed", "expected"),
    [
        ("", "pass", PromotionState.KEPT),
        ("", "no_data", PromotionState.DEPLOYED),
        ("", "inconclusive", PromotionState.DEPLOYED),
        ("", "fail", PromotionState.ROLLED_BACK),
        ("red production", "pass", PromotionState.ROLLED_BACK),
        ("bad deploy", "pass", PromotionState.ROLLED_BACK),
    ],
)
def test_the_deadline_of_the_verdict_follows_the_evidence(
    world: World, content: str, observed: Outcome, expected: PromotionState
) -> None:
    world.observed = [observed]
    feature = promoted(world, content)
    world.wait(timedelta(days=1, minutes=1))
    world.run()
    assert promotion_of(world, feature).state is expected


@pytest.mark.parametrize(
    ("content", "observed", "expected"),
    [
        ("", "pass", PromotionState.KEPT),
        ("", "no_data", PromotionState.DEPLOYED),
        ("", "fail", PromotionState.ROLLED_BACK),
        ("red production", "pass", PromotionState.ROLLED_BACK),
    ],
)
def test_the_automatic_verdict_needs_clear_evidence(content: str, observed: Outcome, expected: PromotionState) -> None:
    world = World(project=shop(Choices(start_gate=False, automatic_verdict=True)))
    world.observed = [observed]
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch, content=content)
    world.observe(feature)
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    world.run()
    assert promotion_of(world, feature).state is expected
    world.close()


def test_the_observation_of_an_earlier_attempt_is_no_evidence(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    world.decide(feature, "max", VERDICT, ROLL_BACK)
    world.run()
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    kill(world, until(world, Step.OBSERVE_PRODUCTION, "performs"), again=False)
    world.run()
    world.wait(timedelta(days=1, minutes=1))
    assert promotion_of(world, feature).state is PromotionState.DEPLOYED


def test_acceptance_that_nobody_gives_expires_to_a_rejection(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
    world.wait(timedelta(days=15))
    world.run()
    assert world.parked(feature) == [CODE]


def test_the_time_of_a_failure_is_not_the_deciders_time(world: World) -> None:
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch, content="red preprod")
    world.observe(feature)
    world.run()
    world.open_request(feature)
    world.observe(feature)
    world.run()
    world.decide(feature, "rob", Step.WAIT_FOR_REVIEW, DecisionKind.APPROVE)
    world.run()
    world.wait(timedelta(days=15))
    assert world.parked(feature) == [Step.WAIT_FOR_ACCEPTANCE]


def test_review_and_demonstration_only_remind(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_REVIEW)
    world.wait(timedelta(days=4))
    assert world.parked(feature) == [Step.WAIT_FOR_REVIEW]
    assert any("remind" in o.marker for o in world.books.outbox(feature))
    to_the_end(world)
