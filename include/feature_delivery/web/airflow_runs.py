"""``Runs`` on Airflow's own tables: everything the control plane does to a run, inside the ledger's transaction.

Airflow's REST API would do the same in transactions of its own; then a gate could be resolved and its task left
parked, or the other way round. Lock order, as Airflow's: dag run, task instance, human-in-the-loop row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.trigger import handle_event_submit
from airflow.sdk.exceptions import ParamValidationError
from airflow.triggers.base import TaskSuccessEvent
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete, or_, select, update

from feature_delivery.domain.errors import NotFound, Refused, Unavailable
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import SETUPS, TEARDOWNS, Step
from feature_delivery.domain.project import HOUSEKEEPING
from feature_delivery.domain.proofs import opens
from feature_delivery.domain.records import now
from feature_delivery.ports.runs import RunEnd, RunRef, TaskRef
from feature_delivery.services.control.status import TaskTimes
from feature_delivery.web import stranded

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from feature_delivery.ports.ledger import Books

_STEPS = frozenset(step.value for step in Step)
_KINDS = {Step.RESERVE_DEVELOPMENT: "development", Step.RESERVE_PREPROD: "preprod"}
_dags = DBDagBag(load_op_links=False)
"""Read once per version; it looks by itself whether a version has changed."""


def dag_id(project: ProjectName) -> str:
    """Return the DAG that delivers a project's features (``ProjectConfig.dag_id``)."""
    return f"feature_delivery_{project}"


