"""Errands in a release's own code: migrations, seeds, commands. Each is a pod that is begun once and found again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.manifests.pods import once
from feature_delivery.adapters.platforms.kubernetes.names import ROLE, digest, dns_label, labels_of, selector
from feature_delivery.adapters.platforms.kubernetes.pods import PodTask, forget, has_begun, is_over
from feature_delivery.adapters.platforms.kubernetes.resources import POD
from feature_delivery.adapters.platforms.lines import clean
from feature_delivery.domain.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from feature_delivery.adapters.platforms.kubernetes.place import Place
    from feature_delivery.adapters.platforms.kubernetes.pods import PodEnd
    from feature_delivery.adapters.platforms.kubernetes.record import ReleaseRecord
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.domain.plan import Command

_LAST_LINES = 12


class Errands:
    """Runs errands in one environment."""

    def __init__(self, place: Place, waits: Waits, say: Callable[[str], None], *, token: str) -> None:
        """Nothing happens yet; ``token``: a pod with another one is of another undertaking, and not taken for ours."""
        self.place = place
        self.waits = waits
        self.say = say
        self.token = token
        self._done: list[PodTask] = []

    def run(self, release: ReleaseRecord, command: Command, *, role: str, limit: timedelta) -> PodEnd:
        """Run ``command``, remove its pod, return how it ended.

        Raises:
            Unavailable: The cluster took the pod away, or never started it.
        """
        task = PodTask(self._pod(release, command, role=role, limit=limit), self.place.settings.start_allowance)
        return self._run(task, command, hear=lambda _: None)

    def must(self, release: ReleaseRecord, command: Command, *, doing: str, role: str, title: str = "") -> None:
        """Run a command that has to succeed, as ``failure`` does.

        Raises:
            Refused: It did not succeed; the sentence ends with its last lines.
        """
        failed = self.failure(release, command, doing=doing, role=role, title=title)
        if failed is not None:
            raise failed

    def failure(
        self, release: ReleaseRecord, command: Command, *, doing: str, role: str, title: str = ""
    ) -> Refused | None:
        """Run a command and return why it has failed; its pod stays until ``clear`` when it has not.

        What is raised is no verdict: the pod may be there, and run, and is found by whoever asks with the same token.

        Args:
            release: Whose code it runs in.
            command: Argument list.
            doing: Verb of the sentence when it fails.
            role: What it is for.
            title: Said when it begins, and not again by a try that finds it.

        Returns:
            ``None`` when it ended with 0; else a sentence that ends with its last lines.
        """
        limit = self.place.settings.install_timeout
        last: deque[str] = deque(maxlen=_LAST_LINES)
        pod = self._pod(release, command, role=role, limit=limit)
        task = PodTask(pod, self.place.settings.start_allowance, title=title, kept=True)
        ended = self._run(task, command, hear=lambda line: last.append(clean(line)) if line.strip() else None)
        if ended.code == 0:
            self._done.append(task)
            return None
        forget(self.place.cluster, task)
        how = f"exited with {ended.code}" if ended.code is not None else f"did not come to its end: {ended.reason}"
        if ended.timed_out:
            how = f"did not end within {limit.total_seconds():g} seconds and was killed"
        words = "It ended with:\n" + "\n".join(last) if last else "It wrote nothing."
        return Refused(
            f"Could not {doing} {release.commit[:12]} in {self.place.title}: {' '.join(command)!r} {how}. {words}"
        )

    def wait_for_others(self, release: ReleaseRecord, command: Command, *, role: str) -> None:
        """Return when no other errand of that role runs in the environment; one that has not begun is removed.

        A deploy that was given up or overtaken leaves its pod behind, and nobody else would know of it.

        Raises:
            Unavailable: One still runs when its time is over; its node may be lost.
        """
        cluster, mine = self.place.cluster, self._name(release, command, role=role)
        labels = selector({**labels_of(self.place.ref), ROLE: role})
        for found in cluster.list(POD, namespace=self.place.namespace, labels=labels):
            task = PodTask(found, self.place.settings.start_allowance, kept=True, is_there=True)
            if task.name == mine or is_over(found):
                continue
            if not has_begun(found):
                forget(cluster, task)
            self.waits.run(cluster, task, hear=lambda _: None, say=self.say)
            left = cluster.get(POD, task.name, namespace=task.namespace)
            if left is not None and not is_over(left):
                raise Unavailable(
                    f"Did not begin {command[0]!r} in {self.place.title}: pod {task.name!r} of an earlier deploy still "
                    "runs. It is tried again; look at the pod's node if it lasts."
                )

    def clear(self) -> None:
        """Remove the pods of what has succeeded, once that is written down."""
        while self._done:
            forget(self.place.cluster, self._done.pop())

    def _run(self, task: PodTask, command: Command, *, hear: Callable[[str], None]) -> PodEnd:
        ended = self.waits.run(self.place.cluster, task, hear=hear, say=self.say)
        if ended.lost:
            forget(self.place.cluster, task)
            raise Unavailable(f"Could not run {command[0]!r} in {self.place.title}: {ended.reason}. It is tried again.")
        return ended

    def _pod(self, release: ReleaseRecord, command: Command, *, role: str, limit: timedelta) -> Manifest:
        pod = once(
            release,
            command,
            name=self._name(release, command, role=role),
            namespace=self.place.namespace,
            role=role,
            limit=limit,
        )
        return self.place.stamped(pod)

    def _name(self, release: ReleaseRecord, command: Command, *, role: str) -> str:
        meant = digest("\0".join([release.id, role, self.token, *command]))
        return f"{dns_label(self.place.app, limit=30)}-{role}-{meant}"
