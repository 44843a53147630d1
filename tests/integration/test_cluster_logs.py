"""What a pod writes is in the task's log while it runs, once, whatever becomes of task, triggerer and API server."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from feature_delivery.adapters.platforms.kubernetes.logs import Mark
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.plan import DeliveryPlan
from feature_delivery.domain.suites import SuiteReport
from feature_delivery.orchestration import cluster_waits, pod_triggers
from feature_delivery.orchestration.cluster_triggers import RolloutTrigger
from feature_delivery.orchestration.pod_triggers import PodTrigger
from feature_delivery.ports.platform import EnvironmentStatus, Release
from tests import shops
from tests.contracts.kubernetes.cases import APP, PLACE, REF, ignore
from tests.contracts.kubernetes_bench import KubernetesBench
from tests.fakes.kubernetes.cluster import Fate
from tests.fakes.kubernetes.store import Change, Object
from tests.integration.test_cluster_waits import bench, deploy, event_of, waiting

__all__ = ["bench"]


@dataclass
class Talk:
    """A suite that says one line, then waits for each word that it is given."""

    folder: Path

    @property
    def script(self) -> str:
        wait = f"while not os.path.exists({str(self.folder)!r} + '/' + word): time.sleep(0.01)"
        return f"import os, time\nprint('first')\nfor word in ('second', 'third'):\n    {wait}\n    print(word)\n"

    def say(self, word: str) -> None:
        (self.folder / word).touch()


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(cluster_waits, "STAYS_SECONDS", 0.0)
    monkeypatch.setattr(pod_triggers, "MARK_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(PodTrigger, "_say", lambda _, line: lines.append(line))
    return lines


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def until_quiet(bench: KubernetesBench, *, seconds: float = 1.5) -> None:
    """Wait until nothing has been asked for so long."""
    asked, since = -1, time.monotonic()

    def quiet() -> bool:
        nonlocal asked, since
        if len(bench.server.requests) != asked:
            asked, since = len(bench.server.requests), time.monotonic()
        return time.monotonic() - since >= seconds

    until(quiet)


def run_suite(bench: KubernetesBench, script: str, said: list[str]) -> SuiteReport:
    plan = shops.suite(script + shops.writes(shops.GREEN))
    release = shops.release("one")
    return bench.platform.run_suite(REF, name="unit", suite=plan, release=release, variables={}, say=said.append)


def parked(act: Callable[[], object]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        act()
    assert isinstance(caught.value.trigger, PodTrigger)
    return caught.value


def pods(bench: KubernetesBench) -> list[Object]:
    return [pod for pod in bench.server.store.list("pods", PLACE) if not pod["metadata"].get("ownerReferences")]


@pytest.fixture
def suite(bench: KubernetesBench, talk: Talk) -> Iterator[TaskDeferred]:
    """A suite under way, its task deferred."""
    deploy(bench, shops.release("one"), 1)
    yield parked(lambda: run_suite(waiting(bench), talk.script, []))
    talk.say("second")
    talk.say("third")


def again(bench: KubernetesBench, deferred: TaskDeferred, event: dict[str, Any]) -> KubernetesBench:
    return waiting(bench, event, (deferred.kwargs or {})["waited"])


class Background:
    """A trigger in a triggerer of its own, that can stop in order or be killed."""

    def __init__(self, trigger: Any) -> None:
        path, arguments = trigger.serialize()
        assert path.endswith("pod_triggers.PodTrigger")
        self.trigger = arguments
        self.event: dict[str, Any] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        self._made = PodTrigger(**self.trigger)
        try:
            async for event in self._made.run():
                self.event = event.payload
        except asyncio.CancelledError:
            if self._in_order:
                await self._made.cleanup()

    def stop(self, *, in_order: bool) -> None:
        self._in_order = in_order
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._loop.close()


def test_lines_come_while_the_suite_runs_and_are_not_said_again(
    bench: KubernetesBench, suite: TaskDeferred, talk: Talk, heard: list[str]
) -> None:
    triggerer = Background(suite.trigger)
    until(lambda: heard == ["first"])
    talk.say("second")
    until(lambda: heard == ["first", "second"])
    talk.say("third")
    triggerer.join()
    assert [line for line in heard if line] == ["first", "second", "third"], "neither twice nor with the report"
    said: list[str] = []
    report = run_suite(again(bench, suite, triggerer.event), talk.script, said)
    assert (report.problem, report.executed) == ("", 1)
    assert not {"first", "second", "third"} & set(said)


@pytest.mark.parametrize("end", ["stops", "is killed"])
def test_a_triggerer_that_takes_over_goes_on_behind_the_last_line(
    bench: KubernetesBench, suite: TaskDeferred, talk: Talk, heard: list[str], end: str
) -> None:
    first = Background(suite.trigger)
    talk.say("second")
    until(lambda: len(heard) == 2)
    if end == "is killed":
        until(lambda: Mark.of(pods(bench)[0]).lines == 2)
    first.stop(in_order=end == "stops")
    second = Background(suite.trigger)
    talk.say("third")
    second.join()
    assert [line for line in heard if line] == ["first", "second", "third"]
    assert run_suite(again(bench, suite, second.event), talk.script, []).problem == ""


def test_a_log_that_breaks_off_loses_and_repeats_nothing(
    bench: KubernetesBench, suite: TaskDeferred, talk: Talk, heard: list[str]
) -> None:
    bench.server.fail(0, times=2, path="/log")
    triggerer = Background(suite.trigger)
    until(lambda: heard == ["first"])
    bench.server.fail(500, times=1, path="/pods")
    talk.say("second")
    talk.say("third")
    triggerer.join()
    assert [line for line in heard if line] == ["first", "second", "third"]


def test_nothing_is_asked_while_nothing_is_printed(
    bench: KubernetesBench, suite: TaskDeferred, talk: Talk, heard: list[str]
) -> None:
    triggerer = Background(suite.trigger)
    until(lambda: heard and Mark.of(pods(bench)[0]).lines == 1)
    until_quiet(bench)  # The change of the mark is looked at once more.
    talk.say("second")
    talk.say("third")
    triggerer.join()


def test_what_no_trigger_has_said_the_task_says(bench: KubernetesBench, suite: TaskDeferred, talk: Talk) -> None:
    """The event is lost with its triggerer; a task that is called back finds the pod at its end."""
    talk.say("second")
    talk.say("third")
    until(lambda: pods(bench)[0]["status"]["phase"] == "Succeeded")
    name = pods(bench)[0]["metadata"]["name"]
    said: list[str] = []
    event = {"name": name, "namespace": PLACE, "status": "success", "message": ""}
    run_suite(again(bench, suite, event), talk.script, said)
    assert [line for line in said if line] == ["first", "second", "third"]


def release(label: str, **commands: Any) -> Release:
    return shops.release(label, **commands)


UP, DOWN = ("echo", "up"), ("echo", "down")


def deploys(
    bench: KubernetesBench, made: Release, said: list[str], *, first: int = 1, back: DeliveryPlan | None = None
) -> EnvironmentStatus:
    """Deploy as a task does that defers whenever it would wait, each time with a new generation."""
    event, waited = None, None
    for generation in range(first, first + 9):
        waiting(bench, event, waited)
        ref = replace(REF, generation=generation)
        try:
            return bench.platform.deploy(ref, made, say=said.append, migrate_back=back)
        except TaskDeferred as deferred:
            event, waited = event_of(deferred.trigger), (deferred.kwargs or {})["waited"]
    raise AssertionError


def ran(bench: KubernetesBench) -> list[list[str]]:
    return [pod["spec"]["containers"][0]["command"] for pod in bench.server.cluster.ran]


def test_migrations_hold_no_worker_run_once_and_are_said_once(bench: KubernetesBench, heard: list[str]) -> None:
    said: list[str] = []
    two = release("two", forward=UP, back=DOWN)
    assert deploys(bench, two, said).commit == two.commit
    assert ran(bench) == [["echo", "up"]]
    assert heard == ["up"]
    assert (said.count("Migrate: echo up"), pods(bench)) == (1, [])


def test_a_quick_migration_is_not_deferred_for_that_takes_longer(bench: KubernetesBench) -> None:
    said: list[str] = []
    two = release("two", forward=UP)
    bench.fates[two.commit] = Fate("pending")
    with pytest.raises(TaskDeferred) as caught:
        waiting(bench).platform.deploy(REF, two, say=said.append)
    assert isinstance(caught.value.trigger, RolloutTrigger)
    assert (ran(bench), said.count("up")) == ([["echo", "up"]], 1)


def test_what_a_trigger_has_said_is_kept_when_another_one_begins_the_log_anew(
    bench: KubernetesBench, heard: list[str]
) -> None:
    """Airflow opens a trigger's log of a try from its beginning, each time one starts."""
    two = release("two", forward=UP)
    first = parked(lambda: waiting(bench).platform.deploy(REF, two, say=ignore))
    bench.fates[two.commit] = Fate("pending")
    event = event_of(first.trigger)
    said: list[str] = []
    with pytest.raises(TaskDeferred):
        again(bench, first, event).platform.deploy(REF, two, say=said.append)
    assert (heard, said.count("up")) == (["up"], 1)


