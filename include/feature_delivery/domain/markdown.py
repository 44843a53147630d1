"""Text from outside inside Markdown of ours: it is read as it was written, and does nothing.

Hosts look at the rendered text once more for mentions, references and quick actions, so that an entity alone does not
stop them: a character of no width behind ``@``, ``#``, ``!`` does (as Renovate and others do it).
"""

from __future__ import annotations

import re

_NOTHING = "&#8203;"
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_PLAIN = frozenset(",;?%'\"-.")
"""Punctuation that means nothing in the middle of a line, or is dealt with below."""
_REFERS = frozenset("@#!")
_TRIGGER = re.compile(r"(?m)^(\s*)([-.])|(\d)\.(?=\s|$)|(?i:(www))\.")
"""What makes a list, a thematic break or a link without any mark: ``- x``, ``1. x``, ``www.``."""


def plain(text: str, *, limit: int = 1000) -> str:
    """Return ``text`` on one line, every mark in it harmless; longer texts are cut with an ellipsis."""
    words = " ".join(text.split())
    return _harmless(words if len(words) <= limit else words[: limit - 1].rstrip() + "…")


def quoted(text: str, *, limit: int = 20_000) -> str:
    """Return ``text`` as a quotation, line by line, every mark in it harmless; empty for an empty text."""
    cut = text.strip()
    cut = cut if len(cut) <= limit else cut[: limit - 1].rstrip() + "…"
    return "\n".join(f"> {_harmless(line.strip())}".rstrip() for line in cut.splitlines()) if cut else ""


def link(text: str, url: str) -> str:
    """Return a link with ``text`` as it is; the text alone where ``url`` is none that a browser opens safely."""
    if not re.fullmatch(r"https?://[^\s<>\"'`\\^{}|()\[\]]+", url):
        return plain(text)
    return f"[{plain(text)}]({url})"


def code(text: str) -> str:
    """Return a name of ours (a commit, a branch) in fixed width."""
    return "`" + re.sub(r"[`|\s]+", " ", text).strip() + "`"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _harmless(line: str) -> str:
    entities = _PUNCTUATION.sub(_entity, line)
    return _TRIGGER.sub(_untriggered, entities)


def _entity(match: re.Match[str]) -> str:
    mark = match[0]
    if mark in _PLAIN:
        return mark
    return f"&#{ord(mark)};" + (_NOTHING if mark in _REFERS else "")


def _untriggered(match: re.Match[str]) -> str:
    if match[2]:
        return f"{match[1]}&#{ord(match[2])};"
    return f"{match[3]}&#46;" if match[3] else f"{match[4]}&#46;"
