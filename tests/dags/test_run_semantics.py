"""What becomes of a run when steps fail, people decide and features are given up: Airflow's own rules decide it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine

from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import CHECKS, GATES, ORDER, SETUPS, TEARDOWNS, Step
from tests.support.simulated_run import SimulatedRun

if TYPE_CHECKING:
    from airflow.sdk import DAG


@pytest.fixture
def run(airflow_engine: Engine, dag: DAG) -> SimulatedRun:
    """A run that waits at its first gate."""
    started = SimulatedRun(dag, ProjectName("shop"))
    started.start()
    return started


def all_but(*gates: Step) -> set[Step]:
    return set(GATES) - set(gates)


def stop(run: SimulatedRun) -> None:
    from feature_delivery.web.transaction import begin  # noqa: PLC0415 - after Airflow's environment

    with begin() as unit:
        unit.runs.stop(run.ref)


def rewind(run: SimulatedRun, to: Step) -> None:
    from feature_delivery.web.transaction import begin  # noqa: PLC0415 - as above

    with begin() as unit:
        unit.runs.rewind(run.ref, to=to)


def test_a_run_waits_at_one_gate_after_another(run: SimulatedRun) -> None:
    way = [step for step in Step if step in GATES and step is not Step.WAIT_FOR_REWORK]
    for gate in way:
        run.go()
        assert run.parked() == {gate}, run.states()
        run.open.add(gate)
        rewind(run, gate)
    run.go()
    assert run.run_state() == "success"
    assert run.torn_down() == TEARDOWNS


def test_nothing_is_torn_down_before_the_verdict_and_the_issue_is_closed_after(run: SimulatedRun) -> None:
    run.open = set(GATES)
    run.go()
    done = {step: place for place, step in enumerate(run.order)}
    for teardown in TEARDOWNS:
        assert done[Step.DECIDE_ROLLBACK] < done[teardown] < done[Step.CLOSE_ISSUE]
    assert run.states()[Step.RESTORE_BRANCH] == "skipped"
    assert run.run_state() == "success"


END = {Step.CLOSE_ISSUE, Step.DECIDE_ROLLBACK}
"""After these no failure leads to a gate: they are the end of the run."""


@pytest.mark.parametrize("failed", [s for s in Step if s not in GATES | TEARDOWNS | SETUPS | END])
def test_a_failed_step_parks_the_run_at_the_next_gate(run: SimulatedRun, failed: Step) -> None:
    run.verdict = "roll_back"
    run.open = {gate for gate in GATES if ORDER[gate] < ORDER[failed]}
    run.ends = {failed: "failed"}
    run.go()
    next_gate = min((g for g in GATES if ORDER[g] > ORDER[failed]), key=ORDER.__getitem__)
    assert run.parked() == {next_gate}, run.states()
    assert run.run_state() == "running"
    assert not run.torn_down()


def test_all_three_checks_run_although_one_is_red(run: SimulatedRun) -> None:
    run.open = all_but(Step.WAIT_FOR_MERGE_REQUEST)
    run.ends = {Step.CHECK_SYNTAX: "failed"}
    run.go()
    states = run.states()
    assert {states[check] for check in CHECKS} == {"failed", "success"}
    assert run.parked() == {Step.WAIT_FOR_MERGE_REQUEST}


def test_a_parked_run_goes_on_after_a_rewind(run: SimulatedRun) -> None:
    run.open = all_but(Step.WAIT_FOR_ACCEPTANCE)
    run.ends = {Step.BUILD_CANDIDATE: "failed"}
    run.go()
    assert run.parked() == {Step.WAIT_FOR_ACCEPTANCE}
    run.ends, run.open = {}, set(GATES)
    rewind(run, Step.DEPLOY_DEVELOPMENT)
    run.go()
    assert run.run_state() == "success"
    assert run.torn_down() == TEARDOWNS


@pytest.mark.parametrize(
    "gate", [g for g in sorted(GATES) if g not in {Step.WAIT_FOR_REWORK, Step.WAIT_FOR_DEMONSTRATION}]
)
def test_a_cancelled_feature_is_torn_down_from_any_gate(run: SimulatedRun, gate: Step) -> None:
    run.open = {g for g in GATES if ORDER[g] < ORDER[gate]}
    run.go()
    assert run.parked() == {gate}
    stop(run)
    run.go()
    reserved = {Step.DELETE_BRANCHES}
    if ORDER[gate] > ORDER[Step.RESERVE_DEVELOPMENT]:
        reserved.add(Step.DESTROY_DEVELOPMENT)
    if ORDER[gate] > ORDER[Step.RESERVE_PREPROD]:
        reserved.add(Step.DESTROY_PREPROD)
    assert run.torn_down() == reserved, run.states()
    assert run.states()[Step.CLOSE_ISSUE] == "skipped"
    assert run.states()[Step.WAIT_FOR_DEMONSTRATION] == "skipped"
    assert run.run_state() == "success"


def test_a_feature_cancelled_after_a_failed_step_is_torn_down(run: SimulatedRun) -> None:
    run.open = all_but(Step.WAIT_FOR_ACCEPTANCE)
    run.ends = {Step.DEPLOY_PREPROD: "failed"}
    run.go()
    stop(run)
    run.go()
    assert run.torn_down() == TEARDOWNS


def test_a_rolled_back_feature_waits_for_rework_with_everything_kept(run: SimulatedRun) -> None:
    run.open, run.verdict = all_but(Step.WAIT_FOR_REWORK), "roll_back"
    run.go()
    assert run.parked() == {Step.WAIT_FOR_REWORK}
    assert not run.torn_down()
    assert run.states()[Step.CLOSE_ISSUE] in {"none", "None"}


def test_a_rolled_back_feature_is_delivered_by_the_same_run(run: SimulatedRun) -> None:
    run.open, run.verdict = all_but(Step.WAIT_FOR_REWORK), "roll_back"
    run.go()
    run.verdict = "keep"
    rewind(run, Step.DEPLOY_DEVELOPMENT)
    run.go()
    assert run.run_state() == "success"
    assert run.torn_down() == TEARDOWNS
    assert run.states()[Step.RESTORE_BRANCH] == "skipped"


def test_a_feature_cancelled_while_it_is_reworked_is_torn_down_and_not_closed(run: SimulatedRun) -> None:
    run.open, run.verdict = all_but(Step.WAIT_FOR_REWORK), "roll_back"
    run.go()
    stop(run)
    run.go()
    assert run.torn_down() == TEARDOWNS
    assert run.states()[Step.CLOSE_ISSUE] == "skipped"


@pytest.mark.parametrize("failed", sorted(TEARDOWNS))
def test_the_issue_is_closed_whatever_became_of_the_teardown(run: SimulatedRun, failed: Step) -> None:
    run.open, run.ends = set(GATES), {failed: "failed"}
    run.go()
    assert run.states()[Step.CLOSE_ISSUE] == "success"


def test_a_failed_rollback_is_still_told_and_waits(run: SimulatedRun) -> None:
    run.open, run.verdict = all_but(Step.WAIT_FOR_REWORK), "roll_back"
    run.ends = {Step.DEPLOY_ROLLBACK: "failed", Step.NOTIFY_ROLLBACK: "failed"}
    run.go()
    assert Step.NOTIFY_ROLLBACK in run.order
    assert run.parked() == {Step.WAIT_FOR_REWORK}


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_run_ended_by_hand_is_over_once_its_teardown_was_refused(run: SimulatedRun, state: str) -> None:
    """Its feature is under way: nothing alive is torn down. Until then Airflow only says that it runs."""
    from airflow.api.common import mark_tasks  # noqa: PLC0415 - as above
    from airflow.models.serialized_dag import SerializedDagModel  # noqa: PLC0415

    from feature_delivery.web.transaction import begin, session  # noqa: PLC0415

    run.open = all_but(Step.WAIT_FOR_ACCEPTANCE)
    run.go()
    assert run.parked() == {Step.WAIT_FOR_ACCEPTANCE}
    with session() as opened:
        dag = SerializedDagModel.get_dag(run.dag.dag_id, session=opened)
        mark = getattr(mark_tasks, f"set_dag_run_state_to_{state}")
        mark(dag=dag, run_id=run.ref.run_id, commit=True, session=opened)
    with begin() as unit:
        assert unit.runs.end(run.ref) is None
    run.ends = dict.fromkeys(TEARDOWNS, "failed")
    run.go()
    with begin() as unit:
        end = unit.runs.end(run.ref)
        assert unit.runs.ended(run.ref.project, [run.ref.run_id, "SHOP-2"]) == [run.ref.run_id]
    assert end is not None
    assert end.state == run.run_state()
    assert not run.parked()


def test_a_run_that_carries_no_feature_ends_as_failed(run: SimulatedRun) -> None:
    refused = {*GATES, *SETUPS, *TEARDOWNS, Step.REGISTER_FEATURE, Step.CLOSE_ISSUE}
    run.ends = dict.fromkeys(refused, "failed")
    run.go()
    assert run.run_state() == "failed"
