"""A breach: a critical metric so far past its limit, for so many requests, that nobody needs the rest of the watch.

Samples past the limit are not enough: in a shop with eight requests a minute one failed request lifts two samples to a
quarter. So what lies behind them is weighed, by Chernoff's bound on the chance of so many bad ones among so many. It
is never less than the binomial chance, and takes shares of requests, which is what rates give.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from feature_delivery.domain.judging.evidence import FEWEST_BEFORE, Evidence, Usual, level, sustained

if TYPE_CHECKING:
    from feature_delivery.domain.judging.rules import MetricRule
    from feature_delivery.domain.judging.series import Series

IN_A_ROW = 3
"""So many samples past a critical limit are needed to end the watch: one is an outlier."""
CRITICAL_FACTOR = 3.0
"""A critical metric without a limit is past all bounds at so many times the level before."""
CERTAIN = math.log(5000)
"""A chance of one in so many ends the watch: it is asked with each look, of every stretch that looks bad."""
ENOUGH_REQUESTS = 100.0
"""A sample of so many counts in full, though more are usual: what slows down is asked for less, and wavers no more."""
PAST_IN_AN_UNKNOWN_SHOP = 0.05
"""Without a baseline a sample past the limit is taken for an outlier that every twentieth is."""


def critical_limit(rule: MetricRule, before: Series) -> float | None:
    """Return the level at which a critical metric ends the watch; ``None``: nothing is known to compare with."""
    if rule.limit is not None:
        return rule.limit
    if len(before) < FEWEST_BEFORE:
        return None
    at = level(rule, before)
    return at * CRITICAL_FACTOR + rule.least_change if rule.direction.worse > 0 else at / CRITICAL_FACTOR


def usual(rule: MetricRule, before: Series, limit: float) -> Usual | None:
    """Return what a breach has to know of the baseline; ``None``: it is too short."""
    if len(before) < FEWEST_BEFORE:
        return None
    # One more of each kind than was seen: what has not happened within an hour may happen.
    past = (sum(_past(rule, before, limit)) + 1) / (len(before) + 2)
    return Usual(past=past, requests=median(before.weights) if before.weights else 0.0)


def breached(evidence: Evidence) -> bool:
    """Say whether a critical metric has passed its limit for good: not by one outlier, not by chance, not before.

    What was as bad before the release is no reason to end the watch: going back would not help.
    """
    rule, after = evidence.rule, evidence.after.since(evidence.counts_from)
    limit = critical_limit(rule, evidence.before) if rule.critical else None
    if limit is None or len(after) < IN_A_ROW:
        return False
    if len(evidence.before) >= FEWEST_BEFORE and rule.passes_limit(level(rule, evidence.before)):
        return False
    known = evidence.usual or usual(rule, evidence.before, limit)

    def certain(stretch: Series) -> bool:
        return _certainty(rule, stretch, limit, known, covers=evidence.covers) >= CERTAIN

    bad = _past(rule, after, limit)
    row = next((place for place, one in enumerate(reversed(bad)) if not one), len(bad))
    if row >= IN_A_ROW and certain(after.part(len(after) - row, len(after))):
        return True
    if len(bad) < 2 * IN_A_ROW or sum(bad) < IN_A_ROW:
        return False
    return (sustained(rule, after) - limit) * rule.direction.worse > 0 and certain(after)


def _past(rule: MetricRule, measured: Series, limit: float) -> list[bool]:
    return [(value - limit) * rule.direction.worse > 0 for value in measured.values]


def _certainty(rule: MetricRule, stretch: Series, limit: float, known: Usual | None, *, covers: float) -> float:
    """Return the negative logarithm of the chance that so much is so bad although nothing is wrong.

    Counted: so many failed of so many requests, although no more fail in the long run than the limit allows. Others:
    so many samples past the limit, although that happens as often as before; a sample of fewer requests than usual,
    and fewer than enough, counts for less, for it wavers more.
    """
    if rule.counted:
        requests = stretch.requests
        # A request is in up to ``covers`` samples' worth of the sum.
        count = (len(stretch) if requests is None else requests) / covers
        if rule.direction.worse > 0:
            return count * divergence(stretch.mean, limit)
        return count * divergence(1 - stretch.mean, 1 - limit)
    share = sum(_past(rule, stretch, limit)) / len(stretch)
    each = min(known.requests, ENOUGH_REQUESTS) if known is not None else 0.0
    count = sum(min(1.0, weight / each) for weight in stretch.weights) if each > 0 and stretch.weights else len(stretch)
    apart = 1 + (count - 1) / covers if count > 1 else count
    return apart * divergence(share, known.past if known is not None else PAST_IN_AN_UNKNOWN_SHOP)


def divergence(share: float, usual_share: float) -> float:
    """Return how far a share is above the usual one, in nats of one independent observation (Kullback and Leibler)."""
    if share <= usual_share:
        return 0.0
    if usual_share <= 0:
        return math.inf
    rest = (1 - share) * math.log((1 - share) / (1 - usual_share)) if share < 1 else 0.0
    return share * math.log(share / usual_share) + rest
