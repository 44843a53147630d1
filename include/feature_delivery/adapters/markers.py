"""Markers in comments on hosts that show Markdown: readers do not see them, and we know our own comments by them."""

from __future__ import annotations

import hashlib

_OPENING = "<!-- feature-delivery:"


def hidden(marker: str) -> str:
    """Return the HTML comment that stands for ``marker``: its digest, so that no marker can end the comment early."""
    return f"{_OPENING}{hashlib.sha256(marker.encode()).hexdigest()[:32]} -->"


def marked(text: str, marker: str, *, limit: int) -> str:
    """Return ``text`` with its marker below it, at most ``limit`` characters in all; a text too long loses its end."""
    end = f"\n\n{hidden(marker)}"
    room = limit - len(end)
    return (text if len(text) <= room else text[: room - 1] + "…") + end


def carries(text: str | None, marker: str) -> bool:
    """Say whether the comment is the one of ``marker``."""
    return hidden(marker) in (text or "")


def is_marked(text: str | None) -> bool:
    """Say whether the comment carries a marker of ours, whichever."""
    return _OPENING in (text or "")
