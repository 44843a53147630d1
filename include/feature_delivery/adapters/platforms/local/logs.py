"""Logs of environments, for the sentence of a refusal and for the command line."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LINE_LIMIT = 2_000
_TAIL_BYTES = 256 * 1024
# Colours and cursor movements of a terminal; other control characters except tab.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")


def clean(line: bytes | str) -> str:
    """Return one line of output as text that may be shown: no escapes, no line end, not overlong."""
    text = line.decode("utf-8", errors="replace") if isinstance(line, bytes) else line
    # What stands before a carriage return was overwritten: progress bars.
    text = _ESCAPES.sub("", text.rstrip("\r\n").rpartition("\r")[2])
    return text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]} …"


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