def test_a_rollback_takes_the_migration_back_once_although_its_task_is_called_back(
    bench: KubernetesBench, heard: list[str]
) -> None:
    one, two = release("one"), release("two", forward=UP, back=DOWN)
    deploys(bench, one, [])
    deploys(bench, two, [], first=20)
    bench.server.cluster.ran.clear()
    bench.fates[one.commit] = Fate("pending")
    serve = bench.server.cluster.serve
    timers = [threading.Timer(seconds, serve, args=[PLACE]) for seconds in (1.0, 2.0, 4.0)]
    for timer in timers:
        timer.start()
    found = deploys(bench, one, [], first=40, back=two.plan)
    for timer in timers:
        timer.cancel()
    assert (found.commit, ran(bench), heard.count("down")) == (one.commit, [["echo", "down"]], 1)


def test_a_release_that_failed_is_not_tried_again_on_data_that_are_half_way_back(
    bench: KubernetesBench, heard: list[str]
) -> None:
    one, bad = release("one"), release("bad", forward=UP, back=DOWN)
    deploys(bench, one, [])
    bench.fates[bad.commit] = Fate("crashes", log="no price list found\n")
    wanted: list[str] = []

    def note(change: Change) -> None:
        if change.key == APP:
            wanted.append(change.object["spec"]["template"]["metadata"]["labels"]["feature-delivery.io/commit"])

    bench.server.store.listeners.append(note)
    with pytest.raises(Refused, match="no price list found"):
        deploys(bench, bad, [], first=20)
    assert ran(bench) == [["echo", "up"], ["echo", "down"]]
    assert [commit for commit, _ in itertools.groupby(wanted)] == [bad.commit, one.commit]
    found = bench.platform.status(REF)
    assert found is not None
    assert (found.commit, found.unsettled, pods(bench)) == (one.commit, None, [])


@pytest.mark.parametrize(("what", "left"), [("suite", 0), ("migration", 1)])
def test_a_task_that_is_cleared_takes_its_suite_along_and_leaves_its_migration(
    bench: KubernetesBench, heard: list[str], what: str, left: int
) -> None:
    bench.server.cluster.fate = lambda pod: None if pod["metadata"].get("ownerReferences") else Fate("pending")
    if what == "migration":
        deferred = parked(lambda: waiting(bench).platform.deploy(REF, release("two", forward=UP), say=ignore))
    else:
        deploy(bench, shops.release("one"), 1)
        deferred = parked(lambda: run_suite(waiting(bench), "", []))
    trigger = deferred.trigger
    assert isinstance(trigger, PodTrigger)
    asyncio.run(trigger.on_kill())
    assert len(pods(bench)) == left
