"""What Prometheus is told of deliveries: families of samples made from counts. Pure functions.

Counters come from rows and tallies that are never taken back, so they survive restarts and are the same in every API
server. Ages are gauges in seconds. A single feature is named only while it is in trouble, and at most so many of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

from feature_delivery.domain.process import GATES, PROCESS, Step, Who
from feature_delivery.domain.records import FeatureState, PromotionState
from feature_delivery.ports.metrics import WORST
from feature_delivery.services.control.board import Stage, stage_of
from feature_delivery.services.control.figures import DORA_SPAN, dora
from feature_delivery.services.control.looks import Marks
from feature_delivery.services.control.sides import HOST, MESSENGER, TRACKER, side_of
from feature_delivery.services.control.tallies import (
    BUCKETS,
    DECISIONS,
    DEPLOYMENTS,
    KNOWN,
    LOGINS,
    RESULTS,
    STEPS,
    UNKNOWN,
    WEBHOOKS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.metrics import MetricFacts, Tally

PREFIX = "feature_delivery_"
OWN_DIALECT = "feature-delivery"
"""What the hook of a local repository speaks, and whoever sends webhooks without a host of ours."""


class Kind(StrEnum):
    """Kinds of families, in Prometheus' words."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. In a histogram ``buckets`` count up to each of ``BUCKETS`` and to infinity; ``value`` is the sum."""

    labels: tuple[str, ...]
    value: float
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name; ``name`` without the prefix and without ``_total``."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    kind: Kind = Kind.GAUGE


class Trouble(StrEnum):
    """Why a single feature is named."""

    FAILED = "failed"
    STEP_RUNNING = "step_running"
    GATE_OVERDUE = "gate_overdue"
    ROLLBACK = "rollback"
    ROLLBACK_FAILED = "rollback_failed"
    PRODUCTION_UNCERTAIN = "production_uncertain"
    LOCK_HELD = "lock_held"
    ENVIRONMENT_LEAKED = "environment_leaked"


@dataclass(frozen=True, slots=True)
class _Case:
    project: str
    feature: str
    run: str
    step: str
    trouble: Trouble
    since: datetime


def families(facts: MetricFacts, projects: Mapping[ProjectName, ProjectConfig]) -> tuple[Family, ...]:
    """Return everything that the ledger tells Prometheus."""
    return (
        *_deliveries(facts, projects),
        *_gates(facts, projects),
        *_production(facts),
        *_environments(facts),
        *_mail(facts),
        *_looks(facts, projects),
        *_from_tallies(facts.tallies, projects),
        *_dora(facts, projects),
        *_promises(projects),
        _troubles(facts, projects),
    )


def _family(name: str, text: str, labels: str, samples: Iterable[tuple[tuple[object, ...], float]]) -> Family:
    made = tuple(Sample(tuple(map(str, names)), float(value)) for names, value in samples)
    return Family(name, text, tuple(labels.split()), made)


def _counter(name: str, text: str, labels: str, samples: Iterable[tuple[tuple[object, ...], float]]) -> Family:
    made = tuple(Sample(tuple(map(str, names)), float(value)) for names, value in samples)
    return Family(name, text, tuple(labels.split()), made, Kind.COUNTER)


def _deliveries(facts: MetricFacts, projects: Mapping[ProjectName, ProjectConfig]) -> Iterator[Family]:
    stages: dict[tuple[object, ...], int] = {(name, stage): 0 for name in projects for stage in _UNDER_WAY}
    for (project, step), number in {(g.project, g.step): g.number for g in facts.gates}.items():
        stages[project, stage_of(step)] = stages.get((project, stage_of(step)), 0) + number
    for one in facts.at_work:
        stage = stage_of(one.step or Step.REGISTER_FEATURE)
        stages[one.project, stage] = stages.get((one.project, stage), 0) + 1
    yield _family("features", "Features under way, by the column of the board.", "project stage", stages.items())
    started: dict[tuple[object, ...], int] = defaultdict(int)
    for count in facts.features:
        started[(count.project,)] += count.number
    over = [((c.project, c.state), c.number) for c in facts.features if c.state in _OUTCOMES]
    none = [((name, state), 0) for name in projects for state in sorted(_OUTCOMES)]
    yield _counter("deliveries_started", "Deliveries ever started.", "project", started.items())
    yield _counter("deliveries", "Deliveries that are over.", "project outcome", dict([*none, *over]).items())


_UNDER_WAY = tuple(stage for stage in Stage if stage is not Stage.STOPPED)
_OUTCOMES = frozenset({FeatureState.DELIVERED, FeatureState.CANCELLED, FeatureState.ABANDONED})


