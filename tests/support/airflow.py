"""Airflow's real tables on a real PostgreSQL, and a DAG whose task ids are the steps, without its work."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

# Before anybody imports Airflow: it reads its configuration then. Nothing connects to this address.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="fd-airflow-"))
os.environ.setdefault("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://nobody@127.0.0.1:1/none")
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING")
os.environ.setdefault("AIRFLOW__CORE__FERNET_KEY", "")
os.environ.setdefault("AIRFLOW__API_AUTH__JWT_SECRET", "a-secret-for-tests-" + "x" * 64)

import pytest
from sqlalchemy import Engine, create_engine, pool
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.support.postgres import PostgresServer

if TYPE_CHECKING:
    from airflow.sdk import DAG

MANAGER = "feature_delivery.web.database.LedgerDBManager"


@pytest.fixture(scope="session")
def airflow_template(postgres_server: PostgresServer) -> str:
    """Name of a database with Airflow's tables and the ledger's, made by ``airflow db migrate`` itself."""
    url = postgres_server.create()
    environment = {
        **os.environ,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url.render_as_string(hide_password=False),
        "AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS": MANAGER,
    }
    command = [str(Path(sys.executable).parent / "airflow"), "db", "migrate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert url.database
    return url.database


@pytest.fixture
def airflow_database(airflow_template: str) -> str:
    """Name of the database that a test gets a fresh copy of; a module may have its own."""
    return airflow_template


@pytest.fixture
def airflow_engine(
    postgres_server: PostgresServer, airflow_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """A fresh copy of it, in the place of Airflow's own engine."""
    with copied_engine(postgres_server, airflow_database, monkeypatch) as engine:
        yield engine


@contextmanager
def copied_engine(server: PostgresServer, template: str, patched: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on a fresh copy of a database, in the place of Airflow's own."""
    url = server.create(template=template)
    engine = create_engine(url, pool_size=30, poolclass=pool.QueuePool)
    use_engine(engine, patched)
    yield engine
    engine.dispose()
    server.drop(url)


def use_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ``engine`` in the place of Airflow's own."""
    from airflow import settings

    sessions = sessionmaker(engine, autoflush=False, expire_on_commit=False)
    monkeypatch.setattr(settings, "engine", engine)
    monkeypatch.setattr(settings, "NonScopedSession", sessions)
    monkeypatch.setattr(settings, "Session", scoped_session(sessions))


def steps_dag(dag_id: str) -> DAG:
    """A chain of empty tasks by the names of the steps, with its setups, teardowns and the branch for rollbacks."""
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, Param, chain

    from feature_delivery.domain.process import TEARDOWNS, Step

    with DAG(
        dag_id,
        schedule=None,
        params={"feature": Param("SHOP-1", type="string", pattern=r"^[A-Z][A-Z0-9_]{0,19}-[1-9][0-9]{0,8}$")},
    ) as dag:
        tasks = {step: EmptyOperator(task_id=step.value) for step in Step}
        chain(*(task for step, task in tasks.items() if step not in TEARDOWNS))
        for setup, teardown in (
            (Step.RESERVE_DEVELOPMENT, Step.DESTROY_DEVELOPMENT),
            (Step.RESERVE_PREPROD, Step.DESTROY_PREPROD),
        ):
            tasks[Step.WAIT_FOR_REWORK] >> tasks[teardown]
            tasks[teardown].as_teardown(setups=tasks[setup].as_setup())
        tasks[Step.WAIT_FOR_REWORK] >> tasks[Step.DELETE_BRANCHES]
        tasks[Step.DELETE_BRANCHES].as_teardown()
    return dag


def store_dag(session: Session, dag_id: str, dag: object = None) -> None:
    """Do what Airflow's DAG processor does with a DAG file that it has read; ``dag``: another than the steps'."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    session.merge(DagBundleModel(name="testing"))
    session.flush()
    lazy = LazyDeserializedDAG.from_dag(dag or steps_dag(dag_id))
    SerializedDAG.bulk_write_to_db("testing", None, [lazy], session=session)
    session.flush()
    SerializedDagModel.write_dag(lazy, bundle_name="testing", session=session)
    session.flush()
    model = session.get(DagModel, dag_id)
    assert model is not None
    model.relative_fileloc, model.is_paused = "feature_delivery.py", False
