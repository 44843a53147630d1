"""What the control plane does with measurements: keeps them, lets them decide where the project wants that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from feature_delivery.domain.judging.findings import Finding, Judgement
from feature_delivery.domain.judging.series import Series
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import Choices
from feature_delivery.domain.records import Feature, PromotionState
from feature_delivery.domain.watching import Baseline
from feature_delivery.domain.work import BaselineTaken, Observed, Result, Work
from feature_delivery.ports.runs import TaskRef
from feature_delivery.services.control import observations
from feature_delivery.services.control.flags import flag, production_evidence, rolled_back_before
from feature_delivery.services.control.status_comment import status_comment
from tests.support import performing
from tests.support.cooperation import bring, now_of, one_round
from tests.support.world import World, shop

BROKEN = Finding(
    metric="errors", unit="ratio", outcome="fail", reason="Errors: 31 % passed its critical limit of 5 %.",
    critical=True, weight=3, breach=True,
)  # fmt: skip
Install = Callable[[Judgement], None]
BREACH = Judgement(outcome="fail", recommendation="roll_back", reasons=(BROKEN.reason,), findings=(BROKEN,))
BASELINE = Baseline(source="probe", metrics={"availability": Series((1.0,), (1.0,))}, expected=1)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Have the steps of the simulated world report measurements, too."""

    def install(said: Judgement) -> None:
        perform = performing.perform

        def measured(world: World, task: TaskRef, work: Work) -> Iterator[Result]:
            if task.step is Step.PROMOTE:
                yield BaselineTaken(baseline=BASELINE)
            for result in perform(world, task, work):
                if isinstance(result, Observed):
                    yield replace(result, outcome=said.outcome, evidence=said.reasons, judgement=said)
                elif task.step is Step.TEST_LOAD:
                    yield Observed(outcome="fail", evidence=("slower",), judgement=BREACH, measured=BASELINE)
                else:
                    yield result

        monkeypatch.setattr(performing, "perform", measured)

    return install


def in_production(world: World, content: str = "") -> Feature:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CODE)
    assert feature.branch is not None
    world.push(feature.branch, content=content)
    world.observe(feature)
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CONFIRMATION)
    world.decide(feature, "max", Step.WAIT_FOR_CONFIRMATION, DecisionKind.APPROVE)
    world.run()
    return feature


def state(world: World, feature: Feature) -> PromotionState:
    found = world.books.promotion(feature)
    assert found is not None
    return found.state


def test_the_baseline_is_kept_before_production_moves_and_comes_with_the_watch(
    world: World, measuring: Install
) -> None:
    measuring(BREACH)
    feature = in_production(world)
    kept = world.books.observation(feature, 1, Step.PROMOTE)
    assert kept is not None
    assert observations.measured(kept) == BASELINE
    assert world.granted_work[Step.OBSERVE_PRODUCTION].baseline == BASELINE
    assert world.granted_work[Step.PROMOTE].baseline is None
    # What the load on the candidate showed comes with it, to stand beside.
    assert world.granted_work[Step.OBSERVE_PRODUCTION].preprod == BREACH
    assert world.granted_work[Step.PROMOTE].preprod is None


def test_the_judgement_is_told_to_those_who_decide_and_kept_for_the_page(world: World, measuring: Install) -> None:
    measuring(BREACH)
    feature = in_production(world)
    assert observations.judgement(world.books, feature, Step.OBSERVE_PRODUCTION) == BREACH
    told = [o.payload for o in world.books.outbox(feature) if o.marker.rpartition("observed")[1]]
    assert [payload["to"] for payload in told] == [["max", "mia", "olga"]]
    assert "Roll it back: it got worse." in told[0]["text"]
    assert state(world, feature) is PromotionState.DEPLOYED, "nobody asked for more than advice"


def test_a_critical_breach_rolls_back_where_the_project_wants_that(measuring: Install) -> None:
    world = World(shop(Choices(start_gate=False, automatic_rollback=frozenset({"critical_breach"}))))
    try:
        measuring(BREACH)
        feature = in_production(world)
        world.run()
        assert state(world, feature) is PromotionState.ROLLED_BACK
        assert world.parked(feature) == [Step.WAIT_FOR_REWORK]
    finally:
        world.close()


def test_worse_figures_without_a_breach_roll_nothing_back_by_themselves(measuring: Install) -> None:
    world = World(shop(Choices(start_gate=False, automatic_rollback=frozenset({"critical_breach"}))))
    try:
        measuring(replace(BREACH, findings=(replace(BROKEN, breach=False),)))
        feature = in_production(world)
        assert state(world, feature) is PromotionState.DEPLOYED
        assert production_evidence(world.books, feature).outcome == "fail"
    finally:
        world.close()


@pytest.mark.parametrize(
    ("wanted", "expected"), [("failed_tests", PromotionState.ROLLED_BACK), ("", PromotionState.DEPLOYED)]
)
def test_failed_tests_in_production_roll_back_where_the_project_wants_that(
    wanted: str, expected: PromotionState
) -> None:
    world = World(shop(Choices(start_gate=False, automatic_rollback=frozenset(filter(None, [wanted])))))
    try:
        feature = in_production(world, "red production")
        world.run()
        assert state(world, feature) is expected
    finally:
        world.close()


