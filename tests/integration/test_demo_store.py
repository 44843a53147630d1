"""The demo shop and its features, run as a platform would run them: real Git, real processes, a real environment."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from feature_delivery.cli.demo.overlay import apply_overlay, read_feature
from feature_delivery.domain.errors import Conflict, Misconfigured, NotFound, Refused
from feature_delivery.domain.plan import DeliveryPlan, Suite
from feature_delivery.services.delivery_file import read_delivery_file
from tests.support.ports import free_port

INCLUDE = Path(__file__).parents[2] / "include"
STORE = INCLUDE / "demo_store"
FEATURES = {path.name: read_feature(path) for path in sorted((INCLUDE / "demo_features").iterdir()) if path.is_dir()}
COMMITS = [(name, commit.number) for name, feature in FEATURES.items() for commit in feature.commits]
ENVIRONMENTS = ("development", "preprod", "production")
# What each scenario of the demo stands on; everything else is green everywhere.
RED_IN_PRODUCTION = {("loyalty-points", 1)}
DOES_NOT_START_IN_PRODUCTION = {("slow-start", 1)}


def git(directory: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    identity = ("-c", "user.name=Dev", "-c", "user.email=dev@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, "-C", str(directory), *arguments], check=check, capture_output=True, text=True, timeout=60
    )


def commit(directory: Path, message: str = "change") -> None:
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", message)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The shop's repository, production checked out."""
    put_shop(tmp_path / "clone")
    return tmp_path / "clone"


def put_shop(directory: Path) -> None:
    shutil.copytree(STORE, directory, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "data", "reports"))
    git(directory, "init", "--quiet", "--initial-branch=production")
    commit(directory, "The shop")


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One environment for all runs, filled by the shop's own install command."""
    directory = tmp_path_factory.mktemp("venv")
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--clear", str(directory)], check=True, timeout=60)
    environment = os.environ | {
        "VIRTUAL_ENV": str(directory),
        "PATH": f"{directory / 'bin'}:{Path(uv).parent}:{os.environ['PATH']}",
    }
    for command in plan_of(STORE).install:
        subprocess.run(command, check=True, cwd=STORE, env=environment, timeout=120, capture_output=True)
    return directory


def plan_of(directory: Path) -> DeliveryPlan:
    return read_delivery_file((directory / "delivery.yaml").read_bytes(), where="the shop's delivery.yaml")


