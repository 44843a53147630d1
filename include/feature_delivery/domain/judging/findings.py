"""What judging found, as it travels and is kept: values and sentences, no live objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "inconclusive", "no_data"]
Recommendation = Literal["keep", "roll_back", "decide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A stretch of a metric: how many usable samples of how many that could be, and its level."""

    samples: int
    expected: int
    level: float
    requests: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one metric says.

    Attributes:
        metric: Its name; ``unit``: see ``MetricRule``.
        reason: The sentence for people.
        change: Change against the level before as a share of it; positive is up; ``None``: not compared.
        p_value: Chance of so great a difference between equals.
        effect: Chance that a measurement after the release is worse than one before; 0.5: no difference.
        independent: Measurements after the release that count once neighbours that say the same are put together.
        breach: A critical limit was passed for good.
        before_values, after_values: For the plot, at most some dozens; ``after_values`` with the warm-up.
        warm_up_values: How many of ``after_values`` were not counted.
    """

    metric: str
    unit: str
    outcome: Outcome
    reason: str
    critical: bool
    weight: float
    limit: float | None = None
    before: Level | None = None
    after: Level | None = None
    change: float | None = None
    p_value: float | None = None
    effect: float | None = None
    independent: int = 0
    breach: bool = False
    before_values: tuple[float, ...] = ()
    after_values: tuple[float, ...] = ()
    warm_up_values: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The whole: outcome, what to do, and why.

    Attributes:
        source: Where the figures are from, for people.
        seconds: How long was watched.
    """

    outcome: Outcome
    recommendation: Recommendation
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    source: str = ""
    seconds: float = 0.0

    @property
    def breach(self) -> bool:
        """Say whether a critical limit was passed for good."""
        return any(finding.breach for finding in self.findings)
