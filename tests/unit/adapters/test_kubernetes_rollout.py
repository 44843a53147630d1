"""What a rollout has come to: the rules of ``kubectl rollout status``, and the reasons that it does not give."""

from __future__ import annotations

from typing import Any

import pytest

from feature_delivery.adapters.platforms.kubernetes.pods import end_of
from feature_delivery.adapters.platforms.kubernetes.rollout import Judgement, Outcome, judge, serves


def workload(*, wanted: int = 2, generation: int = 2, **status: Any) -> dict[str, Any]:
    whole = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    return {
        "kind": "Deployment",
        "metadata": {"name": "shop", "generation": generation},
        "spec": {"replicas": wanted},
        "status": {**whole, **status},
    }


def pod(*, status: dict[str, Any] | None = None, init: dict[str, Any] | None = None, **one: Any) -> dict[str, Any]:
    base = {"name": "shop", "image": "shop:1", "restartCount": 0, "ready": False}
    statuses: dict[str, Any] = {"containerStatuses": [{**base, **one}], **(status or {})}
    if init is not None:
        statuses["initContainerStatuses"] = [{**base, "name": "install-1", **init}]
    spec = {"containers": [{"name": "shop"}], "initContainers": [{"name": "install-1"}]}
    return {"metadata": {"name": "shop-1"}, "spec": spec, "status": statuses}


def ended(code: int, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **more}}


@pytest.mark.parametrize(
    ("found", "outcome", "said"),
    [
        (workload(), Outcome.READY, ""),
        (workload(generation=3), Outcome.WAITING, "not looked at by its controller yet"),
        (workload(updatedReplicas=1), Outcome.WAITING, "1 of 2 pods of Deployment shop are new"),
        (workload(replicas=3), Outcome.WAITING, "1 old pods of Deployment shop have yet to go"),
        (workload(availableReplicas=1), Outcome.WAITING, "1 of 2 pods of Deployment shop are ready"),
        (workload(wanted=0, replicas=0, updatedReplicas=0, availableReplicas=0), Outcome.READY, ""),
        (
            workload(conditions=[{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "status": "False"}]),
            Outcome.FAILED,
            "made no progress for too long",
        ),
    ],
)
def test_a_rollout_is_over_when_every_pod_is_new_and_ready(found: dict[str, Any], outcome: Outcome, said: str) -> None:
    judgement = judge([found], [])
    assert judgement.outcome is outcome
    assert said in judgement.reason


@pytest.mark.parametrize(
    "harmless",
    [
        pod(state={"running": {}}, ready=True),
        pod(state={"waiting": {"reason": "ContainerCreating"}}),
        pod(state={"waiting": {"reason": "ErrImagePull"}}),
        pod(state={"running": {}}, lastState=ended(1), restartCount=1),
        pod(status={"reason": "Evicted", "phase": "Failed"}, state=ended(137), restartCount=5),
        pod(init={"state": ended(0), "restartCount": 0}, state={"waiting": {"reason": "PodInitializing"}}),
        pod(state={"running": {}}, lastState=ended(143), restartCount=1, ready=True),
        pod(state={"running": {}}, lastState=ended(137, reason="OOMKilled"), restartCount=1, ready=True),
        pod(state={"running": {}}, lastState=ended(255), restartCount=2, ready=True),
    ],
)
def test_what_may_yet_be_well_fails_no_rollout(harmless: dict[str, Any]) -> None:
    assert judge([workload(availableReplicas=1)], [harmless]).outcome is Outcome.WAITING


@pytest.mark.parametrize(
    ("bad", "said", "container"),
    [
        (pod(state={"waiting": {"reason": "InvalidImageName", "message": "x"}}), "cannot be pulled", ""),
        (pod(state={"running": {}}, lastState=ended(0), restartCount=2), "ends by itself", "shop"),
        (
            pod(init={"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended(2)}),
            "code 2",
            "install-1",
        ),
        (pod(state={"running": {}}, lastState=ended(143), restartCount=1), "not healthy in time", "shop"),
        (pod(state=ended(137, reason="OOMKilled")), "ran out of memory", "shop"),
    ],
)
def test_what_will_never_be_well_fails_a_rollout_at_once(bad: dict[str, Any], said: str, container: str) -> None:
    judgement = judge([workload(availableReplicas=1)], [bad])
    assert (judgement.outcome, judgement.container) == (Outcome.FAILED, container)
    assert said in judgement.reason


def test_several_workloads_are_ready_together() -> None:
    assert judge([workload(), workload(availableReplicas=0)], []).outcome is Outcome.WAITING
    assert judge([workload(), workload()], []) == Judgement(Outcome.READY)
    assert serves(workload(availableReplicas=1))
    assert not serves(workload(availableReplicas=None))


def test_an_end_tells_work_from_the_clusters_doing() -> None:
    lost = pod(status={"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]})
    gone = end_of(None)
    assert gone is not None
    assert gone.lost
    for found in (lost, pod(status={"phase": "Failed"})):
        ending = end_of(found)
        assert ending is not None
        assert (ending.code, ending.lost) == (None, True)
    done = end_of(pod(status={"phase": "Failed"}, state=ended(3)))
    assert done is not None
    assert (done.code, done.lost, done.began) == (3, False, True)
    late = end_of(pod(status={"phase": "Failed", "reason": "DeadlineExceeded"}))
    assert late is not None
    assert late.timed_out
    assert end_of(pod(status={"phase": "Running"}, state={"running": {}})) is None
