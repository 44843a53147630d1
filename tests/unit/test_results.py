"""Results: repeated, late, forged or out of place, they change nothing that has not happened."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta

import pytest

from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.names import CommitSha
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import EnvironmentState, PermitRecord, PromotionState
from feature_delivery.domain.work import (
    CandidateBuilt,
    CaseLine,
    Deployed,
    Done,
    EnvironmentReady,
    Failed,
    Moved,
    Result,
    SuiteDone,
)
from feature_delivery.ports.runs import TaskRef
from feature_delivery.services.control.flags import flag
from feature_delivery.services.control.results import apply_result
from tests.support.cooperation import bring, now_of, to_the_end
from tests.support.performing import Process
from tests.support.stepping import go_on, kill, until
from tests.support.world import World

CODE, CONFIRMATION, VERDICT = Step.WAIT_FOR_CODE, Step.WAIT_FOR_CONFIRMATION, Step.WAIT_FOR_VERDICT


def permit_of(world: World, step: Step) -> PermitRecord:
    return [p for p in world.books.of(PermitRecord) if p.step is step][-1]


def report(world: World, task: TaskRef, permit: int, result: Result) -> str:
    with world.begin() as unit:
        return apply_result(unit, world.project, task, permit, result)


def running(world: World, step: Step) -> Process:
    """Bring a feature to a development step that has its permit."""
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    return until(world, step, "performs")


def test_the_same_result_again_changes_nothing(world: World) -> None:
    process = running(world, Step.CHECK_UNIT)
    permit = permit_of(world, Step.CHECK_UNIT)
    attempt = world.books.attempt(world.features()[0])
    assert attempt is not None
    done = SuiteDone(suite="unit", commit=attempt.commit, tests=5, executed=5, failed=0, seconds=1, red="")
    assert report(world, process.task, permit.id, done) == ""
    assert report(world, process.task, permit.id, done) == ""
    assert len([s for s in world.books.suite_results(world.features()[0]) if s.step is Step.CHECK_UNIT]) == 1
    with pytest.raises(Refused, match="ended already"):
        report(world, process.task, permit.id, replace(done, executed=4))


def test_a_permit_keeps_no_test_cases_and_still_knows_the_same_report(world: World) -> None:
    """An older version kept the cases themselves: after the upgrade its task may report again, too."""
    process = running(world, Step.CHECK_UNIT)
    attempt = world.books.attempt(world.features()[0])
    assert attempt is not None
    cases = tuple(CaseLine(name=f"test_{n}", state="passed", seconds=0.1, message="ü" * 2000) for n in range(50))
    done = SuiteDone(
        suite="unit", commit=attempt.commit, tests=50, executed=50, failed=0, seconds=5, red="", cases=cases
    )
    permit = permit_of(world, Step.CHECK_UNIT).id
    assert report(world, process.task, permit, done) == ""
    kept = permit_of(world, Step.CHECK_UNIT)
    assert len(json.dumps(kept.result)) < 500
    suite = world.books.suite_result(world.features()[0], 1, Step.CHECK_UNIT)
    assert suite is not None
    assert len(suite.report["cases"]) == 50
    for stored in (kept.result, json.loads(json.dumps(asdict(done)))):
        permit_of(world, Step.CHECK_UNIT).result = stored
        assert report(world, process.task, permit, done) == ""
        with pytest.raises(Refused, match="ended already"):
            report(world, process.task, permit, replace(done, cases=cases[1:]))


def test_a_result_of_another_task_is_refused(world: World) -> None:
    process = running(world, Step.CHECK_UNIT)
    permit = permit_of(world, Step.CHECK_UNIT)
    with pytest.raises(Refused, match="another task"):
        report(world, replace(process.task, task_instance="forged"), permit.id, Done())
    with pytest.raises(Refused, match="another task"):
        report(world, replace(process.task, step=Step.PROMOTE), permit.id, Done())
    with pytest.raises(NotFound):
        report(world, process.task, 9999, Done())


@pytest.mark.parametrize(
    ("executed", "failed", "why"), [(0, 0, "ran no test"), (5, 1, "1 tests failed"), (5, 0, "tests were lost")]
)
def test_a_suite_that_proves_nothing_is_red_whatever_the_task_says(
    world: World, executed: int, failed: int, why: str
) -> None:
    bring(world, "SHOP-9", VERDICT)
    to_the_end(world)  # production's own unit suite ran ten tests
    process = running(world, Step.CHECK_UNIT)
    permit = permit_of(world, Step.CHECK_UNIT)
    attempt = world.books.attempt(next(f for f in world.features() if f.key == "SHOP-1"))
    assert attempt is not None
    done = SuiteDone(suite="unit", commit=attempt.commit, tests=5, executed=executed, failed=failed, seconds=1, red="")
    assert why in report(world, process.task, permit.id, done)


def test_a_candidate_of_another_commit_is_refused(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_REVIEW)
    world.decide(feature, "rob", Step.WAIT_FOR_REVIEW, DecisionKind.APPROVE)
    process = until(world, Step.BUILD_CANDIDATE, "performs")
    permit = permit_of(world, Step.BUILD_CANDIDATE)
    other = CommitSha("1" * 40)
    built = CandidateBuilt(commit=other, tree="2" * 40, base=other, feature=other)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="another commit"):
        report(world, process.task, permit.id, built)


def test_the_result_of_an_older_try_does_not_count(world: World) -> None:
    process = running(world, Step.CHECK_UNIT)
    permit = permit_of(world, Step.CHECK_UNIT)
    kill(world, process)
    until(world, Step.CHECK_UNIT, "performs")
    with pytest.raises(Conflict, match="newer try"):
        report(world, process.task, permit.id, Failed(reason="Too late."))


def test_a_failure_of_an_older_promote_does_not_drop_the_promotion_of_the_newer(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    process = until(world, Step.PROMOTE, "performs")
    permit = permit_of(world, Step.PROMOTE)
    kill(world, process)
    newer = until(world, Step.PROMOTE, "performs")
    with pytest.raises(Conflict):
        report(world, process.task, permit.id, Failed(reason="The host hung up.", cause="stale"))
    go_on(world, newer)
    world.run()
    assert world.parked(feature) == [VERDICT]


def test_a_move_reported_by_an_older_promote_is_a_fact(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    process = until(world, Step.PROMOTE, "reports")
    kill(world, process, lives_on=True)
    newer = until(world, Step.PROMOTE, "performs")
    go_on(world, process)
    promotion = world.books.promotion(feature)
    assert promotion is not None
    assert promotion.state is PromotionState.MOVED
    go_on(world, newer)
    world.run()
    assert world.parked(feature) == [VERDICT]


def test_a_result_after_the_cancellation_brings_nothing_back(world: World) -> None:
    world.start("SHOP-1")
    process = until(world, Step.PROVISION_DEVELOPMENT, "performs")
    permit = permit_of(world, Step.PROVISION_DEVELOPMENT)
    feature = world.features()[0]
    world.cancel(feature)
    world.processes.remove(process)
    world.run()
    with pytest.raises(Conflict, match="came too late") as late:
        report(world, process.task, permit.id, EnvironmentReady(address="http://there"))
    assert "starts over" not in str(late.value), "nothing does"
    row = world.books.environment(world.project.name, "development-shop-1")
    assert row is not None
    assert row.state is EnvironmentState.DESTROYED


def test_a_deploy_below_the_newest_generation_does_not_count(world: World) -> None:
    process = running(world, Step.DEPLOY_DEVELOPMENT)
    permit = permit_of(world, Step.DEPLOY_DEVELOPMENT)
    row = world.books.environment(world.project.name, "development-shop-1")
    attempt = world.books.attempt(world.features()[0])
    assert row is not None
    assert attempt is not None
    row.generation += 1
    with pytest.raises(Conflict, match="newer task"):
        report(world, process.task, permit.id, Deployed(address="http://there", commit=attempt.commit))


def test_an_irreversible_migration_rules_out_the_rollback_by_machine(world: World) -> None:
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch, content="red production")
    world.observe(feature)
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, DecisionKind.APPROVE)
    process = until(world, Step.PROMOTE, "reports")
    promotion = world.books.promotion(feature)
    assert promotion is not None
    moved = Moved(commit=promotion.candidate, irreversible=True)
    report(world, process.task, permit_of(world, Step.PROMOTE).id, moved)
    world.processes.remove(process)
    world.runs.report(process.task, "success")
    world.run()
    with world.begin() as unit:
        waits = flag(unit.books, world.project, feature, VERDICT).waits_for
    assert "has no way back: a rollback leaves the data as they are" in waits
    world.wait(timedelta(days=1, minutes=1))
    assert world.parked(feature) == [VERDICT]
    assert any("without a verdict" in str(o.payload) for o in world.books.outbox(feature))


def test_a_rollback_that_fails_says_why_and_not_what_failed_before_it(world: World) -> None:
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch, content="bad deploy")
    world.observe(feature)
    feature = bring(world, "SHOP-1", VERDICT)
    assert world.decide(feature, "olga", VERDICT, DecisionKind.ROLL_BACK)
    process = until(world, Step.DEPLOY_ROLLBACK, "reports")
    failed = Failed(reason="Could not migrate back: no such column.\nIt ended with: …")
    report(world, process.task, permit_of(world, Step.DEPLOY_ROLLBACK).id, failed)
    world.processes.remove(process)
    world.runs.report(process.task, "failed")
    world.run()
    with world.begin() as unit:
        blocked = flag(unit.books, world.project, feature, Step.WAIT_FOR_REWORK).blocked
    assert "rollback.deploy: Could not migrate back: no such column. Production stays locked" in blocked
    assert f"clear {Step.DEPLOY_ROLLBACK}" in blocked


def test_a_failure_that_was_mended_is_not_told_any_more(world: World) -> None:
    world.mishaps = 0
    feature = bring(world, "SHOP-1", CODE)
    assert feature.branch is not None
    world.push(feature.branch)
    world.mishaps = 1
    world.observe(feature)
    world.run()
    world.clear(feature, Step.DEPLOY_DEVELOPMENT)
    world.run()
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert (gate.step, gate.blocked) == (Step.WAIT_FOR_MERGE_REQUEST, "")


def test_what_the_tracker_refused_to_a_step_is_told_and_stops_nothing(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    world.decide(feature, "max", VERDICT, DecisionKind.KEEP)
    process = until(world, Step.CLOSE_ISSUE, "performs")
    permit = permit_of(world, Step.CLOSE_ISSUE)
    refused = Done(trouble="Its issue was not closed. The workflow has no way to 'Done'.")
    assert report(world, process.task, permit.id, refused) == ""
    events = world.books.events(now_of(world, feature))
    assert [e.text for e in events if e.kind == "trouble"] == [refused.trouble]
    assert not [e for e in events if e.kind == "closed"]
    told = [e for e in world.books.outbox(feature) if "no way to 'Done'" in str(e.payload)]
    assert told[0].payload["to"] == ["max", "mia", "olga"]
