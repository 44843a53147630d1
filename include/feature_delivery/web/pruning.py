"""Rows of Airflow's that come with every minute and that nobody asks for later: housekeeping's runs, Celery's results.

``airflow db clean`` selects runs by their age alone: for features, which wait for weeks, that is no cure.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.utils.state import State
from sqlalchemy import delete, select, text

from feature_delivery.domain.project import HOUSEKEEPING
from feature_delivery.domain.records import now
from feature_delivery.web.transaction import session

KEPT = timedelta(days=7)
"""Celery's own clean-up, which nobody runs here, keeps results for a day."""

AT_MOST = 500
"""Of each kind in one round: a year that has piled up goes within a day, and no round takes long for it."""

# The oldest by number are looked at, not all by their date, which has no index: other DAGs may have millions.
_RESULTS = text(
    "DELETE FROM celery_taskmeta WHERE date_done < :before"
    " AND id IN (SELECT id FROM celery_taskmeta ORDER BY id LIMIT :most) RETURNING id"
)


def prune() -> int:
    """Remove what has ended longer than ``KEPT`` ago, at most ``AT_MOST`` of each kind; return how many rows went.

    A run takes its tasks along, and what Airflow noted in its log about them.
    """
    before = now() - KEPT
    with session() as opened:
        old = (
            select(DagRun.run_id)
            .where(DagRun.dag_id == HOUSEKEEPING, DagRun.state.in_(State.finished_dr_states), DagRun.end_date < before)
            .order_by(DagRun.end_date)
            .limit(AT_MOST)
            .with_for_update(skip_locked=True)
        )
        runs = list(opened.scalars(old))
        for table in (Log, DagRun):
            opened.execute(delete(table).where(table.dag_id == HOUSEKEEPING, table.run_id.in_(runs)))
        has_celery = opened.scalar(text("SELECT to_regclass('celery_taskmeta')")) is not None
        results = list(opened.scalars(_RESULTS, {"before": before, "most": AT_MOST})) if has_celery else []
    return len(runs) + len(results)
