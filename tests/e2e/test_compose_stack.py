"""docker-compose.yaml really run: Celery, three workers, split API servers, the proxy, the monitoring, one delivery.

Every command, setting, mount, start order and health check is the file's own (``tests/support/compose_stack.py``).
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.domain.project import LOCAL_QUEUE
from feature_delivery.web import guard, hardening
from feature_delivery.web.board.app import POLICY
from tests.support.compose import ROOT, settings_of
from tests.support.compose_stack import Stack, needs_stack, stack
from tests.support.processes import living
from tests.support.prometheus import eventually
from tests.support.stack_shop import DAG, REPOSITORY, SHOP, STATE, Max, push, put_shop, services
from tests.support.statsd import Figure, Heard, exported, heard, spoken_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

SITE = "delivery.localhost"
KEY, BRANCH = "SHOP-1", "feature/SHOP-1-a-line"
HOLD = f"{STATE}/hold"
PATIENCE_SECONDS = 600
TWO, ENDS = {"worker", "worker-2"}, {"success", "failed"}
GREET = "/dags/trivial/dagRuns/one/taskInstances/greet"
PUT_ON = hardening.HEADERS | hardening.SECURE
SPEAKERS = (
    *sorted((ROOT / "include" / "monitoring" / "rules").glob("*.yml")),
    *sorted((ROOT / "include" / "monitoring" / "grafana" / "dashboards").glob("*.json")),
)
SLEEPING_DAG = '''"""A task that sleeps in its first try, and in its second does not."""
from datetime import timedelta
from time import sleep

from airflow.sdk import DAG, get_current_context, task

with DAG("trivial", schedule=None):

    @task(retries=1, retry_delay=timedelta(0))
    def greet():
        number = get_current_context()["ti"].try_number
        print(f"hello from try {number}", flush=True)
        if number == 1:
            sleep(3600)

    greet()
'''
SELDOM = {"airflow_ti_failures", "airflow_task_instances_without_heartbeats_killed"} | {
    "airflow_ti_awaiting_input",
    "airflow_ti_queued",
    "airflow_ti_running",
}
"""Said only where something went wrong, or of tasks that wait, are queued or run in the moment of Airflow's count, each
half minute; the rest is said by every stack that works."""


@dataclass
class Running(Max):
    """The running stack, with what is sent to the StatsD exporter where there is none."""

    heard: Heard | None

    def until_gate(self, gate: str) -> None:
        def there() -> bool:
            at = self.feature(KEY)["gate"]
            assert at is None or not at["blocked"], at["blocked"]
            return at is not None and at["step"] == gate

        eventually(f"{KEY} at {gate}", there, seconds=PATIENCE_SECONDS)

    def tries(self) -> list[dict[str, Any]]:
        """Every try of the task that sleeps, the latest last, as Airflow tells them."""
        found: list[dict[str, Any]] = self.api.airflow("GET", f"{GREET}/tries")["task_instances"]
        return sorted(found, key=lambda one: int(one["try_number"]))

    def until(self, what: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        eventually(f"{KEY} {what}", lambda: holds(self.feature(KEY)), seconds=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The stack, with every service healthy and one shop, whose unit tests last as long as the file HOLD is there.

    As ``docker compose --profile flower up -d`` starts it with ``WORKERS=2``.
    """
    needs_stack()
    directory = tmp_path_factory.mktemp("stack")
    asked = services(directory, site=SITE, workers=2)
    with stack(directory, asked, "flower") as made, ExitStack() as end:
        ears = None
        if "statsd-exporter" not in made.names:
            address = made.address("statsd-exporter")
            made.net.run("ip", "address", "add", f"{address}/24", "dev", "switch")
            ears = end.enter_context(heard(address))
        (directory / "dags" / "trivial.py").write_text(SLEEPING_DAG)
        put_shop(made, unit=f'[sh, -c, "while test -e {HOLD}; do sleep 0.1; done"], timeout: 300s')
        (made.volume("state") / "hold").touch()
        made.up()
        found = Running(made, ears)
        with closing(found.api):
            yield found


