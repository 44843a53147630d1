"""Tasks that a scheduler had noted as queued and had not sent to Celery when it was killed.

With the state Airflow notes the id that the message will have. Whichever scheduler takes such a task over cannot tell a
message that waits at the broker from one that was never sent: nobody begins the task until ``[scheduler]
task_queued_timeout`` is over, ten minutes later. So what changed hands while it was queued is cleared, and handed over
anew. Where the message was there all the same, it speaks of a try that is no longer queued, and Airflow lets no worker
begin that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select

from feature_delivery.bootstrap import settings
from feature_delivery.domain.project import HOUSEKEEPING
from feature_delivery.web.airflow_runs import dag_id
from feature_delivery.web.transaction import session

WORKER = "unsent"
LOOK_SECONDS = 10.0
"""More often than a scheduler is declared dead (30 s): a task is seen in its hands before it is in another's."""

_log = logging.getLogger(__name__)


@dataclass
class Unsent:
    """What was queued when this process looked last: the message's id of each task, and whose scheduler's it was."""

    _before: Mapping[UUID, tuple[str | None, int | None]] = field(default_factory=dict)

    def look(self) -> float:
        """Clear what has been taken over since; return in how many seconds to look again."""
        t, ours = TaskInstance, [HOUSEKEEPING, *map(dag_id, settings.projects())]
        with session() as opened:
            queued = select(t.id, t.external_executor_id, t.queued_by_job_id).where(
                t.dag_id.in_(ours), t.state == TaskInstanceState.QUEUED
            )
            found = {task: (message, job) for task, message, job in opened.execute(queued)}
            taken_over = [task for task, now in found.items() if _same_message_elsewhere(self._before.get(task), now)]
            if taken_over:
                which = select(t).where(t.id.in_(taken_over), t.state == TaskInstanceState.QUEUED)
                instances = list(opened.scalars(which.with_for_update(of=t, skip_locked=True)))
                for one in instances:
                    _log.warning(
                        "%s of %s changed its scheduler before it was begun: cleared.", one.task_id, one.run_id
                    )
                if instances:
                    clear_task_instances(instances, opened, dag_run_state=False)
        self._before = found
        return LOOK_SECONDS


def _same_message_elsewhere(before: tuple[str | None, int | None] | None, now: tuple[str | None, int | None]) -> bool:
    """Tell a task that was taken over from one that was queued again in the meantime: that has another message."""
    return before is not None and before[0] == now[0] is not None and before[1] != now[1]


unsent = Unsent()
