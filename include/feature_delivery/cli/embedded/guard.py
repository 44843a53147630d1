"""Runs one command and outlives it just long enough to leave no process of it behind.

The supervisor starts every part through this program and holds the other end of its standard input. When that end
closes, whether the supervisor asks for it or dies (``kill -9`` included), the guard stops the part. Stopping and
dying are thus one and the same way, and the one that is tried at every stop.

Standard library only and no import of the package: it starts in some 20 ms and cannot fail on what it guards.

* The guard leads its own session: Ctrl-C in the terminal reaches the supervisor alone, which then stops in order.
* On Linux it adopts what its descendants orphan (``PR_SET_CHILD_SUBREAPER``), so that double forks and ``setsid``
  do not escape; the part itself dies with the guard (``PR_SET_PDEATHSIG``).
* Processes whose environment says ``DELIVERY_MARK_OWNER=`` (nobody's: the local platform's mark) belong to an
  environment of the shop, not to Airflow: they and their children are spared, so that a restart of the scheduler
  does not stop production. A server that has lost the mark is a child of its keeper, which has it (``launcher.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SPARED = b"DELIVERY_MARK_OWNER="
_LOG_LIMIT_BYTES = 10_000_000
_LEFTOVER_GRACE_SECONDS = 1.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SUPERVISOR = 0  # standard input: a pipe whose other end the supervisor holds, and nobody else
_ON_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class Process:
    """One row of the process table."""

    pid: int
    parent: int
    session: int


def process_table() -> list[Process]:
    """Every process that still runs; zombies are left out."""
    if not _ON_LINUX:
        return _process_table_by_ps()
    table = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything, so what follows is read from the last parenthesis on.
            fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            state, parent, _, session = fields[:4]
            if state not in "ZX":
                table.append(Process(int(entry.name), int(parent), int(session)))
    return table


def _process_table_by_ps() -> list[Process]:
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    table = []
    for row in subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines():
        pid, parent, state = row.split()[:3]
        with contextlib.suppress(OSError):
            if "Z" not in state:
                table.append(Process(int(pid), int(parent), os.getsid(int(pid))))
    return table


def leftovers(root: int) -> list[int]:
    """Descendants of the guard ``root``, members of its session and their descendants; none that is spared."""
    table = process_table()
    children: dict[int, list[int]] = {}
    for process in table:
        children.setdefault(process.parent, []).append(process.pid)
    pending = [process.pid for process in table if root in (process.parent, process.session) and process.pid != root]
    found: dict[int, None] = {}
    while pending:
        pid = pending.pop()
        if pid in found or _is_spared(pid):
            continue
        found[pid] = None
        pending += children.get(pid, ())
    return list(found)


def _is_spared(pid: int) -> bool:
    try:
        return any(item == SPARED for item in Path("/proc", str(pid), "environ").read_bytes().split(b"\0"))
    except OSError:  # gone, or not ours to read: a task's supervisor hides its memory, and is no environment
        return False


def kill(pids: Iterable[int], number: int) -> None:
    """Sends a signal to each that still is."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def sweep(root: int, *, between: Callable[[], object] = lambda: None) -> None:
    """Ends every leftover of a guard: asked first, killed after a second; new forks are met by the next round.

    Args:
        root: The guard, alive or dead. A dead one must not have been reaped, or its number may be somebody else's.
        between: Called in each round; the guard itself reaps what it adopted.
    """
    deadline = time.monotonic() + _LEFTOVER_GRACE_SECONDS
    asked: set[int] = set()
    while pids := leftovers(root):
        late = time.monotonic() >= deadline
        if late and time.monotonic() >= deadline + 10:
            return  # in uninterruptible sleep: nobody can do more
        kill([pid for pid in pids if late or pid not in asked], signal.SIGKILL if late else signal.SIGTERM)
        asked.update(pids)
        between()
        time.sleep(0.02)