def test_every_service_is_what_compose_says_and_only_known_ones_are_missing(running: Running) -> None:
    """That each is healthy by its own check is what the fixture waits for."""
    left_out = set(running.stack.services) - set(running.stack.names)
    assert left_out - {"statsd-exporter"} == {"migrations", "grafana", "gitea"}
    assert {
        "worker",
        "worker-2",
        "flower",
        "log-groomer",
        "worker-local",
        "api-core",
        "api-execution",
        "triggerer",
        "proxy",
    } <= set(running.stack.names)
    assert running.stack.mains["migrations"].returncode == 0


def test_the_proxy_is_the_way_in_by_https_and_keeps_what_is_within(running: Running) -> None:
    authority = running.stack.volume("proxy-data") / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    address, named = running.stack.address("proxy"), {"sni_hostname": SITE}
    trusting = ssl.create_default_context(cafile=str(authority))
    with httpx.Client(
        base_url=f"https://{address}", headers={"Host": SITE}, verify=trusting, trust_env=False
    ) as client:

        def get(path: str) -> httpx.Response:
            return client.get(path, extensions=named, timeout=30)

        answer = get("/api/v2/monitor/health")
        assert answer.status_code == 200
        for path, own in (
            ("/", {}),
            ("/api/v2/monitor/health", {"Cache-Control": "no-store"}),
            (f"{URL_PREFIX}/board/", {"Cache-Control": "no-store", "Content-Security-Policy": POLICY}),
            (f"{URL_PREFIX}/health", guard.HEADERS),
        ):
            answer = get(path)
            assert {name: answer.headers.get(name) for name in (*PUT_ON, *own)} == PUT_ON | own, path
            assert "Server" not in answer.headers, path
        for within in (
            "/execution/health",
            f"{URL_PREFIX}/tasks/permits",
            f"{URL_PREFIX}/metrics",
            f"{URL_PREFIX}/prometheus/targets",
        ):
            answer = get(within)  # of the proxy itself
            assert (answer.status_code, {name: answer.headers.get(name) for name in PUT_ON}) == (404, PUT_ON), within
    plain = httpx.get(f"http://{address}/", headers={"Host": SITE}, timeout=30, trust_env=False)
    assert (plain.status_code, plain.headers["Location"]) == (308, f"https://{SITE}/")


def test_a_worker_dies_with_the_task_of_the_default_queue_that_it_has(running: Running) -> None:
    """Of the two that take that queue. What becomes of the task is asked when a delivery has gone on meanwhile."""
    eventually(
        "workers for each queue",
        lambda: takers(running) == {"default": 2, LOCAL_QUEUE: 1},
        seconds=PATIENCE_SECONDS,
    )
    running.api.airflow("PATCH", "/dags/trivial", {"is_paused": False})
    running.api.airflow("POST", "/dags/trivial/dagRuns", {"logical_date": None, "dag_run_id": "one"})
    log = running.stack.volume("task-logs") / "dag_id=trivial" / "run_id=one" / "task_id=greet" / "attempt=1.log"
    eventually(
        "the task at work", lambda: log.exists() and "hello from try 1" in log.read_text(), seconds=PATIENCE_SECONDS
    )
    [task] = running.tries()
    assert (task["state"], task["queue"]) == ("running", "default")
    assert task["hostname"] in TWO
    before = running.stack.containers[task["hostname"]].processes()
    assert len(before) > 5, "the task among them"
    running.stack.kill(task["hostname"])
    assert not living(before)


def test_doctor_is_told_by_celery_which_worker_has_the_local_shops(running: Running) -> None:
    found = {one["what"]: one for one in running.api.get(f"/projects/{SHOP}/examination", timeout_seconds=120)}
    one = found[f"{SHOP}: platform local, queue {LOCAL_QUEUE}"]
    assert (one["well"], one["sentence"]) == (True, "celery@worker-local takes it, and no other worker.")


