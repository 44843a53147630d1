"""The truth about pods, where a cluster with nodes is given: how they fail, what they write, how they are evicted."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from airflow.sdk.exceptions import TaskDeferred

from feature_delivery.adapters.platforms.kubernetes import KubernetesPlatform
from feature_delivery.adapters.platforms.kubernetes.resources import POD
from feature_delivery.domain.cluster import Resources
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.orchestration.cluster_waits import DeferringWaits
from feature_delivery.orchestration.pod_triggers import PodTrigger
from tests import shops
from tests.contracts.kubernetes.cases import REF, ignore
from tests.contracts.kubernetes_bench import connect, platform
from tests.contracts.real_cluster import NONE_GIVEN, RealBench, RealCluster, inline_config
from tests.fakes.kubernetes.store import Object
from tests.integration.test_cluster_waits import Ti

pytestmark = pytest.mark.timeout(300)
SHOP = ("python", "-c", shops.SHOP)
SHORT = timedelta(seconds=6)


@pytest.fixture
def bench(given_cluster: RealCluster | None) -> Iterator[RealBench]:
    if given_cluster is None:
        pytest.skip(NONE_GIVEN)
    if given_cluster.node is not None:
        pytest.skip("The cluster that is given has no node: nothing really runs on it.")
    bench = RealBench(given_cluster)
    bench.platform.provision(REF)
    yield bench
    given_cluster.clean()


def changed(bench: RealBench, **config: object) -> KubernetesPlatform:
    """Return the platform with another project file, and little patience."""
    wanted = replace(inline_config(), **config)  # type: ignore[arg-type]
    return platform(connect(bench.cluster.kubeconfig), instance="here", config=wanted, start_allowance=SHORT)


def pods(bench: RealBench, role: str) -> list[Object]:
    namespace = bench.platform._place(REF).namespace
    return bench.cluster.admin.list(POD, namespace=namespace, labels=f"feature-delivery.io/role={role}")


EATS = "import time\nprint('loading')\nx = []\nfor _ in range(400): x.append('x' * 1_000_000); time.sleep(0.001)\n"
FAILS: list[tuple[dict[str, object], dict[str, object], str]] = [
    ({"image": "feature-delivery.invalid/none:1"}, {}, r"'feature-delivery\.invalid/none:1' cannot be pulled"),
    ({}, {"start": ("python", "-c", shops.CRASH)}, "exit code 3. It ended with:\nno price list found"),
    ({}, {"start": ("no-such-program",)}, "no-such-program"),
    (
        {"resources": Resources(memory="32Mi", memory_limit="64Mi")},
        {"start": ("python", "-u", "-c", EATS)},
        "ran out of memory .OOMKilled, its limit is 64Mi",
    ),
    (
        {"resources": Resources(cpu="900", cpu_limit="900"), "quota": {"requests.cpu": "9999", "limits.cpu": "9999"}},
        {"health_seconds": 2},
        r"no node takes its pod .*Insufficient cpu",
    ),
    ({"resources": Resources(cpu="5", cpu_limit="5")}, {}, "exceeded quota"),
    ({}, {"start": SHOP, "variables": {"SICK": "/healthz"}, "health_seconds": 2}, "not healthy in time|health check"),
]
NAMES = ["image", "crash", "no program", "memory", "no room", "quota", "unhealthy"]


@pytest.mark.parametrize(("config", "plan", "why"), FAILS, ids=NAMES)
def test_a_rollout_on_a_real_node_fails_with_its_real_reason(
    bench: RealBench, config: dict[str, object], plan: dict[str, object], why: str
) -> None:
    place = changed(bench, **config)
    place.provision(REF)
    with pytest.raises(Refused, match=f"(?s){why}"):
        place.deploy(REF, replace(shops.release("bad"), plan=shops.plan(**{"start": SHOP, **plan})), say=ignore)  # type: ignore[arg-type]


def test_a_suite_whose_pod_is_evicted_runs_again(bench: RealBench) -> None:
    one = shops.release("one")
    bench.platform.deploy(REF, one, say=ignore)

    def evict() -> None:
        bench.until(lambda: any((pod.get("status") or {}).get("phase") == "Running" for pod in pods(bench, "suite")))
        meta = pods(bench, "suite")[0]["metadata"]
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"]},
            "deleteOptions": {"gracePeriodSeconds": 1},
        }
        path = f"{POD.path(meta['namespace'], meta['name'])}/eviction"
        bench.cluster.admin.request("POST", path, body=body)

    thread = threading.Thread(target=evict, daemon=True)
    thread.start()
    suite = shops.suite("import time; time.sleep(60)")
    with pytest.raises(Unavailable, match="It runs again"):
        bench.platform.run_suite(REF, name="unit", suite=suite, release=one, variables={}, say=ignore)
    thread.join(30)


TALKS = "import time\nfor number in range(40): print('line', number); time.sleep(0.15)\n"


def test_lines_of_a_real_pod_come_as_they_are_written_and_once_although_the_triggerer_changes(
    bench: RealBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in order after a third, killed after two, with logs of a real kubelet between."""
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(bench.cluster.kubeconfig)}}
    monkeypatch.setenv("AIRFLOW_CONN_HERE", json.dumps(connection))
    one = shops.release("one")
    bench.platform.deploy(REF, one, say=ignore)
    suite = shops.suite(TALKS + shops.writes(shops.GREEN))
    said: list[str] = []

    def run(event: dict[str, object] | None, waited: object) -> object:
        context: object = {"ti": Ti(), "run_id": "SHOP-1", "dag": object()}
        waits = DeferringWaits(context, task_id="unit", event=event, waited=waited)  # type: ignore[arg-type]
        made = KubernetesPlatform(bench.platform.settings, bench.platform._cluster, waits=waits)
        return made.run_suite(REF, name="unit", suite=suite, release=one, variables={}, say=said.append)

    with pytest.raises(TaskDeferred) as parked:
        run(None, None)
    trigger = parked.value.trigger
    assert trigger is not None
    _, arguments = trigger.serialize()
    heard: list[tuple[float, str]] = []
    monkeypatch.setattr(PodTrigger, "_say", lambda _, line: heard.append((time.time(), line)))

    async def watch(until: Callable[[], bool], *, in_order: bool) -> dict[str, object]:
        made = PodTrigger(**arguments)

        async def first() -> dict[str, object]:
            async for event in made.run():
                return dict(event.payload)
            raise AssertionError

        task = asyncio.ensure_future(first())
        while not task.done() and not until():
            await asyncio.wait((task,), timeout=0.02)
        if task.done():
            return task.result()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if in_order:
            await made.cleanup()
        return {}

    asyncio.run(watch(lambda: len(heard) >= 13, in_order=True))
    asyncio.run(watch(lambda: len(heard) >= 26, in_order=False))
    event = asyncio.run(watch(lambda: False, in_order=True))
    lines = [line for _, line in heard if line.startswith("line")]
    # What a killed one has said in its last two seconds may come twice; nothing is missing.
    assert list(dict.fromkeys(lines)) == [f"line {number}" for number in range(40)]
    assert lines[:26] == [f"line {number}" for number in range(26)], "in order: nothing twice"
    assert len(lines) <= 40 + 20
    assert heard[-1][0] - heard[0][0] > 3, "they came one after another"
    assert not [line for _, line in heard if "PHRlc3" in line], "the report is not for people"
    report = run(event, (parked.value.kwargs or {})["waited"])
    assert (report.problem, report.executed) == ("", 1)  # type: ignore[attr-defined]
    assert not [line for line in said if line.startswith("line")]
