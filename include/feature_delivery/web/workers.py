"""Background threads of the API server: each does one thing, whenever it is woken, and again while something is left.

They make things fast, not right: everything they do is found by housekeeping as well, so a thread that dies with its
process loses nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)

_PATIENCE_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Pauses after one failure, two failures in a row …"""

_workers: dict[str, Worker] = {}


class Worker:
    """One daemon thread.

    ``work`` returns how many seconds to wait before it is called again, ``None``: until somebody wakes it.
    """

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        """Get ready; ``start`` starts the thread."""
        self.name = name
        self._work = work
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._loop, name=f"feature-delivery-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread; it looks for work at once."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to do."""
        self._wake.set()

    def stop(self, *, timeout_seconds: float = 10.0) -> None:
        """End the thread after what it is doing now."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    @property
    def alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def _loop(self) -> None:
        pause: float | None = None
        while not self._stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            if self._stop.is_set():
                return
            pause = self._once()

    def _once(self) -> float | None:
        try:
            pause = self._work()
        except Exception:  # noqa: BLE001 - the thread must outlive whatever happens
            pause = _PATIENCE_SECONDS[min(self._failures, len(_PATIENCE_SECONDS) - 1)]
            self._failures += 1
            _log.exception("Background work %r failed; it is tried again in %s s", self.name, pause)
            self._stop.wait(pause)  # a wake-up does not shorten this: what fails is not tried in a tight loop
            return 0.0
        self._failures = 0
        return pause


def start_all(works: dict[str, Callable[[], float | None]]) -> None:
    """Start a worker per name; those that run already are left alone."""
    for name, work in works.items():
        if name not in _workers or not _workers[name].alive:
            _workers[name] = Worker(name, work)
            _workers[name].start()


def stop_all() -> None:
    """End every worker."""
    for worker in _workers.values():
        worker.stop()
    _workers.clear()


def wake(name: str) -> None:
    """Tell a worker of this process that there is something to do; without one, housekeeping will find it."""
    worker = _workers.get(name)
    if worker is not None:
        worker.wake()


def alive() -> dict[str, bool]:
    """Return whether each worker's thread runs."""
    return {name: worker.alive for name, worker in _workers.items()}
