"""Where benchmarks run: the embedded instance, with a shop of next to nothing, the demo's shop, and a bare chain."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, create_engine, text

from feature_delivery.adapters.git.bare import create_bare, install_post_receive
from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli.api import Api, find_login
from feature_delivery.cli.embedded.instance import Instance
from feature_delivery.cli.shop import Shop, local_platform, webhook_secret
from feature_delivery.cli.up import CHECKOUT, PRELOADED, production_up
from feature_delivery.domain.names import branch_name
from feature_delivery.domain.process import Step
from feature_delivery.orchestration.build import ROLLBACK, WAY

HERE = Path(__file__).parent
PERSON = "bench"
EMPTY, STORE, REAL = "bench_empty", "demo_store", "oscar_shop"
SHOPS: Mapping[str, Path] = {
    EMPTY: HERE / "shop",
    STORE: CHECKOUT / "include" / "demo_store",
    REAL: HERE / "oscar_shop",
}
USUAL = (EMPTY, STORE)
BARE_DAG = "bare_chain"
CHAIN_LENGTH = sum(1 for place in WAY if place not in {Step.RESTORE_BRANCH, *ROLLBACK})
"""Tasks on a kept delivery's critical path: what runs in parallel counts once, what is skipped not at all."""

LOOK_EVERY_SECONDS = 0.05
PATIENCE_SECONDS = 900.0
GIT_TIMEOUT_SECONDS = 60

PROJECT = """\
name: {name}
title: {name}
repository: {repository}
branches: {{production: production, preprod: preprod}}
people:
  {person}: {{roles: [developer, reviewer, tester, manager, operator]}}
solo: true
choices:
  start_gate: true
  start_on_push: false
  observe_for: 0s
  load_for: 0s
"""


@dataclass
class Stage:
    """A running instance, its database and its shops."""

    instance: Instance
    home: Path
    engine: Engine
    api: Api
    shops: Mapping[str, Shop]
    clones: dict[str, Path] = field(default_factory=dict)

    def rows(self, query: str, **values: object) -> Sequence[Any]:
        """Return what a query finds; reading the ledger costs the instance less than asking its API."""
        with self.engine.connect() as connection:
            return connection.execute(text(query), values).all()

    def change(self, statement: str, **values: object) -> int:
        """Change rows; returns how many."""
        with self.engine.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    def until(self, what: str, found: Callable[[], Any], *, patience: float = PATIENCE_SECONDS) -> Any:
        """Return the first thing found.

        Raises:
            TimeoutError: Nothing was.
        """
        end = time.monotonic() + patience
        while not (thing := found()):
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come about within {patience:.0f} s.")
            time.sleep(LOOK_EVERY_SECONDS)
        return thing

    def push(self, project: str, key: str, files: Mapping[str, str] | None = None) -> str:
        """Push one commit of a feature as its developer, with these files besides a line; returns the branch."""
        clone = self.clones.setdefault(project, self._clone(project))
        branch = f"feature/{key}-bench"
        git(clone, "fetch", "--quiet", "origin")
        git(clone, "checkout", "--quiet", "-B", branch, "origin/production")
        for path, line in {f"{key}.txt": f"{key}\n", **(files or {})}.items():
            (clone / path).write_text(line, encoding="utf-8")
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--message", f"{key}: a line")
        git(clone, "push", "--quiet", "origin", branch)
        return branch

    def _clone(self, project: str) -> Path:
        clone = self.home / "clones" / project
        if not clone.exists():
            git(self.home, "clone", "--quiet", str(self.shops[project].repository), str(clone))
        return clone

    def post(self, project: str, rest: str, body: dict[str, Any]) -> Any:
        """Send something to a project as its one person."""
        return self.api.post(f"/projects/{project}{rest}", body)

    def decide(self, project: str, key: str, gate: str, kind: str) -> None:
        """Say something at a gate."""
        self.post(project, f"/features/{key}/decisions", {"gate": gate, "kind": kind, "comment": "Measured."})

    def cpu_seconds(self) -> float:
        """Return the processor time that every process of the instance has used so far, ended ones included.

        Unlike seconds on the wall it hardly depends on what else the machine does.
        """
        total, seen = 0.0, set[int]()
        for pid in self.instance.processes().values():
            leader = psutil.Process(pid)
            for process in (leader, *leader.children(recursive=True)):
                with suppress(psutil.Error):
                    if process.pid not in seen:
                        seen.add(process.pid)
                        # A child that has ended is in its parent's figure.
                        total += sum(process.cpu_times()[:4])
        return total

    def feature_id(self, project: str, key: str) -> int:
        """Return the number of a feature in the ledger."""
        query = "SELECT id FROM fd_feature WHERE project = :project AND key = :key"
        return int(self.rows(query, project=project, key=key)[0][0])

    def run_seconds(self, dag: str, run: str) -> float | None:
        """Return how long an ended run took by Airflow's own clock; ``None`` while it runs."""
        query = "SELECT state, start_date, end_date FROM dag_run WHERE dag_id = :dag AND run_id = :run"
        state, start, end = self.rows(query, dag=dag, run=run)[0]
        if state == "failed":
            raise RuntimeError(f"Run {run} of {dag} failed. Look into {self.home / 'logs'}.")
        return (end - start).total_seconds() if state == "success" else None


