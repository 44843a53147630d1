"""Marks in texts of trackers that have no place for them: nobody sees them, in whatever way the tracker shows texts.

A mark is 64 bits of a digest, written with the two joiners of Unicode that have no width, between two word joiners.
It is looked for at the end of a text only: whoever quotes a comment of ours in the middle of theirs does not copy it.
"""

from __future__ import annotations

import hashlib
import re

_ZERO, _ONE, _EDGE = "\u200c", "\u200d", "\u2060"
_BITS = 64
_AT_END = re.compile(rf"\s*{_EDGE}[{_ZERO}{_ONE}]{{{_BITS}}}{_EDGE}\s*\Z")


def unseen(marker: str) -> str:
    """Return the mark of ``marker``."""
    number = int.from_bytes(hashlib.sha256(marker.encode()).digest()[: _BITS // 8], "big")
    return _EDGE + f"{number:0{_BITS}b}".replace("0", _ZERO).replace("1", _ONE) + _EDGE


def marked(text: str, marker: str, *, limit: int) -> str:
    """Return ``text`` with its mark, at most ``limit`` characters in all; a text too long loses its end."""
    end = unseen(marker)
    room = limit - len(end)
    return (text if len(text) <= room else text[: room - 1] + "…") + end


def carries(text: str, marker: str) -> bool:
    """Say whether ``text`` ends with the mark of ``marker``."""
    return text.rstrip().endswith(unseen(marker))


def unmarked(text: str) -> str:
    """Return ``text`` without a mark at its end, whichever it is."""
    return _AT_END.sub("", text)
