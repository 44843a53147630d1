"""How often the judge is wrong: false alarms among equal releases, regressions it misses.

Three ways. A shop is simulated in steps of 30 seconds: traffic shaped like a day, latency that follows it, noise whose
neighbours resemble each other, errors that come in clouds, outliers, and a spike after each deploy. Recordings of shops
are played back, and the releases in them, really worse ones among them, are judged as they were (``replays.py``). The
shops that were looked at while the rules were chosen are shown apart from the others, without a goal.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from figures import Figure
from recording import Points, Recording, recordings
from replays import RULES, Release, evidence, lived, poisson, replayed

from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.judging.evidence import Evidence
from feature_delivery.domain.judging.judge import judge
from feature_delivery.domain.judging.series import series, shares

STEP = 30.0
BASELINE, WINDOW = 3600.0, 600.0
FALSE_ALARMS, MISSED = 0.02, 0.05
KINDS = (
    ("equal", Release()),
    ("latency +25 %", Release(slower=1.25)),
    ("errors +2 points", Release(more_errors=0.02)),
)


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
        count = poisson(found.rate * busy * STEP * math.exp(rng.gauss(0, 0.1)), rng)
        slow = found.memory * slow + rng.gauss(0, found.noise) * innovation
        cloud = found.memory * cloud + rng.gauss(0, 0.5) * innovation
        spike = math.exp(-(time - deployed) / 20) if after else 0.0
        level = found.latency * busy**0.2 * math.exp(slow) * (release.slower if after else 1.0) * (1 + 4 * spike)
        if rng.random() < 0.01:
            level *= rng.uniform(2, 5)
        wrong = min(1.0, found.errors * math.exp(cloud) + (release.more_errors if after else 0.0) + 0.1 * spike)
        each = max(count, 1)
        requests.append((time, float(count)))
        failed.append((time, float(min(count, poisson(count * wrong, rng)))))
        latency.append((time, level * math.exp(rng.gauss(0, 1.0 / math.sqrt(each)))))
        slowest.append((time, 2.5 * level * math.exp(rng.gauss(0, 2.0 / math.sqrt(each)))))
    behind = dict(requests)
    measured = (shares(failed, requests), series(latency, requests=behind), series(slowest, requests=behind))
    return [
        evidence(
            rule,
            whole.part(0, len(whole) - len(whole.since(deployed + STEP / 2))),
            whole.since(deployed + STEP / 2),
            began=deployed,
            step=STEP,
            window=WINDOW,
            baseline=BASELINE,
        )
        for rule, whole in zip(RULES, measured, strict=True)
    ]


def outcomes(release: Release, *, times: int, seed: int) -> Counter[str]:
    """Return how often each outcome was given to a simulated release of that kind."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    found: Counter[str] = Counter()
    for _ in range(times):
        found[judge(simulate(shop(rng), release, rng), mann_whitney).outcome] += 1
    return found


Counted = dict[str, Counter[str]]
"""Outcomes, by what the release changes."""


def measure(*, releases: int = 1000) -> list[Figure]:
    """Return how often the judge is wrong, as shares of all releases."""
    simulated = {name: outcomes(release, times=releases, seed=seed) for seed, (name, release) in enumerate(KINDS)}
    found = _figures("simulated", simulated, goals=True)
    known = recordings()
    for tuned, words in ((False, ""), (True, ", shops tuned on")):
        chosen = [one for one in known if one.tuned_on is tuned]
        found += _figures(f"replayed{words}", _replays(chosen), goals=not tuned)
        found += _figures(f"live{words}", _live(chosen), goals=not tuned)
    return found


def _replays(known: Sequence[Recording]) -> Counted:
    still = [one for one in known if all(release.equal for release in one.deployed)]
    rng = random.Random(0)  # noqa: S311 - no secret
    return {name: sum((replayed(one, release, rng) for one in still), Counter()) for name, release in KINDS}


def _live(known: Sequence[Recording]) -> Counted:
    found: Counted = {name: Counter() for name, _ in KINDS}
    names = {(release.slower, release.more_errors): name for name, release in KINDS}
    for one in known:
        for deployed, outcome in lived(one):
            found[names[deployed.slower, deployed.more_errors]][outcome] += 1
    return found


def _figures(kind: str, counted: Counted, *, goals: bool) -> list[Figure]:
    found = []
    for name, outcome in counted.items():
        whole, failed = outcome.total(), outcome["fail"]
        told = ", ".join(f"{count} {said}" for said, count in outcome.most_common())
        # Whatever does not fail is missed, although people would be asked about an inconclusive one.
        wrong, words, goal = (
            (failed, "false alarms among equal releases", FALSE_ALARMS)
            if name == "equal"
            else (whole - failed, f"missed: {name}", MISSED)
        )
        share = wrong / whole if whole else math.nan
        note = f"of {whole}: {told}"
        found.append(Figure("judge", f"{words}, {kind}", share, unit="share", goal=goal if goals else None, note=note))
    return found
