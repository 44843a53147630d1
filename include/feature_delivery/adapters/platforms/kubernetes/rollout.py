"""What a rollout has come to, and why it fails: pure rules over what the API server says of workloads and pods."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CRASHES = 2
"""A container may end once before it serves, for instance while its database is not there yet."""

_KILLED = frozenset({137, 143})
_SAID_LIMIT = 400


class Outcome(StrEnum):
    """How far a rollout is."""

    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rollout has come to.

    Attributes:
        reason: Why it failed, or what it waits for, as the middle of a sentence.
        pod: The pod whose log says more, with ``container``; empty when no log does.
        unseen: It waits only for its controller to look at it, which is a matter of moments.
    """

    outcome: Outcome
    reason: str = ""
    pod: str = ""
    container: str = ""
    unseen: bool = False


def judge(workloads: Sequence[Manifest], pods: Sequence[Manifest]) -> Judgement:
    """Say what a rollout of ``workloads`` has come to; ``pods`` are those of the new release only."""
    for pod in pods:
        if fault := pod_fault(pod):
            return fault
    states = [_workload(each) for each in workloads]
    failed = next((state for state in states if state.outcome is Outcome.FAILED), None)
    if failed is not None:
        why, pod_name, container = _hindrance(pods)
        return Judgement(Outcome.FAILED, f"{why}; {failed.reason}" if why else failed.reason, pod_name, container)
    waiting = next((state for state in states if state.outcome is Outcome.WAITING), None)
    return waiting or Judgement(Outcome.READY)


def pod_fault(pod: Manifest) -> Judgement | None:
    """Return what makes a pod hopeless, or ``None``; an evicted one is replaced, and no fault of the release."""
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    if status.get("reason") in {"Evicted", "NodeLost", "Preempted", "Shutdown"} or pod["metadata"].get(
        "deletionTimestamp"
    ):
        return None
    for one in _containers(status):
        if one.get("ready"):
            continue  # It serves, or has done its part: how it ended before, on a bad day, is over.
        waiting: Manifest = (one.get("state") or {}).get("waiting") or {}
        ended: Manifest = (
            (one.get("state") or {}).get("terminated") or (one.get("lastState") or {}).get("terminated") or {}
        )
        reason, said = str(waiting.get("reason", "")), _short(str(waiting.get("message", "")))
        if reason in _IMAGE:
            return Judgement(Outcome.FAILED, f"the image {one.get('image', '')!r} cannot be pulled ({reason}): {said}")
        if reason in _CONFIG:
            return Judgement(Outcome.FAILED, f"container {one['name']!r} cannot be made ({reason}): {said}")
        if ended.get("reason") == "OOMKilled":
            limit = _limit(pod, one["name"])
            text = f"container {one['name']!r} ran out of memory (OOMKilled{limit})"
            return Judgement(Outcome.FAILED, text, name, one["name"])
        restarts = int(one.get("restartCount", 0))
        if ended and restarts >= 1 and ended.get("exitCode") in _KILLED:
            text = f"container {one['name']!r} was not healthy in time and was stopped"
            return Judgement(Outcome.FAILED, text, name, one["name"])
        if ended and ended.get("exitCode") != 0 and (restarts >= _CRASHES or reason == "CrashLoopBackOff"):
            text = f"container {one['name']!r} ends again and again with exit code {ended.get('exitCode')}"
            return Judgement(Outcome.FAILED, text, name, one["name"])
        if ended and restarts >= _CRASHES and not _is_init(pod, one["name"]):
            text = f"container {one['name']!r} ends by itself; the start command has to stay in the foreground"
            return Judgement(Outcome.FAILED, text, name, one["name"])
    return None


def _workload(found: Manifest) -> Judgement:
    """Judge by the same rules as ``kubectl rollout status``."""
    spec, status, meta = found.get("spec") or {}, found.get("status") or {}, found["metadata"]
    title = f"{found.get('kind', 'Deployment')} {meta['name']}"
    if int(status.get("observedGeneration", 0)) < int(meta.get("generation", 0)):
        return Judgement(Outcome.WAITING, f"{title} is not looked at by its controller yet", unseen=True)
    for condition in status.get("conditions") or []:
        kind, state = condition.get("type"), condition.get("status")
        said = _short(condition.get("message", ""))
        if kind == "ReplicaFailure" and state == "True":
            return Judgement(Outcome.FAILED, f"pods of {title} are not allowed: {said}")
        if kind == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Judgement(Outcome.FAILED, f"{title} made no progress for too long")
    wanted = int(spec.get("replicas", 1))
    updated, all_of_them = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    available = int(status.get("availableReplicas", status.get("readyReplicas", 0)))
    if updated < wanted:
        return Judgement(Outcome.WAITING, f"{updated} of {wanted} pods of {title} are new")
    if all_of_them > updated:
        return Judgement(Outcome.WAITING, f"{all_of_them - updated} old pods of {title} have yet to go")
    if available < updated:
        return Judgement(Outcome.WAITING, f"{available} of {updated} pods of {title} are ready")
    return Judgement(Outcome.READY)


def _hindrance(pods: Sequence[Manifest]) -> tuple[str, str, str]:
    """Return what pods still wait for when time is over: the reason, and the pod whose log may say more."""
    for pod in pods:
        status, name = pod.get("status") or {}, pod["metadata"]["name"]
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return f"no node takes its pod ({_short(condition.get('message', 'unschedulable'))})", "", ""
        for one in _containers(status):
            waiting = (one.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in {None, "PodInitializing", "ContainerCreating"}:
                text = f"container {one['name']!r} waits ({waiting['reason']}: {_short(waiting.get('message', ''))})"
                return text, "", ""
            if "running" in (one.get("state") or {}) and not one.get("ready"):
                return f"container {one['name']!r} runs, but its health check fails", name, one["name"]
    return "", "", ""


def _containers(status: Manifest) -> Iterator[Manifest]:
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _is_init(pod: Manifest, name: str) -> bool:
    return any(one["name"] == name for one in (pod.get("spec") or {}).get("initContainers") or [])


def _limit(pod: Manifest, name: str) -> str:
    spec = pod.get("spec") or {}
    for one in (*(spec.get("initContainers") or []), *(spec.get("containers") or [])):
        limit = ((one.get("resources") or {}).get("limits") or {}).get("memory")
        if one["name"] == name and limit:
            return f", its limit is {limit}"
    return ""


def _short(text: str) -> str:
    return " ".join(text.split())[:_SAID_LIMIT]


def serves(workload: Manifest) -> bool:
    """Say whether at least one pod of a workload is ready to answer."""
    status = workload.get("status") or {}
    return int(status.get("availableReplicas", status.get("readyReplicas", 0)) or 0) > 0
