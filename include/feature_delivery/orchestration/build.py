"""The DAG of a project, made from the process table."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, TaskGroup, TriggerRule
from airflow.sdk.definitions.param import ParamsDict

from feature_delivery.domain.names import BRANCH_PATTERN, KEY_PATTERN
from feature_delivery.domain.people import DEFAULT_POLICIES
from feature_delivery.domain.process import CHECKS, GATES, ORDER, SETUPS, TEARDOWNS, Step
from feature_delivery.domain.project import LOCAL_QUEUE
from feature_delivery.orchestration.cluster_operators import WAITING, ClusterStepOperator
from feature_delivery.orchestration.docs import dag_doc, task_doc
from feature_delivery.orchestration.gates import ApprovalSensor, FlagSensor
from feature_delivery.orchestration.operators import (
    DecideRollbackOperator,
    ObserveOperator,
    ReserveOperator,
    StepOperator,
    retry_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import BaseOperator

    from feature_delivery.domain.project import ProjectConfig

MAX_ACTIVE_RUNS = 2000
"""A feature at a gate is an active run; Airflow's default of 16 would make the 17th feature wait for no reason."""

MINUTES = timedelta(minutes=1)

# Suites and installs have time limits of their own, set by the shop; these here are for what hangs all the same.
TIME_LIMITS: dict[Step, timedelta] = {
    **dict.fromkeys(Step, 15 * MINUTES),
    **dict.fromkeys((s for s in Step if s.value.endswith((".deploy", ".provision"))), 120 * MINUTES),
    **dict.fromkeys(
        (*CHECKS, Step.TEST_PREPROD, Step.TEST_LOAD, Step.TEST_PRODUCTION, Step.TEST_ROLLBACK), 25 * 60 * MINUTES
    ),
    **dict.fromkeys((Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD, Step.RELEASE_PREPROD), 30 * MINUTES),
    Step.REFRESH_CANDIDATE: 27 * 60 * MINUTES,
}

TRIGGER_RULES: dict[Step, TriggerRule] = {
    # A failed step parks its run at the next gate, which says what failed; a skipped one means that the run is over.
    **dict.fromkeys((*GATES, *SETUPS, Step.NOTIFY_ROLLBACK), TriggerRule.NONE_SKIPPED),
    # Whatever became of the teardown, what shipped has shipped; a run that was given up has this one skipped with it.
    Step.CLOSE_ISSUE: TriggerRule.ALL_DONE,
}

WAY: tuple[Step | tuple[Step, ...], ...] = (
    Step.REGISTER_FEATURE,
    Step.WAIT_FOR_START,
    Step.CREATE_BRANCH,
    Step.RESERVE_DEVELOPMENT,
    Step.PROVISION_DEVELOPMENT,
    Step.WAIT_FOR_CODE,
    Step.DEPLOY_DEVELOPMENT,
    (Step.CHECK_SYNTAX, Step.CHECK_UNIT, Step.CHECK_FUNCTIONAL),
    Step.WAIT_FOR_MERGE_REQUEST,
    Step.NOTIFY_REVIEWERS,
    Step.WAIT_FOR_REVIEW,
    Step.BUILD_CANDIDATE,
    Step.RESERVE_PREPROD,
    Step.PROVISION_PREPROD,
    Step.DEPLOY_PREPROD,
    Step.TEST_PREPROD,
    Step.TEST_LOAD,
    Step.NOTIFY_TESTERS,
    Step.WAIT_FOR_ACCEPTANCE,
    Step.NOTIFY_MANAGER,
    Step.WAIT_FOR_CONFIRMATION,
    Step.WAIT_FOR_TURN,
    Step.REFRESH_CANDIDATE,
    Step.PROMOTE,
    Step.DEPLOY_PRODUCTION,
    Step.TEST_PRODUCTION,
    Step.OBSERVE_PRODUCTION,
    Step.WAIT_FOR_VERDICT,
    Step.DECIDE_ROLLBACK,
    Step.RESTORE_BRANCH,
    Step.DEPLOY_ROLLBACK,
    Step.TEST_ROLLBACK,
    Step.NOTIFY_ROLLBACK,
    Step.RELEASE_PREPROD,
    Step.WAIT_FOR_REWORK,
    (Step.DELETE_BRANCHES, Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD),
    Step.CLOSE_ISSUE,
    Step.WAIT_FOR_DEMONSTRATION,
)
"""The order of the tasks, gate after gate; what is in brackets runs in parallel."""

ROLLBACK: tuple[Step, ...] = tuple(
    step for step in Step if ORDER[Step.RESTORE_BRANCH] < ORDER[step] <= ORDER[Step.WAIT_FOR_REWORK]
)
"""What follows the first step of a rollback."""

SCOPES: dict[Step, Step] = {
    Step.RESERVE_DEVELOPMENT: Step.DESTROY_DEVELOPMENT,
    Step.RESERVE_PREPROD: Step.DESTROY_PREPROD,
}
"""Each setup with its teardown: the teardown runs whenever the setup has, and waits for everything in between."""


