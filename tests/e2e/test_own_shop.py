"""A newcomer's own shop, by nothing but the README's commands: ``init``, ``up``, ``git push``, and what follows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.airflow_instance import free_port
from tests.support.command_line import PROGRAM, Answer, git

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
LONG_TIME_SECONDS = 240

APP = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from prices import total

class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(total([100, 250])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Shop).serve_forever()
"""
UNIT = "from prices import total\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
HTTP = """
import os, urllib.request

def test_the_front_page_is_a_number():
    with urllib.request.urlopen(os.environ["BASE_URL"]) as answer:
        assert int(answer.read())
"""


@dataclass
class Newcomer:
    """Somebody with a shop, a terminal and this package."""

    home: Path
    checkout: Path
    port: int
    up: subprocess.Popen[bytes] | None = None
    key: int = 0

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FEATURE_DELIVERY")}
        return kept | {"FEATURE_DELIVERY_HOME": str(self.home)}

    def run(self, *arguments: str) -> Answer:
        done = subprocess.run(
            [*PROGRAM, *arguments], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *more: str) -> str:
        """Start ``up`` and return what it said when all was there."""
        log = self.home.with_name("up.log")
        with log.open("wb") as output:
            self.up = subprocess.Popen(
                [*PROGRAM, "up", "--repository", str(self.checkout), "--port", str(self.port), *more],
                env=self.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        self.until(lambda: "Ctrl-C stops everything" in log.read_text() or self.up.poll() is not None)
        assert self.up.poll() is None, log.read_text()
        return log.read_text()

    def stop(self, number: signal.Signals) -> int:
        assert self.up is not None
        self.up.send_signal(number)
        return self.up.wait(60)

    def push(self, branch: str, message: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.checkout / name).write_text(text)
        git(self.checkout, "add", "--all")
        git(self.checkout, "commit", "--quiet", "--message", message)
        git(self.checkout, "push", "--quiet", "delivery", f"HEAD:{branch}")

    def feature(self, key: str) -> dict[str, Any]:
        answer = self.run("status", key, "--json")
        return dict(json.loads(answer.out)) if answer.code == 0 else {}

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + LONG_TIME_SECONDS
        while not holds():
            assert time.monotonic() < deadline, self.run("status").out
            time.sleep(0.5)

    def until_gate(self, key: str, gate: str, *, blocked: str = "") -> None:
        def there() -> bool:
            at = self.feature(key).get("gate") or {}
            return str(at.get("step", "")).endswith(f"wait_for_{gate}") and blocked in at.get("blocked", "")

        self.until(there)

    def decide(self, key: str, *gates: str) -> None:
        for gate in gates:
            self.until_gate(key, gate)
            assert self.run("approve", key, "--gate", gate).code == 0

    def processes(self, *parts: str) -> list[psutil.Process]:
        """Everything that runs on account of this home; with ``parts``, only command lines that hold one of them."""
        mark = str(self.home)
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                said = " ".join([line, *process.environ().values()])
                # Our own children are the commands that a test has just called.
                if mark in said and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found += [process] if not parts or any(part in line for part in parts) else []
            except psutil.Error:  # it has ended meanwhile
                continue
        return found


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    place = tmp_path_factory.mktemp("newcomer")
    shop = Newcomer(home=place / "home", checkout=place / "toy-shop", port=free_port())
    for suite in ("unit", "functional", "integration"):
        (shop.checkout / "tests" / suite).mkdir(parents=True)
        text = UNIT if suite == "unit" else HTTP
        (shop.checkout / "tests" / suite / f"test_{suite}.py").write_text(text)
    for name, text in {"app.py": APP, "prices.py": "total = sum\n", "pytest.ini": "[pytest]\npythonpath = .\n"}.items():
        (shop.checkout / name).write_text(text)
    git(shop.checkout, "init", "--quiet", "--initial-branch", "main")
    assert shop.run("init", str(shop.checkout)).code == 0
    file = shop.checkout / "delivery.yaml"
    # Short only where something is to hang, and long enough for a busy machine.
    text = file.read_text().replace("timeout: 10m", "timeout: 25s", 1).replace("timeout: 60s", "timeout: 20s")
    file.write_text(text)
    git(shop.checkout, "add", "--all")
    git(shop.checkout, "commit", "--quiet", "--message", "A toy shop")
    said = shop.start("--keep")
    git(shop.checkout, "remote", "add", "delivery", str(shop.home / "repositories" / "toy_shop.git"))
    assert f"git remote add delivery {shop.home / 'repositories' / 'toy_shop.git'}" in said
    assert f"export FEATURE_DELIVERY_HOME={shop.home}" in said
    passwords = json.loads((shop.home / "airflow" / "passwords.json").read_text())
    assert not [one for one in passwords.values() if one in said]
    try:
        yield shop
    finally:
        if shop.up is not None and shop.up.poll() is None:
            shop.stop(signal.SIGTERM)
        for process in shop.processes():
            process.kill()


def test_an_instance_without_features_says_how_to_begin(newcomer: Newcomer) -> None:
    answer = newcomer.run("status")
    assert answer.code == 0
    assert "feature-delivery start" in answer.out
    newcomer.run("status", "TOY-1").refused("'TOY-1'", "Start it first")
    newcomer.run("status", "--project", "nope").refused("no project 'nope'", "toy_shop")
    newcomer.run("explain", "0" * 40).refused("No delivery of toy_shop put 0000000000 on production")
    newcomer.run("adopt", "0" * 40).refused("main is", "adopt what is there now")
    newcomer.run("break-lock", "--reason", "none").refused("there is no lock to break")
    second = newcomer.run("up", "--repository", str(newcomer.checkout))
    second.refused("in use", f"http://127.0.0.1:{newcomer.port}")
    assert newcomer.run("doctor").code == 0


def test_two_starts_at_once_begin_one_delivery_and_cancelling_leaves_nothing(newcomer: Newcomer) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: newcomer.run("start", "TOY-9", "--title", "Twice"), range(2)))
    assert [answer.code for answer in answers] == [0, 0]
    assert sorted("under delivery already" in answer.out for answer in answers) == [False, True]
    newcomer.until_gate("TOY-9", "code")
    assert newcomer.run("cancel", "TOY-9", "--reason", "Only a trial").code == 0
    newcomer.until(lambda: newcomer.feature("TOY-9")["run_state"] == "success")
    found = newcomer.feature("TOY-9")
    assert found["state"] == "cancelled"
    assert not found["environments"]
    assert "feature/TOY-9" not in git(newcomer.checkout, "ls-remote", "--heads", "delivery")