def _gates(facts: MetricFacts, projects: Mapping[ProjectName, ProjectConfig]) -> Iterator[Family]:
    waiting, oldest = {}, {}
    for gate in facts.gates:  # the oldest of each project and step comes first
        labels = (gate.project, gate.step, role_of(gate.step, projects.get(gate.project)))
        if labels not in waiting:
            waiting[labels], oldest[labels] = gate.number, _age(facts, gate.opened_at)
    yield _family("gate_waiting", "Features that wait at a gate.", "project gate role", waiting.items())
    text = "How long the longest waiting feature has been at a gate."
    yield _family("gate_oldest_seconds", text, "project gate role", oldest.items())


def role_of(step: Step, project: ProjectConfig | None) -> str:
    """Return who is waited for at a gate: the roles that decide, or whose work it is, joined by ``+``."""
    policy = project.people.policies.get(step) if project else None
    if policy:
        return "+".join(sorted(policy.roles))
    who = next(row.who for row in PROCESS if step in row.steps)
    return "+".join(sorted(one for one in who if one is not Who.AUTOMATIC)) or Who.AUTOMATIC.value


def _production(facts: MetricFacts) -> Iterator[Family]:
    held = [((p.project,), _age(facts, p.held_since) if p.held_since else 0.0) for p in facts.projects]
    yield _family("production_lock_held_seconds", "How long production has been held; 0: it is free.", "project", held)
    frozen = [((p.project,), p.frozen) for p in facts.projects]
    yield _family("production_frozen", "Whether promotions are frozen.", "project", frozen)
    none = {(p.project,): 0.0 for p in facts.projects}
    queue = none | {(q.project,): float(q.number) for q in facts.queues}
    yield _family("production_queue", "Features that queue for production.", "project", queue.items())
    oldest = none | {(q.project,): _age(facts, q.oldest) for q in facts.queues}
    text = "How long the first in the queue has waited."
    yield _family("production_queue_oldest_seconds", text, "project", oldest.items())
    yield _counter("promotions", "Moves of production.", "project", (((c.project,), c.number) for c in facts.moved))
    decided = {(p.project, state): 0 for p in facts.projects for state in _DECIDED}
    decided |= {(c.project, c.labels[0]): c.number for c in facts.promotions if c.labels[0] in _DECIDED}
    yield _counter("releases", "Releases with a verdict.", "project outcome", decided.items())


_DECIDED = (PromotionState.KEPT.value, PromotionState.ROLLED_BACK.value)


def _environments(facts: MetricFacts) -> Iterator[Family]:
    counts = [((e.project, e.kind, e.state), e.number) for e in facts.environments]
    yield _family("environments", "Environments that are there.", "project environment state", counts)
    oldest: dict[tuple[object, ...], float] = {}
    for one in facts.environments:
        key = (one.project, one.kind)
        oldest[key] = max(oldest.get(key, 0.0), _age(facts, one.oldest))
    text = "Age of the oldest environment of a kind."
    yield _family("environment_oldest_seconds", text, "project environment", oldest.items())


def _mail(facts: MetricFacts) -> Iterator[Family]:
    none = {(p.project,): 0.0 for p in facts.projects}
    waiting = none | {(w.project,): float(w.number) for w in facts.webhooks_waiting}
    yield _family("webhooks_waiting", "Webhooks that were not looked into yet.", "project", waiting.items())
    oldest = none | {(w.project,): _age(facts, w.oldest) for w in facts.webhooks_waiting}
    yield _family("webhooks_oldest_seconds", "How long the oldest of them waits.", "project", oldest.items())
    sides = [(p.project, side) for p in facts.projects for side in (HOST, MESSENGER, TRACKER)]
    depth: dict[tuple[object, ...], int] = defaultdict(int, dict.fromkeys(sides, 0))
    failing: dict[tuple[object, ...], int] = defaultdict(int, dict.fromkeys(sides, 0))
    age: dict[tuple[object, ...], float] = defaultdict(float, dict.fromkeys(sides, 0.0))
    for count in facts.outbox:
        key = (count.project, side_of(count.kind))
        depth[key] += count.number
        failing[key] += count.failing
        age[key] = max(age[key], _age(facts, count.oldest))
    yield _family("outbox", "Errands to the outside that were not run yet.", "project side", depth.items())
    yield _family("outbox_failing", "Those of them that were tried in vain.", "project side", failing.items())
    yield _family("outbox_oldest_seconds", "How long the oldest of them waits.", "project side", age.items())


