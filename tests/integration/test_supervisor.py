"""Real processes under a real supervisor; whatever happens to it, none of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from feature_delivery.cli.embedded.guard import SPARED
from feature_delivery.cli.embedded.home import Home
from feature_delivery.cli.embedded.supervisor import Part, PartEvent, PartState, RestartPolicy, Supervisor
from feature_delivery.domain.errors import Conflict, Unavailable
from tests.support.processes import living

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A part with a child, a grandchild that left the session, and one that nobody waits for; their numbers go to a file.
FAMILY = """
import os, subprocess, sys, time
from pathlib import Path
numbers = Path(sys.argv[1])
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
sleep = [sys.executable, "-S", "-c", deaf]
def note(pid):
    with numbers.open("a") as file:
        file.write(f"{pid}\\n")
note(os.getpid())
note(subprocess.Popen(sleep).pid)
note(subprocess.Popen(sleep, start_new_session=True).pid)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note(os.getpid())
        os.execv(sleep[0], sleep)
    os._exit(0)
os.wait()
note("complete")
time.sleep(600)
"""

# A supervisor of its own process, for the tests that end it; its signals raise, as those of the CLI do.
SUPERVISE = """
import signal, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from feature_delivery.cli.embedded.home import Home
from feature_delivery.cli.embedded.supervisor import Supervisor
from tests.integration.test_supervisor import family_part
def leave(number, frame):
    raise SystemExit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, leave)
with Home(Path({home!r})) as home:
    supervisor = Supervisor(logs=home.logs, lock=home.parts_lock)
    try:
        supervisor.start(family_part(home.path / "numbers"))
        supervisor.wait_ready()
        print("ready", flush=True)
        time.sleep(600)
    finally:
        supervisor.stop()
