"""How Airflow itself is: its parts, what waits for a worker, who takes tasks from Celery's queues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from airflow.jobs.dag_processor_job_runner import DagProcessorJobRunner
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.jobs.triggerer_job_runner import TriggererJobRunner
from airflow.models.errors import ParseImportError
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import TaskInstanceState
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feature_delivery.services.control.measures import PREFIX
from feature_delivery.web.queues import queues

PARTS = {"scheduler": SchedulerJobRunner, "triggerer": TriggererJobRunner, "dag_processor": DagProcessorJobRunner}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of Airflow that has run here: whether it counts as alive, and when its heart last beat."""

    name: str
    alive: bool
    beat: datetime | None


@dataclass(frozen=True, slots=True)
class Line:
    """Tasks of one queue that wait for a worker: how many, and since when the first one does."""

    queue: str
    tasks: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Health:
    """What Airflow's database knew at one moment."""

    parts: tuple[Part, ...]
    lines: tuple[Line, ...]
    broken_files: int


def health(opened: Session) -> Health:
    """Return what Airflow's own health page shows, and what waits for a worker, read in this session."""
    waiting = (
        select(TaskInstance.queue, func.count(), func.min(TaskInstance.queued_dttm))
        .where(TaskInstance.state == TaskInstanceState.QUEUED)
        .group_by(TaskInstance.queue)
    )
    return Health(
        parts=_parts(opened),
        lines=tuple(Line(queue or "", tasks, since) for queue, tasks, since in opened.execute(waiting)),
        broken_files=int(opened.scalar(select(func.count()).select_from(ParseImportError)) or 0),
    )


def _parts(opened: Session) -> tuple[Part, ...]:
    """Return the parts that have run here; no scheduler at all is a dead one."""
    found = []
    for name, runner in PARTS.items():
        job = runner.most_recent_job(session=opened)
        if job is not None:
            found.append(Part(name, bool(job.is_alive()), job.latest_heartbeat))
        elif name == "scheduler":
            found.append(Part(name, alive=False, beat=None))
    return tuple(found)


def figures(found: Health, at: datetime) -> Iterator[Metric]:
    """Return the figures of Airflow's health; a part that was never started (the embedded triggerer) has none."""
    up = GaugeMetricFamily(f"{PREFIX}airflow_up", "Whether a part of Airflow is healthy.", labels=["part"])
    age = GaugeMetricFamily(
        f"{PREFIX}airflow_heartbeat_age_seconds", "How long ago a part's heart beat.", labels=["part"]
    )
    up.add_metric(["metadatabase"], 1)  # it has just answered; else this page is an error and the scrape fails
    for part in found.parts:
        up.add_metric([part.name], part.alive)
        if part.beat is not None:
            age.add_metric([part.name], max((at - part.beat).total_seconds(), 0.0))
    takers = queues.workers()
    if queues.has_looked():
        up.add_metric(["broker"], takers is not None)
    yield up
    yield age
    workers = GaugeMetricFamily(f"{PREFIX}queue_workers", "Celery's workers that take a queue.", labels=["queue"])
    for queue, number in (takers or {}).items():
        workers.add_metric([queue], number)
    yield workers
    yield from _lines(found, at)
    yield GaugeMetricFamily(
        f"{PREFIX}airflow_import_errors", "DAG files that cannot be imported.", value=found.broken_files
    )


def _lines(found: Health, at: datetime) -> Iterator[Metric]:
    tasks = GaugeMetricFamily(f"{PREFIX}airflow_queued", "Tasks that wait for a worker.", labels=["queue"])
    oldest = GaugeMetricFamily(
        f"{PREFIX}airflow_queued_oldest_seconds", "How long the first of them has waited.", labels=["queue"]
    )
    for line in found.lines:
        tasks.add_metric([line.queue], line.tasks)
        if line.since is not None:
            oldest.add_metric([line.queue], max((at - line.since).total_seconds(), 0.0))
    yield tasks
    yield oldest
