"""One pod, run to its end: begun once, found again, its log passed on, removed whatever became of it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.failures import LostRaceError
from feature_delivery.adapters.platforms.kubernetes.resources import POD
from feature_delivery.adapters.platforms.kubernetes.rollout import pod_fault
from feature_delivery.domain.errors import Error, NotFound, Refused, Temporary

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

PATIENCE_SECONDS = 120.0
_QUIET = timedelta(minutes=5)
_LAST_LINES = 12
_LOST = frozenset({"Evicted", "NodeLost", "Preempted", "Shutdown", "NodeAffinity", "UnexpectedAdmissionError"})


@dataclass(frozen=True, slots=True)
class PodEnd:
    """How a pod ended.

    Attributes:
        code: Exit code of its work; ``None`` when the cluster ended it.
        reason: Why the cluster ended it, or why its work never began; the middle of a sentence.
        lost: The cluster is to blame: trying again helps.
        timed_out: Its time was over.
        container: The one before its work that failed; its log says why.
        began: Its work had begun.
    """

    code: int | None
    reason: str = ""
    lost: bool = False
    timed_out: bool = False
    container: str = ""
    began: bool = True


def end_of(pod: Manifest | None) -> PodEnd | None:
    """Return how a pod ended, or ``None`` while it has not."""
    if pod is None:
        return PodEnd(None, "its pod was deleted while it ran", lost=True)
    status = pod.get("status") or {}
    reason, said = status.get("reason", ""), " ".join(str(status.get("message", "")).split())[:300]
    if status.get("phase") not in {"Succeeded", "Failed"}:
        fault = pod_fault(pod)
        return PodEnd(None, fault.reason, container=fault.container, began=_began(pod)) if fault else None
    if reason == "DeadlineExceeded":
        return PodEnd(None, "its time was over", timed_out=True)
    disrupted = any(
        condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"
        for condition in status.get("conditions") or []
    )
    if reason in _LOST or disrupted:
        return PodEnd(
            None, f"the cluster took its pod away ({reason or 'disruption'}{': ' + said if said else ''})", lost=True
        )
    for one in status.get("initContainerStatuses") or []:
        ended = (one.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            why = f"container {one['name']!r}, which comes before, exited with {ended['exitCode']}"
            return PodEnd(None, why, container=one["name"], began=False)
    for one in status.get("containerStatuses") or []:
        ended = (one.get("state") or {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            return PodEnd(None, f"container {one['name']!r} ran out of memory (OOMKilled)")
        if "exitCode" in ended:
            return PodEnd(int(ended["exitCode"]))
    return PodEnd(None, f"its pod failed ({reason or 'no reason given'}{': ' + said if said else ''})", lost=True)


class PodRun:
    """One run of one pod, watched from here.

    One of its name that is there already is the one that an interrupted try began.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: Manifest,
        *,
        pause: float,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``pause``: seconds between two looks."""
        self._cluster = cluster
        self._pod = pod
        self._name, self._namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        self._container = pod["spec"]["containers"][0]["name"]
        self._pause, self._sleep, self._now = pause, sleep, now
        self._heard = 0

    def run(self, *, start_timeout: timedelta, hear: Callable[[str], None], say: Callable[[str], None]) -> PodEnd:
        """Run it to its end and remove it."""
        begin(self._cluster, self._pod, say=say)
        try:
            if self._until(has_started, start_timeout) is None:
                return PodEnd(None, f"its pod did not start in time{self._hindered()}", lost=True)
            whole = self._pass_on(hear)
            limit = timedelta(seconds=int(self._pod["spec"].get("activeDeadlineSeconds", 3600)) + 60)
            ended = self._until(end_of, limit) or PodEnd(None, "its time was over", timed_out=True)
            if ended.container:
                for line in log_of_failed(self._cluster, self._namespace, self._name, ended):
                    hear(line)
            elif not whole and ended.code is not None:
                self._pass_rest_on(hear)
        finally:
            with suppress(Error):
                self._cluster.delete(POD, self._name, namespace=self._namespace)
        return ended

    def _pass_on(self, hear: Callable[[str], None]) -> bool:
        """Pass its log on as it is written; say whether it was followed to its end."""
        lines = self._cluster.follow(self._namespace, self._name, container=self._container, quiet=_QUIET)
        try:
            for line in lines:
                self._heard += 1
                hear(line)
        except (Temporary, Refused, NotFound):
            # A log that breaks off, or has not begun, decides nothing: the pod's end does.
            return False
        return True

    def _pass_rest_on(self, hear: Callable[[str], None]) -> None:
        text = self._cluster.log(self._namespace, self._name, container=self._container)
        for line in text.splitlines()[self._heard :]:
            hear(line)

    def _until(self, asked: Callable[[Manifest | None], PodEnd | None], limit: timedelta) -> PodEnd | None:
        """Ask until there is an answer, ``None``: time is over. An API server away for a while is waited for."""
        end, away_since = self._now() + limit.total_seconds(), None
        while True:
            try:
                answer = asked(self._cluster.get(POD, self._name, namespace=self._namespace))
            except Temporary:
                away_since = self._now() if away_since is None else away_since
                if self._now() - away_since > PATIENCE_SECONDS:
                    raise
            else:
                away_since = None
                if answer is not None:
                    return answer
                if self._now() >= end:
                    return None
            self._sleep(self._pause)

    def _hindered(self) -> str:
        found = self._cluster.get(POD, self._name, namespace=self._namespace) or {}
        for condition in (found.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return f": no node takes it ({' '.join(str(condition.get('message', '')).split())[:300]})"
        return ""


def log_of_failed(cluster: Cluster, namespace: str, name: str, ended: PodEnd) -> list[str]:
    """Return the last lines of the container that kept a pod's work from beginning; none when they are gone."""
    with suppress(Error):
        return cluster.log(namespace, name, container=ended.container, tail=_LAST_LINES).splitlines()
    return []


def begin(cluster: Cluster, pod: Manifest, *, say: Callable[[str], None]) -> None:
    """Create a pod, or find the one that was created before.

    Raises:
        Refused: The cluster does not take it.
    """
    try:
        cluster.create(POD, pod, namespace=pod["metadata"]["namespace"])
    except LostRaceError:
        say(f"Pod {pod['metadata']['name']} runs already: wait for it.")


def has_started(pod: Manifest | None) -> PodEnd | None:
    """Return something once the work has begun, so that its log can be read, or how it ended before that."""
    ended = end_of(pod)
    if ended is not None or pod is None:
        return ended
    return PodEnd(None) if _began(pod) else None


def _began(pod: Manifest) -> bool:
    states = [one.get("state") or {} for one in (pod.get("status") or {}).get("containerStatuses") or []]
    return any("running" in state or "terminated" in state for state in states)
