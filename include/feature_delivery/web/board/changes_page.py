"""A patch as files and lines for a template; every line is shown as text, whatever is in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from feature_delivery.adapters.git.patches import Patch

LINE_LIMIT = 400
"""Characters of a line; minified files are not for reading."""

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: ``kind`` is ``add``, ``del``, ``same`` or ``hunk``; its numbers before and after, if it has them."""

    kind: str
    old: int | None
    new: int | None
    text: str


@dataclass(frozen=True, slots=True)
class File:
    """One changed file; ``note``: why no lines are shown (``binary`` or ``large``)."""

    path: str
    added: int | None
    removed: int | None
    lines: tuple[Line, ...]
    note: str


def files_of(patch: Patch) -> tuple[File, ...]:
    """Return the changed files, with the lines of those that the patch shows."""
    found = _lines(patch.text)
    return tuple(
        File(
            path=change.path,
            added=change.added,
            removed=change.removed,
            lines=found.get(change.path, ()),
            note="" if found.get(change.path) else "binary" if change.added is None else "large",
        )
        for change in patch.files
    )


def _lines(text: str) -> dict[str, tuple[Line, ...]]:
    """Return the lines by path; sections whose path Git had to quote go by their own."""
    found: dict[str, tuple[Line, ...]] = {}
    for section in re.split(r"(?m)^diff --git ", text)[1:]:
        head, _, body = section.partition("\n")
        path = _path(head)
        if path:
            found[path] = _numbered(body)
    return found


def _path(head: str) -> str:
    # Without renames both names are the same: "a/<path> b/<path>".
    half = (len(head) - 1) // 2
    old, new = head[:half], head[half + 1 :]
    return new.removeprefix("b/") if old.removeprefix("a/") == new.removeprefix("b/") else ""


def _numbered(body: str) -> tuple[Line, ...]:
    lines: list[Line] = []
    old = new = 0
    within = False
    for raw in body.split("\n")[:-1]:
        text = raw[1:][:LINE_LIMIT] + ("…" if len(raw) > LINE_LIMIT else "")
        if hunk := _HUNK.match(raw):
            within, old, new = True, int(hunk[1]), int(hunk[2])
            lines.append(Line("hunk", None, None, hunk[3].strip()[:LINE_LIMIT]))
        elif not within or raw.startswith("\\"):
            continue
        elif raw.startswith("+"):
            lines.append(Line("add", None, new, text))
            new += 1
        elif raw.startswith("-"):
            lines.append(Line("del", old, None, text))
            old += 1
        else:
            lines.append(Line("same", old, new, text))
            old, new = old + 1, new + 1
    return tuple(lines)