def _looks(facts: MetricFacts, projects: Mapping[ProjectName, ProjectConfig]) -> Iterator[Family]:
    ages, wanted = [], []
    for look in facts.looks:
        project = projects.get(look.project)
        if project is None:
            continue
        try:
            marks = Marks.load(look.marks)
        except (ValueError, KeyError, AttributeError):
            continue  # of another version: the next look writes it anew
        sides = (("host", project.host.kind, marks.requests), ("tracker", project.tracker.kind, marks.issues))
        ages += [((project.name, side, kind), _age(facts, at)) for side, kind, at in sides if at is not None]
        wanted.append(((project.name,), project.choices.look_every.total_seconds()))
    text = "How long ago host and tracker were last looked at with success."
    yield _family("look_age_seconds", text, "project side kind", ages)
    yield _family("look_every_seconds", "How often they are to be looked at.", "project", wanted)


def _from_tallies(tallies: Iterable[Tally], projects: Mapping[ProjectName, ProjectConfig]) -> Iterator[Family]:
    # A counter that appears with its first event has not increased, for Prometheus: it begins with 0.
    webhooks: dict[tuple[object, ...], int] = {
        (project.name, host, result): 0
        for project in projects.values()
        for host in sorted({project.host.kind, project.tracker.kind, OWN_DIALECT} - {"local"})
        for result in RESULTS
    }
    logins = {(name, whose): 0 for name in projects for whose in (KNOWN, UNKNOWN)}
    deployments, decisions = [], []
    buckets: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
    totals: dict[tuple[str, ...], float] = defaultdict(float)
    for tally in tallies:
        labels = (tally.project, tally.first, tally.second)
        if tally.name == WEBHOOKS:
            webhooks[labels] = tally.count
        elif tally.name == DEPLOYMENTS:
            deployments.append((labels, tally.count))
        elif tally.name == DECISIONS:
            decisions.append(((tally.project, tally.first, *tally.second.split(" ", 1)), tally.count))
        elif tally.name == LOGINS:
            logins[tally.project, tally.first] = tally.count
        elif tally.name == STEPS and tally.place <= len(BUCKETS):
            totals[labels] += tally.total
            for place in range(tally.place, len(BUCKETS) + 1):
                buckets[labels][place] += tally.count
    yield _counter("webhooks", "Webhooks, by what became of them.", "project host result", webhooks.items())
    text = "Deployments, by kind of environment."
    yield _counter("deployments", text, "project environment outcome", deployments)
    yield _counter("decisions", "What people said at gates.", "project gate kind answer", decisions)
    text = "Logins that Airflow has refused, by whether the name is that of somebody of the project."
    yield _counter("logins_refused", text, "project name", logins.items())
    steps = tuple(Sample(labels, totals[labels], tuple(found)) for labels, found in sorted(buckets.items()))
    text = "How long steps took, from their permit to their result."
    yield Family("step_duration_seconds", text, ("project", "step", "outcome"), steps, Kind.HISTOGRAM)


def _dora(facts: MetricFacts, projects: Mapping[ProjectName, ProjectConfig]) -> Iterator[Family]:
    of = {name: dora([r for r in facts.releases if r.project == name], span=DORA_SPAN) for name in projects}
    yield _family(
        "dora_deployments_per_week",
        "Releases a week, over four weeks.",
        "project",
        [((name,), found.per_week) for name, found in of.items()],
    )
    text = "Releases that were rolled back on what their tests or their watch had found, over four weeks."
    yield _family("incidents_averted", text, "project", [((name,), found.averted) for name, found in of.items()])
    for name, text, value in (
        ("lead_time_seconds", "Median time from the first commit to production, over four weeks.", "lead_time_seconds"),
        ("change_failure_ratio", "Share of releases that were rolled back, over four weeks.", "failure_rate"),
        ("restore_seconds", "Median time from a bad release to the end of its rollback.", "restore_seconds"),
    ):
        known = [((project,), getattr(found, value)) for project, found in of.items()]
        yield _family(f"dora_{name}", text, "project", [one for one in known if one[1] is not None])