def test_a_feature_that_hangs_then_is_sick_then_is_good_goes_to_production(newcomer: Newcomer) -> None:
    branch = "feature/TOY-1-free-shipping"
    hangs = {"tests/unit/test_slow.py": "import time\n\ndef test_slow():\n    time.sleep(600)\n"}
    newcomer.push(branch, "A test that hangs", hangs)
    newcomer.until_gate("TOY-1", "merge_request", blocked="25 seconds")
    assert "did not end within 25 seconds" in newcomer.run("logs", "TOY-1", "development.checks.unit").out
    newcomer.run("logs", "TOY-1", "nope").refused("no log of 'nope'", "development.deploy")
    assert newcomer.processes("test_slow", "-m pytest", "bin/pytest") == []

    git(newcomer.checkout, "rm", "--quiet", "tests/unit/test_slow.py")
    newcomer.push(branch, "Never healthy", {"app.py": "import time\ntime.sleep(600)\n"})
    newcomer.until_gate("TOY-1", "merge_request", blocked="did not answer 200")

    newcomer.push(branch, "Free shipping", {"app.py": APP + "# free shipping\n"})
    # The merge request is opened by itself, as the project file says.
    newcomer.decide("TOY-1", "review", "acceptance", "confirmation")
    newcomer.until_gate("TOY-1", "verdict")
    assert "TOY-1" in newcomer.run("production").out
    assert newcomer.run("keep", "TOY-1").code == 0
    newcomer.decide("TOY-1", "demonstration")
    found = newcomer.feature("TOY-1")
    assert (found["state"], found["title"]) == ("delivered", "Free shipping")
    explained = newcomer.run("explain", str(found["promotions"][-1]["candidate"])).out
    assert "brings TOY-1 Free shipping" in explained
    assert "preprod.wait_for_acceptance" in explained


def test_production_is_rolled_back_while_airflow_is_dead_and_the_run_goes_on_afterwards(newcomer: Newcomer) -> None:
    newcomer.push("feature/TOY-2-dearer", "Dearer", {"prices.py": "def total(prices):\n    return sum(prices) * 1\n"})
    newcomer.decide("TOY-2", "review", "acceptance", "confirmation")
    newcomer.until_gate("TOY-2", "verdict")
    for process in newcomer.processes("api-server", "scheduler", "feature_delivery.cli.embedded.preloaded"):
        process.kill()
    answer = newcomer.run("rollback", "TOY-2", "--direct", "--comment", "It burns")
    assert answer.code == 0, answer
    newcomer.until_gate("TOY-2", "rework")
    found = newcomer.feature("TOY-2")
    assert {step["state"] for step in found["steps"] if step["task"].startswith("rollback.")} == {"done", "waiting"}
    assert found["promotions"][-1]["state"] == "rolled_back"
    assert newcomer.run("cancel", "TOY-2").code == 0


def test_a_hotfix_by_hand_freezes_production_until_it_is_adopted(newcomer: Newcomer) -> None:
    git(newcomer.checkout, "fetch", "--quiet", "delivery")
    git(newcomer.checkout, "checkout", "--quiet", "-B", "hotfix", "delivery/main")
    newcomer.push("main", "Hotfix", {"hotfix.txt": "by hand\n"})
    newcomer.until(lambda: "Frozen" in newcomer.run("production").out)
    head = git(newcomer.checkout, "rev-parse", "HEAD")
    assert f"feature-delivery adopt {head}" in newcomer.run("production").out
    assert newcomer.run("adopt", head).code == 0
    assert "Frozen" not in newcomer.run("production").out


def test_with_keep_the_shop_runs_on_and_the_next_start_finds_it_and_stops_it(newcomer: Newcomer) -> None:
    record = next(iter((newcomer.home / "environments").rglob("production")))
    assert record.exists()
    address = next(
        line.split()[1] for line in newcomer.home.with_name("up.log").read_text().splitlines() if "Production" in line
    )
    assert newcomer.stop(signal.SIGTERM) == 0
    assert httpx.get(address, timeout=10, trust_env=False).status_code == 200
    newcomer.run("status").refused("Nothing runs in")
    newcomer.run("rollback", "TOY-1", "--direct").refused("does not answer", "Start the instance")
    said = newcomer.start()
    assert address in said
    assert newcomer.feature("TOY-1")["state"] == "delivered"
    assert newcomer.stop(signal.SIGINT) == 0
    assert newcomer.processes() == []
