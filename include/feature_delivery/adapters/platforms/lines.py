"""Output of code that others wrote, as lines that may be shown in a log of ours."""

from __future__ import annotations

import re

LINE_LIMIT = 2_000
# Colours and cursor movements of a terminal; other control characters except tab.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")


def clean(line: bytes | str) -> str:
    """Return one line of output as text that may be shown: no escapes, no line end, not overlong."""
    text = line.decode("utf-8", errors="replace") if isinstance(line, bytes) else line
    # What stands before a carriage return was overwritten: progress bars.
    text = _ESCAPES.sub("", text.rstrip("\r\n").rpartition("\r")[2])
    return text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]} …"
