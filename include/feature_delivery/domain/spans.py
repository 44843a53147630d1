"""How long something went on that was done in several pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


def covered_seconds(pieces: Iterable[tuple[datetime, datetime]]) -> float:
    """Return how long any of the pieces went on: parallel ones count once, what lay between two does not count.

    A piece that ends before it begins (two machines, one clock wrong) took no time rather than less.
    """
    seconds, reached = 0.0, None
    for begin, end in sorted(pieces):
        began = begin if reached is None else max(begin, reached)
        if end > began:
            seconds += (end - began).total_seconds()
            reached = end
    return seconds
