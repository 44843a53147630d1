"""Database files that a release keeps in its own checkout: the next release will not find them there."""

from __future__ import annotations

import os
from pathlib import Path

_SUFFIXES = (".sqlite3", ".sqlite", ".db")
_NOT_THE_SHOPS = frozenset({"node_modules", ".git", "venv", ".venv"})


def databases_in(checkout: Path) -> frozenset[str]:
    """Return the SQLite files in a checkout by their paths in it, those of installed packages aside."""
    found: set[str] = set()
    for place, below, files in os.walk(checkout):
        below[:] = [name for name in below if name not in _NOT_THE_SHOPS]
        found.update(Path(place, name).relative_to(checkout).as_posix() for name in files if name.endswith(_SUFFIXES))
    return frozenset(found)


def warning(found: frozenset[str]) -> str:
    """Return what is wrong with databases that a release has made in its checkout."""
    files = ", ".join(sorted(found)[:5])
    return (
        f"Warning: this release keeps {files} in its checkout, and the next one begins without. Let the shop write "
        "to $DATA_DIR: that stays with the environment."
    )
