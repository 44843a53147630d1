"""Secrets come from any of Airflow's secrets backends, and nowhere else can one be found afterwards."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text

from feature_delivery.bootstrap import messengers, settings, tools
from feature_delivery.domain.process import Step
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.services.work.perform import carry_out
from feature_delivery.web import rounds
from feature_delivery.web.transaction import session
from tests.contracts.github_world import FEATURE, GitHubWorld, github_world
from tests.fakes.hosts.github import BOT, BOT_TOKEN
from tests.fakes.slack import CHANNEL, SIGNING_SECRET, FakeSlack, fake_slack
from tests.fakes.slack import TOKEN as SLACK_TOKEN
from tests.support.airflow import copied_engine
from tests.support.board_app import cookie
from tests.support.postgres import PostgresServer
from tests.support.web_app import DAG, PROOF, SECRET, Shop, running_shop, whole_airflow
from tests.support.web_app import TOKEN as TASK_TOKEN

# Airflow's own answers have fields that are deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PREFIX = "/feature-delivery"
METRICS, MEASURING, FERNET = "canary-metrics-5f0d", "canary-prometheus-77c1", "canary-of-a-variable-1e9b"
CANARIES = {
    "the token of the Git host": BOT_TOKEN,
    "the token of Slack": SLACK_TOKEN,
    "Slack's signing secret": SIGNING_SECRET.decode(),
    "the webhook secret": SECRET.decode(),
    "the task token": TASK_TOKEN,
    "the metrics token": METRICS,
    "the password of Prometheus": MEASURING,
    "an Airflow Variable": FERNET,
}
PROJECT = f"""
name: shop
title: The shop
repository: REPOSITORY
host: {{kind: github, connection: gh}}
tracker: {{kind: github, prefix: SHOP}}
branches: {{production: production}}
people:
  max: {{roles: [manager, operator], logins: [max-gh]}}
  dora: {{roles: [developer], emails: [dora@shop.test], logins: [dora-gh]}}
  rita: {{roles: [reviewer], logins: [rita-gh]}}
  tess: {{roles: [tester], logins: [tess-gh]}}