"""


def family_part(numbers: Path) -> Part:
    return part(FAMILY, str(numbers), ready=lambda: numbers.exists() and "complete" in numbers.read_text())


def part(
    program: str, *arguments: str, ready: Callable[[], bool] = lambda: True, name: str = "part", **options: object
) -> Part:
    settings: dict[str, object] = {"grace_seconds": 5, "environment": dict(os.environ)} | options
    return Part(name=name, command=[sys.executable, "-c", program, *arguments], ready=ready, **settings)  # type: ignore[arg-type]


@contextmanager
def supervising(home: Path, **options: object) -> Iterator[Supervisor]:
    home.mkdir(exist_ok=True)
    supervisor = Supervisor(logs=home / "logs", lock=home / "lock", **options)  # type: ignore[arg-type]
    try:
        yield supervisor
    finally:
        supervisor.stop()


def members(numbers: Path) -> list[psutil.Process]:
    pids = [int(line) for line in numbers.read_text().split() if line.isdigit()]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_a_stop_leaves_none_of_a_parts_descendants(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    with supervising(tmp_path) as supervisor:
        supervisor.start(family_part(numbers))
        supervisor.wait_ready()
        # A child may have answered, and ended its start, before the last of the family has written its number.
        assert wait_until(lambda: len(members(numbers)) == 4)
        processes = members(numbers)
    assert not living(processes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_end_of_the_supervisor_is_the_end_of_everything(tmp_path: Path, number: signal.Signals) -> None:
    with supervisor_process(tmp_path) as (process, processes):
        process.send_signal(number)
        process.wait(60)
        assert wait_until(lambda: not living(processes))


@contextmanager
def supervisor_process(home: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    path = [str(Path(__file__).parents[2]), *sys.path]
    program = SUPERVISE.format(path=path, home=str(home))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        guards = psutil.Process(process.pid).children()
        processes = guards + members(home / "numbers")
        try:
            yield process, processes
        finally:
            process.kill()
            wait_until(lambda: not living(processes))


def test_a_killed_guard_takes_its_part_along_and_is_replaced(tmp_path: Path) -> None:
    events: list[PartEvent] = []
    child = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    with supervising(tmp_path, on_event=events.append) as supervisor:
        supervisor.start(part(child))
        supervisor.wait_ready()
        guard = psutil.Process(supervisor.processes()["part"])
        assert wait_until(lambda: len(guard.children(recursive=True)) == 2)
        processes = [guard, *guard.children(recursive=True)]
        guard.kill()
        assert wait_until(lambda: PartState.RESTARTING in [event.state for event in events])
        supervisor.wait_ready()
        assert not living(processes)
        assert supervisor.processes()["part"] != guard.pid


def test_a_dead_part_is_started_again_without_the_leftovers_of_its_first_life(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    events: list[PartEvent] = []
    with supervising(tmp_path, on_event=events.append) as supervisor:
        supervisor.start(family_part(numbers))
        supervisor.wait_ready()
        first = members(numbers)
        first[0].kill()
        assert wait_until(lambda: numbers.read_text().count("complete") == 2)
        assert not living(first)
    assert [event.state for event in events][:3] == [PartState.STARTING, PartState.READY, PartState.RESTARTING]


def test_a_part_that_hangs_is_started_again(tmp_path: Path) -> None:
    events: list[PartEvent] = []
    hangs = True
    with supervising(tmp_path, on_event=events.append) as supervisor:
        supervisor.start(part("import time; time.sleep(600)", healthy=lambda: not hangs, unhealthy_limit_seconds=1))
        supervisor.wait_ready()
        first = psutil.Process(supervisor.processes()["part"])
        assert wait_until(lambda: PartState.RESTARTING in [event.state for event in events])
        hangs = False
        supervisor.wait_ready()
        assert not living([first])
        assert supervisor.failure is None


def test_a_part_that_keeps_dying_stops_everything_with_its_last_words(tmp_path: Path) -> None:
    failures: list[Exception] = []
    with supervising(tmp_path, on_failure=failures.append) as supervisor:
        supervisor.start(part("import time; time.sleep(600)", name="steady"))
        steady = psutil.Process(supervisor.processes()["steady"])
        dying = "import time; time.sleep(0.3); raise ValueError('the disk is full')"
        supervisor.start(part(dying, name="dying", restart=RestartPolicy(times=2, first_pause_seconds=0.01)))
        assert wait_until(lambda: bool(failures))
        sentence = str(supervisor.failure)
        assert "dying ended 3 times within 300 seconds, so everything was stopped." in sentence
        assert 'Its last words: "ValueError: the disk is full".' in sentence
        assert str(tmp_path / "logs" / "dying.log") in sentence
        assert not living([steady])
        with pytest.raises(Unavailable):
            supervisor.start(part("pass"))


@pytest.mark.parametrize(
    ("program", "patience", "words"),
    [
        (
            "raise SystemExit('error: port is taken')",
            60,
            r'could not be started\. Its last words: "error: port is taken"',
        ),
        ("import time; time.sleep(600)", 1, r"was not ready within 1 seconds\. The whole log is"),
    ],
)
def test_a_part_that_does_not_start_says_why(tmp_path: Path, program: str, patience: int, words: str) -> None:
    with supervising(tmp_path) as supervisor:
        supervisor.start(part(program, ready=lambda: False, start_timeout_seconds=patience))
        with pytest.raises(Unavailable, match=words):
            supervisor.wait_ready()


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    with supervising(tmp_path) as supervisor:
        missing = Part(name="part", command=["/no/such/program"], environment={}, ready=lambda: False)
        supervisor.start(missing)
        with pytest.raises(Unavailable, match="No such file or directory"):
            supervisor.wait_ready()


def test_a_part_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    flag = tmp_path / "deaf"
    deaf = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(600)"
    with supervising(tmp_path) as supervisor:
        supervisor.start(part(deaf, str(flag), ready=flag.exists, grace_seconds=0.2))
        supervisor.wait_ready()
        process = psutil.Process(supervisor.processes()["part"]).children()[0]
    assert not living([process])


def test_the_shops_processes_outlive_a_restart_of_the_part_that_started_them(tmp_path: Path) -> None:
    numbers = tmp_path / "number"
    program = (
        "import os, subprocess, sys, time\n"
        f"environment = {{'PATH': os.environ['PATH'], {SPARED.decode().rstrip('=')!r}: ''}}\n"
        "shop = subprocess.Popen(['sh', '-c', 'sleep 600 & wait'], env=environment, start_new_session=True)\n"
        "open(sys.argv[1], 'w').write(str(shop.pid))\n"
        "time.sleep(600)"
    )
    with supervising(tmp_path) as supervisor:
        supervisor.start(part(program, str(numbers), ready=lambda: bool(numbers.exists() and numbers.read_text())))
        supervisor.wait_ready()
        shop = members(numbers)[0]
        assert wait_until(lambda: len(shop.children()) == 1)
    try:
        assert shop.is_running()
        assert shop.children(), "its children live on as well"
    finally:
        os.killpg(shop.pid, signal.SIGKILL)


def test_logs_do_not_grow_without_limit(tmp_path: Path) -> None:
    flag = tmp_path / "written"
    program = "import sys, time; [print('x' * 1000) for _ in range(25000)]; open(sys.argv[1], 'w'); time.sleep(600)"
    with supervising(tmp_path) as supervisor:
        supervisor.start(part(program, str(flag), ready=flag.exists))
        supervisor.wait_ready()
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "logs").iterdir()}
    assert set(sizes) == {"part.log", "part.log.1"}
    assert max(sizes.values()) <= 10_000_000


def test_a_home_that_is_in_use_names_its_process_and_address(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        home.announce(address="http://127.0.0.1:8081")
        with (
            pytest.raises(Conflict, match=rf"process {os.getpid()} runs it at http://127\.0\.0\.1:8081\."),
            Home(tmp_path),
        ):
            pass
    with Home(tmp_path):
        pass


def test_a_home_is_free_only_when_the_parts_of_a_killed_run_have_ended(tmp_path: Path) -> None:
    with supervisor_process(tmp_path) as (process, processes):
        process.kill()
        process.wait(60)
        _guard, *parts = processes
        with Home(tmp_path):
            assert not living(parts)
