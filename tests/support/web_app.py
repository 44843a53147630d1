"""The web app over real HTTP, on Airflow's tables, with a real Git repository; the test plays scheduler and workers."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select, update

from feature_delivery.domain.process import Step
from feature_delivery.domain.proofs import HEADER, seal
from feature_delivery.domain.records import now
from tests.support.airflow import store_dag

TOKEN = "the-task-token"
PROOF = "the-secret-of-every-task-here"
SECRET = b"the-webhook-secret"
DAG = "feature_delivery_shop"
PROJECT_FILE = """
name: shop
title: The shop
repository: {repository}
people:
  max: {{roles: [manager]}}
  dora: {{roles: [developer], emails: [dora@shop.example]}}
  rita: {{roles: [reviewer]}}
  tess: {{roles: [tester]}}
  olga: {{roles: [operator]}}
choices: {{observe_for: 1s}}
"""


class Repository:
    """A bare repository and a developer's clone of it."""

    def __init__(self, directory: Path) -> None:
        self.bare, self.clone = directory / "shop.git", directory / "clone"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare), at=directory)
        self.git("clone", "--quiet", str(self.bare), str(self.clone), at=directory)
        self.git("config", "user.name", "Dora")
        self.git("config", "user.email", "dora@shop.example")
        self.git("checkout", "--quiet", "-B", "main")
        self.main = self.commit("delivery.yaml", "the shop")
        self.git("push", "--quiet", "origin", "main", "main:preprod")

    def git(self, *arguments: str, at: Path | None = None) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", *arguments],
            cwd=at or self.clone,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def commit(self, path: str, text: str) -> str:
        (self.clone / path).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", text)
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str, text: str, *, base: str = "origin/main") -> str:
        self.git("fetch", "--quiet", "origin")
        self.git("checkout", "--quiet", "-B", branch, base)
        head = self.commit("cards.txt", text)
        self.git("push", "--quiet", "--force", "origin", branch)
        return head


class Shop:
    """Everything a test needs to act as task, person, host and scheduler."""

    def __init__(self, address: str, repository: Repository) -> None:
        self.address, self.repository = address, repository
        self._clients: dict[str, httpx.Client] = {}
        self.tasks = self._client(TOKEN)
        self.nobody = self._client("")

    def _client(self, token: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {HEADER: PROOF} if token == TOKEN else {}
        found = httpx.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)
        self._clients[token] = found
        return found

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def person(self, name: str, role: str = "user") -> httpx.Client:
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        user = SimpleAuthManagerUser(username=name, role=role)
        return self._client(get_auth_manager().generate_jwt(user))

    def start(self, key: str = "SHOP-1") -> None:
        answer = self.person("max").post("/projects/shop/features", json={"key": key, "title": "Gift cards"})
        assert answer.status_code == 201, answer.text

    def set(self, step: Step, state: str | None, *, run_id: str = "SHOP-1", tries: int = 1) -> None:
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance

        from feature_delivery.web.transaction import session

        with session() as opened:
            opened.execute(update(DagRun).where(DagRun.run_id == run_id).values(_state="running"))
            which = (TaskInstance.run_id == run_id, TaskInstance.task_id == step.value)
            opened.execute(update(TaskInstance).where(*which).values(state=state, try_number=tries, start_date=now()))

    def instance(self, step: Step, *, run_id: str = "SHOP-1") -> Any:
        from airflow.models.taskinstance import TaskInstance

        from feature_delivery.web.transaction import session

        with session() as opened:
            which = (TaskInstance.run_id == run_id, TaskInstance.task_id == step.value)
            return opened.scalar(select(TaskInstance).where(*which))

    def run_after(self, run_id: str = "SHOP-1") -> datetime:
        from airflow.models.dagrun import DagRun

        from feature_delivery.web.transaction import session

        with session() as opened:
            found = opened.scalar(select(DagRun.run_after).where(DagRun.run_id == run_id))
        assert isinstance(found, datetime)
        return found

    def state(self, step: Step, *, run_id: str = "SHOP-1") -> str:
        return str(self.instance(step, run_id=run_id).state or "none")

    def claim(self, step: Step, *, run_id: str = "SHOP-1") -> dict[str, Any]:
        """What the task itself says, whose supervisor has had its seal written."""
        from airflow.models.taskinstance import TaskInstance

        from feature_delivery.web.transaction import session

        instance = self.instance(step, run_id=run_id)
        with session() as opened:
            sealed = update(TaskInstance).where(TaskInstance.id == instance.id)
            opened.execute(sealed.values(_rendered_map_index=seal(PROOF)))
        return {
            "project": "shop",
            "run_id": run_id,
            "step": step.value,
            "try_number": 1,
            "task_instance": str(instance.id),
        }

    def permit(self, step: Step, *, run_id: str = "SHOP-1") -> dict[str, Any]:
        self.set(step, "running", run_id=run_id)
        answer = self.tasks.post("/tasks/permits", json=self.claim(step, run_id=run_id))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def perform(self, step: Step, *, run_id: str = "SHOP-1", **result: Any) -> None:
        work = self.permit(step, run_id=run_id)
        body = {"task": self.claim(step, run_id=run_id), "result": result or {"kind": "done"}}
        answer = self.tasks.post(f"/tasks/permits/{work['permit']}/results", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"problem": ""}
        self.set(step, "success", run_id=run_id)

    def gate(self, step: Step, event: dict[str, Any] | None = None, *, run_id: str = "SHOP-1") -> dict[str, Any]:
        """The task asks, as a worker runs it; then it goes on, or parks as Airflow parks it."""
        self.set(step, "running", run_id=run_id)
        answer = self.tasks.post("/tasks/gates", json={"task": self.claim(step, run_id=run_id), "event": event})
        assert answer.status_code == 200, answer.text
        found = dict(answer.json())
        self.set(step, "success" if found["outcome"] or found["over"] else "awaiting_input", run_id=run_id)
        return found

    def housekeeper(self) -> str:
        """The running task of the housekeeping DAG."""
        from airflow import sdk
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance
        from airflow.providers.standard.operators.empty import EmptyOperator

        from feature_delivery.domain.names import ProjectName
        from feature_delivery.domain.project import HOUSEKEEPING
        from feature_delivery.ports.runs import RunRef
        from feature_delivery.web.transaction import begin, session

        run = RunRef(ProjectName("housekeeping"), "now")
        with sdk.DAG(HOUSEKEEPING, schedule=None) as dag:
            EmptyOperator(task_id="look_after")
        with session() as opened:
            known = opened.scalar(select(DagRun.id).where(DagRun.dag_id == HOUSEKEEPING))
            if known is None:
                store_dag(opened, HOUSEKEEPING, dag)
        if known is None:
            with begin() as unit:
                unit.runs.start(run, conf={}, note="")
        with session() as opened:
            which = TaskInstance.dag_id == HOUSEKEEPING
            opened.execute(update(DagRun).where(DagRun.dag_id == HOUSEKEEPING).values(_state="running"))
            opened.execute(
                update(TaskInstance)
                .where(which)
                .values(state="running", try_number=1, start_date=now(), _rendered_map_index=seal(PROOF))
            )
            return str(opened.scalar(select(TaskInstance.id).where(which)))

    def register(self, *, run_id: str = "SHOP-1") -> None:
        facts = {"kind": "registered", "title": "Gift cards", "description": "", "issue_url": "", "taken": False}
        self.perform(Step.REGISTER_FEATURE, run_id=run_id, **facts)

    def feature(self, key: str = "SHOP-1") -> dict[str, Any]:
        answer = self.person("max").get(f"/projects/shop/features/{key}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def webhook(self, body: dict[str, Any] | bytes, delivery: str, **changes: Any) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "X-Feature-Delivery-Signature": "sha256=" + hmac.new(SECRET, raw, hashlib.sha256).hexdigest(),
            "X-Feature-Delivery-Delivery": delivery,
            "X-Feature-Delivery-Event": "push",
            **changes.pop("headers", {}),
        }
        return self.nobody.post(f"/webhooks/{changes.pop('project', 'shop')}", content=raw, headers=headers)


