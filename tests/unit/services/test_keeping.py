"""What the probe has seen outlives the process that looks; what nobody has seen is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.judging.findings import Finding
from feature_delivery.domain.judging.rules import AVAILABILITY
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.watching import LOOKS_AT_ONCE, Glance, Watching, WatchPlan
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.services.work.job import Job
from feature_delivery.services.work.keeping import Keeper
from feature_delivery.services.work.observing import Watcher, conclude
from tests.support.bench import FakeProbe

TASK = TaskRef(RunRef(ProjectName("shop"), "SHOP-1"), Step.OBSERVE_PRODUCTION, 1, "ti-1")
PLAN = WatchPlan(
    project="shop", connection="", url="http://shop.test/healthz", began=0.0, counts_from=60.0, until=600.0,
    step_seconds=30.0, look_every_seconds=30.0, least_requests=100.0, probes=True,
)  # fmt: skip


@dataclass
class FakeLooks:
    """Implements ``Looks`` as the ledger does: by their moment."""

    there: dict[float, Glance] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    away: bool = False

    def keep(self, task: TaskRef, permit: int, looks: Sequence[Glance]) -> None:
        assert (task, permit) == (TASK, 7)
        self.answer()
        self.calls.append(len(looks))
        self.there |= {look.at: look for look in looks}

    def kept(self, task: TaskRef, permit: int) -> Sequence[Glance]:
        assert (task, permit) == (TASK, 7)
        self.answer()
        return [self.there[at] for at in sorted(self.there)]

    def answer(self) -> None:
        if self.away:
            raise Unavailable("It is being restarted.")


def watched(probe: FakeProbe, ledger: FakeLooks) -> Keeper:
    return Keeper(ledger=ledger, task=TASK, permit=7, watcher=Watcher(PLAN, Watching(), None, probe))


def go_on(keeper: Keeper, *, until: float, keeps_until: float = 1e9) -> bool:
    """Look as the trigger does, and keep every ten seconds; says whether the watch has ended."""
    watcher, kept_at = keeper.watcher, -10.0
    probe = watcher.probe
    while probe.clock() < until:
        if probe.clock() - kept_at >= 10 and probe.clock() < keeps_until:
            kept_at = probe.clock()
            keeper.exchange()
        if watcher.look():
            return True
        probe.sleep(watcher.pause)
    return False


def availability(watcher: Watcher, said: list[str] | None = None) -> Finding:
    tools = SimpleNamespace(measuring=None, rank_test=mann_whitney)
    work = SimpleNamespace(baseline=None, preprod=None)
    say = (said if said is not None else []).append
    judged = conclude(Job(cast("Any", work), cast("Any", tools), lambda _: "", say), PLAN, watcher.seen)
    assert judged.judgement is not None
    (found,) = judged.judgement.findings
    assert found.metric == AVAILABILITY.name
    return found


def samples(found: Finding) -> tuple[int, int]:
    assert found.after is not None
    return found.after.samples, found.after.expected


def test_who_takes_over_goes_on_with_the_same_series_and_the_same_end() -> None:
    probe, ledger = FakeProbe(200), FakeLooks()
    first = watched(probe, ledger)
    assert not go_on(first, until=300)
    lost = len(first.watcher.looks) - len(ledger.there)
    assert 0 < lost <= 3, "the looks of the last seconds are lost with their process"
    probe.sleep(40)
    second = watched(probe, ledger)
    assert go_on(second, until=1e6)
    seen = second.watcher.seen
    assert [look.at for look in seen.looks] == sorted(look.at for look in seen.looks)
    assert set(ledger.there) >= {look.at for look in first.watcher.looks[:-lost]}
    assert set(first.watcher.looks[:-lost]) <= set(seen.looks)
    assert 600 <= seen.ended < 605
    said: list[str] = []
    there, expected = samples(availability(second.watcher, said))
    assert there == sum(look.at >= 60 for look in seen.looks)
    assert 6 <= expected - there <= 10, "forty seconds and the lost ones, one look each five"
    assert "seconds nobody looked" in said[0]


def test_without_a_gap_nothing_is_missing() -> None:
    keeper = watched(FakeProbe(200), FakeLooks())
    assert go_on(keeper, until=1e6)
    found = availability(keeper.watcher)
    there, expected = samples(found)
    assert (found.outcome, there) == ("pass", expected)
    assert there > 100


def test_half_a_window_that_nobody_saw_proves_nothing() -> None:
    probe, ledger = FakeProbe(200), FakeLooks()
    assert not go_on(watched(probe, ledger), until=120)
    probe.sleep(300)
    late = watched(probe, ledger)
    assert go_on(late, until=1e6)
    found = availability(late.watcher)
    assert found.outcome == "inconclusive"
    assert "that proves nothing" in found.reason


def test_who_comes_when_the_window_is_over_judges_by_what_was_seen_in_it() -> None:
    probe, ledger = FakeProbe(200), FakeLooks()
    assert not go_on(watched(probe, ledger), until=500)
    probe.sleep(4000)
    probe.statuses = [500]  # what production is an hour later is not what the window asks
    late = watched(probe, ledger)
    late.exchange()
    assert late.watcher.look(), "it is over"
    assert late.watcher.looks == []
    found = availability(late.watcher)
    assert (found.outcome, late.watcher.breach) == ("pass", "")
    there, expected = samples(found)
    assert 15 <= expected - there <= 25


def test_failures_before_and_after_a_kill_are_one_breach() -> None:
    probe, ledger = FakeProbe(200), FakeLooks()
    first = watched(probe, ledger)
    assert not go_on(first, until=100)
    probe.statuses = [500]
    assert not go_on(first, until=109)
    first.exchange()
    second = watched(probe, ledger)
    assert go_on(second, until=120)
    assert second.watcher.breach == AVAILABILITY.name


def test_a_control_plane_that_is_away_loses_nothing_and_looks_come_in_pieces() -> None:
    probe, ledger = FakeProbe(200), FakeLooks(away=True)
    keeper = watched(probe, ledger)
    keeper.watcher.looks += [Glance(at=float(at), status=200, seconds=0.1) for at in range(LOOKS_AT_ONCE + 3)]
    with pytest.raises(Unavailable):
        keeper.exchange()
    assert keeper.behind
    ledger.away = False
    ledger.there = {-1.0: Glance(at=-1.0, status=None, seconds=5.0)}
    keeper.exchange()
    keeper.exchange()
    assert ledger.calls == [LOOKS_AT_ONCE, 3]
    assert not keeper.behind
    assert [look.at for look in keeper.watcher.earlier] == [-1.0], "what is its own does not come back"
    assert len(keeper.watcher.seen.looks) == LOOKS_AT_ONCE + 4


def test_a_look_that_takes_its_whole_time_limit_is_no_gap() -> None:
    plan = replace(PLAN, counts_from=0.0)
    looks = [Glance(at=at * 10.0, status=None, seconds=5.0) for at in range(1, 61)]
    probe = FakeProbe(200)
    watcher = Watcher(plan, Watching(), None, probe, earlier=tuple(looks))
    probe.sleep(600)
    there, expected = samples(availability(watcher))
    assert there == expected
