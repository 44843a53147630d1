"""A run of a real DAG through Airflow's own scheduling rules, without processes: tasks end as the test says."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import GATES, TEARDOWNS, Step
from feature_delivery.ports.runs import RunRef

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk import DAG
    from sqlalchemy.orm import Session

PARKED = "awaiting_input"


@dataclass
class SimulatedRun:
    """One run; ``ends`` says how a step ends, success by default, and gates park unless they are ``open``."""

    dag: DAG
    project: ProjectName
    ends: dict[Step, str] = field(default_factory=dict)
    open: set[Step] = field(default_factory=set)
    verdict: str = "keep"
    order: list[Step] = field(default_factory=list)

    @property
    def ref(self) -> RunRef:
        return RunRef(self.project, "SHOP-1")

    def start(self) -> None:
        from feature_delivery.web.transaction import begin, session
        from tests.support.airflow import store_dag

        with session() as opened:
            store_dag(opened, self.dag.dag_id, self.dag)
        with begin() as unit:
            unit.runs.start(self.ref, conf={"feature": "SHOP-1"}, note="")

    def go(self, *, rounds: int = 200) -> None:
        """Schedule and end tasks until nothing more happens."""
        from feature_delivery.web.transaction import session

        before: dict[Step, str] = {}
        for _ in range(rounds):
            with session() as opened:
                busy = self._round(opened)
            states = self.states()
            if not busy and states == before:
                return
            before = states
        raise AssertionError("the run does not come to rest")

    def _round(self, session: Session) -> bool:
        from airflow.models.dagrun import DagRun
        from airflow.models.serialized_dag import SerializedDagModel

        run = session.scalars(select(DagRun).where(DagRun.run_id == "SHOP-1")).one()
        run.dag = SerializedDagModel.get_dag(self.dag.dag_id, session=session)
        run._state = "running"
        before = run.state
        ready, _callback = run.update_state(session=session, execute_callbacks=False)
        for instance in ready:
            self._end(session, instance)
        session.flush()
        return bool(ready) and run.state == before

    def _end(self, session: Session, instance: TaskInstance) -> None:
        step = Step(instance.task_id)
        self.order.append(step)
        state = self.ends.get(step) or (PARKED if step in GATES and step not in self.open else "success")
        instance.state, instance.try_number = state, instance.try_number + 1
        session.flush()
        if step is Step.DECIDE_ROLLBACK and state == "success":
            self._branch(session)

    def _branch(self, session: Session) -> None:
        """Do what ``SkipMixin.skip_all_except`` and the server do with what the branch operator returns."""
        from airflow.models.taskinstance import TaskInstance
        from sqlalchemy import update

        from feature_delivery.orchestration.operators import followed

        follow = set(followed(self.verdict))
        for task in list(follow):
            follow |= self.dag.get_task(task).get_flat_relative_ids(upstream=False)
        skipped = self.dag.get_task(Step.DECIDE_ROLLBACK.value).downstream_task_ids - follow
        session.execute(
            update(TaskInstance).where(TaskInstance.task_id.in_(skipped)).values(state="skipped"),
            execution_options={"synchronize_session": "fetch"},
        )

    def states(self) -> dict[Step, str]:
        from feature_delivery.web.transaction import begin

        with begin() as unit:
            return unit.runs.states(self.ref)

    def run_state(self) -> str:
        from airflow.models.dagrun import DagRun

        from feature_delivery.web.transaction import session

        with session() as opened:
            return str(opened.scalar(select(DagRun._state).where(DagRun.run_id == "SHOP-1")))

    def parked(self) -> set[Step]:
        return {step for step, state in self.states().items() if state == PARKED}

    def torn_down(self) -> set[Step]:
        return {step for step, state in self.states().items() if step in TEARDOWNS and state == "success"}