observe: {{connection: measuring}}
messages: {{kind: slack, connection: slack, channel: {CHANNEL}}}
"""


@dataclass
class Stage:
    """A shop on GitHub and Slack whose secrets are in a file of Airflow's local secrets backend alone."""

    shop: Shop
    github: GitHubWorld
    slack: FakeSlack
    environment: dict[str, str]
    seen: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def stage(
    postgres_server: PostgresServer, airflow_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("secrets")
    (directory / "github").mkdir()
    with (
        pytest.MonkeyPatch.context() as patched,
        fake_slack() as slack,
        github_world(directory / "github") as github,
        copied_engine(postgres_server, airflow_template, patched),
    ):
        github.fake.accounts[BOT].role = "admin"
        github.fake.open_issue("mia", "Gift cards", "Sell them.")
        environment = _backend(directory, github, slack)
        for name, value in environment.items():
            patched.setenv(name, value)
        patched.setenv("FEATURE_DELIVERY_METRICS_TOKEN", METRICS)
        _forget_backends()
        messengers._secrets.clear()
        messengers._accounts.clear()
        with running_shop(directory, patched) as inner, whole_airflow(inner, patched) as found:
            file = directory / "projects" / "shop.yaml"
            file.write_text(PROJECT.replace("REPOSITORY", github.fake.repository.url))
            found.tasks.base_url = found.address + PREFIX
            yield Stage(found, github, slack, environment)
    _forget_backends()


def _backend(directory: Path, github: GitHubWorld, slack: FakeSlack) -> dict[str, str]:
    """Write every Connection and Variable to files, and return what makes Airflow read them there."""
    extra = {"base_url": slack.url, "signing_secret": SIGNING_SECRET.decode()}
    entries = {
        "gh": {"conn_type": "http", "host": github.server.url, "password": BOT_TOKEN},
        "slack": {"conn_type": "slack", "password": SLACK_TOKEN, "extra": json.dumps(extra)},
        "measuring": {"conn_type": "http", "host": "http://127.0.0.1:9", "login": "fd", "password": MEASURING},
        "feature_delivery": {"conn_type": "http", "host": "http://127.0.0.1:9", "password": TASK_TOKEN},
    }
    (directory / "connections.json").write_text(json.dumps(entries))
    (directory / "variables.json").write_text(json.dumps({"a_secret": FERNET}))
    named = {f"{kind}_file_path": str(directory / f"{kind}.json") for kind in ("connections", "variables")}
    return {
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(named),
    }


def _forget_backends() -> None:
    import airflow.configuration as of_core  # noqa: PLC0415 - Airflow's import takes two seconds
    import airflow.sdk.configuration as of_tasks  # noqa: PLC0415

    for module in (of_core, of_tasks):
        for name in ("ensure_secrets_loaded", "initialize_secrets_backends"):
            clear = getattr(getattr(module, name, None), "cache_clear", None)
            if clear is not None:
                clear()
    of_core.secrets_backend_list = of_core.initialize_secrets_backends()


@contextmanager
def watched_processes(seen: set[str]) -> Iterator[None]:
    """Collect the command lines of all that runs meanwhile."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            for process in psutil.Process().children(recursive=True):
                try:
                    seen.add(" ".join(process.cmdline()))
                except psutil.Error:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def deliver(stage: Stage) -> list[str]:
    """Go as far as a review on the host, with everything that can go wrong said once; returns what tasks logged."""
    shop, fake, said = stage.shop, stage.github.fake, list[str]()
    people, one = shop.person("max"), f"{PREFIX}/projects/shop/features/SHOP-1"
    body = {"key": "SHOP-1", "title": "Gift cards"}
    assert people.post(f"{PREFIX}/projects/shop/features", json=body).status_code == 201
    shop.register()
    fake.items[1].assignees = ["dora-gh"]
    fake.touch(fake.items[1])
    shop.gate(Step.WAIT_FOR_START)
    rounds.reconcile_all()
    start = {"gate": "start", "kind": "approve"}
    assert shop.person("dora").post(f"{one}/decisions", json=start).status_code == 200
    shop.set(Step.WAIT_FOR_START, "success")
    _task(stage, Step.CREATE_BRANCH, said)
    assert "branches can be read" in people.get(f"{PREFIX}/projects/shop/examination").text
    fake.open_pull("dora-gh", FEATURE, "preprod", title="Gift cards")
    rounds.housekeeping()
    wrong = shop.nobody.post(f"{PREFIX}/webhooks/shop", content=b"{}", headers={"X-Hub-Signature-256": "sha256=0"})
    assert wrong.status_code == 401
    assert shop.nobody.get(f"{PREFIX}/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert shop.nobody.get(f"{PREFIX}/metrics", headers={"Authorization": f"Bearer {METRICS}"}).status_code == 200
    # The host does not know us any more: its words are told.
    token = fake.tokens.pop(BOT_TOKEN)
    said += rounds.reconcile_all()
    _task(stage, Step.CREATE_BRANCH, said)
    fake.tokens[BOT_TOKEN] = token
    rounds.housekeeping()
    return said


def _task(stage: Stage, step: Step, said: list[str]) -> None:
    """Do a step as its task does, Git over HTTP and all; what it raises is what its log ends with."""
    shop, project = stage.shop, settings.project("shop")
    shop.set(step, "running")
    claim = shop.claim(step)
    task = TaskRef(
        run=RunRef(project.name, "SHOP-1"), step=step, try_number=1, task_instance=str(claim["task_instance"])
    )
    channel = tools.channel(stage.shop.address + PREFIX, TASK_TOKEN, proof=lambda: PROOF)
    try:
        carry_out(
            tools.control(channel), task, tools.ProjectTools(project, task, channel), say=said.append, last_try=True
        )
    except Exception as error:  # noqa: BLE001 - whatever it says is what is looked at
        said.append(str(error))
    finally:
        channel.close()
        shop.set(step, "success")


def dumped() -> dict[str, str]:
    """The whole database as text, table by table."""
    tables = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    with session() as opened:
        names = list(opened.scalars(text(tables)))
        return {
            name: "\n".join(opened.scalars(text(f'SELECT t::text FROM "{name}" t')))  # noqa: S608 - its own names
            for name in names
        }


def answers(stage: Stage) -> dict[str, str]:
    """Whatever an administrator of Airflow who is the project's manager can be told."""
    shop = stage.shop
    run, api = f"/api/v2/dags/{DAG}/dagRuns/SHOP-1", "/api/v2"
    paths = [
        *(f"{PREFIX}{path}" for path in ("/health", "/openapi.json", "/docs", "/projects", "/projects/shop")),
        *(f"{PREFIX}/projects/shop/{path}" for path in ("features", "features/SHOP-1", "audit", "examination")),
        *(f"{PREFIX}/webhooks/shop/deliveries", f"{PREFIX}/board/", f"{PREFIX}/board/shop/SHOP-1"),
        *(f"{PREFIX}/board/shop/SHOP-1/changes", f"{PREFIX}/board/figures"),
        *(run, f"{run}/taskInstances", f"{run}/taskInstances/intake.create_branch/xcomEntries", f"{run}/hitlDetails"),
        *(f"{api}/dags/{DAG}/details", f"{api}/eventLogs", f"{api}/connections", f"{api}/variables", f"{api}/config"),
    ]
    with httpx.Client(base_url=shop.address, cookies={"_token": cookie("max")}, trust_env=False, timeout=60) as browser:
        found = {path: browser.get(path) for path in paths}
    admin = shop.person("max", "admin")
    told = {path: answer.text + str(answer.headers) for path, answer in found.items()}
    assert sum(answer.status_code == 200 for answer in found.values()) >= 14, {
        p: a.status_code for p, a in found.items()
    }
    return told | {f"admin {path}": admin.get(path).text for path in paths if path.startswith(api)}


def test_no_secret_is_anywhere_after_a_delivery(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a table, a log, an answer, an address, a message, a command line; not in what the host and Slack got."""
    caplog.set_level(logging.DEBUG)
    for noisy in ("sqlalchemy", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    commands: set[str] = set()
    with watched_processes(commands):
        said = deliver(stage)
    places: dict[str, Any] = {f"table {name}": rows for name, rows in dumped().items()}
    places |= {f"answer of {path}": body for path, body in answers(stage).items()}
    places["the log"] = caplog.text
    places["what tasks logged"] = "\n".join(said)
    places["the command lines of what ran"] = "\n".join(commands)
    places["addresses that the host was asked"] = "\n".join(
        str(exchange.call.path) + str(exchange.call.query) for exchange in stage.github.server.exchanges
    )
    places["what was written on the host"] = "\n".join(comment.body for comment in stage.github.fake.comments)
    places["what was said in Slack"] = "\n".join(json.dumps(vars(one), default=str) for one in stage.slack.said())
    assert stage.slack.said(), "somebody was told something"
    assert any("git" in command for command in commands)
    assert any("SHOP-1" in rows for name, rows in places.items() if name.startswith("table fd_"))
    found = {
        f"{what} in {where}" for where, body in places.items() for what, canary in CANARIES.items() if canary in body
    }
    assert found == set()


def test_connections_of_a_project_come_from_any_secrets_backend(stage: Stage) -> None:
    """In the API server as in a task, where nothing is in Airflow's database or in the environment."""
    code = (
        "from feature_delivery.bootstrap.connections import login; from feature_delivery.orchestration.link import "
        "address; print(login('gh').secret, address()[1])"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**plain, **stage.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines()[-1].split() == [BOT_TOKEN, TASK_TOKEN], done.stderr[-2000:]
    with session() as opened:
        assert opened.execute(text("SELECT count(*) FROM connection")).scalar() == 0
    found = stage.shop.person("max").get(f"{PREFIX}/projects/shop/examination").json()
    assert {one["well"] for one in found if one["what"] == "shop: git"} == {True}
