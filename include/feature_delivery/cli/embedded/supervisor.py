"""Keeps the parts of an instance alive together, and lets none of them outlive it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from feature_delivery.cli.embedded import guard
from feature_delivery.domain.errors import Error, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TELLS_OF_AN_ERROR = re.compile(r"\b(FATAL|PANIC|CRITICAL)\b|\w*(Error|Exception)\b|(?i:\berror\b)")
_POLL_SECONDS = 0.05
_HEALTH_SECONDS = 2
_GUARD_GRACE_SECONDS = 15


class PartState(StrEnum):
    """Where a part is in its life."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartEvent:
    """One change of a part; ``seconds``: how long the change took."""

    part: str
    state: PartState
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """A part may end unexpectedly ``times`` times ``within_seconds``; once more, and everything stops."""

    times: int = 5
    within_seconds: float = 300
    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process, and how to know that it works.

    Attributes:
        ready: Asked several times a second after each start; must answer quickly and raise nothing.
        healthy: Asked every two seconds once it is ready; not for ``unhealthy_limit_seconds`` on end: it is restarted.
            Airflow's scheduler, for one, hangs for ever when it loses the database while it schedules.
        prepare: Called before each start, the restarts included.
        grace_seconds: How long it may take to stop before it is killed.
        children_first: Kill its children before it is asked to stop. Airflow's scheduler waits for running tasks, and
            its workers tell them to fail; killed with their workers, they are run again by the next start.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], bool]
    healthy: Callable[[], bool] = lambda: True
    unhealthy_limit_seconds: float = 20
    prepare: Callable[[], None] = lambda: None
    directory: Path = Path("/")
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10
    children_first: bool = False
    start_timeout_seconds: float = 180
    restart: RestartPolicy = RestartPolicy()


@dataclass(slots=True)
class _Running:
    """A part under supervision; without ``process`` it waits for its next start, or is stopped."""

    part: Part
    stage: int
    since: float
    state: PartState = PartState.STARTING
    process: subprocess.Popen[bytes] | None = None
    start_at: float | None = None
    was_ready: bool = False
    asked_at: float = 0.0
    unwell_since: float | None = None
    ends: deque[float] = field(default_factory=deque)


