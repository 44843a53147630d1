"""Looking at a running service from outside, and the time between two looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Look:
    """One request: ``status`` is ``None`` when nothing answered in time; ``seconds`` it took."""

    status: int | None
    seconds: float


class Probe(Protocol):
    """Asks an address, and waits."""

    def look(self, url: str) -> Look:
        """Ask once; redirects are not followed."""

    def now(self) -> float:
        """Return seconds that only grow."""

    def clock(self) -> float:
        """Return the time of day, in seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
