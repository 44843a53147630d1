"""Servers that nobody knows by their marks any more: titles are written over them. They are stopped, or spared."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from feature_delivery.adapters.platforms.local import LocalPlatform, processes
from feature_delivery.cli.embedded.supervisor import Part, Supervisor
from tests import shops
from tests.local_bench import PROJECT, Bench, deploying, get, kill, processes_of, reference, run_python, wait_until

TITLED = """
import ctypes, os, time
start, end = map(int, open("/proc/self/stat").read().rpartition(")")[2].split()[47:49])
ctypes.memset(start, 0, end - start)  # as setproctitle does, nginx and puma: all that lies behind the arguments
def hide():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(600)
        os._exit(0)
    os.wait()
"""
CLAIMS = """
import os, signal, subprocess, sys, threading
if len(sys.argv) == 1:
    above = open(f"/proc/{os.getppid()}/cmdline").read().split("\\0")
    os.execv(sys.executable, [sys.executable, "shop.py", "--", *above[3:5]])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def keeps_one():
    while True: subprocess.run(["sleep", "600"])
threading.Thread(target=keeps_one, daemon=True).start()
"""
DEAF = shops.SHOP.replace("signal.signal(signal.SIGTERM", "(lambda *_: None)(signal.SIGTERM")
SERVES = {"shop.py": f"{TITLED}hide()\n{shops.SHOP}"}


def left(bench: Bench) -> set[psutil.Process]:
    """What lives in the environments, also without any sign but where it runs."""
    return {*processes_of(bench.root), *_in(str(bench.root))}


def served(bench: Bench) -> set[psutil.Process]:
    """What of that runs in a checkout: servers, and what they have hidden."""
    return set(_in(str(bench.directory() / "releases")))


def _in(directory: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd().startswith(directory) and process.status() != psutil.STATUS_ZOMBIE:
                yield process


@pytest.fixture(autouse=True)
def _nothing_stays(bench: Bench) -> Iterator[None]:
    yield
    for process in left(bench):
        with suppress(psutil.Error):  # it may be gone by now
            process.kill()


@pytest.fixture
def address(bench: Bench) -> str:
    """A release serves that has lost its marks, and so has what it has hidden."""
    found = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one", SERVES), say=bench.say)
    server = psutil.Process(int(get(found, "/pid")))
    assert processes.marks_of(server) is None
    assert len(served(bench)) == 2, "the server, and what it has hidden"
    return found


def test_teardown_stops_what_has_lost_its_marks(bench: Bench, address: str) -> None:
    """Also what a killed deploy had started and not switched to, of which no record knows."""
    assert address
    silent = f"{TITLED}hide()\n{shops.SILENT}"
    release = f"shops.release('two', {{'shop.py': {silent!r}}}, health_seconds=500)"
    other = deploying(bench, f"bench.platform.deploy(reference(), {release}, say=bench.say)")
    try:
        wait_until(lambda: len(served(bench)) == 4 and bench.running("release") == [])
    finally:
        kill(other)
    bench.platform.destroy(reference())
    assert left(bench) == set()


def test_a_server_whose_keeper_is_gone_serves_on_and_is_stopped_by_what_is_recorded(bench: Bench, address: str) -> None:
    """An earlier version started them without one, too."""
    for keeper in bench.keepers():
        keeper.kill()
    wait_until(lambda: bench.keepers() == [])
    assert not bench.platform.keep_running(reference(), say=bench.say)
    assert get(address) == shops.commit_of("one")
    bench.platform.stop_all(PROJECT)
    assert len(left(bench)) == 1, "a keeper would have known of what is hidden"


def test_a_restart_of_the_scheduler_spares_a_server_that_has_lost_its_marks(bench: Bench, tmp_path: Path) -> None:
    code = "from pathlib import Path\nfrom tests import shops\nfrom tests.local_bench import *\nimport time\n"
    code += f"bench = Bench(Path({str(bench.root)!r}))\nbench.platform.provision(reference())\n"
    code += f"bench.platform.deploy(reference(), shops.release('one', {SERVES!r}), say=bench.say)\ntime.sleep(600)"

    def is_up() -> bool:
        status = bench.platform.status(reference())
        return status is not None and status.healthy

    supervisor = Supervisor(logs=tmp_path / "logs", lock=tmp_path / "lock")
    try:
        supervisor.start(Part(name="scheduler", command=run_python(code), environment=dict(os.environ), ready=is_up))
        supervisor.wait_ready()
        before = {*bench.running("forwarder"), *bench.keepers(), *served(bench)}
    finally:
        supervisor.stop()
    status = bench.platform.status(reference())
    assert status is not None
    assert get(status.address) == shops.commit_of("one")
    assert before - left(bench) == set()


def test_what_does_not_listen_and_multiplies_while_it_is_stopped_is_stopped_to_the_last_one(bench: Bench) -> None:
    multiplies = "import signal, threading\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    multiplies += "def more():\n    while True: hide(); time.sleep(0.02)\n"
    multiplies += "threading.Thread(target=more, daemon=True).start()\n"
    bench.platform.provision(reference())
    release = shops.release("one", {"shop.py": TITLED + multiplies + DEAF})
    bench.platform.deploy(reference(), release, say=bench.say)
    LocalPlatform(replace(bench.platform.settings, stop_timeout=timedelta(seconds=0.2))).destroy(reference())
    assert left(bench) == set()


@pytest.mark.parametrize("alone", [False, True], ids=["below its keeper", "whose keeper it has ended"])
def test_what_calls_itself_a_keeper_is_stopped_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    """A server may take the keeper's command line, which it can read, for its own."""
    monkeypatch.setattr(processes, "_SPARED_ROUNDS", 1)
    found = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one", {"shop.py": CLAIMS + DEAF}), say=bench.say)
    if alone:
        psutil.Process(psutil.Process(int(get(found, "/pid"))).ppid()).kill()
    LocalPlatform(replace(bench.platform.settings, stop_timeout=timedelta(seconds=0.2))).destroy(reference())
    assert left(bench) == set()


def test_a_process_of_the_machines_last_start_is_not_one_of_this(tmp_path: Path) -> None:
    """Much has the same number and ticks again. Earlier versions wrote down those alone."""
    process = subprocess.Popen(["sleep", "600"], cwd=tmp_path)
    try:
        found = processes.identity(process.pid)
        assert found is not None
        pid_and_ticks = found.partition("_")[0]
        assert processes.lives(found)
        assert processes.lives(pid_and_ticks)
        assert not processes.lives(f"{pid_and_ticks}_0f0f0f0f")
    finally:
        kill(process)
