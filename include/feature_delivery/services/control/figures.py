"""DORA's four figures and where the time goes: pure functions over what the ledger has seen.

Lead time is counted from the feature's first commit that we saw until the promotion that was kept moved production.
A release failed when it was rolled back; service was restored when its rollback was finished. Weeks begin on Monday,
in UTC.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from feature_delivery.domain.process import GATES, ORDER, Step
from feature_delivery.domain.records import PromotionState
from feature_delivery.services.control.board import Stage, stage_of
from feature_delivery.services.control.status import PEOPLE_DECIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from feature_delivery.ports.board import FigureFacts, ReleaseRow, SpentRow

FAILED = frozenset({PromotionState.ROLLING_BACK, PromotionState.ROLLED_BACK})
DECIDED = FAILED | {PromotionState.KEPT}
WEEK = timedelta(days=7)
DORA_SPAN = 4 * WEEK
"""What monitoring takes the four figures from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dora:
    """The four figures of some time; ``None`` where nothing happened that they could be taken from.

    Attributes:
        releases: Promotions that moved production.
        kept, failed: Of those, how many were kept and how many rolled back; the rest waits for its verdict.
        averted: Of the failed ones, those that tests in production or the watch found to be bad before people did.
        lead_time_seconds: Median over the kept ones.
        per_week: Releases a week.
        failure_rate: Share of the decided ones that failed, 0 to 1.
        restore_seconds: Median over the finished rollbacks.
    """

    releases: int
    kept: int
    failed: int
    averted: int
    lead_time_seconds: float | None
    per_week: float
    failure_rate: float | None
    restore_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """The figures of one week; ``begins``: its Monday, 00:00 UTC."""

    begins: datetime
    dora: Dora


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """How long features were in a stage, medians in seconds: people deciding or acting, queueing, steps working."""

    stage: Stage
    people_seconds: float
    queue_seconds: float
    work_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTime:
    """How long features waited at a gate, in seconds; ``times``: how often one did."""

    gate: Step
    times: int
    median_seconds: float
    ninth_decile_seconds: float
    longest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything the page shows; ``features``: how many features the times were taken from."""

    since: datetime
    until: datetime
    total: Dora
    weeks: tuple[Week, ...]
    stages: tuple[StageTime, ...]
    gates: tuple[GateTime, ...]
    features: int


def first_monday(until: datetime, *, weeks: int) -> datetime:
    """Return the Monday, 00:00 UTC, with which the last ``weeks`` weeks begin, the one of ``until`` included."""
    return monday_of(until) - (weeks - 1) * WEEK


def monday_of(moment: datetime) -> datetime:
    """Return the Monday, 00:00 UTC, of the week of a moment."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def figures(facts: FigureFacts, *, since: datetime, until: datetime) -> Figures:
    """Return the figures of the time from ``since`` (a Monday) until ``until``."""
    releases = [release for release in facts.releases if since <= release.moved_at < until]
    of_week: dict[datetime, list[ReleaseRow]] = defaultdict(list)
    for release in releases:
        of_week[monday_of(release.moved_at)].append(release)
    count = max(1, math.ceil((until - since) / WEEK))
    mondays = [since + place * WEEK for place in range(count)]
    kept = {release.feature_id for release in releases if release.state is PromotionState.KEPT}
    waits = [wait for wait in facts.waits if wait.feature_id in kept]
    work = [spent for spent in facts.work if spent.feature_id in kept and spent.step not in GATES]
    return Figures(
        since=since,
        until=until,
        total=dora(releases, span=until - since),
        weeks=tuple(Week(begins=monday, dora=dora(of_week.get(monday, []), span=WEEK)) for monday in mondays),
        stages=stage_times(waits, work),
        gates=gate_times(waits),
        features=len(kept),
    )


def dora(releases: Iterable[ReleaseRow], *, span: timedelta) -> Dora:
    """Return the four figures of ``releases``, which happened within ``span``."""
    found = list(releases)
    kept = [release for release in found if release.state is PromotionState.KEPT]
    failed = [release for release in found if release.state in FAILED]
    restored = [r.ended_at - r.moved_at for r in failed if r.state is PromotionState.ROLLED_BACK and r.ended_at]
    return Dora(
        releases=len(found),
        kept=len(kept),
        failed=len(failed),
        averted=sum(release.noticed for release in failed),
        lead_time_seconds=_median([r.moved_at - r.first_commit_at for r in kept]),
        per_week=len(found) / max(span / WEEK, 1.0),
        failure_rate=len(failed) / (len(kept) + len(failed)) if kept or failed else None,
        restore_seconds=_median(restored),
    )


def stage_times(waits: Sequence[SpentRow], work: Sequence[SpentRow]) -> tuple[StageTime, ...]:
    """Return the time per stage: what each feature spent there in all its attempts, then the median over features."""
    features = {spent.feature_id for spent in (*waits, *work)}
    people = _per_stage(waits, lambda spent: spent.step in PEOPLE_DECIDE)
    queue = _per_stage(waits, lambda spent: spent.step not in PEOPLE_DECIDE)
    working = _per_stage(work, lambda _spent: True)

    def middle(found: dict[tuple[Stage, int], float], stage: Stage) -> float:
        return median([found.get((stage, feature), 0.0) for feature in features]) if features else 0.0

    return tuple(
        StageTime(
            stage=stage,
            people_seconds=middle(people, stage),
            queue_seconds=middle(queue, stage),
            work_seconds=middle(working, stage),
        )
        for stage in Stage
        if any(at is stage for at, _ in (*people, *queue, *working))
    )


def _per_stage(spent: Iterable[SpentRow], which: Callable[[SpentRow], bool]) -> dict[tuple[Stage, int], float]:
    found: dict[tuple[Stage, int], float] = defaultdict(float)
    for one in spent:
        if which(one):
            found[stage_of(one.step), one.feature_id] += _seconds(one)
    return found


def gate_times(waits: Iterable[SpentRow]) -> tuple[GateTime, ...]:
    """Return how long features waited per gate, in the order of the process."""
    of_gate: dict[Step, list[float]] = defaultdict(list)
    for wait in waits:
        of_gate[wait.step].append(_seconds(wait))
    return tuple(
        GateTime(
            gate=gate,
            times=len(found),
            median_seconds=median(found),
            ninth_decile_seconds=_ninth_decile(found),
            longest_seconds=max(found),
        )
        for gate, found in sorted(of_gate.items(), key=lambda item: ORDER[item[0]])
    )


def _seconds(spent: SpentRow) -> float:
    # What began on one machine and ended on another whose clock was wrong took no time rather than less.
    return max((spent.ended - spent.began).total_seconds(), 0.0)


def _ninth_decile(values: Sequence[float]) -> float:
    """Return the value that nine of ten do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]


def _median(spans: Sequence[timedelta]) -> float | None:
    return median(max(span.total_seconds(), 0.0) for span in spans) if spans else None
