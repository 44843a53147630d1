"""How to wait for the cluster: by looking again here, or by whatever the caller brings along (a deferred task)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from feature_delivery.adapters.platforms.kubernetes.names import RELEASE
from feature_delivery.adapters.platforms.kubernetes.pods import PATIENCE_SECONDS, PodEnd, PodRun, PodTask
from feature_delivery.adapters.platforms.kubernetes.resources import POD, resource_of
from feature_delivery.adapters.platforms.kubernetes.rollout import Judgement, Outcome, judge
from feature_delivery.domain.errors import NotFound, Temporary

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest


@dataclass(frozen=True, slots=True)
class Rollout:
    """What is waited for: workloads of one namespace, until all run ``release`` or one never will.

    Attributes:
        connection: Whose cluster.
        workloads: Kind and name of each.
        seconds: After that it has failed, whatever the cluster says.
    """

    connection: str
    namespace: str
    release: str
    workloads: tuple[tuple[str, str, str], ...]
    seconds: float


class Waits(Protocol):
    """Waits for a rollout, runs a pod to its end; either may leave by an exception of its own and be called again."""

    def rollout(self, cluster: Cluster, rollout: Rollout) -> Judgement:
        """Return what came of it; ``FAILED`` also when time is over."""

    def run(
        self, cluster: Cluster, task: PodTask, *, hear: Callable[[str], None], say: Callable[[str], None]
    ) -> PodEnd:
        """Run a pod to its end and remove it, or have it kept as the task says.

        ``hear`` gets each line of its log from the first on, ``say`` those that are for people, once, and ours.
        """


class WaitsHere:
    """Implements ``Waits`` by staying: for the command line, and for steps that cannot be left in the middle."""

    def __init__(
        self,
        *,
        look_every: timedelta,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``sleep`` and ``now`` are for tests in virtual time."""
        self._pause = look_every.total_seconds()
        self._sleep, self._now = sleep, now

    def rollout(self, cluster: Cluster, rollout: Rollout) -> Judgement:
        """Look until it is decided; an API server that is away for a while decides nothing."""
        end, away_since = self._now() + rollout.seconds, None
        while True:
            try:
                found = look(cluster, rollout)
            except Temporary:
                away_since = away_since if away_since is not None else self._now()
                if self._now() - away_since > PATIENCE_SECONDS:
                    raise
            else:
                away_since = None
                if found.outcome is not Outcome.WAITING:
                    return found
                if self._now() >= end:
                    return Judgement(Outcome.FAILED, f"{found.reason} after {rollout.seconds:g} seconds")
            self._sleep(self._pause)

    def run(
        self, cluster: Cluster, task: PodTask, *, hear: Callable[[str], None], say: Callable[[str], None]
    ) -> PodEnd:
        """Create it or find it, pass its log on, wait for its end."""
        run = PodRun(cluster, task, pause=self._pause, sleep=self._sleep, now=self._now)
        return run.run(hear=hear, say=say)


def look(cluster: Cluster, rollout: Rollout) -> Judgement:
    """Return what a rollout has come to just now.

    Raises:
        NotFound: A workload is gone.
    """
    workloads = _workloads(cluster, rollout)
    # After them: pods must not be older than what their Deployment says of them.
    pods = cluster.list(POD, namespace=rollout.namespace, labels=f"{RELEASE}={rollout.release}")
    return judge(workloads, pods)


def still_serves(cluster: Cluster, rollout: Rollout) -> bool:
    """Say whether the release that is written down as the current one is what runs, and is well.

    Somebody may have brought another one back by hand; and one that was given up after it had become ready is there,
    whatever is written down.
    """
    try:
        templates = [one["spec"]["template"]["metadata"].get("labels") or {} for one in _workloads(cluster, rollout)]
        same = all(labels.get(RELEASE) == rollout.release for labels in templates)
        return same and look(cluster, rollout).outcome is Outcome.READY
    except NotFound:
        return False


def _workloads(cluster: Cluster, rollout: Rollout) -> list[Manifest]:
    workloads = []
    for version, kind, name in rollout.workloads:
        resource = resource_of({"apiVersion": version, "kind": kind})
        found = cluster.get(resource, name, namespace=rollout.namespace)
        if found is None:
            raise NotFound(f"{kind} {name} in {rollout.namespace} is gone while its rollout was waited for.")
        workloads.append(found)
    return workloads
