"""The health check of jobs, against rows that Airflow itself writes."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine

from feature_delivery.cli.beating import OLD_SECONDS, is_beating, main
from feature_delivery.domain.records import now

if TYPE_CHECKING:
    from airflow.jobs.job import Job

HOST = "a-container"


@pytest.fixture
def address(airflow_engine: Engine) -> str:
    return airflow_engine.url.render_as_string(hide_password=False)


def job(kind: str = "TriggererJob", *, age: float = 0, host: str = HOST, state: str = "running") -> Job:
    from airflow.jobs.job import Job

    from feature_delivery.web.transaction import session

    with session() as opened:
        made = Job()
        made.job_type, made.hostname, made.state = kind, host, state
        made.latest_heartbeat = now() - timedelta(seconds=age)
        opened.add(made)
    return made


def test_a_job_that_beats_on_this_host_is_alive(address: str) -> None:
    assert not is_beating(address, "TriggererJob", HOST)
    job()
    assert is_beating(address, "TriggererJob", HOST)


@pytest.mark.parametrize(
    "other",
    [{"kind": "DagProcessorJob"}, {"age": OLD_SECONDS + 30}, {"host": "another"}, {"state": "success"}],
    ids=["another kind", "its heart has stopped", "another host", "it has ended"],
)
def test_another_job_does_not_count(address: str, other: dict[str, Any]) -> None:
    job(**other)
    assert not is_beating(address, "TriggererJob", HOST)


def test_a_database_that_is_away_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql+psycopg2://airflow:very-secret@127.0.0.1:1/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)
    said = main("TriggererJob")
    assert said.startswith("Could not ask the database for a TriggererJob")
    assert "very-secret" not in said


def test_the_check_loads_nothing_of_airflow() -> None:
    script = (
        "import sys, feature_delivery.cli.beating, psycopg2; print(sorted(m for m in sys.modules if 'airflow' in m))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
