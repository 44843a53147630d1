"""The parts of a first ``delivery.yaml`` that differ from shop to shop, and how files of a stranger are read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from feature_delivery.domain.plan import Command

READ_LIMIT_BYTES = 1024 * 1024
SUITES = ("unit", "functional", "integration")


@dataclass(frozen=True, slots=True)
class SuiteDraft:
    """How one suite runs; ``junit``: the command writes ``reports/<suite>.xml``."""

    command: Command
    junit: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """What was found out.

    Attributes:
        forward: Migrates the shop's data; ``None``: nothing is known of migrations.
        notes: What has to be seen to before the shop can be delivered, a sentence or two each.
    """

    install: tuple[Command, ...]
    inputs: tuple[str, ...]
    start: Command
    syntax: Command
    suites: dict[str, SuiteDraft]
    forward: Command | None = None
    notes: tuple[str, ...] = ()


def content(path: Path) -> str:
    """Return the text of a file, empty when there is none that can be read: detection never fails."""
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT_BYTES).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def table(path: Path) -> dict[str, dict[str, object]]:
    """Return the tables of a TOML file; a broken one has none."""
    try:
        found = tomllib.loads(content(path))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, dict)}


def present(directory: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``names`` that are files in ``directory``."""
    return tuple(name for name in names if (directory / name).is_file())
