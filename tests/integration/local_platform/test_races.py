"""Kills, races and generations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from feature_delivery.adapters.platforms.local import processes
from feature_delivery.domain.errors import Conflict
from feature_delivery.ports.platform import EnvironmentStatus
from tests import shops
from tests.local_bench import (
    PROJECT,
    Bench,
    deploying,
    get,
    kill,
    processes_of,
    reference,
    wait_until,
)


def test_a_deploy_killed_between_start_and_switch_leaks_nothing_after_the_next(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    release = "shops.release('two', {'shop.py': shops.SILENT}, health_seconds=500)"
    other = deploying(bench, f"bench.platform.deploy(reference(), {release}, say=bench.say)")
    wait_until(lambda: len(bench.running("release")) == 2)
    kill(other)
    assert get(address) == shops.commit_of("one")
    bench.platform.deploy(reference(), shops.release("two"), say=bench.say)
    assert get(address) == shops.commit_of("two")
    assert len(bench.servers()) == 1
    assert bench.releases() == {shops.commit_of("one")[:12], shops.commit_of("two")[:12]}


def test_a_checkout_that_was_killed_leaves_nothing(bench: Bench) -> None:
    bench.platform.provision(reference())
    body = (
        "import time\nfrom dataclasses import replace\n"
        "def hang(directory):\n    (directory / 'half').write_text('x')\n    time.sleep(600)\n"
        "bench.platform.deploy(reference(), replace(shops.release('one'), checkout=hang), say=bench.say)"
    )
    other = deploying(bench, body)
    wait_until(lambda: list(bench.root.glob("*/.staging/*/half")))
    bench.platform.provision(reference())
    assert list(bench.root.glob("*/.staging/*/half")), "the staging of a living process was swept"
    kill(other)
    bench.platform.destroy(reference())
    assert [path for path in bench.root.rglob("*") if path.is_file()] == []


def test_a_newer_generation_overtakes_a_stalled_deploy_which_then_gives_up(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    release = "shops.release('old', {'shop.py': shops.SILENT}, health_seconds=500)"
    body = (
        "from feature_delivery.domain.errors import Conflict\n"
        f"try: bench.platform.deploy(reference(), {release}, say=bench.say)\n"
        "except Conflict as error: raise SystemExit(42)"
    )
    other = deploying(bench, body)
    wait_until(lambda: bench.running("release"))
    bench.platform.deploy(reference(generation=2), shops.release("new"), say=bench.say)
    assert other.wait(60) == 42
    assert get(address) == shops.commit_of("new")
    assert bench.releases() == {shops.commit_of("new")[:12]}
    assert len(bench.servers()) == 1


def test_a_suspended_deploy_that_wakes_up_after_a_newer_one_changes_nothing(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    body = (
        "import time\nfrom dataclasses import replace\nfrom feature_delivery.domain.errors import Conflict\n"
        "one = shops.release('old')\n"
        f"go = Path({str(bench.root)!r}) / 'go'\n"
        "def slow(directory):\n    one.checkout(directory)\n    (go.parent / 'ready').touch()\n"
        "    while not go.exists(): time.sleep(0.01)\n"
        "try: bench.platform.deploy(reference(), replace(one, checkout=slow), say=bench.say)\n"
        "except Conflict as error: raise SystemExit(42)"
    )
    other = deploying(bench, body)
    wait_until((bench.root / "ready").exists)
    bench.platform.deploy(reference(generation=2), shops.release("new"), say=bench.say)
    before = (bench.directory() / "environment.json").read_text()
    (bench.root / "go").touch()
    assert other.wait(60) == 42
    assert get(address) == shops.commit_of("new")
    assert (bench.directory() / "environment.json").read_text() == before
    assert not (bench.root / PROJECT / ".staging").exists()


def test_of_two_deploys_at_once_the_newer_generation_wins_and_one_server_is_left(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    for generation in range(2, 7, 2):
        others = [
            deploying(
                bench,
                "from feature_delivery.domain.errors import Conflict\n"
                f"ref, release = reference(generation={number}), shops.release('{number}')\n"
                "try: bench.platform.deploy(ref, release, say=bench.say)\n"
                "except Conflict: raise SystemExit(42)",
            )
            for number in (generation, generation + 1)
        ]
        codes = [other.wait(120) for other in others]
        assert codes[1] == 0
        assert codes[0] in {0, 42}
        assert get(address) == shops.commit_of(str(generation + 1))
        assert len(bench.servers()) == 1


def test_a_deploy_into_an_environment_that_is_destroyed_meanwhile_leaves_nothing(bench: Bench) -> None:
    bench.platform.provision(reference())
    install = (("python", "-c", "import time; time.sleep(600)"),)
    body = (
        "from feature_delivery.domain.errors import Conflict, NotFound\n"
        f"try: bench.platform.deploy(reference(), shops.release('one', install={install!r}), say=bench.say)\n"
        "except (Conflict, NotFound): raise SystemExit(42)"
    )
    other = deploying(bench, body)
    wait_until(lambda: bench.is_installing("import time"))
    bench.platform.destroy(reference())
    assert other.wait(60) == 42
    assert not bench.directory().exists()
    assert processes_of(bench.root) == []


def test_the_shop_outlives_the_process_group_and_the_descendants_of_its_deployer(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    deployed = bench.root / "deployed"
    body = (
        "bench.platform.deploy(reference(), shops.release('one'), say=bench.say)\n"
        f"Path({str(deployed)!r}).touch()\nimport time; time.sleep(600)"
    )
    other = deploying(bench, body)
    wait_until(deployed.exists)
    assert bench.platform.list(PROJECT)[0].healthy
    assert psutil.Process(other.pid).children(recursive=True) == []
    os.killpg(other.pid, signal.SIGTERM)
    other.wait()
    assert get(address) == shops.commit_of("one")


def kill_shop(pid: int) -> None:
    """Kill, and wait for the end: a process that is ending has no environment by which it would be found any more."""
    process = processes.identity(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes.lives(process))


def test_a_shop_that_dies_is_seen_and_revived_at_the_same_address(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    kill_shop(int(get(address, "/pid")))
    status = bench.platform.status(reference())
    assert status is not None
    assert (status.healthy, status.commit) == (False, shops.commit_of("one"))
    assert bench.platform.revive(reference(), say=bench.say).healthy
    pid = get(address, "/pid")
    assert bench.platform.revive(reference(), say=bench.say).healthy
    assert get(address, "/pid") == pid


def test_what_has_ended_is_started_again_and_what_is_only_slow_is_left_alone(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    assert not bench.platform.keep_running(reference(), say=bench.say), "nothing has been deployed"
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    pid = int(get(address, "/pid"))
    os.kill(pid, signal.SIGSTOP)
    assert not bench.platform.keep_running(reference(), say=bench.say)
    os.kill(pid, signal.SIGCONT)
    assert int(get(address, "/pid")) == pid
    kill_shop(pid)
    with pytest.raises(Conflict, match="generation"):
        bench.platform.keep_running(replace(reference(), generation=0), say=bench.say)
    assert bench.platform.keep_running(reference(), say=bench.say)
    assert get(address) == shops.commit_of("one")
    bench.platform.destroy(reference())
    assert not bench.platform.keep_running(reference(), say=bench.say)


def test_a_forwarder_that_dies_is_started_again_by_whoever_comes_next(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    (forwarder,) = bench.running("forwarder")
    forwarder.kill()
    wait_until(lambda: not forwarder.is_running())
    assert bench.platform.provision(reference()).healthy
    assert get(address) == shops.commit_of("one")


def test_a_reused_process_id_is_never_killed_and_never_passes_for_the_shop(bench: Bench) -> None:
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    bench.platform.stop_all(PROJECT)
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        file = bench.directory() / "environment.json"
        record = json.loads(file.read_text())
        del record["taken_back"]  # As older versions wrote it.
        started = record["current"]["process"].partition("@")[2]
        record["current"]["process"] = record["forwarder"] = f"{bystander.pid}@{started}"
        file.write_text(json.dumps(record))
        bench.platform.revive(reference(), say=bench.say)
        bench.platform.deploy(reference(), shops.release("two"), say=bench.say)
        bench.platform.destroy(reference())
        assert bystander.poll() is None
    finally:
        kill(bystander)


def test_an_identity_names_one_process_only(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "600"])
    found = processes.identity(process.pid)
    assert processes.lives(found)
    assert not processes.lives(f"{process.pid}@1")
    process.kill()
    wait_until(lambda: not processes.lives(found))  # a zombie does not live
    process.wait()
    for nonsense in (None, "", "@", "x@y", "-1@1", "999999999@1"):
        assert not processes.lives(nonsense)


def test_a_rollback_that_takes_over_a_migration_under_way_takes_it_back(bench: Bench) -> None:
    """``production.deploy`` still migrates when somebody asks for the way back."""
    bench.platform.provision(reference())
    one = shops.release("one")
    bench.platform.deploy(reference(), one, say=bench.say)
    back = ("python", "-c", "print('down')")
    half = ("python", "-c", "import time; print('half', flush=True); time.sleep(600)")
    two = shops.release("two", forward=half, back=back)
    seen: list[EnvironmentStatus | None] = []

    def roll_back(line: str) -> None:
        if line == "half":
            seen.append(bench.platform.status(reference()))
            bench.platform.deploy(reference(generation=2), one, say=bench.say, migrate_back=two.plan)

    with pytest.raises(Conflict):
        bench.platform.deploy(reference(), two, say=roll_back)
    assert [status and (status.commit, status.unsettled) for status in seen] == [(one.commit, two.commit)]
    status = bench.platform.status(reference())
    assert status is not None
    assert (status.commit, status.unsettled, status.healthy) == (one.commit, None, True)
    assert bench.said.count("down") == 1
    assert len(bench.servers()) == 1
