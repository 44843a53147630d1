"""Which runs are on the shelf although they have something to run, and which wait off the shelf.

People clear and mark tasks in Airflow's pages, processes die between opening a gate and parking at it: the shelf is put
right by looking at what is there, never by trusting that every event was seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import and_, case, exists, or_, select
from sqlalchemy.orm import aliased

from feature_delivery.domain.process import GATES, ORDER
from feature_delivery.domain.records import now

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

_ON_ITS_WAY = (TaskInstanceState.SCHEDULED, TaskInstanceState.QUEUED, TaskInstanceState.RUNNING)
_TO_RUN = (
    TaskInstanceState.SCHEDULED,
    TaskInstanceState.QUEUED,
    TaskInstanceState.RESTARTING,
    TaskInstanceState.UP_FOR_RETRY,
    TaskInstanceState.UP_FOR_RESCHEDULE,
)
_GATES = tuple(step.value for step in GATES)


def _place(instance: Any) -> ColumnElement[int]:
    return case({step.value: place for step, place in ORDER.items()}, value=instance.task_id, else_=-1)


def _same_run(instance: Any) -> ColumnElement[bool]:
    return and_(instance.dag_id == DagRun.dag_id, instance.run_id == DagRun.run_id)


def _parked(gate: Any) -> ColumnElement[bool]:
    return and_(_same_run(gate), gate.state == TaskInstanceState.AWAITING_INPUT)


def _work_before(gate: Any) -> ColumnElement[bool]:
    """Something before the parked gate was cleared: it can only have been by hand."""
    other = aliased(TaskInstance)
    to_run = or_(other.state.in_(_TO_RUN), and_(other.state.is_(None), _place(other) < _place(gate)))
    # By the gate, not by the run: two levels down SQLAlchemy would not correlate that one, and look at any run at all.
    return exists().where(other.dag_id == gate.dag_id, other.run_id == gate.run_id, to_run)


def on_the_shelf(session: Session, dag_ids: Iterable[str], *, run_id: str | None = None) -> list[tuple[str, str]]:
    """Return dag and run ids of shelved runs that must not be on the shelf.

    A run whose gate is on its way to parking is left alone: it was shelved a moment ago.
    """
    parking, waiting, gate = aliased(TaskInstance), aliased(TaskInstance), aliased(TaskInstance)
    on_its_way = exists().where(_same_run(parking), parking.state.in_(_ON_ITS_WAY), parking.task_id.in_(_GATES))
    nobody_waits = and_(~exists().where(_parked(waiting)), ~on_its_way)
    has_work = exists().where(_parked(gate), _work_before(gate))
    query = (
        select(DagRun.dag_id, DagRun.run_id)
        .where(
            DagRun.dag_id.in_(list(dag_ids)),
            DagRun.state.in_([DagRunState.RUNNING, DagRunState.QUEUED]),
            DagRun.run_after > now(),
            or_(nobody_waits, has_work),
        )
        .order_by(DagRun.id)
    )
    if run_id is not None:
        query = query.where(DagRun.run_id == run_id)
    session.flush()
    return [(row.dag_id, row.run_id) for row in session.execute(query)]


def off_the_shelf(session: Session, dag_ids: Iterable[str], *, run_id: str | None = None) -> list[tuple[str, str]]:
    """Return dag and run ids of runs that wait at a gate with nothing else to do, and are not on the shelf."""
    gate = aliased(TaskInstance)
    query = select(DagRun.dag_id, DagRun.run_id).where(
        DagRun.dag_id.in_(list(dag_ids)),
        DagRun.state == DagRunState.RUNNING,
        DagRun.run_after <= now(),
        exists().where(_parked(gate), gate.task_id.in_(_GATES), ~_work_before(gate)),
    )
    if run_id is not None:
        query = query.where(DagRun.run_id == run_id)
    session.flush()
    return [(row.dag_id, row.run_id) for row in session.execute(query)]
