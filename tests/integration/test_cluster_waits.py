"""Tasks of a Kubernetes project hold no worker while the cluster works: they defer, and find what they began."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import BaseTrigger, TriggerEvent

from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.suites import SuiteReport
from feature_delivery.orchestration.cluster_triggers import RolloutTrigger
from feature_delivery.orchestration.cluster_waits import DeferringWaits
from feature_delivery.ports.platform import EnvironmentStatus, Release
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, REF, ignore
from tests.contracts.kubernetes_bench import KubernetesBench, fake_server
from tests.fakes.kubernetes.cluster import Fate


class Ti:
    """As much of a task instance as the provider's operator reads."""

    dag_id, task_id, run_id, map_index, try_number = "feature_delivery_shop", "development.deploy", "SHOP-1", -1, 1
    start_date = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self) -> None:
        self.pushed: dict[str, object] = {}

    def xcom_push(self, key: str, value: object) -> None:
        self.pushed[key] = value


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesBench]:
    server = fake_server()
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(server.kubeconfig())}}
    monkeypatch.setenv("AIRFLOW_CONN_HERE", json.dumps(connection))
    made = KubernetesBench(server)
    made.platform.provision(REF)
    yield made
    server.close()


def waiting(bench: KubernetesBench, event: dict[str, Any] | None = None, waited: Any = None) -> KubernetesBench:
    """Have the bench's platform wait as a task does that is called (back) with ``event``."""
    context: Any = {"ti": Ti(), "run_id": "SHOP-1", "dag": object()}
    bench.waits = DeferringWaits(context, task_id="deploy", event=event, waited=waited)
    bench.platform = bench.of_instance("here")
    return bench


def deploy(bench: KubernetesBench, release: Release, generation: int) -> EnvironmentStatus:
    return bench.platform.deploy(replace(REF, generation=generation), release, say=ignore)


def suite(bench: KubernetesBench, release: Release, said: list[str], *, generation: int = 1) -> SuiteReport:
    plan = shops.suite("print('hello')\n" + shops.writes(shops.GREEN))
    ref = replace(REF, generation=generation)
    return bench.platform.run_suite(ref, name="unit", suite=plan, release=release, variables={}, say=said.append)


def suites_in(bench: KubernetesBench) -> list[str]:
    names = [pod["metadata"]["name"] for pod in bench.server.store.list("pods", PLACE)]
    return [name for name in names if "suite" in name]


