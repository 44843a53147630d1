"""A shop of next to nothing in the stack of docker-compose.yaml, and Max, who may do everything in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feature_delivery.adapters.git.bare import create_bare, install_post_receive
from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli.api import Api, Login
from feature_delivery.domain.names import branch_name, project_name
from tests.support import compose
from tests.support.compose_stack import AIRFLOW_IDS, Stack

SHOP = project_name("shop")
DAG = f"feature_delivery_{SHOP}"
STATE = "/opt/airflow/state"
REPOSITORY = f"{STATE}/repositories/{SHOP}.git"
PROJECT = f"""\
name: {SHOP}
repository: {REPOSITORY}
branches: {{production: production, preprod: preprod}}
people:
  max: {{roles: [developer, reviewer, tester, manager, operator]}}
solo: true
choices: {{start_gate: true, start_on_push: false, observe_for: 0s, load_for: 0s}}
"""
COMMIT = "git -c user.name=Max -c user.email=max@shop.example commit --quiet"


def services(directory: Path, *, site: str, workers: int = 1) -> dict[str, compose.Service]:
    """Return what compose runs with a folder of project files that holds this shop's."""
    projects = directory / "projects"
    projects.mkdir()
    (projects / f"{SHOP}.yaml").write_text(PROJECT)
    given = {"SITE": site, "USERS": "admin:admin,max:op", "PROJECTS": str(projects), "WORKERS": str(workers)}
    return compose.read(directory, **given)


def put_shop(stack: Stack, *, unit: str = '"true"') -> None:
    """Put the shop into the volume ``state``: a bare repository, and a hook that tells the API server of pushes.

    ``unit``: the command of its unit tests, as in its delivery.yaml.
    """
    state = stack.volume("state")
    bare = create_bare(state / "repositories" / f"{SHOP}.git", branch_name("production"))
    seed = state / "seed"
    shutil.copytree(compose.ROOT / "benchmarks" / "shop", seed, ignore=shutil.ignore_patterns("__pycache__"))
    plan = (seed / "delivery.yaml").read_text("utf-8")
    (seed / "delivery.yaml").write_text(plan.replace('unit: {command: "true"}', f"unit: {{command: {unit}}}"), "utf-8")
    script = f"""
        git init --quiet --initial-branch production && git add --all && {COMMIT} --message 'The shop'
        git push --quiet {bare} production production:preprod
    """
    subprocess.run(["sh", "-ec", script], cwd=seed, check=True, timeout=60)
    secret = compose.settings_of(stack.directory)["TASK_TOKEN"][::-1]
    (state / "secrets").mkdir()
    (state / "secrets" / f"webhook-{SHOP}").write_text(secret)
    url = f"http://api-core:8080{URL_PREFIX}/webhooks/{SHOP}"
    install_post_receive(bare, url=url, secret=secret, project=SHOP)
    user, group = AIRFLOW_IDS.split(":")
    for path in (state, *state.rglob("*")):
        os.chown(path, int(user), int(group), follow_symlinks=False)


def push(stack: Stack, *branches: str) -> None:
    """Push a commit of its own on each branch, from a container that has the volume."""
    lines = [
        f"cd $(mktemp -d) && git clone --quiet {REPOSITORY} . && git config core.hooksPath /dev/null",
        *(
            f"start=$(git rev-parse --verify --quiet origin/{one} || git rev-parse origin/production)\n"
            f"git checkout --quiet -B {one} $start\n"
            f"echo {place} >{place}.txt && git add --all && {COMMIT} --message 'Line {place}'"
            for place, one in enumerate(branches)
        ),
        f"git push --quiet origin {' '.join(branches)}",
    ]
    stack.run("worker-local", "sh", "-ec", "\n".join(lines), timeout=300)


@dataclass
class Max:
    """The one person of the shop, by the API server's address within the stack."""

    stack: Stack
    api: Api = field(init=False)

    def __post_init__(self) -> None:
        passwords = json.loads((self.stack.volume("state") / "passwords.json").read_text("utf-8"))
        self.api = Api(Login(self.url("api-core", 8080), "max", passwords["max"]))

    def url(self, service: str, port: int) -> str:
        """Where a service answers."""
        return f"http://{self.stack.address(service)}:{port}"

    def feature(self, key: str) -> dict[str, Any]:
        """Everything known of a feature."""
        found = self.api.get(f"/projects/{SHOP}/features/{key}")
        assert isinstance(found, dict)
        return found

    def post(self, rest: str, body: dict[str, Any]) -> None:
        """Send something to the project."""
        self.api.post(f"/projects/{SHOP}{rest}", body)

    def decide(self, key: str, gate: str, kind: str) -> None:
        """Say something at a gate, early or not."""
        self.post(f"/features/{key}/decisions", {"gate": gate, "kind": kind, "comment": "By all means."})

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """A run's task instances as Airflow tells them."""
        found = self.api.airflow("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances?limit=200")
        return {one["task_id"]: one for one in found["task_instances"]}
