"""What GitHub takes, and how what is longer or of another kind is made to fit."""

from __future__ import annotations

from urllib.parse import urlsplit

TITLE, BODY, STATUS = 256, 65_000, 140
"""Characters. Of a body GitHub takes 65,536, which it counts in its own way."""


def shortened(text: str, limit: int) -> str:
    """Return ``text`` in at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_page(url: str) -> bool:
    """Say whether GitHub takes ``url`` as a link: it answers 422 to anything but a web address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