class LimitedLog:
    """A log file that is turned over once (``name.log.1``) when it grows too long."""

    def __init__(self, path: Path) -> None:
        """Appends to what an earlier run left."""
        self._path = path
        # Unbuffered: what a full disk refuses is not kept to fail once more when the file is closed.
        self._file: IO[bytes] = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """A full disk must not stop the part: what cannot be written is lost."""
        with contextlib.suppress(OSError):
            if self._file.tell() + len(data) > _LOG_LIMIT_BYTES:
                self._turn_over()
            self._file.write(data)

    def _turn_over(self) -> None:
        """Begins a new file; the old one stays in use, and open, until there is one."""
        with contextlib.suppress(FileNotFoundError):  # moved already, when no new one could be made
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        new = self._path.open("ab", buffering=0)
        self._file.close()
        self._file = new


def _signals_as_bytes() -> int:
    """A descriptor that a byte comes from for each signal; handlers, unlike *ignored*, do not pass to the part."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


class Guard:
    """The one part in the guard's care."""

    def __init__(
        self, *, command: list[str], log: Path, stop_signal: int, grace_seconds: float, children_first: bool
    ) -> None:
        """Starts the command in a process group of its own, its output going to the log."""
        self._stop_signal, self._grace_seconds = stop_signal, grace_seconds
        self._children_first = children_first
        self._log = LimitedLog(log)
        self._deadline: float | None = None
        self._wakeup = _signals_as_bytes()
        self._output, output_end = os.pipe()
        guard = os.getpid()

        def die_with_the_guard() -> None:
            if _ON_LINUX:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != guard:
                    os._exit(1)

        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output_end,
            stderr=output_end,
            process_group=0,
            preexec_fn=die_with_the_guard,  # noqa: PLW1509 - the guard has one thread
        )
        os.close(output_end)

    def run(self) -> int:
        """Until the part ends by itself or the supervisor's end of the pipe closes; gives the part's exit code."""
        readers = [_SUPERVISOR, self._output, self._wakeup]
        while (code := self._collect()) is None:
            timeout = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready = select.select(readers, [], [], timeout)[0]
            if _SUPERVISOR in ready and not os.read(_SUPERVISOR, 1024):
                readers.remove(_SUPERVISOR)
                self._stop()
            if self._output in ready and not self._pump():
                readers.remove(self._output)
            if self._wakeup in ready and signal.SIGTERM in os.read(self._wakeup, 1024):
                self._stop()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._signal_group(signal.SIGKILL)
                self._deadline = time.monotonic() + 1
        sweep(os.getpid(), between=self._collect)
        while select.select([self._output], [], [], 0)[0] and self._pump():
            pass
        return code

    def _stop(self) -> None:
        if self._deadline is None:
            if self._children_first:
                kill([pid for pid in leftovers(os.getpid()) if pid != self._child.pid], signal.SIGKILL)
            self._signal_group(self._stop_signal)
            self._deadline = time.monotonic() + self._grace_seconds

    def _pump(self) -> bool:
        data = os.read(self._output, 65536)
        self._log.write(data)
        return bool(data)

    def _collect(self) -> int | None:
        """Reaps the part and what was adopted; the part's exit code once it has ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._child.pid:
                    self._child.returncode = os.waitstatus_to_exitcode(status)
                    return self._child.returncode
        return self._child.returncode

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)


def main() -> int:
    """``guard.py --log FILE --lock FILE [--stop-signal N] [--grace-seconds S] [--children-first] -- COMMAND …``."""
    parser = argparse.ArgumentParser(description="Runs a command that ends when standard input does.")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--lock", type=Path, required=True, help="locked (shared) while the guard lives")
    parser.add_argument("--stop-signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--grace-seconds", type=float, default=10.0)
    parser.add_argument("--children-first", action="store_true", help="kill the command's children before it is asked")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if os.getpid() != os.getsid(0):
        os.setsid()
    if _ON_LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with options.lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            guard = Guard(
                command=options.command,
                log=options.log,
                stop_signal=options.stop_signal,
                grace_seconds=options.grace_seconds,
                children_first=options.children_first,
            )
        except OSError as error:
            LimitedLog(options.log).write(f"{options.command[0]}: {error.strerror}\n".encode())
            return 127
        code = guard.run()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