def test_a_delivery_ends_well_though_its_worker_is_killed_in_the_middle(running: Running) -> None:
    """All that runs in ``worker-local`` dies at once: task, worker, environments, production too.

    Then the last of the other workers dies as well, which is nobody's trouble here, and is told.
    """
    running.post("/features", {"key": KEY, "title": "A line"})
    running.decide(KEY, "start", "approve")
    running.until_gate("development.wait_for_code")
    push(running.stack, BRANCH)
    running.until("seen with its commit", lambda found: found["attempt"] == 1)
    running.post("/requests", {"source": BRANCH, "title": f"{KEY} A line"})
    for gate in ("review", "acceptance", "confirmation"):
        running.decide(KEY, gate, "approve")
    eventually("the unit tests run", lambda: holding(running), seconds=PATIENCE_SECONDS)

    before = running.stack.containers["worker-local"].processes()
    running.stack.kill("worker-local")
    # What is not needed just now dies too: whether its health check sees that is asked when its heart has stopped
    # for long enough.
    for part in ("dag-processor", "triggerer"):
        running.stack.kill_main(part)
    assert not living(before)
    (running.stack.volume("state") / "hold").unlink()
    assert running.stack.services["worker-local"].restart == "unless-stopped"
    running.stack.start("worker-local")

    # While the second try is waited for, the first is the latest that Airflow tells of.
    eventually(
        "the second try's end",
        lambda: [one["state"] in ENDS for one in running.tries()] == [True, True],
        seconds=PATIENCE_SECONDS,
    )
    running.stack.kill(running.tries()[-1]["hostname"])
    running.until_gate("production.wait_for_verdict")
    running.decide(KEY, "verdict", "keep")
    running.until("shipped", lambda found: found["state"] in {"shipped", "delivered"})
    running.decide(KEY, "demonstration", "approve")
    running.until("at its end", lambda found: (found["state"], found["run_state"]) == ("delivered", "success"))
    found = running.feature(KEY)
    assert [one["state"] for one in found["attempts"]] == ["shipped"]
    assert len(found["promotions"]) == 1
    tasks = running.tasks(DAG, KEY)
    assert {one["hostname"] for one in tasks.values() if one["state"] == "success"} == {"worker-local"}
    tries = {name for name, one in tasks.items() if one["try_number"] > 1}
    assert "development.checks.unit" in tries
    assert tries <= {f"development.checks.{suite}" for suite in ("syntax", "unit", "functional")}
    eventually("the last worker missed", lambda: takers(running) == {"default": 0, LOCAL_QUEUE: 1}, seconds=120)
    # Not told before five minutes are over: promtool's cases prove that, test_alerts_live.py the rest of the way.
    eventually("an alert for that queue alone", lambda: queues_without_workers(running) == ["default"], seconds=120)
    running.stack.start("worker")
    del running.stack.services["worker-2"]  # scaled down: from here on there is one


def test_the_task_that_was_killed_with_its_worker_was_taken_up_by_the_other_and_ended_well(running: Running) -> None:
    first, second = running.tries()
    assert (first["state"], second["state"], second["queue"]) == ("failed", "success", "default")
    assert {first["hostname"], second["hostname"]} == TWO
    for number in (1, 2):
        log = running.api.airflow("GET", f"{GREET}/logs/{number}?full_content=true")
        assert f"hello from try {number}" in json.dumps(log)


def holding(running: Running) -> list[psutil.Process]:
    """The processes of the unit tests that wait."""
    found = []
    for process in running.stack.containers["worker-local"].processes():
        with suppress(psutil.Error):
            if any(HOLD in word for word in process.cmdline()):
                found.append(process)
    return found


def test_production_answers_where_it_runs_and_nothing_else_is_left(running: Running) -> None:
    environments = running.stack.volume("state") / "environments" / SHOP
    assert {path.name for path in environments.iterdir() if path.is_dir()} == {"production"}
    record = json.loads((environments / "production" / "environment.json").read_text("utf-8"))
    assert record["current"]["commit"] == running.feature(KEY)["candidate"]["commit"]
    with running.stack.net.entered(running.stack.containers["worker-local"].pid):
        address = f"http://127.0.0.1:{record['port']}/healthz"
        eventually("production's answer", lambda: httpx.get(address, timeout=10, trust_env=False).status_code == 200)
    branches = running.stack.run("worker-local", "git", "-C", REPOSITORY, "branch")
    assert {line.strip("* ") for line in branches.splitlines()} == {"production", "preprod"}


