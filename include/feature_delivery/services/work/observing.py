"""Watching production: the baseline before a release, looks while it is watched, the judgement at the end.

Two sources: Prometheus, which has measured all along and is asked at the end, and our own probe of the health
address, for shops without metrics, whose looks have to be made while they can be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error
from feature_delivery.domain.judging.beside import beside
from feature_delivery.domain.judging.breach import breached, critical_limit, usual
from feature_delivery.domain.judging.evidence import FEWEST_BEFORE, Evidence, Usual, level
from feature_delivery.domain.judging.judge import judge
from feature_delivery.domain.judging.rules import ANSWER, AVAILABILITY, MetricRule
from feature_delivery.domain.judging.series import Series, series, shares
from feature_delivery.domain.watching import Baseline, Glance, Query, Seen, WatchPlan
from feature_delivery.domain.work import BaselineTaken, Observed
from feature_delivery.services.shop_metrics import (
    RANGE_STEPS,
    customers_only,
    filled,
    probe_queries,
    queries,
    recognised,
    wanted_selector,
)
from feature_delivery.services.work.job import DELIVERY_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from feature_delivery.domain.judging.findings import Judgement
    from feature_delivery.domain.plan import DeliveryPlan
    from feature_delivery.domain.watching import Watching
    from feature_delivery.ports.measuring import Measuring
    from feature_delivery.ports.probe import Probe
    from feature_delivery.services.work.job import Job

BASELINE_LOOKS = 12
LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS = 5.0, 0.2
LOOKS = 20
LONGEST_LOOK_BACK_SECONDS = 86400.0


def take_baseline(job: Job) -> BaselineTaken:
    """Measure production as it is now; what cannot be measured stops no promotion, and is said."""
    source = job.tools.measuring
    try:
        if source is not None:
            found = _measured(job, source, until=job.tools.probe.clock())
            if found is not None:
                return BaselineTaken(baseline=found)
            job.say("Prometheus knows nothing of this shop: the probe looks.")
        return BaselineTaken(baseline=_probed(job))
    except Error as error:
        job.say(f"No baseline: {error}")
        return BaselineTaken(baseline=Baseline(trouble=str(error)))


def _probed(job: Job) -> Baseline:
    address = job.work.production_address
    if not address:
        return Baseline(trouble="Nothing ran in production before.")
    url = address.rstrip("/") + _health_path(job)
    looks = []
    for _ in range(BASELINE_LOOKS):
        looked = job.tools.probe.look(url)
        looks.append(Glance(at=job.tools.probe.clock(), status=looked.status, seconds=looked.seconds))
        if looked.status is None:
            break  # each costs its time limit, and production is locked
    return Baseline(source="probe", metrics=_looked(looks, since=0.0), expected=BASELINE_LOOKS)


def _health_path(job: Job) -> str:
    return job.plan_at(job.needs(job.work.promotion, "a promotion").before).health.path


def _measured(job: Job, source: Measuring, *, until: float) -> Baseline | None:
    """Return what Prometheus has measured; ``None``: it answered that it knows nothing of this shop."""
    watching = job.tools.project.watching
    step, whole = watching.resolution.total_seconds(), watching.baseline.total_seconds()
    asked = _queries(job, source, since=until - whole, until=until)
    if not asked:
        return None
    bad = job.work.bad_times
    since = baseline_since(until, whole, bad)
    if since < until - whole:
        job.say(f"Before: {until - whole - since:.0f} seconds with a version that was rolled back are left out")
    found = {
        one.rule.name: measure(one, source, watching, since=since, until=until, step_seconds=step).outside(
            bad, covers=step * RANGE_STEPS
        )
        for one in asked
    }
    for name, values in found.items():
        job.say(f"Before: {len(values)} samples of {name}")
    return Baseline(source="prometheus", metrics=found, queries=asked, expected=int(whole / step))


def baseline_since(until: float, whole: float, bad_times: Sequence[tuple[float, float]]) -> float:
    """Return since when there are ``whole`` seconds of a production that was not rolled back; at most a day more.

    A release is compared with what it is rolled back to. In the hour after a rollback the last hour is, for the most
    part, the version that was rolled back: beside it the next regression looks like nothing.
    """
    since = until - whole
    for begin, end in sorted(bad_times, reverse=True):
        if end <= since:
            break
        since -= max(0.0, min(end, until) - begin)
    return max(since, until - whole - LONGEST_LOOK_BACK_SECONDS)


def _queries(job: Job, source: Measuring, *, since: float, until: float) -> tuple[Query, ...]:
    """Return what is asked: the project's own, then the shop's by its names, or what a prober sees of it."""
    watching = job.tools.project.watching
    if not watching.conventions:
        return watching.queries
    plan = _plan_before(job)
    known = source.known(wanted_selector(watching.labels), since=since, until=until)
    names = plan.metrics if plan is not None and plan.metrics is not None else recognised(known)
    ours = (plan.metrics_path or "", plan.health.path) if plan is not None else ()
    told = queries(names, matcher=customers_only(known, ours))
    return (*watching.queries, *(told or probe_queries(known)))


def _plan_before(job: Job) -> DeliveryPlan | None:
    """Return what production says about itself; a branch may not choose what it is judged by."""
    before = job.needs(job.work.promotion, "a promotion").before
    if job.repository.read_file(before, DELIVERY_FILE) is None:
        return None
    return job.plan_at(before)


def measure(
    asked: Query, source: Measuring, watching: Watching, *, since: float, until: float, step_seconds: float
) -> Series:
    """Return one metric's samples, one each ``step_seconds``.

    Raises:
        Error: As ``Measuring``.
    """

    def values(query: str) -> list[tuple[float, float]]:
        text = filled(query, labels=watching.labels, step_seconds=step_seconds)
        # The first sample covers the step before it.
        return source.values(text, since=since + step_seconds, until=until, step_seconds=step_seconds)

    if asked.of:
        return shares(values(asked.query), values(asked.of))
    # Whoever keeps a quantile by a recording rule may keep no count: then nobody counts.
    counted = values(asked.requests) if asked.requests else []
    return series(values(asked.query), requests=dict(counted) or None)


def _covers(asked: Query) -> float:
    """Return how many steps a sample covers; a query with a range of its own is taken to stay within its step."""
    return RANGE_STEPS if "$range" in asked.query else 1.0


def plan_watch(job: Job, *, url: str) -> WatchPlan:
    """Return how production is watched from now on."""
    watching, window = job.tools.project.watching, job.tools.project.choices.observe_for
    began = job.tools.probe.clock()
    baseline = job.work.baseline
    source = job.tools.measuring
    asked = baseline.queries if baseline is not None else ()
    until = began + window.total_seconds()
    trouble = ""
    if source is not None and not asked:
        try:
            asked = _queries(job, source, since=began - watching.baseline.total_seconds(), until=began)
        except Error as error:
            # Not the probe instead: it sees a health address, and would pass for what the shop's figures say.
            trouble = str(error)
            job.say(trouble)
    probes = not asked and not trouble
    skipped = watching.skipped(window)
    before = baseline.metrics if baseline is not None else {}
    worst = _worst(asked, before)
    return WatchPlan(
        project=job.work.project,
        connection=watching.connection,
        url=url,
        began=began,
        counts_from=began + (skipped.total_seconds() if probes else _whole_steps(skipped, watching.resolution)),
        probes=probes,
        trouble=trouble,
        until=until,
        step_seconds=watching.resolution.total_seconds(),
        look_every_seconds=watching.look_every.total_seconds(),
        least_requests=watching.least_requests,
        queries=asked,
        worst=worst,
        usual=_usual(asked, before, worst),
    )


def _whole_steps(skipped: timedelta, step: timedelta) -> float:
    """Return the warm-up in whole steps, in seconds, so that every look at the series sees the same samples."""
    return math.ceil(skipped / step - 1e-9) * step.total_seconds()


def _worst(asked: tuple[Query, ...], before: dict[str, Series]) -> dict[str, float]:
    """Return the levels that end the watch; what was past its limit before ends none: going back would not help."""
    found = {}
    for one in asked:
        known = before.get(one.rule.name, Series())
        limit = critical_limit(one.rule, known) if one.rule.critical else None
        if limit is not None and not (len(known) >= FEWEST_BEFORE and one.rule.passes_limit(level(one.rule, known))):
            found[one.rule.name] = limit
    return found


def _usual(asked: tuple[Query, ...], before: dict[str, Series], worst: dict[str, float]) -> dict[str, Usual]:
    """Return what looks have to know of the baseline: that is too long to wait in the database with the plan."""
    found = {}
    for one in asked:
        name = one.rule.name
        known = usual(one.rule, before.get(name, Series()), worst[name]) if name in worst else None
        if known is not None:
            found[name] = known
    return found


@dataclass(slots=True)
class Watcher:
    """One watch under way: ``look`` again after ``pause`` seconds until it says that the watch has ended."""

    plan: WatchPlan
    watching: Watching
    source: Measuring | None
    probe: Probe
    earlier: tuple[Glance, ...] = ()
    """What a process before this one has seen."""
    looks: list[Glance] = field(default_factory=list)
    breach: str = ""

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        plan = self.plan
        wanted = _between_looks(plan) if plan.probes else plan.look_every_seconds
        return max(0.0, min(wanted, plan.until - self.probe.clock()))

    def look(self) -> bool:
        """Look once; says whether the watch has ended, by its time or by a breach."""
        if self.plan.probes:
            # Who takes a watch over long after its end sees another time than the release's first minutes.
            if self.probe.clock() <= self.plan.until + _between_looks(self.plan):
                looked = self.probe.look(self.plan.url)
                self.looks.append(Glance(at=self.probe.clock(), status=looked.status, seconds=looked.seconds))
            rule = self._probed()
            if rule is not None:
                self.breach = rule.name
        elif self.source is not None and self.probe.clock() < self.plan.until:
            self._ask()
        return bool(self.breach) or self.probe.clock() >= self.plan.until

    def _probed(self) -> MetricRule | None:
        found = _looked([*self.earlier, *self.looks], since=self.plan.counts_from)[AVAILABILITY.name]
        evidence = Evidence(rule=AVAILABILITY, before=Series(), after=found, counts_from=0.0, expected=len(found))
        return AVAILABILITY if breached(evidence) else None

    def _ask(self) -> None:
        """Ask for the critical metrics only; a monitoring that is away for a while is asked again."""
        assert self.source is not None
        for one in self.plan.queries:
            worst = self.plan.worst.get(one.rule.name)
            if worst is None:
                continue
            rule = replace(one.rule, limit=worst)
            try:
                found = measure(
                    one,
                    self.source,
                    self.watching,
                    since=self.plan.counts_from,
                    until=self.probe.clock(),
                    step_seconds=self.plan.step_seconds,
                )
            except Error:
                return
            evidence = Evidence(
                rule=rule,
                before=Series(),
                after=found,
                counts_from=0.0,
                expected=len(found),
                covers=_covers(one),
                usual=self.plan.usual.get(one.rule.name),
            )
            if breached(evidence):
                self.breach = one.rule.name
                return

    @property
    def seen(self) -> Seen:
        """What was seen until now."""
        looks = (*self.earlier, *self.looks)
        ended = self.probe.clock()
        if self.plan.probes:
            # As long as somebody may have looked, and no longer.
            ended = min(ended, self.plan.until + _between_looks(self.plan))
        return Seen(ended=ended, looks=looks, breach=self.breach)


def _between_looks(plan: WatchPlan) -> float:
    """Return how long the probe waits between two looks."""
    return min(max((plan.until - plan.began) / LOOKS, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


def _unseen(looks: Iterable[Glance], plan: WatchPlan, *, ended: float) -> int:
    """Return how many looks there would have been while nobody looked: one triggerer had died, the next not begun."""
    between = _between_looks(plan)
    gaps, last = [], plan.counts_from
    for look in looks:
        gaps.append(look.at - look.seconds - last)
        last = look.at
    gaps.append(ended - last)
    # A machine that is busy makes the next look late: that is no gap.
    return sum(int(gap / between) - 1 for gap in gaps if gap > max(3 * between, 1.0))


def _looked(looks: list[Glance], *, since: float) -> dict[str, Series]:
    """Return the probe's looks as two metrics."""
    counted = [one for one in looks if one.at >= since]
    return {
        AVAILABILITY.name: series([(one.at, 1.0 if one.status == 200 else 0.0) for one in counted]),
        ANSWER.name: series([(one.at, one.seconds) for one in counted if one.status == 200]),
    }


