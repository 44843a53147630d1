"""Processes of environments: started to outlive us, known by marks, stopped to the last one.

A process id alone proves nothing, because the kernel gives it out again. So a process is always named by its id and
its start time, and every process of an environment carries marks in its environment, which its children inherit:
where it belongs, what it is for, and (for short-lived ones) which process waits for it. What loses them is known by
the process of ours that stays above it: a server's keeper (``launcher.py``), a command's ``fence.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from feature_delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MARK_HOME = "DELIVERY_MARK_HOME"
MARK_ROLE = "DELIVERY_MARK_ROLE"
MARK_OWNER = "DELIVERY_MARK_OWNER"
_LAUNCHER = Path(__file__).with_name("launcher.py")
_LAUNCH_SECONDS = 30
_KILL_ROUNDS, _SPARED_ROUNDS = 20, 10


@dataclass(frozen=True, slots=True)
class Marks:
    """What a process of ours says about itself. ``owner`` is empty for those that stand alone."""

    home: str
    role: str
    owner: str = ""

    def as_variables(self) -> dict[str, str]:
        """Return the marks as environment variables."""
        return {MARK_HOME: self.home, MARK_ROLE: self.role, MARK_OWNER: self.owner}


def base_interpreter() -> str:
    """Return the Python that our own virtual environment was made from: it outlives that environment."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _started(process: psutil.Process) -> str:
    """Return when a process started, in a form that a correction of the clock does not change: ``<ticks>_<boot>``."""
    with suppress(OSError):
        # Field 22, in ticks since boot; the second field may hold anything, so count from its end.
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{ticks}_{_boot()}"
    return f"{process.create_time():.2f}"


@cache
def _boot() -> str:
    """Return which start of the machine this is: after another one, much has the numbers and ticks that it had then."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
    return ""


def identity(pid: int) -> str | None:
    """Return ``pid`` with its start time, or ``None`` when there is no such process."""
    with suppress(psutil.Error, IndexError):
        return f"{pid}@{_started(psutil.Process(pid))}"
    return None


def myself() -> str:
    """Return the identity of this process."""
    process = psutil.Process()
    return f"{process.pid}@{_started(process)}"


def find(process: str | None) -> psutil.Process | None:
    """Return the living process with this identity; a zombie, or another one under the same id, does not count."""
    pid, _, started = (process or "").partition("@")
    with suppress(psutil.Error, ValueError, IndexError):
        found = psutil.Process(int(pid))
        now = _started(found)
        # An earlier version wrote down the ticks alone.
        if started in {now, now.partition("_")[0]} and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None


def lives(process: str | None) -> bool:
    """Say whether the process with this identity still runs."""
    return find(process) is not None


def marks_of(process: psutil.Process) -> Marks | None:
    """Return the marks of a living process, or ``None`` when it is not ours or may not be read."""
    with suppress(psutil.Error, OSError):
        variables = process.environ()
        if MARK_HOME in variables and process.status() != psutil.STATUS_ZOMBIE:
            return Marks(variables[MARK_HOME], variables.get(MARK_ROLE, ""), variables.get(MARK_OWNER, ""))
    return None


def belongs(process: str | None, home: str) -> bool:
    """Say whether the process with this identity lives and bears the marks of the environment in ``home``."""
    found = find(process)
    marks = marks_of(found) if found else None
    return marks is not None and marks.home == home


def marked(home: str) -> list[tuple[psutil.Process, Marks]]:
    """Return every living process that belongs to the environment in the directory ``home``."""
    found = ((process, marks_of(process)) for process in _with_variable(MARK_HOME, home))
    return [(process, marks) for process, marks in found if marks is not None and marks.home == home]


def _with_variable(name: str, value: str) -> Iterator[psutil.Process]:
    """Yield the processes that began with this environment variable, and perhaps some others.

    A deploy looks eight times, and psutil takes thirty times as long to tell what all the others of a machine have in
    their environments.
    """
    if not psutil.LINUX:
        yield from psutil.process_iter()
        return
    wanted = os.fsencode(f"\0{name}={value}\0")
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError, psutil.Error):
                with open(f"{entry.path}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - a hundred times a look
                    variables = file.read()
                if wanted in b"\0" + variables:
                    yield psutil.Process(int(entry.name))


def session_of(leader: str | None) -> list[psutil.Process]:
    """Return the living processes of the session of the process with this identity; none when it has ended."""
    living = find(leader)
    return session(living.pid) if living is not None else []


def session(leader: int) -> list[psutil.Process]:
    """Return the living processes of a session. Some programs overwrite their environment, and their marks with it.

    Only meaningful while the leader exists (as a zombie, too): after that its id may mean somebody else.
    """
    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):
            if os.getsid(pid) == leader and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def members(home: str, role: str, *, leader: str | None = None) -> list[psutil.Process]:
    """Return the living processes with a role in an environment, found by marks and by the leader's session."""
    return list({*session_of(leader), *(process for process, marks in marked(home) if marks.role == role)})


