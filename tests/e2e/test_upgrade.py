"""A feature waits at a gate while everything is upgraded: it goes on, with the DAG file that it began with.

The real Airflow, with a bundle of DAG files in Git. Version 2 of the file has one more task; the ledger of the feature
that waits is taken back to an older revision while nothing runs, as if an older version had written it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from sqlalchemy import create_engine, pool, text

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli.embedded.home import Home
from feature_delivery.cli.embedded.instance import Instance
from feature_delivery.cli.embedded.postgres import EmbeddedPostgres, stamp_path
from feature_delivery.cli.embedded.supervisor import Supervisor
from feature_delivery.cli.up import CHECKOUT, PRELOADED
from tests.support.command_line import git
from tests.support.ledger_dumps import config
from tests.support.ports import free_port
from tests.support.web_app import PROJECT_FILE, Repository

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAG = "feature_delivery_shop"
OLDER = "0008"
PATIENCE_SECONDS = 240
VERSION_2 = """

from airflow.sdk import task

with globals()["feature_delivery_shop"] as _dag:

    @task
    def tell_the_team():
        print("a task that version 1 does not have")

    _dag.get_task("intake.register_feature") >> tell_the_team()
"""


class Bundle:
    """A team's repository of DAG files."""

    def __init__(self, directory: Path) -> None:
        self.bare, self.clone = directory / "dags.git", directory / "dags"
        git(directory, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        git(directory, "clone", "--quiet", str(self.bare), str(self.clone))
        (self.clone / "dags").mkdir()
        for file in (CHECKOUT / "dags").glob("*.py"):
            (self.clone / "dags" / file.name).write_text(file.read_text())

    def publish(self, *, more: str = "") -> str:
        file = self.clone / "dags" / "feature_delivery.py"
        file.write_text(file.read_text() + more)
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", "The DAG files")
        git(self.clone, "push", "--quiet", "origin", "HEAD:main")
        return git(self.clone, "rev-parse", "HEAD")

    def setting(self) -> str:
        """What docs/upgrade.md says to set."""
        options = {"repo_url": str(self.bare), "tracking_ref": "main", "subdir": "dags", "refresh_interval": 2}
        classpath = "airflow.providers.git.bundles.git.GitDagBundle"
        return json.dumps([{"name": "deliveries", "classpath": classpath, "kwargs": options}])


class Side:
    """Airflow and the web app as people use them."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.clients: dict[str, httpx.Client] = {}

    def call(self, user: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if user not in self.clients:
            self.clients[user] = self.instance.client(user)
        answer = self.clients[user].request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def ours(self, user: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.call(user, method, f"{URL_PREFIX}/projects/shop{path}", body)

    def run(self, key: str) -> Any:
        return self.call("admin", "GET", f"/api/v2/dags/{DAG}/dagRuns/{key}")

    def tasks(self, key: str) -> dict[str, str]:
        found = self.call("admin", "GET", f"/api/v2/dags/{DAG}/dagRuns/{key}/taskInstances")
        return {one["task_id"]: str(one["state"]) for one in found["task_instances"]}

    def until(self, what: str, holds: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert self.instance.failure is None
            assert time.monotonic() < end, f"it did not happen: {what}"
            time.sleep(0.2)

    def parked(self, key: str, gate: str) -> None:
        self.until(f"{key} waits at {gate}", lambda: self.tasks(key).get(gate) == "awaiting_input")


@contextmanager
def airflow(directory: Path, bundle: Bundle, port: int) -> Iterator[Side]:
    (directory / "home").mkdir(exist_ok=True)
    instance = Instance(
        directory / "home",
        dags_folder=directory / "no-dags",
        plugins_folder=CHECKOUT / "plugins",
        users={"admin": "admin", "max": "op", "dora": "op"},
        external_db_managers=["feature_delivery.web.database.LedgerDBManager"],
        extra_environment={
            "FEATURE_DELIVERY_HOME": str(directory / "home"),
            "FEATURE_DELIVERY_PROJECTS": str(directory / "projects"),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": bundle.setting(),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(directory / "bundles"),
        },
        port=port,
        parallelism=3,
        preload=PRELOADED,
        durable=False,
    )
    with instance:
        instance_side = Side(instance)
        yield instance_side
        for client in instance_side.clients.values():
            client.close()


def take_ledger_back(home: Path) -> None:
    """While nothing but the database runs: what an older version would have left."""
    with Home(home) as held:
        supervisor = Supervisor(logs=held.logs, lock=held.parts_lock)
        server = EmbeddedPostgres(
            held.postgres, socket_directory=held.short_directory(), password=held.secrets()["database"], durable=False
        )
        supervisor.start(server.part())
        try:
            supervisor.wait_ready()
            command.downgrade(config(server.address), OLDER)
            engine = create_engine(server.address, poolclass=pool.NullPool)
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT count(*) FROM fd_gate WHERE state = 'open'")) == 1
            engine.dispose()
        finally:
            supervisor.stop()
        stamp_path(held.postgres).unlink()


def test_a_feature_at_a_gate_outlives_an_upgrade_and_keeps_the_dag_it_began_with(tmp_path: Path) -> None:
    shop, bundle, port = Repository(tmp_path), Bundle(tmp_path), free_port()
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "shop.yaml").write_text(PROJECT_FILE.format(repository=shop.bare))
    first = bundle.publish()
    with airflow(tmp_path, bundle, port) as before:
        before.until("the DAG is known", lambda: known(before))
        before.ours("max", "POST", "/features", {"key": "SHOP-1", "title": "Gift cards"})
        before.parked("SHOP-1", "intake.wait_for_start")
        assert before.run("SHOP-1")["bundle_version"] == first

    take_ledger_back(tmp_path / "home")
    second = bundle.publish(more=VERSION_2)

    with airflow(tmp_path, bundle, port) as after:
        after.until("version 2 is known", lambda: known(after, second))
        assert "tell_the_team" in {
            one["task_id"] for one in after.call("admin", "GET", f"/api/v2/dags/{DAG}/tasks")["tasks"]
        }
        after.ours("max", "POST", "/features", {"key": "SHOP-2", "title": "Gift wrap"})
        after.ours("dora", "POST", "/features/SHOP-1/decisions", {"gate": "start", "kind": "approve"})
        after.parked("SHOP-1", "development.wait_for_code")
        # Somebody clears it in Airflow's page, which would take the newest version if it were asked nothing.
        clear = {"dry_run": False, "dag_run_id": "SHOP-1", "task_ids": ["intake.create_branch"], "only_failed": False}
        earlier = tries(after, "SHOP-1", "intake.create_branch")
        after.call("admin", "POST", f"/api/v2/dags/{DAG}/clearTaskInstances", clear | {"include_downstream": True})
        after.until("it came past once more", lambda: tries(after, "SHOP-1", "intake.create_branch") > earlier)
        after.parked("SHOP-1", "development.wait_for_code")
        after.ours("max", "POST", "/features/SHOP-1/cancel", {"reason": "Seen enough."})
        after.until("it ends", lambda: after.run("SHOP-1")["state"] in {"success", "failed"})
        assert after.run("SHOP-1")["bundle_version"] == first
        ended = after.tasks("SHOP-1")
        assert "tell_the_team" not in ended
        assert ended["teardown.destroy_development"] == "success"
        after.until("the new one does the new task", lambda: after.tasks("SHOP-2").get("tell_the_team") == "success")
        after.parked("SHOP-2", "intake.wait_for_start")
        assert after.run("SHOP-2")["bundle_version"] == second


def known(side: Side, version: str = "") -> bool:
    with closing(side.instance.client("admin")) as client:
        answer = client.get(f"/api/v2/dags/{DAG}")
    found = answer.json().get("bundle_version") if answer.status_code == 200 else None
    return bool(found) and found == (version or found)


def tries(side: Side, key: str, task: str) -> int:
    return int(side.call("admin", "GET", f"/api/v2/dags/{DAG}/dagRuns/{key}/taskInstances/{task}")["try_number"])


def test_the_setting_of_the_docs_is_the_one_that_was_tried(tmp_path: Path) -> None:
    docs = (CHECKOUT / "docs" / "upgrade.md").read_text("utf-8")
    found = re.search(r"DAG_BUNDLE_CONFIG_LIST='(\[.*?\])'$", docs, re.MULTILINE | re.DOTALL)
    assert found
    (said,), (tried,) = json.loads(found[1]), json.loads(Bundle(tmp_path).setting())
    assert (said["name"], said["classpath"]) == (tried["name"], tried["classpath"])
    assert set(said["kwargs"]) - {"git_conn_id"} == set(tried["kwargs"]) - {"repo_url"}