def watch(job: Job, plan: WatchPlan) -> Seen:
    """Watch to the end, here and now; for short windows."""
    watcher = Watcher(plan, job.tools.project.watching, job.tools.measuring, job.tools.probe)
    while not watcher.look():
        job.tools.probe.sleep(watcher.pause)
    return watcher.seen


def conclude(job: Job, plan: WatchPlan, seen: Seen) -> Observed:
    """Judge what was seen."""
    source = job.tools.measuring
    if plan.probes:
        found, named = _by_probe(job, plan, seen), f"the probe of {plan.url}"
    elif source is not None and plan.queries:
        found, named = _by_monitoring(job, plan, seen, source), "Prometheus"
    else:
        return Observed(outcome="no_data", evidence=(plan.trouble or "Nobody measures production.",))
    said = judge(found, job.tools.rank_test, source=named, seconds=seen.ended - plan.began)
    said = replace(said, reasons=(*said.reasons, *filter(None, [beside(said.outcome, job.work.preprod)])))
    for line in told(said):
        job.say(line)
    return Observed(outcome=said.outcome, evidence=evidence_lines(said), judgement=said)


def _by_monitoring(job: Job, plan: WatchPlan, seen: Seen, source: Measuring) -> list[Evidence]:
    baseline = job.work.baseline or Baseline()
    watching = job.tools.project.watching
    ended = min(seen.ended, plan.until)
    found = []
    for one in plan.queries:
        after, trouble = Series(), ""
        try:
            after = measure(one, source, watching, since=plan.began, until=ended, step_seconds=plan.step_seconds)
        except Error as error:
            trouble = str(error)
        found.append(
            Evidence(
                rule=one.rule,
                before=baseline.metrics.get(one.rule.name, Series()),
                after=after,
                # The sample of a step that began in the warm-up is of the warm-up.
                counts_from=plan.counts_from + plan.step_seconds / 2,
                expected=max(1, int((ended - plan.counts_from) / plan.step_seconds)),
                expected_before=baseline.expected,
                least_requests=plan.least_requests,
                covers=_covers(one),
                breach=seen.breach == one.rule.name,
                trouble=trouble,
            )
        )
    return found


