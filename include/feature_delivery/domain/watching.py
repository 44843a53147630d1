"""How production is watched after a release: what is asked of whom, how often, against what."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from feature_delivery.domain.judging.evidence import Usual
from feature_delivery.domain.judging.rules import MetricRule
from feature_delivery.domain.judging.series import Series

LOOKS_AT_ONCE = 500
"""So many looks may be handed in together; more wait for the next time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One metric of the monitoring.

    Attributes:
        rule: How it is judged.
        query: PromQL that gives one series; ``$labels``, ``$step``, ``$range`` and ``$seconds`` are filled in.
        of: PromQL of the whole that ``query`` counts a part of; empty: ``query`` gives the values themselves.
        requests: PromQL that counts the requests behind each value; with ``of`` that counts them; empty: nobody does.
    """

    rule: MetricRule
    query: str
    of: str = ""
    requests: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What a project says of it.

    Attributes:
        connection: Airflow Connection of Prometheus; empty: only the probe looks.
        labels: What picks this shop's production out of everything that is measured.
        baseline: How much of the time before the release it is compared with.
        resolution: One sample is the figure of so much time; at least twice the scrape interval.
        warm_up: Not counted after the deploy; ``None``: a tenth of the window, a minute at most.
        look_every: How often a critical breach is looked for.
        least_requests: Fewer in the window say nothing.
        conventions: Judge requests, errors and latency by their usual names, or those of ``delivery.yaml``.
        queries: What the project judges besides.
    """

    connection: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    baseline: timedelta = timedelta(hours=1)
    resolution: timedelta = timedelta(seconds=30)
    warm_up: timedelta | None = None
    look_every: timedelta = timedelta(seconds=30)
    least_requests: float = 100.0
    conventions: bool = True
    queries: tuple[Query, ...] = ()

    def skipped(self, window: timedelta) -> timedelta:
        """Return how much of ``window`` is warm-up."""
        return min(timedelta(minutes=1), window / 10) if self.warm_up is None else min(self.warm_up, window)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopMetrics:
    """What a shop's own metrics are called: names, each with label matchers in braces where they are needed."""

    requests: str = ""
    errors: str = ""
    duration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Production before a release.

    Attributes:
        source: ``prometheus``, ``probe``, or empty when nothing could be measured; ``trouble`` says why.
        metrics: What was measured, by the metric's name.
        queries: What was asked; the same is asked after the release.
        expected: Samples there could be of each.
    """

    source: str = ""
    trouble: str = ""
    metrics: dict[str, Series] = field(default_factory=dict)
    queries: tuple[Query, ...] = ()
    expected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Under whose name a watch keeps what it sees: the try of the task that was deferred, and the permit it has."""

    run_id: str
    try_number: int
    task_instance: str
    permit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """One watch, in moments of the clock: seconds since the epoch. It may wait in the database meanwhile.

    Attributes:
        keep: Where a process that takes over finds the probe's looks; ``None``: an earlier version planned it.
        probes: The probe's looks are the evidence: nobody else measures this shop.
        trouble: Why there is no evidence: the monitoring cannot be asked.
        url: The health address.
        queries: Filled in; their critical limits are resolved, those that were past them before have none.
        worst: Per critical metric the level that ends the watch.
        usual: Per critical metric what its baseline was like; none: it has none, or an earlier version planned it.
    """

    project: str
    connection: str
    url: str
    began: float
    counts_from: float
    until: float
    step_seconds: float
    look_every_seconds: float
    least_requests: float
    probes: bool = False
    keep: Kept | None = None
    trouble: str = ""
    queries: tuple[Query, ...] = ()
    worst: dict[str, float] = field(default_factory=dict)
    usual: dict[str, Usual] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One look of the probe: ``status`` is ``None`` when nothing answered."""

    at: float
    status: int | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen while watching: the probe's looks, when it ended, and the breach that ended it, if one did."""

    ended: float
    looks: tuple[Glance, ...] = ()
    breach: str = ""