def _promises(projects: Mapping[ProjectName, ProjectConfig]) -> Iterator[Family]:
    found = [(project.name, project.slo) for project in projects.values()]
    yield _family(
        "slo_availability",
        "Share of requests that must not fail.",
        "project",
        [((n,), s.availability) for n, s in found],
    )
    # Clients write the bound of a bucket as 1 or as 1.0: whichever the shop has is joined by this label.
    latency = [((name, le), slo.latency) for name, slo in found for le in _bounds(slo.latency_within.total_seconds())]
    text = "Share of requests that must be answered within the label."
    yield _family("slo_latency", text, "project le", latency)
    text = "How many times as slow as production pre-production may be."
    yield _family("preprod_slower_at_most", text, "project", [((n,), s.preprod_slower_at_most) for n, s in found])


def _bounds(seconds: float) -> tuple[str, ...]:
    return tuple(sorted({repr(seconds), f"{seconds:g}"}))


def _troubles(facts: MetricFacts, projects: Mapping[ProjectName, ProjectConfig]) -> Family:
    shown: dict[tuple[str, Trouble], int] = defaultdict(int)
    samples: dict[tuple[str, ...], float] = {}
    found = chain(_failed(facts), _late(facts, projects), _at_production(facts), _left(facts))
    for case in sorted(found, key=lambda one: one.since):
        labels = (case.project, case.feature, case.run, case.step, case.trouble.value)
        if labels not in samples and shown[case.project, case.trouble] < WORST:
            shown[case.project, case.trouble] += 1
            samples[labels] = _age(facts, case.since)
    text = f"Features that need somebody, by why, and for how long; at most {WORST} of a project and kind."
    return _family("trouble_age_seconds", text, "project feature run step trouble", samples.items())


def _failed(facts: MetricFacts) -> Iterator[_Case]:
    for one in facts.blocked:
        yield _Case(one.project, one.key, one.run_id, one.step, Trouble.FAILED, one.since)
    for work in facts.at_work:
        if work.state == "failed" and work.step is not None:
            since = work.ended_at or work.granted_at or work.created_at
            yield _Case(work.project, work.key, work.run_id, work.step, Trouble.FAILED, since)


def _late(facts: MetricFacts, projects: Mapping[ProjectName, ProjectConfig]) -> Iterator[_Case]:
    for work in facts.at_work:
        if work.state == "granted" and work.step is not None and work.granted_at and work.step not in GATES:
            project = projects.get(work.project)
            since = work.granted_at
            if work.step is Step.OBSERVE_PRODUCTION and project is not None:
                since += project.choices.observe_for  # so long it is meant to watch
            if since <= facts.at:
                yield _Case(work.project, work.key, work.run_id, work.step, Trouble.STEP_RUNNING, since)
    for gate in facts.gates:
        project = projects.get(gate.project)
        policy = project.people.policies.get(gate.step) if project else None
        timeout = policy.timeout if policy else None
        # Deadlines move on when they only remind: what counts is how long people were given.
        late = timeout is not None and gate.opened_at + timeout < facts.at
        passed = gate.deadline is not None and gate.deadline < facts.at
        if late or passed:
            yield _Case(gate.project, gate.key, gate.run_id, gate.step, Trouble.GATE_OVERDUE, gate.opened_at)


def _at_production(facts: MetricFacts) -> Iterator[_Case]:
    for project in facts.projects:
        if project.holder is not None and project.holder_run is not None and project.held_since is not None:
            run, since = project.holder_run, project.held_since
            yield _Case(project.project, project.holder, run, Step.WAIT_FOR_TURN, Trouble.LOCK_HELD, since)
    for one in facts.open_promotions:
        step = one.step or Step.WAIT_FOR_VERDICT
        match one.state:
            case PromotionState.ROLLING_BACK:
                yield _Case(one.project, one.key, one.run_id, step, Trouble.ROLLBACK, one.moved_at)
                if one.failed and step.startswith("rollback."):
                    since = one.ended_at or one.moved_at
                    yield _Case(one.project, one.key, one.run_id, step, Trouble.ROLLBACK_FAILED, since)
            case PromotionState.UNCERTAIN | PromotionState.INTENDED:
                yield _Case(one.project, one.key, one.run_id, step, Trouble.PRODUCTION_UNCERTAIN, one.moved_at)
            case _:
                pass


def _left(facts: MetricFacts) -> Iterator[_Case]:
    steps = {"development": Step.DESTROY_DEVELOPMENT, "preprod": Step.DESTROY_PREPROD}
    for one in facts.leaked:
        if one.kind in steps:
            step = steps[one.kind]
            yield _Case(one.project, one.key, one.run_id, step, Trouble.ENVIRONMENT_LEAKED, one.since)


def _age(facts: MetricFacts, since: datetime) -> float:
    # A clock that was wrong makes nothing younger than now.
    return max((facts.at - since).total_seconds(), 0.0)
