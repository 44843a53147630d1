"""Alerts that need hours, a probe, or something that breaks, each made to happen and delivered for real.

Hours are put into a real Prometheus before it starts; what happens to the shop after that is live.
"""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from feature_delivery.domain.names import PersonName
from feature_delivery.domain.records import now
from tests.support.board_world import HOUR
from tests.support.monitored import SHOP, TOKEN, LiveShop, Watched, place_environments, sound
from tests.support.ports import free_port
from tests.support.prometheus import (
    MONITORING,
    alertmanager,
    blackbox,
    eventually,
    needs_prometheus,
    prometheus,
    record,
)
from tests.support.web_app import Shop

MINUTES = 7 * 60
STORE = MONITORING.parent / "demo_store"
LABELS = 'project="shop",environment="production",feature="",commit="the-one-before"'


def seven_hours(until: int) -> str:
    """Return production's last seven hours, a sample a minute, as OpenMetrics with moments.

    Each promise is broken at a pace that is too fast for a month and not fast enough to page: 1% errors (allowed:
    0.1%), half the requests slow (allowed: 5%), and a probe in twenty unanswered, though none of the last ten.
    """
    moments = [until - 60 * back for back in range(MINUTES, -1, -1)]
    series: dict[str, list[tuple[str, Callable[[int], float]]]] = {
        "# TYPE http_requests counter": [
            (f'http_requests_total{{{LABELS},job="shops",status="200"}}', lambda n: 594 * n),
            (f'http_requests_total{{{LABELS},job="shops",status="500"}}', lambda n: 6 * n),
        ],
        "# TYPE http_request_duration_seconds histogram": [
            (f'http_request_duration_seconds_bucket{{{LABELS},job="shops",le="0.5"}}', lambda n: 300 * n),
            (f'http_request_duration_seconds_bucket{{{LABELS},job="shops",le="+Inf"}}', lambda n: 600 * n),
            (f'http_request_duration_seconds_count{{{LABELS},job="shops"}}', lambda n: 600 * n),
        ],
        "# TYPE probe_success gauge": [
            (f'probe_success{{{LABELS},job="probes"}}', lambda n: float(n % 20 > 0 or n > MINUTES - 10)),
        ],
    }
    lines = []
    for head, held in series.items():
        lines.append(head)
        lines += [f"{name} {value(n)} {moment}" for name, value in held for n, moment in enumerate(moments)]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def watched(shown: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    needs_prometheus()
    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack:
        patched.setenv("FEATURE_DELIVERY_METRICS_TOKEN", TOKEN)
        patched.setenv("FEATURE_DELIVERY_RUNBOOKS_URL", "https://docs.example/runbooks")
        patched.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
        patched.syspath_prepend(str(STORE))
        sound(shown)
        shops = {kind: LiveShop(kind) for kind in ("production", "preprod")}
        place_environments({kind: stack.enter_context(one.running()) for kind, one in shops.items()})
        home = tmp_path_factory.mktemp("prometheus")
        record(home, seven_hours(int(time.time()) - 5))
        prober = stack.enter_context(blackbox(tmp_path_factory.mktemp("blackbox")))
        manager = stack.enter_context(alertmanager(tmp_path_factory.mktemp("am") / "home"))
        server = prometheus(home, app=shown.address, token=TOKEN, alertmanager_url=manager.url, prober=prober)
        yield Watched(shown, stack.enter_context(server), manager, shops["production"], shops["preprod"])


def test_promises_broken_for_hours_are_told_and_page_nobody(watched: Watched) -> None:
    for what in ("Error", "Latency", "Availability"):
        watched.seen(f"Production{what}BudgetBurnSlow", project="shop", severity="warning")
        assert not watched.prometheus.firing(f"Production{what}BudgetBurnFast")
    # What is there tells of the moment before the first scrape.
    assert "BudgetBurn" not in watched.manager.slack.texts("#delivery-pages")


def test_the_shipped_blackbox_module_probes_the_environments_that_are_discovered(watched: Watched) -> None:
    answered = 'probe_success{job="probes",project="shop",commit!="the-one-before"} == 1'
    eventually("both probes", lambda: watched.prometheus.query(f"count({answered}) == 2"))
    found = watched.prometheus.query(answered)
    assert {one["metric"]["environment"] for one in found} == {"production", "preprod"}
    assert all(one["metric"]["instance"].endswith("/healthz") for one in found)


def test_a_new_release_that_does_not_answer_probes_pages_although_the_one_before_did(watched: Watched) -> None:
    assert not watched.prometheus.firing("ProductionAvailabilityBudgetBurnFast")
    watched.production.healthy = False
    try:
        watched.seen("ProductionAvailabilityBudgetBurnFast", project="shop", severity="critical")
    finally:
        watched.production.healthy = True
    # Its metrics were scraped all the while: what failed is what customers reach.
    assert watched.prometheus.query('up{job="shops",project="shop",environment="production"} == 1')


def test_the_brake_is_told(watched: Watched) -> None:
    from feature_delivery.bootstrap import settings
    from feature_delivery.services.control import brake
    from feature_delivery.web.transaction import begin

    project, olga = settings.projects()[SHOP], PersonName("olga")
    assert not watched.prometheus.firing("BrakeOn")
    with begin() as unit:
        assert brake.pull(unit, project, "The platform lists strange names.", person=olga)
    watched.seen("BrakeOn", project="shop", kind="hand")
    with begin() as unit:
        assert brake.release(unit, project, "They were a test's.", person=olga)
    eventually("the end of the alert", lambda: not watched.prometheus.firing("BrakeOn"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_background_thread_that_dies_is_told_and_so_are_the_webhooks_it_leaves(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_delivery.web import workers
    from feature_delivery.web.transaction import begin

    def die() -> None:
        raise SystemExit

    assert not watched.prometheus.firing("BackgroundThreadDown")
    worker = workers._workers["webhooks"]
    monkeypatch.setattr(worker, "_work", die)
    worker.wake()
    watched.seen("BackgroundThreadDown", worker="webhooks")
    assert watched.shop.webhook({"ref": "refs/heads/feature/SHOP-6-a-branch"}, "left").status_code == 202
    with begin() as unit:
        stored = unit.books.webhook(SHOP, "left")
        assert stored is not None
        stored.received_at = now() - HOUR
    watched.seen("WebhooksStuck", project="shop")
    monkeypatch.undo()
    # What the next start of the server does.
    workers.start_all({"webhooks": worker._work})
    eventually("the end of both", lambda: not watched.prometheus.firing("WebhooksStuck"))
    eventually("the end of both", lambda: not watched.prometheus.firing("BackgroundThreadDown"))


def test_a_ledger_that_may_be_a_copy_pages(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not watched.prometheus.firing("InstanceHeld")
    monkeypatch.setenv("FEATURE_DELIVERY_INSTANCE", "another-one")
    watched.seen("InstanceHeld", severity="critical")
    monkeypatch.undo()
    eventually("the end of the alert", lambda: not watched.prometheus.firing("InstanceHeld"))


@contextmanager
def celery(directory: Path, patched: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Run a broker and a worker of Celery's for the queue ``default``, of which this process' Airflow is told."""
    broker = f"redis://127.0.0.1:{free_port()}/0"
    for name, value in {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": "db+sqlite://",
    }.items():
        patched.setenv(name, value)
    commands = (
        ["redis-server", "--port", str(urlsplit(broker).port), "--bind", "127.0.0.1", "--save", ""],
        [sys.executable, "-m", "celery", "-b", broker, "worker", "-Q", "default", "-P", "solo", "-n", "one@here"],
    )
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (directory / "celery.log").open("ab") as log:
                running.append(subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True))
        yield running[1]
    finally:
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def test_a_celery_worker_that_is_killed_pages_and_so_do_tasks_that_wait_for_one(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select, update

    from feature_delivery.web import queues, rounds, workers
    from feature_delivery.web.transaction import session

    monkeypatch.setattr(queues, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(queues, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(queues, "needed", lambda: {"default"})
    try:
        with celery(tmp_path, monkeypatch) as worker:
            workers.start_all(rounds.works())
            answers = 'feature_delivery_queue_workers{queue="default"} == 1'
            eventually("the worker's answer", lambda: watched.prometheus.query(answers))
            # It has been down: the broker answered first.
            watched.ended("WorkerDown")
            os.killpg(worker.pid, signal.SIGKILL)
            watched.seen("WorkerDown", queue="default", severity="critical")
            # So had the broker, if it was asked before it listened.
            watched.ended("AirflowPartDown")
            with session() as opened:
                one = opened.scalar(select(TaskInstance.id).limit(1))
                waits = {"state": "queued", "queue": "default", "queued_dttm": now() - HOUR}
                opened.execute(update(TaskInstance).where(TaskInstance.id == one).values(**waits))
            watched.seen("TasksNotStarted", queue="default")
        # The broker went, too.
        watched.seen("AirflowPartDown", part="broker", severity="critical")
    finally:
        workers.stop_all()
        monkeypatch.undo()
        # As an API server whose executor is not Celery: it has never asked.
        queues.queues._at = 0.0
        workers.start_all(rounds.works())
    eventually("the end of the alert", lambda: not watched.prometheus.firing("AirflowPartDown"))


@contextmanager
def scheduler(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run Airflow's scheduler on the shop's tables; it starts no task, because no pool has a slot."""
    from airflow import settings
    from airflow.models.pool import Pool
    from sqlalchemy import update

    from feature_delivery.web.transaction import session

    with session() as opened:
        opened.execute(update(Pool).values(slots=0))
    assert settings.engine is not None
    environment = {
        **os.environ,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": settings.engine.url.render_as_string(hide_password=False),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
    }
    command = [str(Path(sys.executable).with_name("airflow")), "scheduler", "--skip-serve-logs"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def test_a_scheduler_that_is_killed_pages(watched: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Last: a scheduler changes the shop's runs."""
    from airflow.jobs.job import Job
    from sqlalchemy import delete, select

    from feature_delivery.web.transaction import session

    # Not by the setting: Airflow keeps what it was when it was first asked for.
    monkeypatch.setattr("airflow.jobs.job.health_check_threshold", lambda *_: 5)
    log = tmp_path / "scheduler.log"

    def registered() -> bool:
        with session() as opened:
            lived = select(Job.state).where(Job.job_type == "SchedulerJob", Job.latest_heartbeat <= now())
            return opened.scalar(lived) == "running"

    with scheduler(log) as process:
        eventually("the scheduler's start", lambda: process.poll() is not None or registered())
        assert process.poll() is None, log.read_text()[-2000:]
        with session() as opened:
            # The one that only a row made alive, its heart beats in the future. Then a scrape that sees the real one.
            opened.execute(delete(Job).where(Job.job_type == "SchedulerJob", Job.latest_heartbeat > now()))
        up = 'feature_delivery_airflow_up{part="scheduler"}'
        alive = f"{up} == 1 and timestamp({up}) > {time.time()}"
        eventually("the scheduler's heart", lambda: watched.prometheus.query(alive))
        # Its first beat may have come late.
        watched.ended("AirflowPartDown")
        os.killpg(process.pid, signal.SIGKILL)
        watched.seen("AirflowPartDown", part="scheduler", severity="critical")
    assert registered(), "a killed scheduler says no farewell"
