"""How often the judge is wrong: false alarms among equal releases, regressions it misses.

A shop is simulated in steps of 30 seconds: traffic shaped like a day, latency that follows it, noise whose neighbours
resemble each other, errors that come in clouds, outliers, and a spike after each deploy. Besides, stretches of a series
that was recorded from a real shop are played back against each other.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from figures import Figure

from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.judging.judge import Evidence, judge
from feature_delivery.domain.judging.rules import ERRORS, LATENCY, SLOWEST
from feature_delivery.domain.judging.series import Series, series, shares

STEP = 30.0
BASELINE, WINDOW, WARM_UP = 3600.0, 600.0, 60.0
RECORDED = Path(__file__).resolve().parents[1] / "tests" / "data" / "recorded_shop.json.gz"

TIMES = 20.0
"""The recorded shop answers in 3 ms, where a quarter more is nobody's concern: played back as one of 60 ms."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A shop on one day.

    Attributes:
        rate: Requests a second, mean of the day.
        latency: Seconds, at that rate.
        errors: Share of requests that fail.
        memory: Correlation of neighbouring steps.
        noise: Spread of the latency's logarithm.
    """

    rate: float
    latency: float
    errors: float
    memory: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a release changes."""

    slower: float = 1.0
    more_errors: float = 0.0


def shop(rng: random.Random) -> Shop:
    """Return one of many shops: 2 to 80 requests a second, 20 to 400 ms, up to 1 % errors."""
    return Shop(
        rate=math.exp(rng.uniform(math.log(2), math.log(80))),
        latency=math.exp(rng.uniform(math.log(0.02), math.log(0.4))),
        errors=math.exp(rng.uniform(math.log(0.0002), math.log(0.01))),
        memory=rng.uniform(0.2, 0.8),
        noise=rng.uniform(0.03, 0.12),
    )


def simulate(found: Shop, release: Release, rng: random.Random) -> list[Evidence]:
    """Return what is measured of a release, with the hour before it."""
    hour = rng.uniform(0, 86400)
    deployed = BASELINE
    slow, cloud = rng.gauss(0, found.noise), rng.gauss(0, 0.5)
    requests: Points = []
    failed: Points = []
    latency: Points = []
    slowest: Points = []
    innovation = math.sqrt(1 - found.memory**2)
    for step in range(int((BASELINE + WINDOW) / STEP)):
        time = (step + 1) * STEP
        after = time > deployed
        busy = 1 + 0.6 * math.sin(2 * math.pi * (hour + time) / 86400)
        count = _poisson(found.rate * busy * STEP * math.exp(rng.gauss(0, 0.1)), rng)
        slow = found.memory * slow + rng.gauss(0, found.noise) * innovation
        cloud = found.memory * cloud + rng.gauss(0, 0.5) * innovation
        spike = math.exp(-(time - deployed) / 20) if after else 0.0
        level = found.latency * busy**0.2 * math.exp(slow) * (release.slower if after else 1.0) * (1 + 4 * spike)
        if rng.random() < 0.01:
            level *= rng.uniform(2, 5)
        wrong = min(1.0, found.errors * math.exp(cloud) + (release.more_errors if after else 0.0) + 0.1 * spike)
        each = max(count, 1)
        requests.append((time, float(count)))
        failed.append((time, float(min(count, _poisson(count * wrong, rng)))))
        latency.append((time, level * math.exp(rng.gauss(0, 1.0 / math.sqrt(each)))))
        slowest.append((time, 2.5 * level * math.exp(rng.gauss(0, 2.0 / math.sqrt(each)))))
    return evidence(shares(failed, requests), series(latency), series(slowest), deployed)