class Run:
    """One commit in one environment."""

    def __init__(self, directory: Path, venv: Path, environment: str, data: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self.plan = plan_of(directory)
        self.data = data
        self.variables = {
            "PATH": f"{venv / 'bin'}:/usr/bin:/bin",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "BASE_URL": f"http://127.0.0.1:{self.port}",
            "DATA_DIR": str(data),
            "DELIVERY_ENVIRONMENT": environment,
            "DELIVERY_COMMIT": git(directory, "rev-parse", "HEAD").stdout.strip(),
            **self.plan.variables,
        }

    def call(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.directory, env=self.variables, timeout=120, capture_output=True, text=True, check=False
        )

    def migrate(self, command: Sequence[str] | None) -> str:
        assert command, "the shop's plan has no such migration"
        done = self.call(command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve until the end of the block; the server must stop by itself when asked."""
        process = subprocess.Popen(
            self.plan.start,
            cwd=self.directory,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            self.wait_until_healthy(process)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, said

    def wait_until_healthy(self, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + self.plan.health.timeout.total_seconds()
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(process.communicate()[0])
            try:
                if self.get(self.plan.health.path)[0] == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("never healthy")

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def suite(self, suite: Suite) -> tuple[bool, int]:
        """Run a suite; return (green, tests executed)."""
        plan = self.plan.suites[suite]
        done = self.call(plan.command)
        if plan.junit is None:
            return done.returncode == 0, 1
        report = ET.parse(self.directory / plan.junit).getroot()  # noqa: S314 - written by the shop's own tests
        cases = len(list(report.iter("testcase")))
        broken = len([*report.iter("failure"), *report.iter("error")])
        assert (done.returncode == 0) == (broken == 0), done.stdout[-2000:]
        return broken == 0, cases

    def tables(self) -> list[tuple[str]]:
        with sqlite3.connect(self.data / "shop.sqlite3") as database:
            query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql"
            rows: list[tuple[str]] = database.execute(query).fetchall()
        database.close()
        return rows


def develop(clone: Path, name: str, *, upto: int) -> None:
    """Apply the commits of a feature as its developer does, on a branch of its own."""
    git(clone, "switch", "--quiet", "--create", f"feature/{name}")
    for made in FEATURES[name].commits[:upto]:
        if made.from_production:
            git(clone, "reset", "--quiet", "--hard", "production")
        apply_overlay(clone, made.overlay)
        commit(clone, made.message)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_shop_itself_is_green_everywhere(clone: Path, venv: Path, tmp_path: Path, environment: str) -> None:
    run = Run(clone, venv, environment, tmp_path / "data")
    run.migrate(run.plan.migration.forward)
    with run.served():
        facts = json.loads(run.get("/healthz")[1])
        assert facts["environment"] == environment
        assert facts["commit"] == run.variables["DELIVERY_COMMIT"]
        for suite in run.plan.suites:
            green, executed = run.suite(suite)
            assert green, suite
            assert executed
        assert run.get("/metrics")[0] == 200
    with sqlite3.connect(run.data / "shop.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM orders").fetchone() == (0,), "the suites left orders behind"
    database.close()
    assert git(clone, "status", "--porcelain").stdout == "", "running the shop must not change its checkout"


def test_a_shop_without_tables_does_not_start_and_says_why(clone: Path, venv: Path, tmp_path: Path) -> None:
    run = Run(clone, venv, "development", tmp_path / "data")
    with pytest.raises(RuntimeError, match=r"migrate up"), run.served():
        pass


@pytest.fixture(scope="module")
def counted(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Suite, int]:
    """How many tests the shop itself has in the suites that need no server."""
    directory = tmp_path_factory.mktemp("base")
    put_shop(directory / "clone")
    base = Run(directory / "clone", venv, "development", directory / "data")
    return {suite: base.suite(suite)[1] for suite in (Suite.SYNTAX, Suite.UNIT)}


@pytest.mark.parametrize("made", COMMITS, ids=lambda made: f"{made[0]}-{made[1]}")
def test_a_feature_passes_its_development(
    clone: Path, venv: Path, tmp_path: Path, counted: dict[Suite, int], made: tuple[str, int]
) -> None:
    name, number = made
    develop(clone, name, upto=number)
    run = Run(clone, venv, "development", tmp_path / "data")
    run.migrate(run.plan.migration.forward)
    with run.served():
        for suite in (Suite.SYNTAX, Suite.UNIT, Suite.FUNCTIONAL):
            green, executed = run.suite(suite)
            assert green, suite
            assert executed >= counted.get(suite, 0)


@pytest.mark.parametrize("environment", ["preprod", "production"])  # there these suites are run
@pytest.mark.parametrize("made", COMMITS, ids=str)
def test_a_feature_passes_or_breaks_its_integration_as_its_scenario_needs(
    clone: Path, venv: Path, tmp_path: Path, made: tuple[str, int], environment: str
) -> None:
    name, number = made
    production = environment == "production"
    before = Run(clone, venv, environment, tmp_path / "data")
    before.migrate(before.plan.migration.forward)
    tables = before.tables()
    develop(clone, name, upto=number)
    run = Run(clone, venv, environment, tmp_path / "data")
    run.migrate(run.plan.migration.forward)
    if production and (name, number) in DOES_NOT_START_IN_PRODUCTION:
        with pytest.raises(RuntimeError, match="SEARCH_INDEX_DIR"), run.served():
            pass
    else:
        with run.served():
            green, _ = run.suite(Suite.INTEGRATION)
            errors = "http_request_errors_total{" in run.get("/metrics")[1]
        broken = production and (name, number) in RED_IN_PRODUCTION
        assert (green, errors) == (not broken, broken)
    for _ in range(2):  # a rollback may be retried
        run.migrate(run.plan.migration.back)
    assert run.tables() == tables, "the way back must leave the schema as it was"


def test_older_code_takes_a_rolled_back_feature_out_of_the_schema(clone: Path, venv: Path, tmp_path: Path) -> None:
    before = Run(clone, venv, "production", tmp_path / "data")
    before.migrate(before.plan.migration.forward)
    tables = before.tables()
    develop(clone, "loyalty-points", upto=1)
    promoted = Run(clone, venv, "production", tmp_path / "data")
    promoted.migrate(promoted.plan.migration.forward)
    git(clone, "switch", "--quiet", "production")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Take it back")
    restored = Run(clone, venv, "production", tmp_path / "data")
    assert "0030_loyalty" in restored.migrate(restored.plan.migration.back)
    assert restored.tables() == tables
    assert "nothing to do" in restored.migrate(restored.plan.migration.back)


def test_the_testers_see_what_is_wrong_with_the_first_bulk_discount(clone: Path, venv: Path, tmp_path: Path) -> None:
    seen = []
    for number in (1, 2):
        git(clone, "switch", "--quiet", "production")
        git(clone, "branch", "--quiet", "--delete", "--force", "feature/bulk-discount", check=False)
        develop(clone, "bulk-discount", upto=number)
        run = Run(clone, venv, "preprod", tmp_path / "data")
        run.migrate(run.plan.migration.forward)
        buy = (
            "from client import Customer; c = Customer(); cart = c.new_cart();"
            "print(c.put(cart, 'LINEN-01', 5)['adjustments'][0]['amount'])"
        )
        with run.served():
            run.variables["PYTHONPATH"] = "tests"
            seen.append(int(run.call(["python", "-c", buy]).stdout))
    assert seen == [-600, -648]


def test_the_superseding_wish_list_lacks_one_file_of_the_first(clone: Path) -> None:
    def files(ref: str) -> set[str]:
        return set(git(clone, "diff", "--name-only", "production", ref).stdout.split())

    develop(clone, "wish-list", upto=1)
    git(clone, "branch", "first")
    git(clone, "switch", "--quiet", "production")
    git(clone, "branch", "--delete", "--force", "feature/wish-list")
    develop(clone, "wish-list", upto=2)
    assert files("first") - files("feature/wish-list") == {"store/extensions/wish_list_advertisement.py"}
    assert git(clone, "rev-list", "--count", "production..feature/wish-list").stdout.strip() == "1"


def test_the_fix_of_loyalty_points_is_only_a_small_part_of_the_feature(clone: Path) -> None:
    develop(clone, "loyalty-points", upto=2)
    whole = git(clone, "diff", "--name-only", "production", "HEAD").stdout.split()
    fix = git(clone, "diff", "--name-only", "HEAD~1", "HEAD").stdout.split()
    assert len(whole) >= 8
    assert set(fix) < set(whole)
    assert len(fix) == 2


def test_wrapping_merges_with_gift_cards_and_its_rival_does_not(clone: Path, venv: Path, tmp_path: Path) -> None:
    for name in ("gift-cards", "gift-wrap", "gift-wrap-clash"):
        git(clone, "switch", "--quiet", "production")
        develop(clone, name, upto=1)
    git(clone, "switch", "--quiet", "production")
    git(clone, "merge", "--quiet", "--no-ff", "--message", "First", "feature/gift-cards")
    clash = git(clone, "merge-tree", "--write-tree", "--name-only", "HEAD", "feature/gift-wrap-clash", check=False)
    assert clash.returncode == 1
    assert clash.stdout.splitlines()[1] == "store/carts.py"
    git(clone, "merge", "--quiet", "--no-ff", "--message", "Second", "feature/gift-wrap")
    run = Run(clone, venv, "preprod", tmp_path / "data")
    run.migrate(run.plan.migration.forward)
    with run.served():
        assert [run.suite(suite)[0] for suite in run.plan.suites] == [True] * 4


def test_one_feature_after_the_other_fits_into_the_same_shop(clone: Path, venv: Path, tmp_path: Path) -> None:
    for name, number in COMMITS:
        made = FEATURES[name].commits[number - 1]
        if name in {"gift-wrap-clash", "slow-start"} or made.from_production:
            continue
        apply_overlay(clone, made.overlay)
        commit(clone, made.message)
    run = Run(clone, venv, "production", tmp_path / "data")
    run.migrate(run.plan.migration.forward)
    with run.served():
        assert [run.suite(suite)[0] for suite in run.plan.suites] == [True] * 4


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_an_overlay_that_is_there_already_changes_nothing(clone: Path, name: str) -> None:
    apply_overlay(clone, FEATURES[name].commits[0].overlay)
    commit(clone)
    apply_overlay(clone, FEATURES[name].commits[0].overlay)
    assert git(clone, "status", "--porcelain").stdout == ""


def test_a_patch_that_does_not_fit_leaves_the_tree_as_it_was(clone: Path) -> None:
    apply_overlay(clone, FEATURES["gift-cards"].commits[0].overlay)
    commit(clone)
    with pytest.raises(Conflict, match=r"cart-option\.patch"):
        apply_overlay(clone, FEATURES["gift-wrap-clash"].commits[0].overlay)
    assert git(clone, "status", "--porcelain").stdout == ""


def test_a_deleted_file_goes_and_a_missing_one_is_no_error(clone: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay" / "store"
    overlay.mkdir(parents=True)
    (overlay / "money.py.deleted").touch()
    (overlay / "nothing.py.deleted").touch()
    (overlay / "new.py").write_text("x = 1\n")
    apply_overlay(clone, overlay.parent)
    assert git(clone, "status", "--porcelain").stdout.split() == ["D", "store/money.py", "??", "store/new.py"]


def test_an_overlay_is_not_written_over_changes_or_outside_a_repository(clone: Path, tmp_path: Path) -> None:
    overlay = FEATURES["gift-cards"].commits[0].overlay
    (clone / "README.md").write_text("mine")
    with pytest.raises(Refused, match="Commit them first"):
        apply_overlay(clone, overlay)
    assert (clone / "README.md").read_text() == "mine"
    with pytest.raises(Refused, match="no Git work tree"):
        apply_overlay(clone / "store", overlay)
    with pytest.raises(NotFound, match="there is none"):
        apply_overlay(clone, tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["title: [", "title: x", "title: x\ndescription: y\ncommits: []", "[]"])
def test_a_feature_file_that_is_wrong_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "feature.yaml").write_text(content)
    with pytest.raises(Misconfigured) as raised:
        read_feature(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_feature_without_its_overlay_or_itself_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"feature\.yaml"):
        read_feature(tmp_path)
    (tmp_path / "feature.yaml").write_text("title: x\ndescription: y\ncommits: [{message: z}]")
    with pytest.raises(Misconfigured, match="is missing"):
        read_feature(tmp_path)
