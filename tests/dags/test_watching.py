"""The watch on production as a task: short ones run on the worker, long ones wait as a trigger."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from feature_delivery.domain.process import Step
from feature_delivery.domain.watching import Glance, Seen, WatchPlan
from feature_delivery.orchestration import operators, watching
from feature_delivery.orchestration.operators import ObserveOperator
from feature_delivery.orchestration.watching import WatchTrigger, as_json, from_json

PLAN = WatchPlan(
    project="shop", connection="", url="http://shop.test/healthz", began=100.0, counts_from=160.0, until=700.0,
    step_seconds=30.0, look_every_seconds=30.0, least_requests=100.0, probes=True, worst={"errors": 0.05},
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


def test_a_short_watch_stays_on_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(operators, "attempt_step", lambda *_arguments, **named: done.append(named))
    operator(timedelta(seconds=30)).execute({})
    assert done == [{"project": "shop", "step": Step.OBSERVE_PRODUCTION}]


def test_what_the_trigger_saw_is_what_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "make_watcher", lambda _plan: Watcher(3))
    monkeypatch.setattr(watching, "EARLIEST_SECONDS", 0.0)

    async def events() -> list[Any]:
        return [event.payload async for event in WatchTrigger(as_json(PLAN)).run()]

    (event,) = asyncio.run(events())
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
