"""One pod, run to its end: begun once, found again, its log passed on, removed when what came of it is known."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.failures import LostRaceError
from feature_delivery.adapters.platforms.kubernetes.logs import Reading, Speech
from feature_delivery.adapters.platforms.kubernetes.resources import POD
from feature_delivery.adapters.platforms.kubernetes.rollout import pod_fault
from feature_delivery.domain.errors import Error, NotFound, Refused, Temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    if not is_over(pod):
        fault = pod_fault(pod)
        return PodEnd(None, fault.reason, container=fault.container, began=has_begun(pod)) if fault else None
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


@dataclass(frozen=True, slots=True)
class PodTask:
    """A pod that runs once.

    Attributes:
        pod: One of its name that is there already is the one that an interrupted try began.
        start_timeout: It has to have begun its work by then.
        title: Said when it is begun.
        hush: Its log is for people up to a line that begins so.
        kept: It stays until ``forget``, so that a try that is interrupted before it has written down what came of it
            does not run it again.
        is_there: Somebody else has begun it: it is waited for, and never begun from here.
    """

    pod: Manifest
    start_timeout: timedelta
    title: str = ""
    hush: tuple[str, ...] = ()
    kept: bool = False
    is_there: bool = False

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.pod["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return str(self.pod["metadata"]["namespace"])

    @property
    def container(self) -> str:
        """The container that does the work."""
        return str(self.pod["spec"]["containers"][0]["name"])

    @property
    def limit(self) -> timedelta:
        """After that the cluster has ended it, if there is a cluster."""
        return timedelta(seconds=int(self.pod["spec"].get("activeDeadlineSeconds", 3600)) + 60)


class PodRun:
    """One run of one pod, watched from here."""

    def __init__(
        self,
        cluster: Cluster,
        task: PodTask,
        *,
        pause: float,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``pause``: seconds between two looks."""
        self._cluster = cluster
        self._task = task
        self._pause, self._sleep, self._now = pause, sleep, now

    def run(self, *, hear: Callable[[str], None], say: Callable[[str], None]) -> PodEnd:
        """Run it to its end."""
        begin(self._cluster, self._task, say=say)
        try:
            return self._ended(hear, say)
        finally:
            if not self._task.kept:
                forget(self._cluster, self._task)

    def _ended(self, hear: Callable[[str], None], say: Callable[[str], None]) -> PodEnd:
        task, speech, reading = self._task, Speech(say, hush=self._task.hush), Reading()
        started = self._until(has_started, task.start_timeout)
        if started is None:
            return not_started(self._cluster, task)

        def tell(line: str) -> None:
            hear(line)
            speech.hear(line)

        # A log that breaks off, or has not begun, decides nothing: the pod's end does.
        with suppress(Temporary, Refused, NotFound):
            for piece in self._log(follow_for=_QUIET) if started.began else ():
                for line, _ in reading.lines(piece):
                    tell(line)
        ended = self._until(end_of, task.limit) or PodEnd(None, "its time was over", timed_out=True)
        if ended.code is not None:
            for line, new in Reading(reading.mark).lines(b"".join(self._log(since=reading.mark.since)), last=True):
                if new:
                    tell(line)
        for line in log_of_failed(self._cluster, task, ended):
            tell(line)
        return ended

    def _log(self, *, since: str = "", follow_for: timedelta | None = None) -> Iterator[bytes]:
        task = self._task
        return self._cluster.timed_log(
            task.namespace, task.name, container=task.container, since=since, follow_for=follow_for
        )

    def _until(self, asked: Callable[[Manifest | None], PodEnd | None], limit: timedelta) -> PodEnd | None:
        """Ask until there is an answer, ``None``: time is over. An API server away for a while is waited for."""
        task = self._task
        end, away_since = self._now() + limit.total_seconds(), None
        while True:
            try:
                answer = asked(self._cluster.get(POD, task.name, namespace=task.namespace))
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


def not_started(cluster: Cluster, task: PodTask) -> PodEnd:
    """Return the end of a pod that has not begun its work in time, with what it waits for."""
    found = cluster.get(POD, task.name, namespace=task.namespace) or {}
    waits = ""
    for condition in (found.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            waits = f": no node takes it ({' '.join(str(condition.get('message', '')).split())[:300]})"
    return PodEnd(None, f"its pod did not start in time{waits}", lost=True)


def log_of_failed(cluster: Cluster, task: PodTask, ended: PodEnd) -> list[str]:
    """Return the last lines of the container that kept a pod's work from beginning; none when there is none."""
    if ended.container:
        with suppress(Error):
            text = cluster.log(task.namespace, task.name, container=ended.container, tail=_LAST_LINES)
            return text.splitlines()
    return []


def begin(cluster: Cluster, task: PodTask, *, say: Callable[[str], None]) -> None:
    """Create a pod, or find the one that was created before.

    Raises:
        Refused: The cluster does not take it.
    """
    if task.is_there:
        say(f"Pod {task.name} of an earlier deploy is there still: wait until it has ended.")
        return
    try:
        cluster.create(POD, task.pod, namespace=task.namespace)
    except LostRaceError:
        say(f"Pod {task.name} is there already: wait for it.")
    else:
        say(task.title or f"Pod {task.name} begins.")


def forget(cluster: Cluster, task: PodTask) -> None:
    """Remove a pod; one that stays for a while harms nobody, for the next one has another name."""
    with suppress(Error):
        cluster.delete(POD, task.name, namespace=task.namespace)


def is_over(pod: Manifest) -> bool:
    """Say whether nothing of a pod runs any more, or ever will."""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def has_started(pod: Manifest | None) -> PodEnd | None:
    """Return something once the work has begun, so that its log can be read, or how it ended before that."""
    ended = end_of(pod)
    if ended is not None or pod is None:
        return ended
    return PodEnd(None) if has_begun(pod) else None


def has_begun(pod: Manifest) -> bool:
    """Say whether a pod's work has begun."""
    states = [one.get("state") or {} for one in (pod.get("status") or {}).get("containerStatuses") or []]
    return any("running" in state or "terminated" in state for state in states)
