"""Logs of environments, for the sentence of a refusal and for the command line."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.lines import clean

if TYPE_CHECKING:
    from pathlib import Path

_TAIL_BYTES = 256 * 1024


def tail(path: Path, *, lines: int = 20) -> tuple[str, ...]:
    """Return the last lines of a log, however long it is; none when there is no log."""
    with suppress(FileNotFoundError), path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - _TAIL_BYTES))
        found = log.read().split(b"\n")
        return tuple(clean(line) for line in found if line.strip())[-lines:]
    return ()


def ending(path: Path, *, lines: int = 12) -> str:
    """Return how a log ends, for the end of a sentence."""
    found = tail(path, lines=lines)
    return "Its log ends with:\n" + "\n".join(found) if found else "Its log is empty."


def prune(directory: Path, *, keep: int) -> None:
    """Remove all but the newest logs."""
    with suppress(OSError):
        logs = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for log in logs[keep:]:
            log.unlink()
