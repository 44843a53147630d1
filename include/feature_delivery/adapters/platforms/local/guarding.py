"""Whether a command with all its processes uses more of the machine than it may: the kernel bounds them one by one.

Control groups would do it better. They are there for root, or where somebody has delegated one; in containers and under
most service managers they are not.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from feature_delivery.adapters.platforms.local.settings import Limits

_FIRST_SECONDS, _LOOK_SECONDS, _COUNT_SECONDS = 1.0, 1.0, 0.1
_MEBI = 1 << 20


class Guard:
    """Looks now and then; most commands are over before its first look."""

    def __init__(self, limits: Limits) -> None:
        """Begin with what the machine runs now."""
        self.found = ""
        self._limits = limits
        self._before = _tasks()
        began = time.monotonic()
        self._count_at, self._look_at = began + _COUNT_SECONDS, began + _FIRST_SECONDS

    def is_passed(self, all_of_it: Callable[[], Collection[psutil.Process]]) -> bool:
        """Say whether a limit is passed; ``found`` says which.

        ``all_of_it``: finds the command's processes, which costs some milliseconds.
        """
        now = time.monotonic()
        if now < self._count_at:
            return bool(self.found)
        self._count_at = now + _COUNT_SECONDS
        # How many the whole machine runs is one line to read: a bomb must not burn for a second.
        if now < self._look_at and _tasks() - self._before <= self._limits.processes:
            return bool(self.found)
        self._look_at = now + _LOOK_SECONDS
        self.found = self.found or self._look(set(all_of_it()))
        return bool(self.found)

    def _look(self, found: Collection[psutil.Process]) -> str:
        count, memory = 0, 0
        for process in found:
            with suppress(psutil.Error, OSError):
                count += process.num_threads()
                memory += process.memory_info().rss
        if count > self._limits.processes:
            return f"more than {self._limits.processes} processes and threads"
        # Pages that several share are counted for each of them: only their shares say how much it really is.
        if memory > self._limits.memory_bytes and _shares(found) > self._limits.memory_bytes:
            return f"more than {self._limits.memory_bytes // _MEBI} MiB of memory"
        return ""


def _tasks() -> int:
    """Return how many processes and threads the machine runs; 0 where the kernel does not tell."""
    try:
        return int(Path("/proc/loadavg").read_text("ascii").split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 0


def _shares(found: Collection[psutil.Process]) -> int:
    total = 0
    for process in found:
        with suppress(psutil.Error, OSError, ValueError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii")
            total += sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total