def event_of(trigger: BaseTrigger, *, seconds: float = 20) -> dict[str, Any]:
    """Run a trigger as the triggerer would: made anew from what was serialised."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    made = getattr(__import__(module, fromlist=[name]), name)(**json.loads(json.dumps(arguments, default=str)))
    if hasattr(made, "trigger_start_time"):
        made.trigger_start_time = arguments["trigger_start_time"]

    async def first() -> TriggerEvent:
        async for event in made.run():
            return event
        raise AssertionError

    payload: dict[str, Any] = asyncio.run(asyncio.wait_for(first(), seconds)).payload
    return payload


def deferred(bench: KubernetesBench, release: Release, generation: int = 1) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        deploy(bench, release, generation)
    return caught.value


def test_a_rollout_is_waited_for_in_the_triggerer_and_found_again(bench: KubernetesBench) -> None:
    one = shops.release("one")
    bench.fates[one.commit] = Fate("pending")
    parked = deferred(waiting(bench), one)
    assert (parked.method_name, isinstance(parked.trigger, RolloutTrigger)) == ("resume", True)
    assert "token" not in json.dumps(parked.trigger.serialize()), "no secret goes into the trigger's row"
    threading.Timer(0.3, bench.server.cluster.serve, args=[PLACE]).start()
    event = event_of(parked.trigger)
    assert (event["kind"], event["said"]) == ("rollout", "ready")
    found = deploy(waiting(bench, event, (parked.kwargs or {})["waited"]), one, generation=2)
    assert (found.commit, found.healthy, found.ref.generation) == (one.commit, True, 2)


def test_a_watch_asks_nothing_while_nothing_happens(bench: KubernetesBench) -> None:
    one = shops.release("one")
    bench.fates[one.commit] = Fate("pending")
    parked = deferred(waiting(bench), one)
    bench.server.requests.clear()
    threading.Timer(1.5, bench.server.cluster.serve, args=[PLACE]).start()
    event_of(parked.trigger)
    assert len(bench.server.requests) <= 12, bench.server.requests


def test_a_rollout_that_is_ready_is_not_waited_for_again_because_its_task_was_called_back(
    bench: KubernetesBench,
) -> None:
    """Each call writes its own generation, for which the controller has to look once more."""
    one = shops.release("one")
    deploy(bench, one, 1)
    live = bench.server.store.get(("deployments", PLACE, "demo-store"))["metadata"]["generation"]
    hear = bench.server.cluster._hear
    bench.server.store.listeners[:] = [lambda change: threading.Timer(0.3, hear, args=[change]).start()]
    two = replace(one, plan=replace(one.plan, variables={"A": "1"}))
    bench.platform = waiting(bench).platform
    with pytest.raises(TaskDeferred) as parked:
        deploy(bench, two, 2)
    event = event_of(parked.value.trigger)
    assert event["said"] == "ready"
    found = deploy(waiting(bench, event, (parked.value.kwargs or {})["waited"]), two, 3)
    assert found.healthy
    assert bench.server.store.get(("deployments", PLACE, "demo-store"))["metadata"]["generation"] == live + 2


@pytest.mark.parametrize("fault", ["expired", "away", "refused"])
def test_a_trigger_survives_what_a_cluster_does(bench: KubernetesBench, fault: str) -> None:
    one = shops.release("one")
    bench.fates[one.commit] = Fate("pending")
    parked = deferred(waiting(bench), one)
    if fault == "expired":
        threading.Timer(0.2, bench.server.store.compact).start()
    else:
        bench.server.fail(0 if fault == "away" else 500, times=2)
    threading.Timer(0.5, bench.server.cluster.serve, args=[PLACE]).start()
    assert event_of(parked.trigger)["said"] == "ready"


def test_a_failed_rollout_wakes_the_task_that_says_why(bench: KubernetesBench) -> None:
    one = shops.release("one")
    bench.fates[one.commit] = Fate("pending")
    parked = deferred(waiting(bench), one)

    def fail() -> None:
        for pod in bench.server.store.list("pods", PLACE):
            status = {"phase": "Pending", "containerStatuses": [_unpullable(pod)]}
            bench.server.store.set_status(("pods", PLACE, pod["metadata"]["name"]), status)

    threading.Timer(0.2, fail).start()
    event = event_of(parked.trigger)
    assert event["said"] == "failed"
    with pytest.raises(Refused, match="cannot be pulled"):
        deploy(waiting(bench, event, (parked.kwargs or {})["waited"]), one, generation=2)


def _unpullable(pod: dict[str, Any]) -> dict[str, Any]:
    waits = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    return {"name": "shop", "image": pod["spec"]["containers"][0]["image"], "state": waits, "restartCount": 0}


def test_a_rollout_that_takes_too_long_fails_although_each_wait_was_short(bench: KubernetesBench) -> None:
    one = shops.release("one")
    bench.fates[one.commit] = Fate("pending")
    parked = deferred(waiting(bench), one)
    waited = {key: since - 10_000 for key, since in (parked.kwargs or {})["waited"].items()}
    with pytest.raises(Refused, match="after 1220 seconds"):
        deploy(waiting(bench, {"kind": "rollout"}, waited), one, generation=2)


def test_a_trigger_whose_time_is_over_ends_by_itself() -> None:
    trigger = RolloutTrigger(
        connection="nowhere",
        namespace="x",
        release="r",
        workloads=[("apps/v1", "Deployment", "x")],
        deadline=time.time(),
    )
    assert event_of(trigger)["said"] == "its time is over"


def test_a_suite_is_run_by_the_pod_operator_and_its_report_collected(bench: KubernetesBench) -> None:
    one = shops.release("one")
    deploy(bench, one, 1)
    with pytest.raises(TaskDeferred) as caught:
        suite(waiting(bench), one, [])
    trigger = caught.value.trigger
    assert (type(trigger).__name__, caught.value.method_name) == ("PodTrigger", "resume")
    pods = [pod for pod in bench.server.store.list("pods", PLACE) if "suite" in pod["metadata"]["name"]]
    assert pods[0]["metadata"]["labels"]["dag_id"] == Ti.dag_id
    assert pods[0]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    event = event_of(trigger)
    said: list[str] = []
    report = suite(waiting(bench, event), one, said)
    assert (report.problem, report.executed) == ("", 1)
    assert "hello" not in said, "the trigger has said it"
    assert not [pod for pod in bench.server.store.list("pods", PLACE) if "suite" in pod["metadata"]["name"]]


def test_a_try_of_a_suite_finds_its_own_pod_and_removes_the_one_that_an_earlier_try_has_left(
    bench: KubernetesBench,
) -> None:
    """A worker was killed between the pod and the deferral; then the environment was deployed to again."""
    one = shops.release("one")
    deploy(bench, one, 1)
    bench.server.cluster.fate = lambda pod: None if pod["metadata"].get("ownerReferences") else Fate("pending")
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            suite(waiting(bench), one, [])
    [orphan] = suites_in(bench)
    bench.server.cluster.fate = lambda _: None
    said: list[str] = []
    with pytest.raises(TaskDeferred) as caught:
        suite(waiting(bench), one, said, generation=2)
    assert orphan not in suites_in(bench)
    assert any(orphan in line for line in said)
    event = event_of(caught.value.trigger)
    assert suite(waiting(bench, event), one, [], generation=2).executed == 1
    assert suites_in(bench) == []


def test_a_suite_whose_pod_was_evicted_is_tried_again(bench: KubernetesBench) -> None:
    one = shops.release("one")
    deploy(bench, one, 1)
    bench.server.cluster.fate = lambda pod: None if pod["metadata"].get("ownerReferences") else Fate("evicted")
    with pytest.raises((Unavailable, TaskDeferred)) as caught:
        suite(waiting(bench), one, [])
    # The provider defers, unless it has seen the pod's end at once.
    if isinstance(caught.value, TaskDeferred):
        event = event_of(caught.value.trigger)
        with pytest.raises(Unavailable) as caught:
            suite(waiting(bench, event), one, [])
    assert "the cluster took its pod away (Evicted" in str(caught.value)
