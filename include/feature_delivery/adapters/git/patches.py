"""What changed between two commits, for people to read: bounded, whatever the commits hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_delivery.adapters.git.commands import GitCommands
    from feature_delivery.adapters.git.objects import Objects
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.ports.repository import FileChange

LINES_LIMIT = 4000
"""Changed lines shown of a whole patch; files beyond it are only named."""

FILES_LIMIT = 100
TEXT_LIMIT = 2_000_000
"""Characters; more are cut off."""

LARGEST_FILE = "128k"
"""Git treats larger files as binary here: nobody reads them, and reading them costs memory."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Every changed file, and the unified patch of those that are shown; what is not UTF-8 is escaped, as in paths."""

    files: tuple[FileChange, ...]
    text: str
    left_out: tuple[str, ...]


def read_patch(commands: GitCommands, objects: Objects, old: CommitSha, new: CommitSha) -> Patch:
    """Return what changed since ``new`` parted from ``old``; both are fetched."""
    bases = objects.merge_bases(old, new)
    base = bases[0] if bases else old
    files = objects.diff_stat(base, new)
    shown: list[str] = []
    left_out: list[str] = []
    lines = 0
    for change in files:
        count = (change.added or 0) + (change.removed or 0)
        if lines + count > LINES_LIMIT or len(shown) >= FILES_LIMIT:
            left_out.append(change.path)
            continue
        lines += count
        shown.append(change.path)
    # Without names where all are shown: a name that is no UTF-8 could not be given back.
    text = _text(commands, base, new, shown if left_out else []) if shown else ""
    return Patch(files, text, tuple(left_out))


def _text(commands: GitCommands, base: CommitSha, new: CommitSha, paths: list[str]) -> str:
    output = commands.run(
        "--literal-pathspecs",
        "-c",
        f"core.bigFileThreshold={LARGEST_FILE}",
        "-c",
        "core.quotePath=false",
        "diff-tree",
        "-r",
        "-p",
        "--no-color",
        "--no-textconv",
        "--no-ext-diff",
        "--no-renames",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        "--end-of-options",
        base,
        new,
        "--",
        *paths,
        doing="compare two commits",
    )
    return output.out.decode("utf-8", "backslashreplace")[:TEXT_LIMIT]