def test_prometheus_finds_what_it_watches_and_whom_it_tells(running: Running) -> None:
    def up() -> bool:
        jobs = {one["labels"]["job"]: one["health"] for one in ask(running, "targets")["activeTargets"]}
        return jobs.get("feature-delivery") == "up"

    eventually("the ledger's figures", up)
    assert [one["url"] for one in ask(running, "alertmanagers")["activeAlertmanagers"]] == [
        "http://alertmanager:9093/api/v2/alerts"
    ]
    assert ask(running, "query", query='feature_delivery_production_frozen{project="shop"}')["result"]


def ask(running: Running, path: str, **query: str) -> Any:
    """Ask Prometheus."""
    answer = httpx.get(f"{running.url('prometheus', 9090)}/api/v1/{path}", params=query, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def takers(running: Running) -> dict[str, int]:
    """How many workers take each queue, as Prometheus knows it."""
    found = ask(running, "query", query="max by (queue) (feature_delivery_queue_workers)")["result"]
    return {one["metric"]["queue"]: int(one["value"][1]) for one in found}


def queues_without_workers(running: Running) -> list[str]:
    """The queues that an alert speaks of, told already or not."""
    found = ask(running, "query", query='ALERTS{alertname="WorkerDown"}')["result"]
    return [one["metric"]["queue"] for one in found]


def test_what_airflow_says_by_statsd_is_what_rules_dashboards_and_docs_speak_of(running: Running) -> None:
    """By the exporter where one is given, with Prometheus behind it; else packets and the mapping's rules."""

    def figures() -> dict[str, Figure]:
        heard = running.heard
        return exported(running.url("statsd-exporter", 9102)) if heard is None else heard.figures()

    if running.heard is None:
        scraped = ask(running, "query", query="airflow_executor_open_slots")["result"]
        assert {one["metric"]["job"] for one in scraped} == {"airflow"}
    docs = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    by_statsd = docs.partition("### StatsD")[2].partition("### OpenTelemetry")[0]
    spoken = spoken_of(by_statsd, *(path.read_text("utf-8") for path in SPEAKERS))
    assert len(spoken) > 10
    with suppress(AssertionError):  # what is missing is told below
        eventually("every name", lambda: not spoken - set(figures()) - SELDOM, seconds=90)
    found = figures()
    assert spoken - set(found) - SELDOM == set()
    # One task's word may be lost on the way, as datagrams are; not that of every task of a delivery.
    assert DAG in found["airflow_ti_finish"].labels["dag_id"]
    assert found["airflow_executor_open_slots"].labels["executor_class_name"] == {"CeleryExecutor"}
    assert {name: found[name].form for name in ("airflow_task_duration", "airflow_scheduler_heartbeat")} == {
        "airflow_task_duration": "histogram",
        "airflow_scheduler_heartbeat": "counter",
    }
    # A feature is a run: a series for each would never end, as would one for each name with a DAG or task in it.
    values = {value for figure in found.values() for held in figure.labels.values() for value in held}
    assert KEY not in values
    assert not [name for name in found if "feature_delivery" in name or "wait_for" in name or "trivial" in name]


def test_flower_shows_the_workers_to_whoever_has_its_password(running: Running) -> None:
    page = f"{running.url('flower', 5555)}/workers?json=1"
    assert httpx.get(page, timeout=30, trust_env=False).status_code == 401
    me = ("admin", settings_of(running.stack.directory)["FLOWER_PASSWORD"])
    found = httpx.get(page, auth=me, timeout=30, trust_env=False).json()["data"]
    assert {"celery@worker", "celery@worker-local"} <= {one["hostname"] for one in found}


def test_old_logs_go_from_the_volume_and_young_ones_stay(running: Running) -> None:
    folder = "/opt/airflow/logs/dag_id=long_ago"
    made = f"mkdir {folder} && cd {folder} && touch young.log && touch -d '92 days ago' old.log"
    running.stack.run("worker-local", "sh", "-ec", made)
    running.stack.kill("log-groomer")  # whose rounds are an hour apart
    running.stack.start("log-groomer")
    running.stack.until_healthy(["log-groomer"])
    assert running.stack.run("api-core", "ls", folder).split() == ["young.log"]


def test_no_service_is_near_its_memory_limit(running: Running) -> None:
    taken = {name: running.stack.memory_bytes(name) for name in running.stack.names}
    limits = {name: running.stack.services[name].memory_bytes for name in taken}
    assert not {name: (taken[name], limits[name]) for name in taken if taken[name] > limits[name] * 2 // 3}


def test_a_backup_of_the_running_stack_is_whole(running: Running) -> None:
    closed = f"{STATE}/environments/stall/preprod-stall-1/data/closed"  # as the code of a branch may leave it
    running.stack.run("api-core", "sh", "-ec", f"mkdir -p {closed} && chmod 0 {closed}")
    made = script("backup.sh", running.stack.command("postgres", "api-core"), running.stack.directory / "backups")
    assert made.returncode == 0, made.stderr
    folder = Path(made.stdout.strip())
    assert {file.name for file in folder.iterdir()} == {"database.dump", "state.tar.gz", "projects.tar.gz"}
    refused = script("restore.sh", running.stack.command("postgres", "api-core"), folder)
    assert refused.returncode == 1
    assert "Nothing was changed." in refused.stderr


def script(name: str, compose: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "scripts" / name), str(folder)]
    environment = {**os.environ, "COMPOSE": str(compose), "PROJECTS": str(folder.parent / "projects")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_every_health_check_sees_that_its_service_is_dead(running: Running) -> None:
    """The database, which others are asked about, dies last."""
    names = [name for name in running.stack.names if name != "postgres"]
    # While another worker and the broker live: each is asked for itself. That one was started anew after the delivery.
    running.stack.until_healthy(["worker"])
    running.stack.kill_main("worker-local")
    assert (running.stack.is_healthy("worker-local"), running.stack.is_healthy("worker")) == (False, True)
    for name in names:
        running.stack.kill_main(name)
    with ThreadPoolExecutor(2) as two:
        content = [name for name, well in zip(names, two.map(running.stack.is_healthy, names), strict=True) if well]
    roll_back_directly(running.stack)
    running.stack.kill_main("postgres")
    assert content == []
    assert not running.stack.is_healthy("postgres")


def roll_back_directly(stack: Stack) -> None:
    """With the database alone, the container that has the shop knows it and the ledger, and says what is to be done."""
    environment = stack.services["worker-local"].environment
    done = stack.containers["worker-local"].run(
        ("feature-delivery", "rollback", KEY, "--direct"), environment, timeout=120
    )
    assert (done.returncode, done.stderr) == (1, f"{KEY} was delivered: there is nothing to decide any more.\n")


def test_the_backup_goes_back_into_a_new_stack(running: Running) -> None:
    """Of which only the database runs, and what `docker compose run migrations` starts for a moment."""
    [folder] = (running.stack.directory / "backups").iterdir()
    for name in ("postgres", "api-core"):
        running.stack.kill(name)
    for volume in ("postgres-data", "state"):
        shutil.rmtree(running.stack.volume(volume))
    running.stack.start("postgres")
    running.stack.prepare("migrations")
    compose = running.stack.command("postgres", "migrations")
    done = script("restore.sh", compose, folder)
    assert done.returncode == 0, done.stderr
    assert (folder.parent / "projects" / f"{SHOP}.yaml").exists()
    # What it tells to do next is done as it stands there.
    [adopt] = [line for line in done.stdout.splitlines() if line.endswith("instance adopt'")]
    adopted = subprocess.run(
        ["sh", "-ec", adopt], input="y\n", capture_output=True, text=True, check=False, timeout=120
    )
    assert adopted.returncode == 0, adopted.stderr
    assert f"This is instance {settings_of(running.stack.directory)['INSTANCE']} now" in adopted.stdout
    query = "SELECT state FROM fd_feature"  # there is one
    found = running.stack.run("postgres", "psql", "-h", "127.0.0.1", "-U", "airflow", "-d", "airflow", "-tAc", query)
    assert found.strip() == "delivered"
    # By the user of Airflow, as it was: the volume can be read and written by who has to.
    state = running.stack.run("migrations", "sh", "-ec", f"test -w {STATE} && git -C {REPOSITORY} log -1 --format=%s")
    assert KEY in state
