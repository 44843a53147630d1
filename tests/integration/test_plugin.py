"""The plugin in Airflow's own API server: mounted, with its workers, awake when people use Airflow's pages."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import now
from feature_delivery.ports.runs import RunRef
from feature_delivery.web import hardening, logins, plugin
from feature_delivery.web.transaction import begin
from tests.support.web_app import Shop, eventually, whole_airflow

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def airflow_server(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Airflow's whole API server on the same tables."""
    with whole_airflow(shop, monkeypatch) as found:
        yield found


def test_the_app_is_mounted_with_its_workers(airflow_server: Shop) -> None:
    answer = airflow_server.nobody.get("/feature-delivery/health")
    assert answer.status_code == 200, answer.text
    assert all(answer.json()["workers"].values())
    assert airflow_server.nobody.get("/feature-delivery/openapi.json").json()["info"]["title"] == "Feature delivery"
    assert airflow_server.person("max").get("/feature-delivery/projects").json()[0]["name"] == "shop"


def test_what_is_cleared_in_airflows_pages_runs_although_its_run_is_shelved(airflow_server: Shop) -> None:
    shop = airflow_server
    path = "/feature-delivery/projects/shop/features"
    assert shop.person("max").post(path, json={"key": "SHOP-1"}).status_code == 201
    for step in Step:
        if step is Step.WAIT_FOR_CODE:
            break
        shop.set(step, "success")
    shop.set(Step.WAIT_FOR_CODE, "awaiting_input")
    run = RunRef(ProjectName("shop"), "SHOP-1")
    with begin() as unit:
        unit.runs.shelve(run, until=now() + timedelta(days=30))
        assert unit.runs.unshelve_stranded([ProjectName("shop")]) == 0
    body = {"dag_run_id": "SHOP-1", "task_ids": [Step.CREATE_BRANCH], "dry_run": False, "only_failed": False}
    answer = shop.person("admin", "admin").post("/api/v2/dags/feature_delivery_shop/clearTaskInstances", json=body)
    assert answer.status_code == 200, answer.text
    assert shop.state(Step.CREATE_BRANCH) == "none"

    eventually(lambda: shop.run_after() <= now())


@pytest.mark.parametrize("root", ["", "/airflow"])
def test_what_is_asked_of_airflow_is_seen_whatever_path_it_is_reached_at(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(logins, "note", lambda name, _: seen.append(name))
    monkeypatch.setattr(plugin, "wake", seen.append)

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 401, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"username": "max"}'}

    async def send(message: Message) -> None:
        assert message["status"] == 401

    def ask(middleware: ASGIApp, path: str) -> None:
        scope = {"type": "http", "method": "POST", "path": root + path, "root_path": root}
        asyncio.run(middleware(scope, receive, send))  # type: ignore[arg-type]

    ask(logins.AtLogins(refuse), "/auth/token")
    ask(plugin.AfterHands(refuse), "/api/v2/dags/feature_delivery_shop/clearTaskInstances")
    ask(plugin.AfterHands(refuse), "/api/v2/dags/~/dagRuns/~/taskInstances")
    for others in ("/elsewhere/api/v2/dags/feature_delivery_shop", "/api/v2/dags/etl/dagRuns", "/ui/auth/token"):
        ask(plugin.AfterHands(refuse), others)
    assert seen == ["max", "shelf", "shelf"]


def test_a_stream_passes_what_hardens_answers_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is there before the next one is made; at an https address, every answer says so."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://deliveries.test")

    async def play() -> list[Message]:
        seen, got = list[Message](), asyncio.Event()

        async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
            headers = [(b"content-type", b"text/event-stream"), (b"content-security-policy", b"default-src 'none'")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number in range(3):
                got.clear()
                await send({"type": "http.response.body", "body": b"data: %d" % number, "more_body": True})
                await asyncio.wait_for(got.wait(), 5)

        async def send(message: Message) -> None:
            seen.append(message)
            got.set()

        async def receive() -> Message:
            raise AssertionError("nothing is read")

        scope = {"type": "http", "method": "GET", "path": "/board/changes", "root_path": "", "headers": []}
        await hardening.OnEveryAnswer(stream)(scope, receive, send)
        return seen

    start, *parts = asyncio.run(play())
    assert [part["body"] for part in parts] == [b"data: 0", b"data: 1", b"data: 2"]
    names = [name for name, _ in start["headers"]]
    assert len(names) == len(set(names))
    assert dict(start["headers"])[b"content-security-policy"] == b"default-src 'none'"
    assert b"strict-transport-security" in names


def test_other_processes_pay_nothing_for_the_plugin() -> None:
    """Scheduler, DAG processor and every task import the file: none of them may import the web app with it."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import feature_delivery_plugin as p; "
        "assert p.FeatureDeliveryPlugin.name == 'feature_delivery'; "
        "assert not any(m.startswith('feature_delivery.') for m in sys.modules), 'it imported the package'"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(PLUGINS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]
