"""``rollback --direct`` on a server, where nothing but docker-compose.yaml's environment tells of the installation."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine, text

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.session import transactions
from feature_delivery.cli.emergency import DirectRuns
from feature_delivery.cli.shop import PREPROD
from feature_delivery.domain.names import CommitSha, ProjectName, TreeSha
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Decision, Feature, PromotionState
from feature_delivery.ports.runs import AT_THE_GATE, RunRef
from tests.contracts.ledger.rows import KEY, a_feature, a_promotion, an_attempt
from tests.local_bench import get, settings
from tests.support.command_line import Command
from tests.support.compose import FILE, ROOT
from tests.support.git_world import PRODUCTION, GitWorld, git

SHOP = ProjectName("shop")
INSTANCE = "0000000000a1"
BY_GROUPS = """\
name: shop
repository: {repository}
branches: {{production: production}}
groups: {{Shop managers: [manager, operator], Shop people: [developer, reviewer, tester]}}
choices: {{observe_for: 0s, load_for: 0s}}
"""


@dataclass
class Server:
    """An installation with a release in production that waits for its verdict; no part of Airflow runs."""

    state: Path
    projects: Path
    world: GitWorld
    before: CommitSha
    engine: Engine

    @contextmanager
    def books(self) -> Iterator[SqlBooks]:
        with transactions(self.engine)() as session:
            yield SqlBooks(session, new_instance=INSTANCE)

    def feature(self, books: SqlBooks) -> Feature:
        found = books.feature(SHOP, KEY)
        assert found is not None
        return found

    def decision(self) -> Decision:
        with self.books() as books:
            [said] = books.decisions(self.feature(books))
        return said

    def promoted(self) -> PromotionState:
        with self.books() as books:
            found = books.promotion(self.feature(books))
        assert found is not None
        return found.state


@pytest.fixture
def server(
    tmp_path: Path, postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch, command: Command
) -> Iterator[Server]:
    del command  # it clears the environment: before this one is set
    state, projects = tmp_path / "opt" / "state", tmp_path / "opt" / "projects"
    (state / "repositories").mkdir(parents=True)
    projects.mkdir()
    told = yaml.safe_load(FILE.read_text("utf-8"))["x-environment"]
    for name, value in told.items():
        if name.startswith("FEATURE_DELIVERY_") and not value.startswith("$"):
            monkeypatch.setenv(name, value.replace("/opt/airflow", str(tmp_path / "opt")))
    monkeypatch.setenv("FEATURE_DELIVERY_INSTANCE", INSTANCE)
    assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in told
    address = postgres_engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)

    shop = {path.name: path.read_text("utf-8") for path in (ROOT / "benchmarks" / "shop").iterdir() if path.is_file()}
    world = GitWorld.make(state / "repositories", files=shop, name="shop.git")
    before = world.head(PRODUCTION)
    world.branch(PREPROD, before)
    candidate = world.commit(PRODUCTION, {"gift.txt": "cards\n"}, on=before)
    (projects / "shop.yaml").write_text(BY_GROUPS.format(repository=world.host))
    (projects / "another.yaml").write_text("name: another\npeople: [\n")
    made = Server(state, projects, world, before, postgres_engine)
    with postgres_engine.begin() as connection:
        # Of Airflow's own tables a direct rollback locks one row, and reads those of whoever waits for production.
        connection.execute(text("CREATE TABLE dag_run (id int, dag_id text, run_id text, state text)"))
        insert = text("INSERT INTO dag_run VALUES (1, 'feature_delivery_shop', :run, :state)")
        for run, run_state in ((KEY, "failed"), ("SHOP-2", "failed"), ("SHOP-3", "running")):
            connection.execute(insert, {"run": run, "state": run_state})
    with made.books() as books:
        feature = a_feature(books)
        an_attempt(books, feature).commit = candidate
        tree = TreeSha(git(world.host, "rev-parse", f"{candidate}^{{tree}}"))
        a_promotion(books, feature, before=before, candidate=candidate, tree=tree, state=PromotionState.DEPLOYED)
        row = books.lock_project(SHOP)
        row.lock_feature_id, row.production_commit = feature.id, candidate
    yield made
    from feature_delivery.adapters.platforms.local import LocalPlatform  # noqa: PLC0415

    LocalPlatform(settings(state / "environments", instance=INSTANCE)).stop_all(SHOP)


def test_production_is_not_given_to_another_whose_run_somebody_has_ended(server: Server) -> None:
    with transactions(server.engine)() as session:
        runs = DirectRuns(session, "nobody")
        own, ended, alive, gone = (RunRef(SHOP, run) for run in (KEY, "SHOP-2", "SHOP-3", "SHOP-4"))
        assert runs.lock(own)
        found = {
            run.run_id: runs.states(run).get(Step.WAIT_FOR_TURN) in AT_THE_GATE for run in (own, ended, alive, gone)
        }
    assert found == {KEY: True, "SHOP-2": False, "SHOP-3": True, "SHOP-4": False}


def test_a_release_is_taken_back_by_the_user_of_the_machine_who_is_nobody_of_the_project(
    server: Server, command: Command
) -> None:
    rollback = ("rollback", KEY, "--project", SHOP, "--direct", "--comment", "It burns")
    mark = server.state / "environments" / ".control" / INSTANCE / f"{SHOP}.json"
    mark.parent.mkdir(parents=True)
    mark.write_text('{"mark": "m", "machine": "worker-local"}')
    command(*rollback).refused("processes of worker-local", "docker compose exec worker-local")
    assert server.promoted() is PromotionState.DEPLOYED

    mark.unlink()
    answer = command(*rollback)
    assert answer.code == 0, answer
    assert server.promoted() is PromotionState.ROLLED_BACK
    head = server.world.head(PRODUCTION)
    assert git(server.world.host, "rev-parse", f"{head}^{{tree}}") == git(
        server.world.host, "rev-parse", f"{server.before}^{{tree}}"
    )
    record = json.loads((server.state / "environments" / SHOP / "production" / "environment.json").read_text())
    assert record["current"]["commit"] == head
    assert get(f"http://127.0.0.1:{record['port']}", "/healthz") == "ok"
    said = server.decision()
    assert (said.person, said.role, said.way) == (f"{getpass.getuser()}@{socket.gethostname()}", "", "direct")
    assert not list(server.state.glob("airflow*"))
