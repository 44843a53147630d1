"""Texts on their way to a tracker: what no tracker can store is left out, and who asked for an issue is told in it."""

from __future__ import annotations

import re

from feature_delivery.adapters.trackers.unseen import carries, marked, unmarked

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_REPORTED = re.compile(r"(?:\n\n|\A)Reported by (?P<who>[^\n]{1,80})\.\Z")
_REPORTER = "reporter"


def plain(text: str) -> str:
    """Return ``text`` with line feeds only, and without characters that databases or XML do not take."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(title: str, *, limit: int) -> str:
    """Return a title on one line, at most ``limit`` characters."""
    return " ".join(plain(title).split())[:limit]


def reported(text: str, reporter: str, *, limit: int) -> str:
    """Return ``text``, at most ``limit`` characters, with a last line that names who asked for it, when we know."""
    who = re.sub(r"[^\w.@ -]", "", reporter)[:80].strip()
    text = plain(text)[:limit]
    return marked(f"{text}\n\nReported by {who}.".lstrip("\n"), _REPORTER, limit=limit + 200) if who else text


def reporter_in(text: str) -> tuple[str, str] | None:
    """Return who asked and the text itself, when ``text`` is one of ``reported``."""
    if not carries(text, _REPORTER):
        return None
    rest = unmarked(text)
    found = _REPORTED.search(rest)
    return (found["who"], rest[: found.start()]) if found else None