def _by_probe(job: Job, plan: WatchPlan, seen: Seen) -> list[Evidence]:
    baseline = job.work.baseline or Baseline()
    after = _looked(list(seen.looks), since=0.0)
    before = baseline.metrics if baseline.source == "probe" else {}
    counted = [look for look in seen.looks if look.at >= plan.counts_from]
    unseen = _unseen(counted, plan, ended=min(seen.ended, plan.until))
    if unseen:
        seconds = unseen * _between_looks(plan)
        job.say(f"For about {seconds:.0f} seconds nobody looked: the triggerer that watched has ended.")

    def evidence(rule: MetricRule) -> Evidence:
        return Evidence(
            rule=rule,
            before=before.get(rule.name, Series()),
            after=after[rule.name],
            counts_from=plan.counts_from,
            expected=len(counted) + unseen,
            breach=seen.breach == rule.name,
            expected_before=baseline.expected,
        )

    # How long an answer takes says something beside how long it took; without that it decides nothing.
    known = len(before.get(ANSWER.name, Series())) >= FEWEST_BEFORE
    return [evidence(AVAILABILITY), *([evidence(ANSWER)] if known else [])]


def evidence_lines(said: Judgement) -> tuple[str, ...]:
    """Return the reasons, with what they are taken from."""
    head = f"Watched for {said.seconds:.0f} seconds by {said.source}." if said.source else ""
    return tuple(filter(None, (head, *said.reasons)))


def told(said: Judgement) -> list[str]:
    """Return the judgement as lines for a task log."""
    marks = {"pass": "ok", "fail": "FAIL", "inconclusive": "?", "no_data": "-"}
    lines = [f"{marks[one.outcome]:<5}{one.reason}" for one in said.findings]
    return [*lines, f"{said.outcome}: {said.recommendation.replace('_', ' ')}"]
