"""Database files that a release keeps in its own checkout: the next release will not find them there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms import untrusted
from feature_delivery.adapters.platforms.lines import clean

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES = (".sqlite3", ".sqlite", ".db")
_NOT_THE_SHOPS = frozenset({"node_modules", ".git", "venv", ".venv"})


def databases_in(checkout: Path) -> frozenset[str]:
    """Return the SQLite files in a checkout by their paths in it, those of installed packages aside."""
    return frozenset(
        f"{folder.path}{entry.name}"
        for folder in untrusted.walk(checkout, leave_out=_NOT_THE_SHOPS)
        for entry in folder.others
        if entry.name.endswith(_SUFFIXES)
    )


def warning(found: frozenset[str]) -> str:
    """Return what is wrong with databases that a release has made in its checkout."""
    files = ", ".join(clean(os.fsencode(path)) for path in sorted(found)[:5])
    return (
        f"Warning: this release keeps {files} in its checkout, and the next one begins without. Let the shop write "
        "to $DATA_DIR: that stays with the environment."
    )
