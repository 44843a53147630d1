"""What the sources of a shop say about the contract with its deliveries: a health page, ``$PORT``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from feature_delivery.services.first_file.draft import content

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES_LIMIT = 2_000
_LOOKED_AT = frozenset({".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".go", ".php", ".java", ".kt", ".rs", ".cs", ".sh"})
_LOOKED_AT_BY_NAME = frozenset({"Makefile", "makefile", "GNUmakefile", "Procfile", "Dockerfile", "package.json"})
_SKIPPED = frozenset({"node_modules", "venv", "env", "vendor", "test", "tests", "spec", "dist", "build", "migrations"})
_HEALTH_PAGES = ("healthz", "health", "livez", "readyz", "healthcheck", "health-check", "ping")
# A word alone is anything; with a slash it is an address. Django writes it without the first one.
_ADDRESS = re.compile(rf"""["'`](?:/({"|".join(_HEALTH_PAGES)})(/?)|({"|".join(_HEALTH_PAGES)})(/))["'`]""")
_PORT = re.compile(r"\bPORT\b")


@dataclass(frozen=True, slots=True)
class Sources:
    """What was found.

    Attributes:
        health: The address of a health page; empty: there is no sign of one.
        health_file: Where that was found.
        reads_port: Something mentions ``PORT``.
        files: How many files were looked at.
    """

    health: str
    health_file: str
    reads_port: bool
    files: int


def look(directory: Path) -> Sources:
    """Read the shop's own sources, not its tests and not what it has installed."""
    addresses: dict[str, tuple[str, str]] = {}
    reads_port, number = False, 0
    for path in islice(_source_files(directory), FILES_LIMIT):
        text, number = content(path), number + 1
        reads_port = reads_port or bool(_PORT.search(text))
        for bare, end, django, django_end in _ADDRESS.findall(text):
            address = f"/{bare or django}{end or django_end}"
            addresses.setdefault(bare or django, (address, path.relative_to(directory).as_posix()))
    best = next((addresses[name] for name in _HEALTH_PAGES if name in addresses), ("", ""))
    return Sources(health=best[0], health_file=best[1], reads_port=reads_port, files=number)


def _source_files(directory: Path) -> Iterator[Path]:
    for place, below, files in os.walk(directory):
        below[:] = sorted(name for name in below if name not in _SKIPPED and not name.startswith("."))
        wanted = (name for name in sorted(files) if name in _LOOKED_AT_BY_NAME or Path(name).suffix in _LOOKED_AT)
        yield from (Path(place, name) for name in wanted)
