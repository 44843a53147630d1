"""The last lines that a task has logged, for alerts: read the way Airflow's own pages read them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from airflow.models.taskinstance import TaskInstance
from airflow.utils.log.log_reader import TaskLogReader
from sqlalchemy import select

from feature_delivery.domain.process import Step
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.web.transaction import session

LINES = 12
READ_LIMIT = 20_000
"""Records of a log that are read at most: the end of a longer one is not looked for."""

_log = logging.getLogger(__name__)


def last_lines(project: ProjectConfig, run_id: str, step: Step) -> Sequence[str]:
    """Return the last lines of a step's newest try; none where the log cannot be had: an alert goes without."""
    try:
        return _last_lines(project, run_id, step)
    except Exception as error:  # noqa: BLE001 - where logs are kept is Airflow's business, and so is how that fails
        _log.warning("Could not read the log of %s of %s: %s", step, run_id, type(error).__name__)
        return ()


def _last_lines(project: ProjectConfig, run_id: str, step: Step) -> Sequence[str]:
    which = (
        TaskInstance.dag_id == project.dag_id,
        TaskInstance.run_id == run_id,
        TaskInstance.task_id == step.value,
        TaskInstance.map_index == -1,
    )
    with session() as opened:
        found = opened.scalar(select(TaskInstance).where(*which))
        if found is None:
            return ()
        tries = found.try_number
        # What the reader asks for after the session; the last of them where a worker has the log.
        _ = found.dag_run, found.rendered_map_index, found.triggerer_job
        opened.expunge(found)
    records, _metadata = TaskLogReader().read_log_chunks(found, tries, {})
    kept: deque[str] = deque(maxlen=LINES)
    for count, record in enumerate(records):
        if count >= READ_LIMIT:
            return ()
        kept.extend(_lines(record))
    return list(kept)


def _lines(record: Any) -> list[str]:
    """Return a record as lines: level and words, and where an exception came from."""
    said = str(getattr(record, "event", record))
    if said.startswith("::"):
        return []  # where Airflow's pages fold a log
    extra = getattr(record, "model_extra", None) or {}
    level = str(extra.get("level", "")).upper()
    head = f"{level} {said}".strip()
    raised = [
        f"{one.get('exc_type', '')}: {one.get('exc_value', '')}"
        for one in extra.get("error_detail") or ()
        if isinstance(one, dict)
    ]
    return [line for text in (head, *raised) for line in text.splitlines() if line.strip()]
