"""Recordings of shops (``record.py``), played back as releases: at any point of them, and the releases in them.

Two ways. *Replayed*: any moment of a shop that never changed is taken for a release; equal as it is, or with a quarter
of latency, or two points of errors, added to what was recorded after it. *Live*: the releases in the recordings, the
equal ones and those that were really worse.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from recording import Deployed, Points, Recording
from regimes import BASELINE_SECONDS, WINDOW_SECONDS

from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.judging.evidence import Evidence
from feature_delivery.domain.judging.judge import judge
from feature_delivery.domain.judging.rules import ERRORS, LATENCY, SLOWEST, MetricRule
from feature_delivery.domain.judging.series import Series, series, shares
from feature_delivery.services.shop_metrics import RANGE_STEPS

RULES = (ERRORS, LATENCY, SLOWEST)
WARM_UP_SHARE = 0.1
LEAST_REQUESTS = 100.0
EVERY = 3
"""Replays begin so many samples after each other: neighbours would say the same."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a release changes."""

    slower: float = 1.0
    more_errors: float = 0.0


def evidence(
    rule: MetricRule, before: Series, after: Series, *, began: float, step: float, window: float, baseline: float
) -> Evidence:
    """Return one metric of a release as ``production.observe`` hands it to the judge; all but the first in seconds."""
    warm_up = window * WARM_UP_SHARE
    return Evidence(
        rule=rule,
        before=before,
        after=after,
        counts_from=began + warm_up + step / 2,
        expected=int((window - warm_up) / step),
        expected_before=int(baseline / step),
        least_requests=LEAST_REQUESTS,
        covers=RANGE_STEPS,
    )


def replayed(recorded: Recording, release: Release, rng: random.Random) -> Counter[str]:
    """Return the outcomes when every so many samples of a recording there is taken to have been a release."""
    step = recorded.step_seconds
    until = step * len(recorded.parts["latency"]) - WINDOW_SECONDS
    found: Counter[str] = Counter()
    for place in range(math.ceil(BASELINE_SECONDS / step), int(until / step) + 1, EVERY):
        began = place * step
        cut = _cut(recorded, began - BASELINE_SECONDS, began, [])
        later = _cut(recorded, began, began + WINDOW_SECONDS, [])
        found[_judged(recorded, cut, _changed(later, release, rng), began)] += 1
    return found


def lived(recorded: Recording) -> Iterator[tuple[Deployed, str]]:
    """Give each release of a recording with the judge's outcome.

    The next release took the bad one back: the time between is part of no baseline, as after a rollback in life.
    """
    spoilt = [(one.stopped, after.at) for one, after in pairwise(recorded.deployed) if not one.equal]
    step = recorded.step_seconds
    for one in recorded.deployed:
        began = math.ceil(one.at / step) * step  # a sample that begins in the version before is none of this one's
        cut = _cut(recorded, 0.0, one.stopped, spoilt)
        before = {name: points[-round(BASELINE_SECONDS / step) :] for name, points in cut.items()}
        yield one, _judged(recorded, before, _cut(recorded, began, began + WINDOW_SECONDS, []), began)


def _cut(recorded: Recording, since: float, until: float, spoilt: Sequence[tuple[float, float]]) -> dict[str, Points]:
    """Return each query's values of the steps between two moments that are not spoilt."""
    step = recorded.step_seconds

    def sound(time: float) -> bool:
        begins = time - step
        inside = begins >= since - 1e-6 and time <= until + 1e-6
        return inside and not any(time - step * RANGE_STEPS < end and time > begin for begin, end in spoilt)

    return {name: [point for point in recorded.points(name) if sound(point[0])] for name in recorded.parts}


def _changed(parts: dict[str, Points], release: Release, rng: random.Random) -> dict[str, Points]:
    found = {
        name: [(time, value * (1.0 if name.startswith("errors") else release.slower)) for time, value in points]
        for name, points in parts.items()
    }
    if release.more_errors:
        failed = dict(parts["errors"])
        found["errors"] = [
            (time, failed.get(time, 0.0) + poisson(count * release.more_errors, rng))
            for time, count in parts["errors:of"]
        ]
    return found


def _judged(recorded: Recording, before: dict[str, Points], after: dict[str, Points], began: float) -> str:
    def measured(rule: MetricRule, parts: dict[str, Points]) -> Series:
        if rule is ERRORS:
            return shares(parts["errors"], parts["errors:of"])
        return series(parts[rule.name], requests=dict(parts["errors:of"]))

    step = recorded.step_seconds
    known = [
        evidence(
            rule,
            measured(rule, before),
            measured(rule, after),
            began=began,
            step=step,
            window=WINDOW_SECONDS,
            baseline=BASELINE_SECONDS,
        )
        for rule in RULES
    ]
    return judge(known, mann_whitney).outcome


def poisson(mean: float, rng: random.Random) -> int:
    """Return how many of something happen that happens so often in the mean."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
