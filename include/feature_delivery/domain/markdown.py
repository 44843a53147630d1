"""Text from outside inside Markdown of ours: it reads as it was written, and does nothing.

Only what would have an effect is changed, so that the same text can be shown where nobody renders Markdown. Hosts look
at the rendered text once more, for mentions, references, words that close issues and quick actions; an entity does not
stop them, a character of no width behind the mark does (as Renovate and others do it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_GAP = "\u200b"
_MARKS = re.compile(r"[<`*\[\]|\\~]|&(?=#?\w+;)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What begins HTML, an entity, code, emphasis, a link, a cell."""
_REFERENCES = re.compile(
    r"[@#!~%&$](?=[\w\"'{])|\bGH-(?=\d)|/(?:issues|pulls?|merge_requests|work_items)/(?=\d)", re.IGNORECASE
)
"""What hosts make references of: a person, an issue, a request, a label, an address that ends with a number."""
_FIRST = re.compile(r"^(\d{1,9}(?=[.)])|(?=[-+#>=/.:]))")
"""What means something at the beginning of a line only: lists, headings, quotations, rules, quick actions."""


def plain(text: str, *, limit: int = 1000) -> str:
    """Return ``text`` on one line, every mark in it harmless; longer texts are cut with an ellipsis."""
    words = " ".join(text.split())
    return _harmless(words if len(words) <= limit else words[: limit - 1].rstrip() + "…")


def quoted(text: str, *, limit: int = 20_000) -> str:
    """Return ``text`` as a quotation, line by line, every mark in it harmless; empty for an empty text."""
    cut = text.strip()
    cut = cut if len(cut) <= limit else cut[: limit - 1].rstrip() + "…"
    return "\n".join(f"> {_harmless(line.strip())}".rstrip() for line in cut.splitlines()) if cut else ""


def lines(text: str) -> str:
    """Return ``text`` line by line as it is, list items of ours (``* ``) too, every other mark in it harmless."""
    return "\n".join(
        f"* {_harmless(line[2:])}" if line.startswith("* ") else _harmless(line) for line in text.splitlines()
    )


def link(text: str, url: str) -> str:
    """Return a link with ``text`` as it is; the text alone where ``url`` is none that a browser opens safely."""
    if not re.fullmatch(r"https?://[^\s<>\"'`\\^{}|()\[\]]+", url):
        return plain(text)
    return f"[{plain(text)}]({url})"


def code(text: str) -> str:
    """Return a name of ours (a commit, a branch) in fixed width."""
    return "`" + re.sub(r"[`|\s]+", " ", text).strip() + "`"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _harmless(line: str) -> str:
    apart = _REFERENCES.sub(rf"\g<0>{_GAP}", line)
    marked = _MARKS.sub(lambda match: f"&#{ord(match[0])};", apart)
    return _FIRST.sub(rf"\1{_GAP}", marked)
