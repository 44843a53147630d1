"""Run one command to its end while somebody watches: output line by line, a time limit, nothing left running."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from feature_delivery.adapters.platforms.judging import exited
from feature_delivery.adapters.platforms.lines import clean
from feature_delivery.adapters.platforms.local import processes
from feature_delivery.adapters.platforms.local.guarding import Guard
from feature_delivery.adapters.platforms.local.variables import handed, of_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from pathlib import Path

    from feature_delivery.adapters.platforms.local.settings import Limits
    from feature_delivery.domain.plan import Command

LOG_LIMIT_BYTES = 20 * 1024 * 1024
SAID_LINES_LIMIT = 5_000
_CHUNK = 64 * 1024
_LOOK_SECONDS = 0.25
_GRACE_SECONDS = 2.0
_BRIEF_LOOKS, _BRIEF_SECONDS = 20, 0.005
_KEPT_LINES = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: ``None`` when it was killed by us; negative when a signal ended it.
        ending: Its last lines.
        used: What it used too much of; empty: when we killed it, its time was over.
    """

    code: int | None
    ending: tuple[str, ...]
    used: str = ""

    def because(self, allowed: timedelta) -> str:
        """Return how it ended, as the middle of a sentence."""
        if self.used:
            return f"used {self.used} and was killed"
        if self.code is None:
            return f"did not end within {allowed.total_seconds():g} seconds and was killed"
        return exited(self.code)

    @property
    def last_words(self) -> str:
        """The last lines it wrote, for the end of a sentence."""
        return "It ended with:\n" + "\n".join(self.ending) if self.ending else "It wrote nothing."


class Running:
    """A started command. Always ``finish`` it: that is what stops everything it has started."""

    def __init__(
        self,
        command: Command,
        *,
        variables: Mapping[str, str],
        directory: Path,
        log: Path,
        limits: Limits | None = None,
    ) -> None:
        """Start ``command``, which is behind a fence; what is there cannot be started ends with 127 and says so."""
        self._guard = Guard(limits) if limits is not None else None
        self._home = variables[processes.MARK_HOME]
        self._role = variables[processes.MARK_ROLE]
        # Opened first: what cannot be written down is not started.
        self._lines = _Lines(log)
        try:
            with handed(variables) as given:
                self._process = subprocess.Popen(
                    command,
                    env=of_ours(variables),
                    cwd=directory,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    bufsize=0,
                    start_new_session=True,
                )
        except BaseException:
            self._lines.close()
            raise

    def finish(self, *, timeout: timedelta, say: Callable[[str], None]) -> Outcome:
        """Pass every line on until the command ends or time runs out, then stop what it left behind."""
        lines, process = self._lines, self._process
        lines.say = say
        assert process.stdout is not None
        try:
            in_time = _follow(process, lines, self._too_much, end=time.monotonic() + timeout.total_seconds())
            self._stop(process)
            _drain(process.stdout.fileno(), lines)
        finally:
            self._stop(process)
            process.stdout.close()
            lines.close()
        used = self._guard.found if self._guard is not None else ""
        return Outcome(process.returncode if in_time and not used else None, lines.ending, used)

    def _too_much(self, leader: int) -> bool:
        """Say whether the command uses more than it may; it is killed at once, for it may be growing."""
        if self._guard is None or not self._guard.is_passed(lambda: self._remaining(leader)):
            return False
        with suppress(OSError):
            os.kill(leader, signal.SIGUSR1)  # the leader is the fence's program, which kills all that is below it
        return True

    def _remaining(self, leader: int) -> list[psutil.Process]:
        # The leader is not reaped before the end, so its id cannot mean another session or family yet.
        found = [*processes.members(self._home, self._role), *processes.session(leader)]
        with suppress(psutil.Error):
            found += psutil.Process(leader).children(recursive=True)
        return found

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop the command, its session, its descendants and everything that inherited its marks."""
        if process.returncode is not None:
            return
        processes.stop(lambda: self._remaining(process.pid), grace_seconds=_GRACE_SECONDS)
        process.wait()


def _follow(process: subprocess.Popen[bytes], lines: _Lines, too_much: Callable[[int], bool], *, end: float) -> bool:
    """Read until the process has ended (a child that keeps the pipe open does not count); ``False``: out of time.

    ``too_much``: asked now and then whether to end it, by its id.
    """
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        is_open = True
        while not _has_ended(process):
            left = end - time.monotonic()
            if left <= 0:
                return False
            if too_much(process.pid):
                return True
            if not is_open:
                time.sleep(min(left, _LOOK_SECONDS))
            elif selector.select(min(left, _LOOK_SECONDS)):
                data = os.read(descriptor, _CHUNK)
                lines.add(data)
                is_open = bool(data)
                if not is_open:
                    selector.unregister(descriptor)
                    _wait_briefly(process)
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Say so without reaping: the process id stays reserved until everything in its session is stopped."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _wait_briefly(process: subprocess.Popen[bytes]) -> None:
    """Closing its output is usually the last thing that a command does: look often for a moment."""
    for _ in range(_BRIEF_LOOKS):
        if _has_ended(process):
            return
        time.sleep(_BRIEF_SECONDS)


def _drain(descriptor: int, lines: _Lines) -> None:
    """Read what was written before everything stopped: as much as a pipe holds, whoever may still write."""
    os.set_blocking(descriptor, False)
    left = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    with suppress(BlockingIOError):
        while left > 0 and (data := os.read(descriptor, min(left, _CHUNK))):
            lines.add(data)
            left -= len(data)


class _Lines:
    """Splits output into lines; the log and the listener each get a bounded share of a flood."""

    def __init__(self, log: Path) -> None:
        self._file = log.open("ab")
        self.say: Callable[[str], None] = lambda _: None
        self._rest = b""
        self._written = 0
        self._said = 0
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)

    @property
    def ending(self) -> tuple[str, ...]:
        return tuple(self._kept)

    def add(self, data: bytes) -> None:
        self._write(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _CHUNK:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            self._pass_on(line)

    def close(self) -> None:
        if self._file.closed:
            return
        with self._file:
            rest, self._rest = self._rest, b""
            if rest:
                self._pass_on(rest)

    def _write(self, data: bytes) -> None:
        room = LOG_LIMIT_BYTES - self._written
        if room > 0:
            self._file.write(data[:room])
            self._file.flush()
            self._written += len(data)
            if self._written >= LOG_LIMIT_BYTES:
                self._file.write(b"\n(The rest is not kept: the log is full.)\n")

    def _pass_on(self, line: bytes) -> None:
        text = clean(line)
        if text.strip():
            self._kept.append(text)
        self._said += 1
        if self._said < SAID_LINES_LIMIT:
            self.say(text)
        elif self._said == SAID_LINES_LIMIT:
            self.say(f"(More lines follow; they are only in {self._file.name}.)")
