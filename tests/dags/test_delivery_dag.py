"""The DAG against the process table, and the team's policy about tasks; messages name the task and what to change."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from feature_delivery.domain.people import DEFAULT_POLICIES
from feature_delivery.domain.process import CHECKS, GATES, ORDER, PROCESS, SETUPS, TEARDOWNS, Step

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

ROOT = Path(__file__).parents[2]
BUILD = "include/feature_delivery/orchestration/build.py"


def bag() -> DagBag:
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415 - after Airflow's environment

    return DagBag(str(ROOT / "dags"), bundle_path=ROOT / "dags", bundle_name="dags")


def test_every_dag_file_imports_and_each_project_has_its_dag(projects: Path) -> None:
    found = bag()
    assert found.import_errors == {}
    assert set(found.dags) == {"feature_delivery_shop", "feature_delivery_housekeeping"}


def test_a_broken_project_file_is_an_import_error_that_names_it_and_takes_nobody_down(projects: Path) -> None:
    (projects / "broken.yaml").write_text("name: broken\nrepository: [")
    (projects / "twin.yaml").write_text((projects / "shop.yaml").read_text())
    found = bag()
    assert set(found.dags) == {"feature_delivery_shop", "feature_delivery_housekeeping"}
    assert set(found.import_errors) == {"broken_projects.py"}
    assert "'broken.yaml' is no valid YAML" in found.import_errors["broken_projects.py"]
    assert "Two files in 'projects' name the project 'shop'" in found.import_errors["broken_projects.py"]


def test_without_projects_there_is_housekeeping_only(projects: Path) -> None:
    (projects / "shop.yaml").unlink()
    found = bag()
    assert found.import_errors == {}
    assert set(found.dags) == {"feature_delivery_housekeeping"}


def test_the_tasks_are_the_steps_of_the_process(dag: DAG) -> None:
    assert set(dag.task_ids) == {step.value for step in Step}


def test_the_order_of_the_tasks_is_the_order_of_the_process(dag: DAG) -> None:
    for task in dag.tasks:
        for upstream in task.upstream_task_ids:
            assert ORDER[Step(upstream)] < ORDER[Step(task.task_id)], (
                f"{task.task_id} comes before {upstream} in domain/process.py but after it in {BUILD}"
            )


def test_every_step_but_the_first_has_something_before_it(dag: DAG) -> None:
    without = {task.task_id for task in dag.tasks if not task.upstream_task_ids}
    assert without == {Step.REGISTER_FEATURE.value}, f"connect {without} in WAY of {BUILD}"


def test_a_gate_is_never_parallel_to_other_work(dag: DAG) -> None:
    for gate in GATES - {Step.WAIT_FOR_DEMONSTRATION}:
        task = dag.get_task(gate.value)
        related = task.get_flat_relative_ids(upstream=True) | task.get_flat_relative_ids(upstream=False) | {gate.value}
        assert related == set(dag.task_ids), (
            f"{gate} shelves its run: {set(dag.task_ids) - related} must not run beside"
        )


def test_the_checks_run_in_parallel_after_the_deploy(dag: DAG) -> None:
    for check in CHECKS:
        task = dag.get_task(check.value)
        assert task.upstream_task_ids == {Step.DEPLOY_DEVELOPMENT.value}
        assert task.downstream_task_ids == {Step.WAIT_FOR_MERGE_REQUEST.value}


@pytest.mark.parametrize("gate", sorted(GATES))
def test_a_gate_runs_after_failures_and_not_after_skips(dag: DAG, gate: Step) -> None:
    from feature_delivery.orchestration.gates import ApprovalSensor, FlagSensor  # noqa: PLC0415

    task = dag.get_task(gate.value)
    assert isinstance(task, ApprovalSensor if gate in DEFAULT_POLICIES else FlagSensor)
    assert task.trigger_rule == "none_skipped", f"{gate} must park a run whose steps failed: TRIGGER_RULES in {BUILD}"


def test_direct_children_of_a_setup_need_its_success(dag: DAG) -> None:
    for setup in SETUPS:
        task = dag.get_task(setup.value)
        assert task.is_setup
        for child in task.downstream_list:
            assert child.is_teardown or child.trigger_rule == "all_success", child.task_id


def test_every_environment_has_a_teardown_that_waits_for_all_that_uses_it(dag: DAG) -> None:
    for setup, teardown in (
        (Step.RESERVE_DEVELOPMENT, Step.DESTROY_DEVELOPMENT),
        (Step.RESERVE_PREPROD, Step.DESTROY_PREPROD),
    ):
        task = dag.get_task(teardown.value)
        assert task.is_teardown
        assert setup.value in task.upstream_task_ids, f"{teardown} is not the teardown of {setup}: SCOPES in {BUILD}"
        inside = dag.get_task(setup.value).get_flat_relative_ids(upstream=False)
        assert Step.WAIT_FOR_REWORK.value in inside & task.get_flat_relative_ids(upstream=True)


def test_teardowns_are_the_steps_that_say_so(dag: DAG) -> None:
    assert {Step(task.task_id) for task in dag.tasks if task.is_teardown} == TEARDOWNS
    assert {Step(task.task_id) for task in dag.tasks if task.is_setup} == SETUPS


def test_the_verdict_follows_promotion_whatever_failed(dag: DAG) -> None:
    verdict = dag.get_task(Step.WAIT_FOR_VERDICT.value)
    assert Step.PROMOTE.value in verdict.get_flat_relative_ids(upstream=True)
    assert dag.get_task(Step.DECIDE_ROLLBACK.value).upstream_task_ids == {Step.WAIT_FOR_VERDICT.value}


@pytest.mark.parametrize("verdict", ["keep", "roll_back"])
def test_each_verdict_leads_to_tasks_right_after_the_decision(dag: DAG, verdict: str) -> None:
    from feature_delivery.orchestration.operators import followed  # noqa: PLC0415

    assert set(followed(verdict)) <= dag.get_task(Step.DECIDE_ROLLBACK.value).downstream_task_ids


@pytest.mark.parametrize("step", list(Step))
def test_every_task_has_limits_retries_and_a_page(dag: DAG, step: Step) -> None:
    task = dag.get_task(step.value)
    assert task.execution_timeout, f"{step} has no time limit: TIME_LIMITS in {BUILD}"
    assert task.retries > 0, f"{step} is not tried again: retry_arguments in orchestration/operators.py"
    assert task.retry_policy is not None
    assert task.retry_delay < task.max_retry_delay <= timedelta(minutes=5)
    assert task.doc_md, f"{step} has no page: orchestration/docs.py"
    assert not task.do_xcom_push, f"{step} writes an XCom: what decides is in the ledger"


def test_errors_decide_about_retries(dag: DAG) -> None:
    from airflow.sdk import RetryAction  # noqa: PLC0415 - after Airflow's environment
    from airflow.sdk.exceptions import AirflowTaskTimeout  # noqa: PLC0415

    from feature_delivery.domain import errors  # noqa: PLC0415

    policy = dag.get_task(Step.PROMOTE.value).retry_policy
    actions = {
        errors.Unavailable: RetryAction.RETRY,
        errors.RateLimited: RetryAction.RETRY,
        errors.Refused: RetryAction.FAIL,
        errors.Conflict: RetryAction.FAIL,
        errors.NotFound: RetryAction.FAIL,
        errors.Misconfigured: RetryAction.FAIL,
        AirflowTaskTimeout: RetryAction.FAIL,
        KeyError: RetryAction.DEFAULT,
    }
    for error, action in actions.items():
        assert policy.evaluate(error("x"), try_number=1, max_tries=3).action is action, error


def test_the_dag_waits_for_nobody_but_people(dag: DAG) -> None:
    assert dag.max_active_runs >= 2000, "features at gates are active runs"
    assert not dag.catchup
    assert dag.dagrun_timeout is None, "a feature may wait for weeks"
    assert "feature-delivery" in dag.tags
    assert "shop" in dag.tags


def test_the_page_of_the_dag_is_the_process_table(dag: DAG) -> None:
    for row in PROCESS:
        assert f"| {row.number} | {', '.join(row.who)} | {row.title} |" in (dag.doc_md or "")


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("feature", "SHOP-1", True),
        ("feature", None, False),
        ("feature", "shop-1; rm -rf /", False),
        ("title", None, True),
        ("title", "x" * 301, False),
        ("branch", "", True),
        ("branch", "feature/SHOP-1-cards", True),
        ("branch", "../../etc", False),
        ("branch", "$(id)", False),
        ("commit", "", True),
        ("commit", "a" * 40, True),
        ("commit", "HEAD", False),
    ],
)
def test_the_trigger_form_takes_what_can_be_delivered(dag: DAG, field: str, value: str | None, *, fits: bool) -> None:
    from airflow.sdk.exceptions import ParamValidationError  # noqa: PLC0415 - after Airflow's environment

    param = dag.params.get_param(field)
    if fits:
        assert param.resolve(value) == value
    else:
        with pytest.raises(ParamValidationError):
            param.resolve(value)


def test_every_field_of_the_form_is_explained_and_known_to_the_control_plane(dag: DAG) -> None:
    from feature_delivery.services.control.start import Start  # noqa: PLC0415

    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema.get("title"), name
        assert param.description or param.schema.get("description_md"), name
    known = {{"key": "feature", "by": "started_by"}.get(name, name) for name in Start.__slots__}
    assert set(dag.params) == known


def test_tasks_of_local_shops_and_their_housekeeping_go_to_the_one_worker_that_has_the_shops(projects: Path) -> None:
    for dag in bag().dags.values():
        assert {task.queue for task in dag.tasks} == {"feature_delivery_local"}, dag.dag_id
    for file in projects.glob("*.yaml"):
        file.unlink()
    assert {task.queue for task in bag().dags["feature_delivery_housekeeping"].tasks} == {"default"}


def test_housekeeping_comes_every_minute_and_never_twice_at_once(projects: Path) -> None:
    dag = bag().dags["feature_delivery_housekeeping"]
    assert dag.schedule == timedelta(minutes=1)
    assert dag.max_active_runs == 1
    assert not dag.catchup