def git(directory: Path, *arguments: str) -> str:
    """Run Git as a person without any configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "FEATURE_DELIVERY_USER": PERSON}
    identity = ["-c", f"user.name={PERSON}", "-c", f"user.email={PERSON}@shop.example"]
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=directory,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_SECONDS,
    )
    return done.stdout.strip()


def _bare(home: Path, name: str) -> Path:
    return home / "repositories" / f"{name}.git"


def _shop(home: Path, name: str) -> Shop:
    bare = _bare(home, name)
    create_bare(bare, branch_name("production"))
    seed = home / "seed" / name
    seed.parent.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".pytest_cache", "data", "reports")
    shutil.copytree(SHOPS[name], seed, ignore=ignored)
    git(seed, "init", "--quiet", "--initial-branch", "production")
    git(seed, "add", "--all")
    git(seed, "commit", "--quiet", "--message", "The shop")
    git(seed, "push", "--quiet", str(bare), "production", "production:preprod")
    file = home / "projects" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    repository = json.dumps(str(bare))
    content = PROJECT.format(name=name, repository=repository, person=PERSON)
    file.write_text(content, encoding="utf-8")
    return Shop(project=read_project_file(file), repository=bare, home=home)


def _instance(home: Path, *, port: int) -> Instance:
    dags = home / "dags"
    shutil.copytree(CHECKOUT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "bare_chain.py", dags)
    return Instance(
        home,
        dags_folder=dags,
        plugins_folder=CHECKOUT / "plugins",
        users={"admin": "admin", PERSON: "op"},
        external_db_managers=["feature_delivery.web.database.LedgerDBManager"],
        extra_environment={
            "FEATURE_DELIVERY_HOME": str(home),
            "FEATURE_DELIVERY_PROJECTS": str(home / "projects"),
            "BENCHMARK_CHAIN_LENGTH": str(CHAIN_LENGTH),
        },
        port=port,
        preload=PRELOADED,
    )


@contextmanager
def running(home: Path, *, port: int, names: Sequence[str] = USUAL) -> Iterator[Stage]:
    """Run these shops in the fresh directory ``home`` until the block ends, exactly as ``feature-delivery up`` does."""
    with ExitStack() as stack:
        shops = {name: _shop(home, name) for name in names}
        instance = _instance(home, port=port)
        stack.callback(instance.stop)
        instance.start(dag_ids=[BARE_DAG, *(shop.project.dag_id for shop in shops.values())])
        platform = local_platform(home)
        for name, shop in shops.items():
            stack.callback(platform.stop_all, shop.project.name)
            production_up(platform, shop, lambda _line: None)
            install_post_receive(
                _bare(home, name),
                url=f"{instance.address}{URL_PREFIX}/webhooks/{name}",
                secret=webhook_secret(home, shop.project.name),
                project=shop.project.name,
            )
        engine = create_engine(instance.settings.database)
        stack.callback(engine.dispose)
        api = Api(find_login(home, user=PERSON))
        stack.callback(api.close)
        yield Stage(instance=instance, home=home, engine=engine, api=api, shops=shops)
