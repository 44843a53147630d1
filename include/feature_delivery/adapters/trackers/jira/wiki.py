r"""Jira Data Center's wiki texts: what would be a macro, a mention, a link or a picture is written as it is.

A backslash keeps the next character from meaning anything; a backslash itself is written by its number, because two of
them end a line.
"""

from __future__ import annotations

import re

from feature_delivery.adapters.trackers.texts import plain

_BACKSLASH = "&#92;"
_MEANT = re.compile(r"[{}\[\]!|]")


def escaped(text: str) -> str:
    """Return a plain text as a wiki text that shows it."""
    return _MEANT.sub(lambda found: f"\\{found[0]}", plain(text).replace("\\", _BACKSLASH))


def unescaped(text: str) -> str:
    """Return the plain text of what ``escaped`` made; other wiki texts stay nearly as they are."""
    return re.sub(r"\\([{}\[\]!|])", r"\1", plain(text)).replace(_BACKSLASH, "\\")
