"""What is measured, and when it counts as worse."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way is better."""

    LOWER = "lower"
    HIGHER = "higher"

    @property
    def worse(self) -> int:
        """Sign of a change for the worse."""
        return 1 if self is Direction.LOWER else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRule:
    """How one metric is judged.

    Attributes:
        name: What people call it.
        unit: ``ratio``, ``seconds`` or any word that stands behind its values; may be empty.
        direction: Which way is better.
        limit: The level that it must not pass, whatever it was before; ``None``: there is none.
        tolerance: Share of the level before by which it may get worse.
        least_change: A smaller change, in its unit, is none, however large its share may be.
        compared: Compare it with the time before; else the limit alone decides.
        critical: Its failure alone fails the release, and passing its limit ends the watch at once.
        weight: Its share in the whole, beside the others' weights.
        counted: Its values are shares of requests: the levels are means weighted by their number.
    """

    name: str
    unit: str = ""
    direction: Direction = Direction.LOWER
    limit: float | None = None
    tolerance: float = 0.14
    least_change: float = 0.0
    compared: bool = True
    critical: bool = False
    weight: float = 1.0
    counted: bool = False

    def passes_limit(self, value: float) -> bool:
        """Say whether ``value`` is on the wrong side of the limit."""
        return self.limit is not None and (value - self.limit) * self.direction.worse > 0


ERRORS = MetricRule(
    name="errors", unit="ratio", limit=0.05, tolerance=0.5, least_change=0.008, critical=True, weight=3, counted=True
)
LATENCY = MetricRule(name="latency", unit="seconds", least_change=0.002, critical=True, weight=2)
SLOWEST = MetricRule(name="slowest twentieth", unit="seconds", tolerance=0.25, least_change=0.005)
AVAILABILITY = MetricRule(
    name="availability",
    unit="ratio",
    direction=Direction.HIGHER,
    limit=0.95,
    compared=False,
    critical=True,
    weight=3,
    counted=True,
)
ANSWER = MetricRule(name="answer to the probe", unit="seconds", tolerance=0.5, least_change=0.05)
