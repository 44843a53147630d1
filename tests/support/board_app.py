"""A busy shop behind the real web app: features in every stage, with their runs in Airflow's own tables."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import create_engine, pool

from feature_delivery.domain.process import ORDER, Step
from feature_delivery.domain.records import FeatureState
from feature_delivery.ports.runs import RunRef
from tests.support.airflow import copied_engine, store_dag, use_engine
from tests.support.board_world import busy_shop
from tests.support.postgres import PostgresServer
from tests.support.web_app import DAG, Shop, running_shop


def give_runs() -> None:
    """Start a run for every feature that has none, and let its tasks be where the ledger says."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select, update

    from feature_delivery.web.transaction import begin, session

    with begin() as unit:
        for feature in reversed(unit.books.features()):
            run = RunRef(feature.project, feature.run_id)
            if unit.runs.state(run) == "none":
                unit.runs.start(run, conf={"feature": feature.key}, note="")
    with begin() as unit, session() as opened:
        for feature in unit.books.features():
            gate = unit.books.open_gate(feature)
            permits = unit.books.permits(feature)
            here = gate.step if gate else permits[-1].step if permits else Step.REGISTER_FEATURE
            times = {p.step: (p.granted_at, p.ended_at) for p in permits}
            red = {result.step for result in unit.books.suite_results(feature) if result.red}
            times |= {g.step: (g.opened_at, g.resolved_at) for g in unit.books.gates(feature)}
            query = select(TaskInstance).where(TaskInstance.run_id == feature.run_id)
            for task in opened.scalars(query):
                step = Step(task.task_id)
                task.start_date, task.end_date = times.get(step, (None, None))
                task.try_number = 1
                if step is here and feature.state in {FeatureState.ACTIVE, FeatureState.SHIPPED}:
                    task.state = "awaiting_input" if gate else "running"
                elif ORDER[step] < ORDER[here] and step is not Step.WAIT_FOR_REWORK:
                    task.state = "failed" if step in red else "success"
            started = feature.created_at + timedelta(seconds=1)
            opened.execute(
                update(DagRun).where(DagRun.run_id == feature.run_id).values(_state="running", start_date=started)
            )


@pytest.fixture(scope="session")
def busy_database(postgres_server: PostgresServer, airflow_template: str) -> str:
    """Name of a database with features in every stage, planted once; modules use it as their ``airflow_database``."""
    from feature_delivery.web.transaction import begin, session

    url = postgres_server.create(template=airflow_template)
    engine = create_engine(url, poolclass=pool.QueuePool)
    with pytest.MonkeyPatch.context() as patched:
        use_engine(engine, patched)
        with session() as opened:
            store_dag(opened, DAG)
        with begin() as unit:
            busy_shop(unit.books)
        give_runs()
    engine.dispose()
    assert url.database
    return url.database


@pytest.fixture(scope="module")
def shown(
    postgres_server: PostgresServer, busy_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """The busy shop for tests that only look, one for all of a module."""
    from feature_delivery.web.board import pulse

    with pytest.MonkeyPatch.context() as patched, copied_engine(postgres_server, busy_database, patched):
        pulse.snapshots.forget()
        with running_shop(tmp_path_factory.mktemp("shown"), patched) as found:
            yield found


def cookie(name: str) -> str:
    """What Airflow's login leaves in the browser of a user."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return str(get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role="user")))


def browser(shop: Shop, name: str, **headers: str) -> httpx.Client:
    """Somebody's browser: it has Airflow's cookie, and says where its requests begin."""
    return httpx.Client(
        base_url=shop.address + "/board",
        cookies={"_token": cookie(name)},
        headers={"Origin": shop.address, "Sec-Fetch-Site": "same-origin", **headers},
        timeout=60,
        trust_env=False,
    )


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """The shop with features in every stage: in a module whose ``airflow_database`` is the busy one."""
    from feature_delivery.web.board import pulse

    pulse.snapshots.forget()
    pulse.pulse.revision = ""  # that of another test's tables is news to every page
    return shop
