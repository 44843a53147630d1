"""The watch on production as a task: short ones run on the worker, long ones wait as a trigger."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.judging.evidence import Usual
from feature_delivery.domain.process import Step
from feature_delivery.domain.watching import Glance, Kept, Seen, WatchPlan
from feature_delivery.orchestration import operators, watching
from feature_delivery.orchestration.operators import ObserveOperator
from feature_delivery.orchestration.watching import WatchTrigger, as_json, from_json

PLAN = WatchPlan(
    project="shop", connection="", url="http://shop.test/healthz", began=100.0, counts_from=160.0, until=700.0,
    step_seconds=30.0, look_every_seconds=30.0, least_requests=100.0, probes=True, worst={"errors": 0.05},
    usual={"errors": Usual(past=0.01, requests=12.0)},
)  # fmt: skip


class Watcher:
    """Looks as often as told."""

    pause = 0.0

    def __init__(self, looks: int) -> None:
        self.left = looks

    def look(self) -> bool:
        self.left -= 1
        return self.left <= 0

    @property
    def seen(self) -> Seen:
        return Seen(ended=700.0, looks=(Glance(at=101.0, status=200, seconds=0.01),), breach="errors")


class Keeper:
    """Keeps what a watcher sees; away at first."""

    def __init__(self, away: int) -> None:
        self.away, self.asked, self.recalled, self.behind = away, 0, False, True
        self.told = threading.Event()

    def exchange(self) -> None:
        self.asked += 1
        self.told.set()
        if self.asked <= self.away:
            raise Unavailable("It is being restarted.")
        self.recalled, self.behind = True, False


def seen_by(trigger: WatchTrigger, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(watching, "EARLIEST_SECONDS", 0.0)

    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(events())


def operator(window: timedelta) -> ObserveOperator:
    return ObserveOperator(task_id="observe", step=Step.OBSERVE_PRODUCTION, project="shop", window=window)


def test_a_long_watch_is_deferred_and_comes_back_with_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObserveOperator, "_plan", lambda _self, _context: PLAN)
    with pytest.raises(TaskDeferred) as deferred:
        operator(timedelta(minutes=10)).execute({})
    assert deferred.value.method_name == "judge"
    assert deferred.value.timeout == timedelta(minutes=20)
    path, arguments = deferred.value.trigger.serialize()
    assert path == f"{WatchTrigger.__module__}.{WatchTrigger.__qualname__}"
    assert from_json(WatchPlan, arguments["plan"]) == PLAN
    assert deferred.value.kwargs == arguments


def test_a_watch_that_an_earlier_version_planned_is_read() -> None:
    plan = as_json(PLAN)
    del plan["usual"]
    assert from_json(WatchPlan, plan) == replace(PLAN, usual={})


def test_a_short_watch_stays_on_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(operators, "attempt_step", lambda *_arguments, **named: done.append(named))
    operator(timedelta(seconds=30)).execute({})
    assert done == [{"project": "shop", "step": Step.OBSERVE_PRODUCTION}]


def test_what_the_trigger_saw_is_what_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "make_watcher", lambda _plan: Watcher(3))
    (event,) = seen_by(WatchTrigger(as_json(PLAN)), monkeypatch)
    judged: list[Any] = []
    monkeypatch.setattr(operators, "attempt_step", lambda *_arguments, **named: judged.append(named["watched"]))
    operator(timedelta(minutes=10)).judge({}, event=event, plan=as_json(PLAN))
    assert judged == [(PLAN, Watcher(0).seen)]


def test_a_trigger_is_never_so_quick_that_airflow_fails_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(watching, "make_watcher", lambda _plan: Watcher(1))
    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def first() -> object:
        return await anext(WatchTrigger(as_json(PLAN)).run())

    assert asyncio.run(first())
    assert slept == [pytest.approx(watching.EARLIEST_SECONDS, abs=1.0)]


def test_a_watch_that_an_earlier_version_planned_goes_on_without_being_kept() -> None:
    old = {name: value for name, value in as_json(PLAN).items() if name != "keep"}
    assert watching.make_keeper(old, Watcher(1)) is None  # type: ignore[arg-type]


def test_what_the_probe_sees_is_kept_for_the_task_and_permit_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_FEATURE_DELIVERY", "http://:the-token@127.0.0.1:9")
    plan = as_json(replace(PLAN, keep=Kept(run_id="SHOP-1", try_number=2, task_instance="ti", permit=7)))
    keeper = watching.make_keeper(plan, Watcher(1))  # type: ignore[arg-type]
    assert keeper is not None
    assert (keeper.permit, keeper.task.run.run_id, keeper.task.try_number) == (7, "SHOP-1", 2)
    assert (keeper.task.step, keeper.task.task_instance) == (Step.OBSERVE_PRODUCTION, "ti")


def test_a_control_plane_that_is_away_keeps_no_watch_from_looking_and_is_asked_again_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper = Keeper(away=2)
    monkeypatch.setattr(watching, "make_watcher", lambda _plan: Watcher(3))
    monkeypatch.setattr(watching, "make_keeper", lambda _plan, _watcher: keeper)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert len(seen_by(WatchTrigger(as_json(PLAN)), monkeypatch)) == 1
    assert (keeper.asked, keeper.recalled) == (3, True)


def test_a_triggerer_that_stops_in_order_hands_in_what_it_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(away=0)
    watcher = Watcher(10**6)
    watcher.pause = 0.01
    monkeypatch.setattr(watching, "make_watcher", lambda _plan: watcher)
    monkeypatch.setattr(watching, "make_keeper", lambda _plan, _watcher: keeper)

    async def stopped() -> None:
        trigger = WatchTrigger(as_json(PLAN))
        watch = asyncio.ensure_future(anext(trigger.run()))
        assert await asyncio.to_thread(keeper.told.wait, 30)
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        keeper.behind = True
        await trigger.cleanup()
        keeper.behind = False
        await trigger.cleanup()

    asyncio.run(stopped())
    assert keeper.asked == 2
