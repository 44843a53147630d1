"""What GitLab takes, and how what is longer or of another kind is made to fit."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

TITLE, TEXT, STATUS, NAME, URL = 255, 1_000_000, 255, 255, 255
"""Characters. Of a description or a comment GitLab takes 1,048,576."""

_COMMAND = re.compile(r"^([^\S\n]*)/(?=[A-Za-z_])", re.MULTILINE)


def shortened(text: str, limit: int) -> str:
    """Return ``text`` in at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def harmless(text: str) -> str:
    r"""Return ``text`` without quick actions, looking the same.

    A line that begins with ``/close`` or ``/merge`` is an order to GitLab, carried out with our rights, also where it
    is somebody's reason or title that we only repeat. ``\/`` is a slash in Markdown and no order.
    """
    return _COMMAND.sub(r"\1\\/", text.replace("\r\n", "\n").replace("\r", "\n"))


def is_page(url: str) -> bool:
    """Say whether GitLab takes ``url`` as a link: it answers 400 to anything but a web address that is not too long."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and len(url) <= URL
