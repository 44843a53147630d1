"""What a benchmark says: one line per figure, with the goal beside it. Nothing fails on a time."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        unit: ``ratio``, ``share`` (of 1), ``s`` or ``ms``; ``""`` for a count.
        goal: At most this; ``None``: printed for whoever looks, there is no goal.
        note: What it is made of, in a few words.
    """

    benchmark: str
    name: str
    value: float
    unit: str = ""
    goal: float | None = None
    note: str = ""
    samples: Sequence[float] = field(default_factory=tuple)

    @property
    def reached(self) -> bool | None:
        """Say whether the goal is reached; ``None`` without a goal."""
        return None if self.goal is None else self.value <= self.goal


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the figures as one table."""
    table = Table(box=None, pad_edge=False)
    for title, side in (("benchmark", "left"), ("figure", "left"), ("value", "right"), ("goal", "right")):
        table.add_column(title, justify="right" if side == "right" else "left")
    table.add_column("")
    table.add_column("from")
    for one in figures:
        mark = {None: "", True: "[green]✓[/]", False: "[red]missed[/]"}[one.reached]
        goal = "" if one.goal is None else f"≤ {_number(one.goal, one.unit)}"
        table.add_row(one.benchmark, one.name, _number(one.value, one.unit), goal, mark, one.note)
    console.print(table)


def report(figures: Sequence[Figure]) -> dict[str, Any]:
    """Return the figures for programs, with what is known of the machine."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg(), "python": sys.version.split()[0]},
        "figures": [{**asdict(one), "reached": one.reached} for one in figures],
    }


def _number(value: float, unit: str) -> str:
    if math.isnan(value):
        return "no data"
    match unit:
        case "ratio":
            return f"{value:.2f} x"
        case "share":
            return f"{value * 100:.1f} %"
        case "s":
            return f"{value:.2f} s"
        case "ms":
            return f"{value:.0f} ms"
        case _:
            return f"{value:g}"
