"""The housekeeping DAG: everything the control plane does by itself, made certain once a minute."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from feature_delivery.domain.project import HOUSEKEEPING, ProjectConfig
from feature_delivery.orchestration.build import queue_arguments
from feature_delivery.orchestration.operators import HousekeepingOperator

DAG_ID = HOUSEKEEPING
INTERVAL = timedelta(minutes=1)

DOC = """# Housekeeping of deliveries

Every minute: ends gates that are resolved, applies deadlines, makes deleted runs anew and tells of those that were
ended by hand, unshelves runs that have something to run, processes webhooks that are left, compares branches, requests
and issues with the ledger (every five minutes, or as the project says, where they are on a server), sends what is in
the outbox, destroys environments of features that are over, and starts those again that have ended, removes its own
runs that are a week old. It cannot destroy anything alive. A red run says what is wrong; the next one tries again.
"""


def build_housekeeping_dag(projects: Iterable[ProjectConfig] = ()) -> DAG:
    """Return the DAG; with local shops among ``projects`` it runs where they do, since it reaps and restarts them."""
    with DAG(
        DAG_ID,
        dag_display_name="Feature delivery: housekeeping",
        description="Looks after deliveries: deadlines, stranded runs, lost webhooks, the outbox, the reaper.",
        schedule=INTERVAL,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        # It looks after deliveries of every version: always with the newest code.
        disable_bundle_versioning=True,
        tags=["feature-delivery"],
        doc_md=DOC,
    ) as dag:
        HousekeepingOperator(
            task_id="look_after",
            retries=0,
            execution_timeout=timedelta(minutes=20),
            do_xcom_push=False,
            doc_md="Has the control plane do its rounds, then reaps.",
            **queue_arguments(projects),
        )
    return dag