def eventually(what: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait for what a background worker does; patience is not what is tested."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@contextmanager
def serve(app: Any) -> Iterator[str]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def shop(airflow_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The web app with one project, its users, its repository and its DAG."""
    with running_shop(tmp_path, monkeypatch) as found:
        yield found


@contextmanager
def running_shop(directory: Path, patched: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The web app on Airflow's engine as it is now, its project and repository below ``directory``."""
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.models.dag import DagModel

    from feature_delivery.web.app import create_app
    from feature_delivery.web.transaction import session

    repository = Repository(directory)
    (directory / "projects").mkdir()
    (directory / "projects" / "shop.yaml").write_text(PROJECT_FILE.format(repository=repository.bare))
    (directory / "secrets").mkdir()
    (directory / "secrets" / "webhook-shop").write_bytes(SECRET + b"\n")
    patched.setenv("FEATURE_DELIVERY_HOME", str(directory))
    patched.setenv("FEATURE_DELIVERY_PROJECTS", str(directory / "projects"))
    patched.setenv("FEATURE_DELIVERY_TASK_TOKEN", TOKEN)
    with session() as opened:
        if opened.get(DagModel, DAG) is None:  # the busy shop brings it
            store_dag(opened, DAG)
    init_auth_manager()
    with serve(create_app()) as address:
        found = Shop(address, repository)
        yield found
        found.close()


@contextmanager
def whole_airflow(shop: Shop, patched: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Airflow's whole API server on the same tables, with the plugin's folder, in the place of the web app alone."""
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, purge_cached_app

    from feature_delivery.web import plugin, workers

    workers.stop_all()
    plugin.apps.cache_clear()
    registered = (list(plugin.apps()), list(plugin.middlewares()))
    patched.setattr(plugins_manager, "get_fastapi_plugins", lambda: registered)
    purge_cached_app()
    with serve(create_app(apps="core")) as address:
        found = Shop(address, shop.repository)
        yield found
        found.close()
    purge_cached_app()
