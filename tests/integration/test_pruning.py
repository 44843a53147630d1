"""What housekeeping removes of Airflow's tables, on the real ones: rows that come with every minute, and no others."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from airflow._shared.timezones import timezone
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db_cleanup import run_cleanup
from celery.backends.database.models import Task  # type: ignore[import-untyped]
from sqlalchemy import Engine, delete, func, insert, select, text

from feature_delivery.domain.project import HOUSEKEEPING
from feature_delivery.domain.records import now
from feature_delivery.orchestration.housekeeping import build_housekeeping_dag
from feature_delivery.web import pruning, rounds, workers
from feature_delivery.web.transaction import session
from tests.support.airflow import store_dag

DOCS = Path(__file__).parents[2] / "docs"
DAY = timedelta(days=1)
FEATURE_DAG = "feature_delivery_shop"
RUNS = """
INSERT INTO dag_run (dag_id, run_id, run_type, state, run_after, queued_at, start_date, end_date, clear_number,
    updated_at, log_template_id)
SELECT '{dag}', '{name}-' || n, 'scheduled', '{state}', moment, moment, moment, moment, 0, moment,
    (SELECT max(id) FROM log_template)
FROM (SELECT n,
    now() - interval '{days} days' - n * interval '1 minute' AS moment FROM generate_series(1, {count}) n) s;
INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, state, try_number, max_tries, pool, pool_slots,
    hostname, start_date)
SELECT gen_random_uuid(), 'look_after', dag_id, run_id, -1, state, 1, 0, 'default_pool', 1, '', start_date FROM dag_run
WHERE run_id LIKE '{name}-%';
INSERT INTO log (dttm, dag_id, task_id, run_id, event)
SELECT end_date, dag_id, 'look_after', run_id, event FROM dag_run, (VALUES ('running'), ('success')) e(event)
WHERE run_id LIKE '{name}-%';
"""


@pytest.fixture
def airflow(airflow_engine: Engine) -> Engine:
    """Airflow's tables with the housekeeping DAG in them."""
    with session() as opened:
        store_dag(opened, HOUSEKEEPING, build_housekeeping_dag())
    return airflow_engine


def put(name: str, *, days: int, count: int = 1, dag: str = HOUSEKEEPING, state: str = "success") -> None:
    with session() as opened:
        opened.execute(text(RUNS.format(name=name, days=days, count=count, dag=dag, state=state)))


def left(table: type[DagRun | TaskInstance | Log]) -> set[str]:
    with session() as opened:
        return {str(one).rpartition("-")[0] for one in opened.scalars(select(table.run_id)) if one}


@pytest.mark.usefixtures("airflow", "shop")
def test_old_runs_of_housekeeping_go_with_all_that_hangs_on_them_and_no_others() -> None:
    workers.stop_all()  # the test is the worker
    put("old", days=8, count=3)
    put("failed", days=8, state="failed")
    put("young", days=6)
    put("hanging", days=30, state="running")
    put("feature", days=90, dag=FEATURE_DAG)
    with session() as opened:
        opened.execute(insert(Log).values(dttm=now() - 90 * DAY, dag_id=HOUSEKEEPING, event="paused"))
    assert rounds.housekeeping()["rows_pruned"] == 4
    for table in (DagRun, TaskInstance, Log):
        assert left(table) == {"young", "hanging", "feature"}, table
    with session() as opened:
        assert opened.scalar(select(func.count()).where(Log.event == "paused")) == 1, "who did what is kept"
    assert rounds.housekeeping()["rows_pruned"] == 0


@pytest.mark.usefixtures("airflow")
def test_what_has_piled_up_goes_piece_by_piece_and_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "AT_MOST", 20)
    put("old", days=8, count=50)
    assert pruning.prune() == 20
    with session() as opened:
        assert set(opened.scalars(select(DagRun.run_id))) == {f"old-{number}" for number in range(1, 31)}
    assert [pruning.prune() for _ in range(3)] == [20, 10, 0]


def test_results_of_celery_go_where_there_are_any(airflow: Engine) -> None:
    Task.__table__.create(airflow)
    ages = {"old": 8, "young": 6, "new": 0}
    with session() as opened:
        for name, days in ages.items():
            opened.execute(insert(Task).values(task_id=name, status="SUCCESS", date_done=now() - days * DAY))
    assert pruning.prune() == 1
    with session() as opened:
        assert set(opened.scalars(select(Task.task_id))) == {"young", "new"}
        opened.execute(delete(Task))


@pytest.mark.usefixtures("airflow")
def test_the_clean_up_that_the_docs_name_spares_features_and_housekeeping() -> None:
    command = re.search(r"^airflow db clean ((?:.*\\\n)*.*)", (DOCS / "scale.md").read_text("utf-8"), re.MULTILINE)
    assert command is not None
    words = command[1].replace("\\\n", " ").split()
    options = dict(zip(words, [*words[1:], ""], strict=True))
    put("feature", days=900, dag=FEATURE_DAG)
    put("ours", days=900)
    put("other", days=900, count=2, dag="another")
    run_cleanup(
        clean_before_timestamp=timezone.parse(options["--clean-before-timestamp"]),
        exclude_dag_ids=options["--exclude-dag-ids"].split(","),
        table_names=options["--tables"].split(","),
        skip_archive="--skip-archive" in words,
        confirm=False,
    )
    for table in (DagRun, TaskInstance):
        with session() as opened:
            kept = set(opened.scalars(select(table.run_id)))
        assert {"feature-1", "ours-1"} <= kept, table
        assert kept <= {"feature-1", "ours-1", "other-1"}, "Airflow itself keeps the last run of a DAG"
