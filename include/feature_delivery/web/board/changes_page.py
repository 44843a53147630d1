"""A patch as files and lines for a template; every line is shown as text, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from feature_delivery.adapters.git.patches import Patch
from feature_delivery.ports.repository import FileChange

LINE_LIMIT = 400
"""Characters of a line; minified files are not for reading."""

_QUOTED = re.compile(r"\\(?:([0-7]{3})|(.))")
_ESCAPES = {"a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"}
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
    """One changed file; ``note``: why no lines are shown (``binary``, ``large``, or ``empty``: none has changed)."""

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
            note=_note(change, found, left_out=change.path in patch.left_out),
        )
        for change in patch.files
    )


def _note(change: FileChange, found: Mapping[str, tuple[Line, ...]], *, left_out: bool) -> str:
    if found.get(change.path):
        return ""
    if change.added is None:
        return "binary"
    return "large" if left_out or change.added or change.removed else "empty"


def _lines(text: str) -> dict[str, tuple[Line, ...]]:
    """Return the lines by path; a file that becomes a link has two sections."""
    found: dict[str, tuple[Line, ...]] = {}
    for section in re.split(r"(?m)^diff --git ", text)[1:]:
        head, _, body = section.partition("\n")
        path = _path(head)
        found[path] = (*found.get(path, ()), *_numbered(body))
    return found


def _path(head: str) -> str:
    # Without renames both names are the same: "a/<path> b/<path>", both in quotes where there is an odd character.
    new = head[(len(head) - 1) // 2 + 1 :]
    if new.startswith('"'):
        new = _QUOTED.sub(
            lambda found: chr(int(found[1], 8)) if found[1] else _ESCAPES.get(found[2], found[2]), new[1:-1]
        )
    return new.removeprefix("b/")


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