class Supervisor:
    """Starts, watches, restarts and stops parts.

    A thread of its own watches once ``start`` was called, so that whoever started the parts can go on with its work
    and look at ``failure``. When a part cannot be kept alive, all are stopped and ``failure`` says why.
    """

    def __init__(
        self,
        *,
        logs: Path,
        lock: Path,
        on_event: Callable[[PartEvent], None] = lambda _event: None,
        on_failure: Callable[[Error], None] = lambda _error: None,
    ) -> None:
        """``lock`` is held (shared) by each guard while it lives: the next instance waits for it.

        The callbacks are called from the watching thread; they must be quick.
        """
        self._logs, self._lock_path = logs, lock
        self._on_event, self._on_failure = on_event, on_failure
        self._parts: dict[str, _Running] = {}
        self._stages = 0
        self._changed = threading.Condition(threading.RLock())
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Error | None = None

    def start(self, *parts: Part) -> None:
        """Starts the parts, one stage, and returns at once."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._changed:
            self._raise_failure()
            self._stages += 1
            for part in parts:
                self._parts[part.name] = running = _Running(part, stage=self._stages, since=time.monotonic())
                self._spawn(running)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
                self._thread.start()

    def wait_ready(self) -> None:
        """Until every part started so far works.

        Raises:
            Unavailable: A part ended or was not ready in time; everything has been stopped.
        """
        with self._changed:
            while not self.is_ready():
                self._raise_failure()
                self._changed.wait(1)
            self._raise_failure()

    def is_ready(self) -> bool:
        """Whether every part works now."""
        with self._changed:
            return bool(self._parts) and all(one.state is PartState.READY for one in self._parts.values())

    def processes(self) -> dict[str, int]:
        """The process id of each part's guard, as far as it runs."""
        with self._changed:
            return {name: one.process.pid for name, one in self._parts.items() if one.process is not None}

    def stop(self) -> None:
        """Stops everything: the latest stage first, the parts of a stage together. Calling it again does nothing."""
        self._ended.set()
        with self._changed:
            self._stop_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            with self._changed:
                try:
                    for running in self._parts.values():
                        self._look_at(running)
                except Exception as error:  # noqa: BLE001 - a callback's mistake must not leave parts unwatched
                    self.failure = error if isinstance(error, Error) else Unavailable(f"Supervision failed: {error!r}.")
                    self._ended.set()
                    self._stop_all()
                self._changed.notify_all()
        if self.failure is not None:
            self._on_failure(self.failure)

    def _look_at(self, running: _Running) -> None:
        now = time.monotonic()
        if running.process is None:
            if running.start_at is not None and now >= running.start_at:
                self._spawn(running)
        elif has_ended(running.process):
            self._reap(running)
            self._plan_restart(running)
        elif running.state is not PartState.READY:
            if running.part.ready():
                running.was_ready = True
                self._enter(running, PartState.READY)
            elif now - running.since > running.part.start_timeout_seconds:
                raise Unavailable(
                    f"{running.part.name} was not ready within {running.part.start_timeout_seconds:.0f} seconds. "
                    f"{self._hint(running)}"
                )
        elif now - running.asked_at > _HEALTH_SECONDS:
            self._ask_for_health(running)

    def _ask_for_health(self, running: _Running) -> None:
        """One that is unwell for too long is asked to stop; that it ended is then met as any other end."""
        well = running.part.healthy()
        running.asked_at = now = time.monotonic()
        if well or running.unwell_since is None:
            running.unwell_since = None if well else now
        elif now - running.unwell_since > running.part.unhealthy_limit_seconds and running.process is not None:
            _request_stop(running.process)

    def _plan_restart(self, running: _Running) -> None:
        part, policy, now = running.part, running.part.restart, time.monotonic()
        running.ends.append(now)
        while now - running.ends[0] > policy.within_seconds:
            running.ends.popleft()
        if not running.was_ready:
            raise Unavailable(f"{part.name} could not be started. {self._hint(running)}")
        if len(running.ends) > policy.times:
            raise Unavailable(
                f"{part.name} ended {len(running.ends)} times within {policy.within_seconds:.0f} seconds, "
                f"so everything was stopped. {self._hint(running)}"
            )
        pause = min(policy.first_pause_seconds * 2 ** (len(running.ends) - 1), policy.longest_pause_seconds)
        running.start_at = now + pause
        self._enter(running, PartState.RESTARTING)

    def _hint(self, running: _Running) -> str:
        log = self._log(running.part)
        last = last_line(log)
        return (f'Its last words: "{last}". ' if last else "") + f"The whole log is '{log}'."

    def _log(self, part: Part) -> Path:
        return self._logs / f"{part.name}.log"

    def _spawn(self, running: _Running) -> None:
        part = running.part
        part.prepare()
        command = [
            *(
                sys.executable,
                "-I",
                "-S",
                guard.__file__,
                "--log",
                str(self._log(part)),
                "--lock",
                str(self._lock_path),
            ),
            *("--stop-signal", str(int(part.stop_signal)), "--grace-seconds", str(part.grace_seconds)),
            *(["--children-first"] if part.children_first else []),
            *("--", *part.command),
        ]
        running.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(part.environment),
            cwd=part.directory,
            start_new_session=True,
        )
        running.start_at = None
        running.since = time.monotonic()
        running.unwell_since = None
        if running.state is PartState.STARTING:
            self._on_event(PartEvent(part.name, PartState.STARTING, 0.0))

    def _enter(self, running: _Running, state: PartState) -> None:
        now = time.monotonic()
        running.state, seconds, running.since = state, now - running.since, now
        self._on_event(PartEvent(running.part.name, state, seconds))

    def _stop_all(self) -> None:
        for stage in sorted({running.stage for running in self._parts.values()}, reverse=True):
            self._stop_together([running for running in self._parts.values() if running.stage == stage])

    def _stop_together(self, group: Sequence[_Running]) -> None:
        """Closing the pipe is the request; a guard that hangs is killed, and what it guarded swept."""
        started = time.monotonic()
        for running in group:
            running.start_at = None
            if running.process is not None:
                _request_stop(running.process)
        waiting = [running for running in group if running.state is not PartState.STOPPED]
        while waiting:
            for running in [*waiting]:
                process, limit = running.process, running.part.grace_seconds + _GUARD_GRACE_SECONDS
                if process is not None and not has_ended(process):
                    if time.monotonic() - started > limit:
                        process.kill()
                    continue
                self._reap(running)
                running.since = started
                self._enter(running, PartState.STOPPED)
                waiting.remove(running)
            time.sleep(0.01)

    def _reap(self, running: _Running) -> None:
        """A guard that was killed may have left something: its session is swept before its number is given up."""
        process = running.process
        if process is None:
            return
        guard.sweep(process.pid)
        _request_stop(process)
        process.wait()
        running.process = None


def _request_stop(process: subprocess.Popen[bytes]) -> None:
    """Closes the pipe that the guard reads from; once more does nothing."""
    if process.stdin is not None:
        process.stdin.close()


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended, without reaping it, so that its number stays its own."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else in this process has reaped it
        return True


def last_line(log: Path) -> str:
    """The last words of a part: the last line that speaks of an error, else the last one, else nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    latest_first = [line.strip()[:300] for line in reversed(lines) if line.strip()]
    return next((line for line in latest_first if _TELLS_OF_AN_ERROR.search(line)), next(iter(latest_first), ""))
