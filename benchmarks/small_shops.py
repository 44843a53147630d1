"""How a shop with 2 to 100 requests a minute is watched: good releases that end the watch, and how soon bad ones do.

Every request is simulated; Prometheus is asked for rates over one and a half steps, as it is in life, where the samples
of a shop that is scraped often share a third of their requests. What is planned, looked at and judged is the code of
``production.observe`` with its defaults: an hour before, ten minutes after, samples and looks each 30 seconds.

python benchmarks/small_shops.py             both tables of ``docs/judging.md``, some minutes
python benchmarks/small_shops.py --times 50  sooner, and rougher
"""

from __future__ import annotations

import argparse
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from figures import Figure
from rich.console import Console
from rich.table import Table

from feature_delivery.domain.judging.rules import SLOWEST
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.watching import Baseline, Query, ShopMetrics, Watching
from feature_delivery.services.shop_metrics import RANGE_STEPS, queries
from feature_delivery.services.work.job import Job
from feature_delivery.services.work.observing import measure as samples
from feature_delivery.services.work.observing import plan_watch, watch

if TYPE_CHECKING:
    from feature_delivery.ports.probe import Look

STEP, BASELINE, WINDOW = 30.0, 3600.0, 600.0
DEPLOYED = BASELINE + 2 * STEP
PER_MINUTE = (2, 4, 8, 15, 25, 40, 100)
FALSE_BREACHES = 0.01
NAMES = ShopMetrics(requests="requests", errors="errors", duration="seconds")
ASKED: tuple[Query, ...] = tuple(one for one in queries(NAMES) if one.rule is not SLOWEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A shop and its release.

    Attributes:
        errors: Share of requests that fail; ``worse``: share of those that fail after the release.
        clouds: Spread of the logarithm of how the share of errors wanders, half of it kept from minute to minute.
        again: Share of failed requests that are tried again within seconds, and fail again.
        slow: Share of requests that take ten times as long.
        slower: By which factor all take longer after the release.
        quieter: By which factor fewer requests come after the release.
    """

    errors: float = 0.005
    worse: float | None = None
    clouds: float = 0.0
    again: float = 0.0
    slow: float = 0.0
    slower: float = 1.0
    quieter: float = 1.0


GOOD = {
    "1 % errors": Kind(errors=0.01),
    "2 %": Kind(errors=0.02),
    "3 %": Kind(errors=0.03),
    "2 % in clouds": Kind(errors=0.02, clouds=0.5),
    "2 %, tried again": Kind(errors=0.02, again=0.5),
    "15 % ten times slower": Kind(slow=0.15),
    "same, a third of the traffic": Kind(slow=0.15, quieter=1 / 3),
}
BAD = {
    "30 % errors": Kind(worse=0.3),
    "100 % errors": Kind(worse=1.0),
    "five times slower": Kind(slower=5.0),
    "same, 15 % ten times slower": Kind(slower=5.0, slow=0.15),
    "five times slower, a third of the traffic": Kind(slower=5.0, quieter=1 / 3),
}


@dataclass(slots=True)
class Shop:
    """Implements ``Measuring`` and the clock: a shop whose every request is known."""

    times: list[float]
    failed: list[float]
    seconds: list[float]
    time: float = DEPLOYED
    _sums: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Add up, as counters do."""
        counted = {"requests": [1.0] * len(self.times), "errors": self.failed, "seconds_sum": self.seconds}
        self._sums = {name: [0.0, *accumulate(values)] for name, values in counted.items()}

    def values(self, query: str, *, since: float, until: float, step_seconds: float) -> list[tuple[float, float]]:
        """See ``Measuring.values``."""
        found, at = [], since
        while at <= until + 1e-9:
            counted = self._counted("requests", at)
            if "seconds_sum" not in query:
                name = "errors" if "errors" in query else "requests"
                found.append((at, self._counted(name, at) / RANGE_STEPS))
            elif counted:
                found.append((at, self._counted("seconds_sum", at) / counted))
            at += step_seconds
        return found

    def known(self, selector: str, *, since: float, until: float) -> Sequence[dict[str, str]]:
        """See ``Measuring.known``."""
        raise NotImplementedError(selector, since, until)

    def _counted(self, name: str, at: float) -> float:
        begin, end = (bisect_right(self.times, moment) for moment in (at - RANGE_STEPS * STEP, at))
        return self._sums[name][end] - self._sums[name][begin]

    def clock(self) -> float:
        """See ``Probe.clock``."""
        return self.time

    now = clock

    def sleep(self, seconds: float) -> None:
        """See ``Probe.sleep``."""
        self.time += seconds

    def look(self, url: str) -> Look:
        """See ``Probe.look``."""
        raise NotImplementedError(url)


def shop(kind: Kind, per_minute: float, rng: random.Random) -> Shop:
    """Return a shop with what came in an hour before a release and ten minutes after it."""
    requests: list[tuple[float, float, float]] = []
    time, cloud, minute = 0.0, rng.gauss(0, kind.clouds), 0
    while time < DEPLOYED + WINDOW:
        after = time > DEPLOYED
        time += rng.expovariate(per_minute / 60 * (kind.quieter if after else 1.0))
        while minute < time // 60:
            minute += 1
            cloud = 0.5 * cloud + rng.gauss(0, kind.clouds) * math.sqrt(0.75)
        wrong = kind.worse if after and kind.worse is not None else kind.errors * math.exp(cloud)
        failed, at = rng.random() < wrong, time
        requests.append((at, float(failed), _seconds(kind, rng, after=after)))
        while failed and rng.random() < kind.again:
            at += rng.uniform(2, 10)
            requests.append((at, 1.0, _seconds(kind, rng, after=after)))
    times, failures, seconds = zip(*sorted(requests), strict=True)
    return Shop(list(times), list(failures), list(seconds))


def _seconds(kind: Kind, rng: random.Random, *, after: bool) -> float:
    usual = 0.1 * math.exp(rng.gauss(0, 0.5)) * (10.0 if rng.random() < kind.slow else 1.0)
    return usual * kind.slower if after else usual


def breach(found: Shop) -> float | None:
    """Return how many seconds after the deploy a breach ended the watch; ``None``: none did."""
    watching = Watching(connection="prometheus", queries=ASKED, conventions=False)
    before = {
        one.rule.name: samples(one, found, watching, since=DEPLOYED - BASELINE, until=DEPLOYED, step_seconds=STEP)
        for one in ASKED
    }
    baseline = Baseline(source="prometheus", metrics=before, queries=ASKED, expected=int(BASELINE / STEP))
    choices = SimpleNamespace(observe_for=timedelta(seconds=WINDOW))
    tools = SimpleNamespace(project=SimpleNamespace(watching=watching, choices=choices), probe=found, measuring=found)
    work = SimpleNamespace(baseline=baseline, project=ProjectName("shop"))
    job = Job(cast("Any", work), cast("Any", tools), lambda _result: "", lambda _line: None)
    seen = watch(job, plan_watch(job, url="http://shop"))
    return seen.ended - DEPLOYED if seen.breach else None


def breaches(kind: Kind, per_minute: float, *, times: int, seed: int = 0) -> list[float | None]:
    """Return ``breach`` of so many releases."""
    rng = random.Random(f"{seed} {kind} {per_minute}")  # noqa: S311 - no secret
    return [breach(shop(kind, per_minute, rng)) for _ in range(times)]


def _false(found: Sequence[float | None]) -> str:
    return f"{100 * sum(one is not None for one in found) / len(found):.1f} %"


def _noticed(found: Sequence[float | None]) -> str:
    soon = [one for one in found if one is not None]
    return f"{median(soon) / 60:.1f} min ({100 * len(soon) / len(found):.0f} %)" if soon else "never"


def measure(*, times: int = 100) -> list[Figure]:
    """Return how often the watch of a good release is ended, all rates of a kind together."""
    found = []
    for name, kind in GOOD.items():
        ended = [one is not None for rate in PER_MINUTE for one in breaches(kind, rate, times=times)]
        share = sum(ended) / len(ended)
        note = f"of {len(ended)}, {PER_MINUTE[0]} to {PER_MINUTE[-1]} requests a minute"
        found.append(
            Figure("small shops", f"false breaches, {name}", share, unit="share", goal=FALSE_BREACHES, note=note)
        )
    return found


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Watch small shops; prints the tables of docs/judging.md.")
    parser.add_argument("--times", type=int, default=400, help="good releases of each kind (default: %(default)s)")
    parser.add_argument("--per-minute", type=int, nargs="+", default=PER_MINUTE, help="requests")
    asked = parser.parse_args()
    noticed = "Bad releases: median time from the deploy to the breach (share that was one)"
    for title, kinds, said, times in (
        ("Good releases whose watch a breach ended", GOOD, _false, asked.times),
        (noticed, BAD, _noticed, max(1, asked.times // 5)),
    ):
        table = Table("requests a minute", *kinds, title=title)
        for rate in asked.per_minute:
            table.add_row(str(rate), *(said(breaches(kind, rate, times=times)) for kind in kinds.values()))
        Console(width=160).print(table)


if __name__ == "__main__":
    main()
