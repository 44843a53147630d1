"""What the judge is shown of one metric, and where a metric stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_delivery.domain.judging.rules import MetricRule
    from feature_delivery.domain.judging.series import Series

FEWEST_BEFORE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What a breach has to know of the time before the release.

    Attributes:
        past: Share of samples that were past the level that ends the watch, above 0.
        requests: Behind a sample, median; 0: nobody counts them.
    """

    past: float
    requests: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured of one metric.

    Attributes:
        before: The baseline; empty: there is none.
        after: Since the deploy, warm-up included.
        counts_from: When the warm-up was over, seconds since the epoch.
        expected: Samples that could be there after the warm-up; ``expected_before``: in the baseline.
        least_requests: Fewer after the warm-up say nothing.
        covers: Steps that one sample covers; more than 1: neighbours share requests.
        usual: Where the baseline itself is not at hand, what a breach has to know of it.
        breach: A critical breach was seen while it was watched.
        trouble: Why there are none, when that is known.
    """

    rule: MetricRule
    before: Series
    after: Series
    counts_from: float
    expected: int
    expected_before: int = 0
    least_requests: float = 0.0
    covers: float = 1.0
    usual: Usual | None = None
    breach: bool = False
    trouble: str = ""


def level(rule: MetricRule, measured: Series) -> float:
    """Return where a metric stands: the mean of shares, the median of everything else."""
    return measured.mean if rule.counted else measured.median


def sustained(rule: MetricRule, measured: Series) -> float:
    """Return the level without its single worst sample, so that no outlier passes a limit alone."""
    if len(measured) < 2:
        return level(rule, measured)
    worst = max(range(len(measured)), key=lambda place: measured.values[place] * rule.direction.worse)
    return level(rule, measured.without(worst))