def build_dag(project: ProjectConfig) -> DAG:
    """Return the DAG that delivers the features of ``project``, one run each."""
    with DAG(
        project.dag_id,
        dag_display_name=f"Feature delivery: {project.title or project.name}",
        description=f"Carries one feature of {project.title or project.name} from issue to production.",
        schedule=None,
        catchup=False,
        max_active_runs=MAX_ACTIVE_RUNS,
        is_paused_upon_creation=False,
        # A delivery goes on with the DAG file it began with, whatever is cleared and whatever Airflow's own default is.
        rerun_with_latest_version=False,
        tags=["feature-delivery", project.name],
        doc_md=dag_doc(project),
    ) as dag:
        tasks = _tasks(project)
    _connect(tasks)
    # Not before: every task would copy them, deep, which took longer than all the rest of this file.
    dag.params = ParamsDict(params())
    return dag


def params() -> dict[str, Param]:
    """Return the fields of Airflow's trigger form; the control plane's own starts fill in the same ones."""
    optional = ["null", "string"]
    return {
        "feature": Param(
            None,
            type="string",
            pattern=KEY_PATTERN,
            title="Feature",
            description_md="Key of the issue, like `SHOP-123`. A feature that is under delivery is not started again.",
        ),
        "title": Param(
            None, type=optional, maxLength=300, title="Title", description="What the feature is, in a line."
        ),
        "description": Param(
            None, type=optional, format="multiline", title="Description", description="Goes into a new issue."
        ),
        "requester": Param(None, type=optional, maxLength=80, title="Requester", description="Who asked for it."),
        "branch": Param(
            None,
            type=optional,
            pattern=f"^$|{BRANCH_PATTERN}",
            title="Branch",
            description="Its branch, when it is not to be found by its name.",
        ),
        "commit": Param(
            None,
            type=optional,
            pattern="^$|^[0-9a-f]{40}([0-9a-f]{24})?$",
            title="Commit",
            description="Where a new branch begins; production's head by default.",
        ),
        "started_by": Param(None, type=optional, maxLength=80, title="Started by", description="Who starts it."),
    }


def _tasks(project: ProjectConfig) -> dict[Step, BaseOperator]:
    """Make every task in its group; groups are what the words of a step's name before the last one say."""
    groups: dict[str, TaskGroup] = {}
    return {step: _task(project, step, _group(step.value.rpartition(".")[0], groups)) for step in Step}


def _group(name: str, groups: dict[str, TaskGroup]) -> TaskGroup:
    if name not in groups:
        outer, _, label = name.rpartition(".")
        parent = _group(outer, groups) if outer else None
        groups[name] = TaskGroup(group_id=label, parent_group=parent)
    return groups[name]


def _task(project: ProjectConfig, step: Step, group: TaskGroup) -> BaseOperator:
    arguments: dict[str, Any] = {
        "task_id": step.value.rpartition(".")[2],
        "task_group": group,
        "project": project.name,
        "execution_timeout": _time_limit(project, step),
        "trigger_rule": TRIGGER_RULES.get(step, TriggerRule.ALL_SUCCESS),
        "doc_md": task_doc(project, step),
        # Results go to the ledger; what is in XCom decides nothing, so nothing is put there.
        "do_xcom_push": False,
        **retry_arguments(),
        **queue_arguments([project]),
    }
    if step is Step.DECIDE_ROLLBACK:
        return DecideRollbackOperator(**arguments)
    if step in GATES:
        kind = ApprovalSensor if step in DEFAULT_POLICIES else FlagSensor
        return kind(step=step, **arguments)
    if step in SETUPS:
        return ReserveOperator(step=step, **arguments).as_setup()
    if step in TEARDOWNS:
        del arguments["trigger_rule"]
        return StepOperator(step=step, **arguments).as_teardown()
    if step is Step.OBSERVE_PRODUCTION:
        return ObserveOperator(step=step, window=project.choices.observe_for, **arguments)
    if project.platform != "local" and step in WAITING:
        return ClusterStepOperator(step=step, **arguments)
    return StepOperator(step=step, **arguments)


def queue_arguments(projects: Iterable[ProjectConfig]) -> dict[str, str]:
    """Return the operator's ``queue`` where a task touches the machine of local shops; else Airflow's default holds."""
    return {"queue": LOCAL_QUEUE} if any(each.platform == "local" for each in projects) else {}


def _time_limit(project: ProjectConfig, step: Step) -> timedelta:
    watch = project.choices.observe_for if step is Step.OBSERVE_PRODUCTION else timedelta()
    return TIME_LIMITS[step] + watch


def _connect(tasks: dict[Step, BaseOperator]) -> None:
    way = [place if isinstance(place, tuple) else (place,) for place in WAY]
    for before, after in pairwise(way):
        for upstream in before:
            for downstream in after:
                tasks[upstream].set_downstream(tasks[downstream])
    # The two ways out of the verdict: back, or to the end. The decision names the steps of the other way itself, so
    # that they are skipped at once: one after another would take the scheduler a loop each.
    for step in (*ROLLBACK, *sorted(TEARDOWNS), Step.CLOSE_ISSUE):
        tasks[Step.DECIDE_ROLLBACK].set_downstream(tasks[step])
    for setup, teardown in SCOPES.items():
        tasks[setup].set_downstream(tasks[teardown])