def test_files_that_were_rolled_back_are_not_promoted_again(world: World) -> None:
    feature = in_production(world)
    promotion = world.books.promotion(feature)
    assert promotion is not None
    assert rolled_back_before(world.books, world.project, promotion.tree) == ""
    assert world.decide(feature, "olga", Step.WAIT_FOR_VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    said = rolled_back_before(world.books, world.project, promotion.tree)
    assert "was rolled back. Push a commit that changes what went wrong." in said
    promotion.state = PromotionState.KEPT
    assert rolled_back_before(world.books, world.project, promotion.tree) == "", "kept once since, they are good again"


def test_files_that_were_rolled_back_neither_take_production_nor_anybodys_time(world: World) -> None:
    feature = in_production(world)
    assert world.decide(feature, "olga", Step.WAIT_FOR_VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    promotion = world.books.promotion(feature)
    assert promotion is not None
    assert feature.branch is not None
    bad = world.repository.files(promotion.candidate)[feature.branch]
    world.push(feature.branch, content="another idea")
    again = world.push(feature.branch, content=bad)
    world.observe(feature)
    one_round(world)
    world.run()
    candidate = world.books.candidate(feature, now_of(world, feature).attempt_number)
    assert candidate is not None
    assert (candidate.feature_commit, candidate.tree) == (again, promotion.tree)
    assert world.parked(feature) == [Step.WAIT_FOR_ACCEPTANCE]
    asked = flag(world.books, world.project, now_of(world, feature), Step.WAIT_FOR_ACCEPTANCE)
    assert "was rolled back. Push a commit that changes what went wrong." in asked.blocked
    for person, gate in (("tom", Step.WAIT_FOR_ACCEPTANCE), ("max", Step.WAIT_FOR_CONFIRMATION)):
        assert world.decide(feature, person, gate, DecisionKind.APPROVE)
        world.mark(feature, gate, "success")
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_TURN]
    row = world.books.project(world.project.name)
    assert row is not None
    assert row.lock_feature_id is None, "nobody else could ship"


@pytest.mark.parametrize("ends", ["failed", "stopped", "done before the deploy"])
@pytest.mark.parametrize("step", [Step.TEST_PRODUCTION, Step.OBSERVE_PRODUCTION])
def test_what_an_earlier_time_found_is_no_evidence(world: World, step: Step, ends: str) -> None:
    """Somebody cleared it, and this time it could not run: what is there says nothing about production as it is."""
    feature = in_production(world)
    assert production_evidence(world.books, feature).outcome == "pass"
    begun = replace(world.books.permits(feature)[-1], step=step, id=0, result={}, state="granted", reason="")
    if ends == "failed":
        begun = replace(begun, state="failed", reason="No room for the suite.", result={"kind": "failed"})
    elif ends == "done before the deploy":
        begun = replace(begun, step=Step.DEPLOY_PRODUCTION)
    with world.begin() as unit:
        unit.books.add(begun)
    found = production_evidence(world.books, feature)
    assert found.outcome == "no_data"
    expected = {"failed": "No room for the suite.", "stopped": "has not said how it ended"}
    assert expected.get(ends, "has not run since the last deploy") in found.text


def test_a_promotion_that_ended_without_a_word_says_so_at_the_verdict(world: World) -> None:
    feature = in_production(world)
    promotion = world.books.promotion(feature)
    assert promotion is not None
    promotion.state, promotion.moved_at = PromotionState.INTENDED, None
    asked = flag(world.books, world.project, feature, Step.WAIT_FOR_VERDICT)
    assert asked.blocked == f"The promotion has begun and may have moved production. Clear {Step.PROMOTE} to finish it."


def test_what_is_promoted_next_is_told_when_production_was_bad(world: World) -> None:
    feature = in_production(world)
    assert world.granted_work[Step.PROMOTE].bad_times == ()
    assert world.decide(feature, "olga", Step.WAIT_FOR_VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    promotion = world.books.promotion(feature)
    assert promotion is not None
    assert promotion.moved_at is not None
    assert promotion.ended_at is not None
    assert feature.branch is not None
    world.push(feature.branch, content="better")
    world.observe(feature)
    bring(world, "SHOP-1", Step.WAIT_FOR_CONFIRMATION)
    world.decide(feature, "max", Step.WAIT_FOR_CONFIRMATION, DecisionKind.APPROVE)
    world.run()
    bad = (promotion.moved_at.timestamp(), promotion.ended_at.timestamp())
    assert world.granted_work[Step.PROMOTE].bad_times == (bad,)


def test_a_regression_under_load_stops_nothing_and_is_shown_on_the_request(world: World, measuring: Install) -> None:
    measuring(BREACH)
    feature = in_production(world)
    with world.begin() as unit:
        text = status_comment(unit.books, world.project, feature, lines=(), places=(), page="")
    assert "Under load in pre-production: fail" in text
    assert "In production: fail" in text
    assert any("does worse under load" in o.payload.get("text", "") for o in world.books.outbox(feature))


def test_the_next_load_is_compared_with_that_of_the_release_that_was_kept(world: World, measuring: Install) -> None:
    measuring(replace(BREACH, outcome="pass", recommendation="keep"))
    feature = in_production(world)
    assert world.books.load_in_production(world.project.name) is None
    assert world.decide(feature, "max", Step.WAIT_FOR_VERDICT, DecisionKind.KEEP)
    world.run()
    kept = world.books.load_in_production(world.project.name)
    assert kept is not None
    assert observations.measured(kept) == BASELINE


@pytest.mark.parametrize(("content", "kinds"), [("red production", ["averted"]), ("", ["restored_in"])])
def test_a_rollback_on_evidence_counts_as_an_averted_incident_with_its_time_to_restore(
    world: World, content: str, kinds: list[str]
) -> None:
    feature = in_production(world, content)
    assert world.decide(feature, "olga", Step.WAIT_FOR_VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    counted = [e for e in world.books.events(feature) if e.kind in {"averted", "restored_in"}]
    assert [event.kind for event in counted] == kinds
    assert "after it moved production" in counted[0].text