def evidence(errors: Series, latency: Series, slowest: Series, deployed: float) -> list[Evidence]:
    """Return the shop's usual metrics, cut at the deploy."""
    found = []
    for rule, measured in ((ERRORS, errors), (LATENCY, latency), (SLOWEST, slowest)):
        after = measured.since(deployed + STEP / 2)
        before = Series(*(part[: len(measured) - len(after)] for part in (measured.times, measured.values)))
        before = replace(before, weights=measured.weights[: len(before)])
        found.append(
            Evidence(
                rule=rule,
                before=before,
                after=after,
                counts_from=deployed + WARM_UP + STEP / 2,
                expected=int((WINDOW - WARM_UP) / STEP),
                expected_before=int(BASELINE / STEP),
                least_requests=100.0,
            )
        )
    return found


def _poisson(mean: float, rng: random.Random) -> int:
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def outcomes(release: Release, *, times: int, seed: int) -> Counter[str]:
    """Return how often each outcome was given to a simulated release of that kind."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    found: Counter[str] = Counter()
    for _ in range(times):
        found[judge(simulate(shop(rng), release, rng), mann_whitney).outcome] += 1
    return found


def replays(release: Release, *, times: int, seed: int) -> Counter[str]:
    """Return the outcomes for stretches of a recorded series: the shop did not change, what is added did."""
    recorded = json.loads(gzip.decompress(RECORDED.read_bytes()))
    scale = STEP / recorded["step_seconds"]  # one sample of the record stands for one step
    parts = {
        name: [(time * scale, value) for time, value in points] for name, points in recorded.items() if ":" in name
    }
    whole = int((BASELINE + WINDOW) / STEP)
    rng = random.Random(seed)  # noqa: S311 - no secret
    found: Counter[str] = Counter()
    for _ in range(times):
        cut = {
            name: _stretch(points, rng_start, whole) for rng_start in [rng.random()] for name, points in parts.items()
        }
        failed = [
            (time, float(_poisson(count * release.more_errors, rng)) if time > BASELINE else 0.0)
            for time, count in cut["errors:of"]
        ]
        latency, slowest = (
            series([(time, TIMES * value * (release.slower if time > BASELINE else 1.0)) for time, value in cut[name]])
            for name in ("latency:query", "slowest twentieth:query")
        )
        measured = evidence(shares(failed, cut["errors:of"]), latency, slowest, BASELINE)
        found[judge(measured, mann_whitney).outcome] += 1
    return found


def _stretch(points: Points, where: float, count: int) -> Points:
    begin = int(where * (len(points) - count))
    return [((place + 1) * STEP, value) for place, (_, value) in enumerate(points[begin : begin + count])]


def measure(*, releases: int = 1000) -> list[Figure]:
    """Return how often the judge is wrong, as shares of all releases."""
    return [
        *_figures("simulated", outcomes, releases),
        *_figures("replayed", replays, releases // 2),
    ]


def _figures(kind: str, judged: Callable[..., Counter[str]], times: int) -> list[Figure]:
    found = {
        name: judged(release, times=times, seed=seed)
        for seed, (name, release) in enumerate(
            (
                ("equal", Release()),
                ("latency +25 %", Release(slower=1.25)),
                ("errors +2 points", Release(more_errors=0.02)),
            )
        )
    }

    def figure(name: str, words: str, outcome_counts: Callable[[Counter[str]], int], goal: float | None) -> Figure:
        told = ", ".join(f"{count} {outcome}" for outcome, count in found[name].most_common())
        share = outcome_counts(found[name]) / times
        return Figure("judge", f"{words}, {kind}", share, unit="share", goal=goal, note=f"of {times}: {told}")

    return [
        figure("equal", "false alarms among equal releases", lambda seen: seen["fail"], 0.02),
        # Whatever does not fail is missed here, although people would be asked about an inconclusive one.
        # The recorded shop shared two cores with others: its own latency doubled for minutes and fell again, so that a
        # quarter more is not to be told from that. Shown as it is, without a goal.
        figure(
            "latency +25 %",
            "missed: latency +25 %",
            lambda seen: times - seen["fail"],
            0.05 if judged is outcomes else None,
        ),
        figure("errors +2 points", "missed: errors +2 points", lambda seen: times - seen["fail"], 0.05),
    ]
