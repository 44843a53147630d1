"""A newcomer's own shop, by nothing but the README's commands: ``init``, ``up``, ``git push``, and what follows."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.command_line import git
from tests.support.newcomer import Newcomer
from tests.support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
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
    assert f"export PATH={Path(sys.executable).parent}:" in said
    assert f"export FEATURE_DELIVERY_HOME={shop.home}" in said
    passwords = json.loads((shop.home / "airflow" / "passwords.json").read_text())
    assert not [one for one in passwords.values() if one in said]
    try:
        yield shop
    finally:
        if shop.up is not None and shop.up.poll() is None:
            shop.stop(signal.SIGTERM)
        for process in shop.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()


def test_an_instance_without_features_says_how_to_begin(newcomer: Newcomer) -> None:
    answer = newcomer.run("status")
    assert answer.code == 0
    assert "feature-delivery start" in answer.out
    newcomer.run("status", "TOY-1").refused("'TOY-1'", "push a commit that main does not have")
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
        with suppress(psutil.NoSuchProcess):
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