def launch(
    command: Sequence[str],
    *,
    variables: Mapping[str, str],
    directory: Path,
    log: Path,
    given: int = subprocess.DEVNULL,
    keep: tuple[int, ...] = (),
    kept: bool = False,
) -> str | None:
    """Start a process that has nothing to do with us any more and return its identity.

    It leads a session of its own and is no descendant of ours (``launcher.py`` steps out between), so neither our
    end nor a signal to our group or to our children reaches it. ``None``: it has ended already; the log says why.

    Args:
        command: A program of ours, by its path.
        variables: The whole environment of the process, and of what starts it: nothing that a branch may choose.
        directory: Where it starts.
        log: Standard output and error are added to it.
        given: Its standard input.
        keep: File descriptors that the process inherits.
        kept: It may lose its marks: a keeper with the same ones stays above it (``launcher.py``).
    """
    try:
        done = subprocess.run(
            [base_interpreter(), "-I", "-S", str(_LAUNCHER), "kept" if kept else "bare", str(log), *command],
            env=dict(variables),
            cwd=directory,
            stdin=given,
            capture_output=True,
            start_new_session=True,
            pass_fds=keep,
            timeout=_LAUNCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Could not start {command[0]!r}: the machine gave it no time to. Try again.") from error
    if not done.stdout.isdigit():
        said = done.stderr.decode(errors="replace").strip()[-300:]
        raise Unavailable(f"Could not start {command[0]!r}: {said or 'the launcher failed'}. Try again.")
    return identity(int(done.stdout))


def stop(select: Callable[[], list[psutil.Process]], *, grace_seconds: float) -> None:
    """Stop every process that ``select`` returns, politely first, until it returns none.

    ``select`` is asked again after each round, so that children born in between are found too: for that, keepers are
    killed only when nothing else is left, or when that takes long: what no keeper stands above may pass for one.
    psutil checks the start time before each signal: a reused id is never hit.

    Raises:
        Unavailable: Some process outlives being killed.
    """
    victims = _with_families(select())
    for process in victims:
        with suppress(psutil.Error):
            process.terminate()
    _wait(victims, grace_seconds)
    for number in range(_KILL_ROUNDS):
        victims = _alive({*victims, *_with_families(select())})
        if not victims:
            return
        below = [one for one in victims if number >= _SPARED_ROUNDS or not _is_keeper(one, victims)]
        for process in below or victims:
            with suppress(psutil.Error):
                process.kill()
        _wait(victims, 1.0)
    raise Unavailable(f"Could not stop process {victims[0].pid}: it stays although it was killed. Look at it by hand.")


def stop_marked(home: str, chosen: Callable[[Marks], bool], *, grace_seconds: float) -> None:
    """Stop the processes of an environment whose marks are ``chosen``, with their sessions and descendants."""
    stop(lambda: [process for process, marks in marked(home) if chosen(marks)], grace_seconds=grace_seconds)


def _with_families(leaders: list[psutil.Process]) -> list[psutil.Process]:
    """Add the descendants, which may have dropped the marks."""
    family = set(leaders)
    for leader in leaders:
        with suppress(psutil.Error):
            family.update(leader.children(recursive=True))
    return _alive(family)


def _is_keeper(process: psutil.Process, victims: list[psutil.Process]) -> bool:
    """Say whether a process is the uppermost of ``victims``, and a keeper by its marks and its own command line.

    Anything may give itself that command line; below a keeper it deceives nobody.
    """
    with suppress(psutil.Error):
        says_so = process.cmdline()[3:5] == [str(_LAUNCHER), "kept"]
        return says_so and marks_of(process) is not None and process.ppid() not in {one.pid for one in victims}
    return False


def _alive(some: set[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in some:
        with suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _wait(some: list[psutil.Process], seconds: float) -> None:
    """Wait until none is left; psutil's own wait would take a zombie that its parent forgot for alive."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and _alive(set(some)):
        time.sleep(0.02)