class AirflowRuns:
    """``Runs`` on a session of Airflow's metadata database; whoever opened the session ends it."""

    def __init__(self, session: Session, books: Books) -> None:
        """``books`` work on the same session: a feature remembers its run's place in time while it is shelved."""
        self._session = session
        self._books = books

    def lock(self, run: RunRef) -> bool:
        """Lock the run for this transaction; ``False`` when there is none."""
        self._session.flush()
        query = select(DagRun.id).where(*_is(DagRun, run)).with_for_update(of=DagRun)
        return self._session.scalar(query) is not None

    def start(self, run: RunRef, *, conf: Mapping[str, object], note: str) -> None:
        """Create the run; it must not exist.

        Not by ``trigger_dag``, which looks for duplicates in a second session: with every connection of the pool
        waiting for a project's lock, the holder of the lock would wait for a connection.

        Raises:
            Unavailable: Airflow has not read the project's DAG yet.
            Refused: The conf is not what the DAG's params allow.
        """
        dag = _dags.get_latest_version_of_dag(dag_id(run.project), session=self._session)
        if dag is None:
            raise Unavailable(
                f"Airflow has no DAG {dag_id(run.project)!r} yet. Wait until the DAG processor has read the project "
                "file, or look at its import errors."
            )
        self._session.flush()
        try:
            dag.create_dagrun(
                run_id=run.run_id,
                run_after=now(),
                conf=dict(conf),
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.REST_API,
                triggering_user_name=str(conf.get("started_by") or "") or None,
                state=DagRunState.QUEUED,
                note=note,
                session=self._session,
            )
        except (ParamValidationError, ValueError) as error:
            raise Refused(f"Could not start {run.run_id}: {' '.join(str(error).split())[:300]}.") from error
        self._session.flush()

    def conf(self, run: RunRef) -> Mapping[str, object]:
        """Return what the run was started with."""
        return self._session.scalar(select(DagRun.conf).where(*_is(DagRun, run))) or {}

    def is_running(self, task: TaskRef) -> bool:
        """Say whether exactly this try of this task is running now."""
        return self._is(task, TaskInstanceState.RUNNING)

    def is_deferred(self, task: TaskRef) -> bool:
        """Say whether exactly this try of this task waits as a trigger now."""
        return self._is(task, TaskInstanceState.DEFERRED)

    def _is(self, task: TaskRef, state: TaskInstanceState) -> bool:
        instance = _uuid(task.task_instance)
        if instance is None:
            return False
        self._session.flush()
        query = select(TaskInstance.id).where(
            TaskInstance.id == instance,
            *_is(TaskInstance, task.run),
            TaskInstance.task_id == task.step.value,
            TaskInstance.try_number == task.try_number,
            TaskInstance.state == state,
        )
        return self._session.scalar(query) is not None

    def proves(self, task_instance: str, secret: str) -> bool:
        """Say whether whoever knows ``secret`` is the task instance of that id, which may have been cleared since."""
        instance = _uuid(task_instance)
        if instance is None:
            return False
        now_there = select(TaskInstance._rendered_map_index).where(TaskInstance.id == instance)  # noqa: SLF001
        found = self._session.scalar(now_there)
        if found is None:
            history = TaskInstanceHistory
            query = select(history.rendered_map_index).where(history.task_instance_id == instance)
            found = self._session.scalar(query)
        return opens(secret, str(found or ""))

    def is_alive(self, task_instance: str, *, project: ProjectName | None = None) -> bool:
        """Say whether a task instance of that id is running: of the project's DAG, of housekeeping when none is named.

        The token alone opens nothing, and neither does a task of somebody else's DAG that has got hold of it.
        """
        instance = _uuid(task_instance)
        query = select(TaskInstance.dag_id).where(
            TaskInstance.id == instance, TaskInstance.state == TaskInstanceState.RUNNING
        )
        found = self._session.scalar(query) if instance is not None else None
        return found is not None and found == (HOUSEKEEPING if project is None else dag_id(project))

    def states(self, run: RunRef) -> dict[Step, str]:
        """Return the state of every task of the run; ``none`` before its turn."""
        self._session.flush()
        query = select(TaskInstance.task_id, TaskInstance.state).where(
            *_is(TaskInstance, run), TaskInstance.task_id.in_(_STEPS)
        )
        return {Step(task): str(state or "none") for task, state in self._session.execute(query)}

    def end(self, run: RunRef) -> RunEnd | None:
        """See ``Runs.end``."""
        self._session.flush()
        found = self._session.execute(_ended().where(*_is(DagRun, run))).one_or_none()
        return RunEnd(str(found.state), found.end_date or found.queued_at) if found is not None else None

    def ended(self, project: ProjectName, run_ids: Collection[str]) -> list[str]:
        """Return those of ``run_ids`` that have ended."""
        which = (DagRun.dag_id == dag_id(project), DagRun.run_id.in_(run_ids))
        return [row.run_id for row in self._session.execute(_ended().where(*which).order_by(DagRun.id))]

    def parked(self, projects: Collection[ProjectName]) -> dict[RunRef, frozenset[Step]]:
        """See ``Runs.parked``."""
        ids = {dag_id(project): project for project in projects}
        t, found = TaskInstance, defaultdict[RunRef, set[Step]](set)
        query = select(t.dag_id, t.run_id, t.task_id).where(
            t.dag_id.in_(ids), t.state == TaskInstanceState.AWAITING_INPUT, t.task_id.in_(_STEPS)
        )
        self._session.flush()
        for dag, run, task in self._session.execute(query):
            found[RunRef(ids[dag], run)].add(Step(task))
        return {run: frozenset(steps) for run, steps in found.items()}

    def missing(self, project: ProjectName, run_ids: Collection[str]) -> list[str]:
        """Return those of ``run_ids`` that there is no run of."""
        which = (DagRun.dag_id == dag_id(project), DagRun.run_id.in_(run_ids))
        there = set(self._session.scalars(select(DagRun.run_id).where(*which)))
        return [run_id for run_id in run_ids if run_id not in there]

    def tasks(self, run: RunRef) -> dict[Step, TaskTimes]:
        """Return what Airflow knows of every task of the run, for people."""
        t = TaskInstance
        query = select(t.task_id, t.state, t.start_date, t.end_date, t.try_number).where(
            *_is(t, run), t.task_id.in_(_STEPS)
        )
        return {
            Step(task): TaskTimes(state=str(state or "none"), started=started, ended=ended, try_number=tries)
            for task, state, started, ended, tries in self._session.execute(query)
        }

    def state(self, run: RunRef) -> str:
        """Return the state of the run itself, in Airflow's words; ``none`` when there is none."""
        return str(self._session.scalar(select(DagRun.state).where(*_is(DagRun, run))) or "none")

    def end_gate(self, run: RunRef, gate: Step) -> bool:
        """End the parked task of ``gate`` successfully; ``False`` when it is not parked (yet, or any more).

        Directly: resuming it the ordinary way right after it parked makes Airflow 3.3.2 fail it.
        """
        instance = self._instance(run, gate)
        if instance is None or instance.state != TaskInstanceState.AWAITING_INPUT:
            return False
        self.withdraw_question(str(instance.id))
        handle_event_submit(TaskSuccessEvent(), task_instance=instance, session=self._session)
        self._session.flush()
        return True

    def end_watch(self, run: RunRef) -> bool:
        """See ``Runs.end_watch``: the trigger is left without a task, which ends it."""
        instance = self._instance(run, Step.OBSERVE_PRODUCTION)
        if instance is None or instance.state != TaskInstanceState.DEFERRED:
            return False
        handle_event_submit(TaskSuccessEvent(), task_instance=instance, session=self._session)
        self._session.flush()
        return True

    def ask_people(self, run: RunRef, gate: Step, question: Mapping[str, Any], *, parked_before: datetime) -> bool:
        """Show ``question`` on Airflow's *Required Actions* page; ``False``: too early, or the task is not parked.

        One that is there unanswered says what is said now.

        ``parked_before``: an answer resumes the task the ordinary way, which is safe only when the executor's late
        word about the parking has been digested.
        """
        instance = self._instance(run, gate)
        if instance is None or instance.state != TaskInstanceState.AWAITING_INPUT:
            return False
        if instance.updated_at is None or instance.updated_at > parked_before:
            return False
        asked = self._session.get(HITLDetail, instance.id, populate_existing=True)
        if asked is None:
            self._session.add(HITLDetail(ti_id=instance.id, **question))
        elif asked.responded_at is None:
            asked.subject, asked.body = question["subject"], question["body"]
        self._session.flush()
        return True

    def answer_to(self, task_instance: str) -> dict[str, Any] | None:
        """Return what Airflow has kept of the answer to a task instance's question, in the words of its events.

        ``address``: where it came from. ``None``: nobody has answered, whatever the task says.
        """
        instance = _uuid(task_instance)
        asked = self._session.get(HITLDetail, instance, populate_existing=True) if instance is not None else None
        if asked is None or asked.responded_at is None or not isinstance(asked.responded_by, dict):
            return None
        return {
            "chosen_options": asked.chosen_options,
            "params_input": asked.params_input,
            "responded_by_user": asked.responded_by,
            "address": str(asked.responded_by.get("address", "")),
        }

    def started_by(self, run: RunRef) -> str:
        """Return the user who started the run in Airflow itself; empty when a program did (its command line)."""
        return str(self._session.scalar(select(DagRun.triggering_user_name).where(*_is(DagRun, run))) or "")

    def withdraw_question(self, task_instance: str) -> None:
        """Delete the question of a task instance, answered or not: an old answer must not wake a task that asks anew.

        Airflow itself hands the row on to the next try when somebody clears the task.
        """
        if (instance := _uuid(task_instance)) is not None:
            self._forget_questions([instance])

    def shelve(self, run: RunRef, *, until: datetime) -> None:
        """Hide the run from the scheduler, which examines only runs whose ``run_after`` is past."""
        feature = self._books.feature_of_run(run.project, run.run_id)
        at = self._session.scalar(select(DagRun.run_after).where(*_is(DagRun, run)))
        if feature is not None and feature.run_after is None and at is not None and at <= now():
            feature.run_after = at
        self._change(run, run_after=until)

    def unshelve(self, run: RunRef) -> None:
        """Show the run to the scheduler again, with the date it had before: pages sort by it."""
        query = select(DagRun.run_after, DagRun.queued_at).where(*_is(DagRun, run))
        found = self._session.execute(query).one_or_none()
        if found is None or found.run_after <= now():
            return
        feature = self._books.feature_of_run(run.project, run.run_id)
        before = feature.run_after if feature is not None else None
        self._change(run, run_after=before or found.queued_at or now())

    def rewind(self, run: RunRef, *, to: Step) -> None:
        """Clear ``to`` and everything after it, running tasks included, and unshelve.

        As Airflow's own clear: setups in scope come along. The run itself stays what it is (its dates are the
        feature's lead time); one that has ended runs again.
        """
        dag_run = self._session.scalar(select(DagRun).where(*_is(DagRun, run)))
        dag = _dags.get_dag_for_run(dag_run=dag_run, session=self._session) if dag_run is not None else None
        if dag_run is None or dag is None or not dag.has_task(to.value):
            raise NotFound(f"Could not rewind {run.run_id} to {to}: Airflow has no such task of {dag_id(run.project)}.")
        part = dag.partial_subset([to.value], include_downstream=True, include_upstream=False)
        instances = self._instances(run, TaskInstance.task_id.in_(part.task_dict), TaskInstance.state.is_not(None))
        if instances:
            clear_task_instances(instances, self._session, dag_run_state=False)
            self._forget_questions([instance.id for instance in instances])
        self._run_again(run)
        self.unshelve(run)

    def _run_again(self, run: RunRef) -> None:
        """Let a run that has ended go on; any other stays as it is."""
        if self.end(run) is not None:
            again = {"end_date": None, "last_scheduling_decision": None, "clear_number": DagRun.clear_number + 1}
            self._change(run, _state=DagRunState.RUNNING, **again)

    def stop(self, run: RunRef) -> None:
        """Skip everything unfinished, let teardown follow (again, if it had run), and unshelve.

        A setup that was cleared with an environment still alive is marked done instead: Airflow runs no teardown
        whose setup was skipped. The state of the run is left to the scheduler: failing it would end the teardown.
        """
        feature = self._books.feature_of_run(run.project, run.run_id)
        alive = {str(e.kind) for e in self._books.environments(feature=feature)} if feature is not None else set()
        keep = [step.value for step in TEARDOWNS]
        unfinished = or_(TaskInstance.state.is_(None), TaskInstance.state.in_(State.unfinished))
        instances = self._instances(run, TaskInstance.task_id.not_in(keep), unfinished)
        for instance in instances:
            reserved = any(instance.task_id == step and _KINDS[step] in alive for step in SETUPS)
            state = TaskInstanceState.SUCCESS if reserved else TaskInstanceState.SKIPPED
            instance.set_state(state, session=self._session)
        self._forget_questions([instance.id for instance in instances])
        self._session.flush()
        ended = self._instances(run, TaskInstance.task_id.in_(keep), TaskInstance.state.in_(State.finished))
        if ended:
            clear_task_instances(ended, self._session, dag_run_state=False)
            self._run_again(run)
        self.unshelve(run)

    def tear_down_again(self, run: RunRef) -> None:
        """See ``Runs.tear_down_again``."""
        failed = (TaskInstanceState.FAILED, TaskInstanceState.UPSTREAM_FAILED)
        which = (TaskInstance.task_id.in_([step.value for step in TEARDOWNS]), TaskInstance.state.in_(failed))
        if instances := self._instances(run, *which):
            clear_task_instances(instances, self._session, dag_run_state=False)
            self._run_again(run)
            self.unshelve(run)

    def unshelve_stranded(self, projects: Collection[ProjectName]) -> int:
        """Unshelve every shelved run of ``projects`` that has something to run, or nobody to wait for."""
        ids = {dag_id(project): project for project in projects}
        found = [RunRef(ids[dag], run) for dag, run in stranded.on_the_shelf(self._session, ids)]
        return sum(self.unshelve_if_stranded(run) for run in found)

    def unshelve_if_stranded(self, run: RunRef) -> bool:
        """Unshelve one run if it was left on the shelf; says whether it was."""
        if not self.lock(run):
            return False
        if not any(stranded.on_the_shelf(self._session, [dag_id(run.project)], run_id=run.run_id)):
            return False
        self.unshelve(run)
        return True

    def waiting_unshelved(self, projects: Collection[ProjectName]) -> list[RunRef]:
        """Return the runs that wait at a gate, with nothing else to do, while the scheduler looks at them in vain."""
        ids = {dag_id(project): project for project in projects}
        return [RunRef(ids[dag], run) for dag, run in stranded.off_the_shelf(self._session, ids)]

    def waits_unshelved(self, run: RunRef) -> bool:
        """Say whether one run does."""
        return bool(stranded.off_the_shelf(self._session, [dag_id(run.project)], run_id=run.run_id))

    def _instance(self, run: RunRef, step: Step) -> Any | None:
        found = self._instances(run, TaskInstance.task_id == step.value)
        return found[0] if found else None

    def _instances(self, run: RunRef, *which: ColumnElement[bool]) -> list[Any]:
        """Lock and read task instances as they are now."""
        self._session.flush()
        query = select(TaskInstance).where(*_is(TaskInstance, run), TaskInstance.map_index == -1, *which)
        query = query.order_by(TaskInstance.task_id).with_for_update(of=TaskInstance)
        return list(self._session.scalars(query, execution_options={"populate_existing": True}))

    def _forget_questions(self, instances: list[UUID]) -> None:
        self._session.flush()
        self._session.execute(
            delete(HITLDetail).where(HITLDetail.ti_id.in_(instances)).execution_options(synchronize_session="fetch")
        )

    def _change(self, run: RunRef, **values: Any) -> None:
        self._session.flush()
        change = update(DagRun).where(*_is(DagRun, run)).values(**values)
        self._session.execute(change.execution_options(synchronize_session=False))


def _is(table: Any, run: RunRef) -> tuple[ColumnElement[bool], ...]:
    return table.dag_id == dag_id(run.project), table.run_id == run.run_id


def _ended() -> Any:
    query = select(DagRun.run_id, DagRun.state, DagRun.end_date, DagRun.queued_at)
    return query.where(DagRun.state.in_(State.finished_dr_states))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
