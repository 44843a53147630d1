"""Looks of the probe in the ledger: whose they are, how many they may be, when they go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import KeptLooks, now
from feature_delivery.domain.watching import Glance
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.services.control import watches
from tests.support.cooperation import bring
from tests.support.stepping import go_on, until
from tests.support.world import World

LOOKS = (Glance(at=3.0, status=200, seconds=0.1), Glance(at=1.0, status=None, seconds=5.0))


def watching(world: World) -> tuple[TaskRef, int]:
    """The task whose watch is deferred, and its permit."""
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_CONFIRMATION)
    assert world.decide(feature, "max", Step.WAIT_FOR_CONFIRMATION, DecisionKind.APPROVE)
    task = until(world, Step.OBSERVE_PRODUCTION, "performs").task
    world.runs.runs[task.run].tasks[task.step].state = "deferred"
    return task, world.books.permits(feature)[-1].id


def keep(world: World, task: TaskRef, permit: int, *looks: Glance) -> None:
    with world.begin() as unit:
        watches.keep_looks(unit, world.project, task, permit, looks or LOOKS)


def kept(world: World, task: TaskRef, permit: int) -> tuple[Glance, ...]:
    with world.begin() as unit:
        return watches.kept_looks(unit, world.project, task, permit)


def test_looks_come_back_by_their_moment_and_each_once(world: World) -> None:
    task, permit = watching(world)
    assert kept(world, task, permit) == ()
    keep(world, task, permit)
    keep(world, task, permit)
    assert kept(world, task, permit) == (LOOKS[1], LOOKS[0])


def test_what_was_judged_is_forgotten(world: World) -> None:
    task, permit = watching(world)
    keep(world, task, permit)
    (process,) = [one for one in world.processes if one.task is task]
    world.runs.runs[task.run].tasks[task.step].state = "running"
    go_on(world, process)
    assert world.books.of(KeptLooks) == []


def test_a_verdict_forgets_them_and_so_does_the_next_watch_of_the_feature(world: World) -> None:
    task, permit = watching(world)
    feature = world.features()[0]
    world.books.add(KeptLooks(feature_id=feature.id, permit_id=permit - 1, looks=[(1.0, 200, 0.1)]))
    keep(world, task, permit)
    assert {one.permit_id for one in world.books.of(KeptLooks)} == {permit}
    assert world.decide(feature, "max", Step.WAIT_FOR_VERDICT, DecisionKind.KEEP)
    assert world.books.of(KeptLooks) == []


def test_what_nobody_judges_is_forgotten_in_the_end(world: World) -> None:
    task, permit = watching(world)
    keep(world, task, permit)
    (old,) = world.books.of(KeptLooks)
    with world.begin() as unit:
        assert watches.prune(unit) == 0
        old.at = now() - watches.KEPT_FOR - timedelta(seconds=1)
        assert watches.prune(unit) == 1
    assert world.books.of(KeptLooks) == []


def test_there_is_an_end_to_what_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MOST_LOOKS", 3)
    task, permit = watching(world)
    for at in (10.0, 20.0, 30.0):
        keep(world, task, permit, Glance(at=at, status=200, seconds=0.1), Glance(at=at + 1, status=200, seconds=0.1))
    assert [look.at for look in kept(world, task, permit)] == [10.0, 11.0, 20.0]


def test_only_the_watch_under_way_has_a_say(world: World) -> None:
    task, permit = watching(world)
    other = TaskRef(task.run, task.step, task.try_number, "ti-of-another")
    with pytest.raises(Refused, match="was not given to watch"):
        keep(world, other, permit)
    with pytest.raises(NotFound):
        keep(world, task, permit + 99)
    with pytest.raises(NotFound):
        keep(world, TaskRef(RunRef(world.project.name, "SHOP-9"), task.step, 1, task.task_instance), permit)
    found = world.books.permit(permit)
    assert found is not None
    found.state, found.reason = "void", "A newer try took over."
    with pytest.raises(Conflict, match="A newer try took over"):
        kept(world, task, permit)
    found.state = "granted"
    world.runs.runs[task.run].tasks[task.step].state = "running"
    with pytest.raises(Refused, match="not deferred"):
        kept(world, task, permit)
