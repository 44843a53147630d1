"""Text of others inside Slack messages: it reads as it was written, mentions nobody, links nowhere."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SECTION_LIMIT = 3000
BUTTON_LIMIT = 75
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
"""Control characters, and those that turn the direction of what follows: an isolate does that for the text alone."""
_JOINERS = re.compile(r"[\u200c\u200d]")
_FIRST_STRONG, _POP = "\u2068", "\u2069"
_SAFE_URL = re.compile(r"https?://[^\s<>|\"'`\\^{}\x00-\x1f]+\Z")
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


def escaped(text: str) -> str:
    """Return ``text`` so that Slack shows it as it is: with its three entities nothing in it is a mention or link."""
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clean(text: str) -> str:
    """Return ``text`` without control characters; right-to-left text keeps its direction to itself."""
    kept = _CONTROL.sub(lambda match: match[0] if _JOINERS.match(match[0]) else "", text)
    return f"{_FIRST_STRONG}{kept}{_POP}" if _RIGHT_TO_LEFT.search(kept) else kept


def one_line(text: str, limit: int) -> str:
    """Return ``text`` on one line, cut with an ellipsis."""
    words = " ".join(text.split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def cut(text: str, limit: int = SECTION_LIMIT) -> str:
    """Return markup that is not longer than Slack takes; never half an entity, never half a mention."""
    if len(text) <= limit:
        return text
    short = text[: limit - 1]
    for opening, closing in (("&", ";"), ("<", ">")):
        begun = short.rfind(opening)
        if begun > short.rfind(closing):
            short = short[:begun]
    return short.rstrip() + "…"


def safe_url(url: str) -> str:
    """Return an address that a browser opens safely, else an empty text."""
    if not _SAFE_URL.match(url) or len(url) > SECTION_LIMIT:
        return ""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return ""
    return url if host and parts.username is None else ""


def link(title: str, url: str) -> str:
    """Return a link as markup; the title alone where the address is none."""
    found = safe_url(url)
    shown = escaped(one_line(title, 80))
    return f"<{found.replace('&', '&amp;')}|{shown.replace('|', '/')}>" if found else shown
