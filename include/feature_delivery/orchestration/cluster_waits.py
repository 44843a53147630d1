"""How a task waits for a cluster: it defers, so that no worker is held, and does its step again when called back.

Every step finds what is there first; coming back is the same as being tried again, except that the try goes on.
Imported by tasks of Kubernetes projects only: the provider's operator and the client behind it cost most of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import TaskDeferred

from feature_delivery.adapters.platforms.kubernetes.api import MERGE_PATCH
from feature_delivery.adapters.platforms.kubernetes.logs import HEARD, Mark, Reading, Speech
from feature_delivery.adapters.platforms.kubernetes.names import GENERATION, ROLE, selector
from feature_delivery.adapters.platforms.kubernetes.pods import (
    PodEnd,
    PodTask,
    begin,
    end_of,
    forget,
    has_started,
    log_of_failed,
    not_started,
)
from feature_delivery.adapters.platforms.kubernetes.resources import POD
from feature_delivery.adapters.platforms.kubernetes.rollout import Judgement, Outcome
from feature_delivery.adapters.platforms.kubernetes.waiting import Rollout, look
from feature_delivery.domain.errors import Error, Unavailable
from feature_delivery.orchestration.cluster_triggers import RolloutTrigger
from feature_delivery.orchestration.pod_triggers import PodTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

RESUME = "resume"
SUITE = "suite"
"""Role of the pods that are run by the provider's operator; it would run the others again after an interruption."""

_GRACE = timedelta(minutes=5)
_MOMENT_SECONDS, _LOOK_SECONDS = 5.0, 0.2
STAYS_SECONDS = 5.0
"""So long a worker stays with a migration or with seed data before it leaves them to the triggerer."""


class DeferringWaits:
    """Implements ``Waits`` for one call of an operator.

    Args:
        context: Airflow's.
        task_id: Of the operator that defers.
        event: What it was called back with, if it was.
        waited: What it had waited for before that: since when, by release.
    """

    def __init__(
        self,
        context: Context,
        *,
        task_id: str,
        event: Mapping[str, Any] | None = None,
        waited: Mapping[str, float] | None = None,
    ) -> None:
        """Store the values."""
        self._context = context
        self._task_id = task_id
        self._event = event or {}
        self._waited = dict(waited or {})
        self._say: Callable[[str], None] = lambda _: None
        self._said_by_trigger: list[str] = []

    def rollout(self, cluster: Cluster, rollout: Rollout) -> Judgement:
        """Return what came of it, or defer until something has.

        Raises:
            TaskDeferred: Nothing has yet.
        """
        found = self._seen(cluster, rollout)
        if found.outcome is not Outcome.WAITING:
            return found
        key = f"{rollout.namespace}/{rollout.release or rollout.workloads}"
        since = self._waited.setdefault(key, time.time())
        deadline = since + rollout.seconds
        if time.time() >= deadline:
            return Judgement(Outcome.FAILED, f"{found.reason} after {rollout.seconds:g} seconds")
        trigger = RolloutTrigger(
            connection=rollout.connection,
            namespace=rollout.namespace,
            release=rollout.release,
            workloads=rollout.workloads,
            deadline=deadline,
        )
        raise self._deferred(trigger, timeout=timedelta(seconds=deadline - time.time()) + _GRACE)

    def _seen(self, cluster: Cluster, rollout: Rollout) -> Judgement:
        """Look, and give the controllers their moment.

        A new generation of ours in a Deployment's annotations is a new generation of the Deployment, so that a task
        that is called back would find a rollout that is ready not looked at yet, and would be sent away again.
        """
        end = time.monotonic() + _MOMENT_SECONDS
        while (found := look(cluster, rollout)).unseen and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
        return found

    def run(
        self, cluster: Cluster, task: PodTask, *, hear: Callable[[str], None], say: Callable[[str], None]
    ) -> PodEnd:
        """Run a pod, deferred: a suite's by ``KubernetesPodOperator``, any other one by ourselves.

        Raises:
            TaskDeferred: The pod runs.
            Unavailable: The provider could not do it.
        """
        self._say = say
        is_suite = task.pod["metadata"]["labels"].get(ROLE) == SUITE
        return (self._suite if is_suite else self._errand)(cluster, task, hear)

    def _errand(self, cluster: Cluster, task: PodTask, hear: Callable[[str], None]) -> PodEnd:
        """Begin a pod or find it; take its end, or have it waited for."""
        if _key(task) not in self._waited:
            begin(cluster, task, say=self._say)
        found = self._for_a_moment(cluster, task)
        ended = end_of(found)
        if ended is None and time.time() < (self._deadline(task) if has_started(found) else self._start_by(task)):
            raise self._waiting_for(cluster, task)
        ended = ended or _late(cluster, task, found)
        self._tell(cluster, task, found, ended, hear)
        if not task.kept:
            forget(cluster, task)
        return ended

    def _for_a_moment(self, cluster: Cluster, task: PodTask) -> Manifest | None:
        """Return a pod, at its end if that comes soon: to be called back takes longer than most migrations do."""
        end = time.monotonic() + STAYS_SECONDS
        while end_of(found := cluster.get(POD, task.name, namespace=task.namespace)) is None:
            if time.monotonic() >= end:
                return found
            time.sleep(_LOOK_SECONDS)
        return found

    def _suite(self, cluster: Cluster, task: PodTask, hear: Callable[[str], None]) -> PodEnd:
        ended: list[PodEnd] = []

        def read(name: str) -> None:
            found = cluster.get(POD, name, namespace=task.namespace)
            last = end_of(found) or _late(cluster, task, found)
            self._tell(cluster, task, found, last, hear)
            ended.append(last)

        is_called_back = self._event.get("name") == task.name
        if not is_called_back and cluster.get(POD, task.name, namespace=task.namespace) is not None:
            # Begun by a call that was interrupted before it had deferred.
            raise self._waiting_for(cluster, task)
        operator = self._operator(cluster, task, read)
        try:
            if is_called_back:
                operator.trigger_reentry(self._context, dict(self._event))
            else:
                self._begin(cluster, task, operator)
        except TaskDeferred:
            raise self._waiting_for(cluster, task) from None
        except Error:
            raise
        except Exception as error:
            # The provider raises when a pod fails; how it ended has been read before it was removed.
            if not ended:
                said = " ".join(str(error).split())[:300]
                raise Unavailable(f"Could not run pod {task.name}: {said} It is tried again.") from error
        return ended[0] if ended else PodEnd(None, "its pod was gone before its log was read", lost=True)

    def _begin(self, cluster: Cluster, task: PodTask, operator: KubernetesPodOperator) -> None:
        """Have the provider make a suite's pod, once what earlier tries of this task have left has been removed.

        Such a pod tests what the environment held before, and has another name for that: nobody would ever hear it.
        """
        made = operator.pod_request_obj = operator.build_pod_request_obj(self._context)
        of_this_task = {name: made.metadata.labels[name] for name in ("dag_id", "task_id", "run_id")}
        mine = _generation(task.pod)
        for found in cluster.list(POD, namespace=task.namespace, labels=selector({ROLE: SUITE, **of_this_task})):
            if _generation(found) < mine:
                self._say(f"Remove pod {found['metadata']['name']}, which an earlier try of this task has left.")
                forget(cluster, PodTask(found, task.start_timeout))
        operator.execute_async(self._context)

    def _tell(
        self, cluster: Cluster, task: PodTask, found: Manifest | None, ended: PodEnd, hear: Callable[[str], None]
    ) -> None:
        """Let the step hear the whole log of a pod that has ended, and people what they have not heard yet."""
        event = self._event if self._event.get("name") == task.name else {}
        first, heard = Mark.read(event.get("first", "")), max(Mark.read(event.get("heard", "")), Mark.of(found))
        reading, speech = Reading(heard), Speech(self._say, hush=task.hush)
        log = b""
        # Without its exit code nothing is decided by its log, and the log may be lost with its node.
        with suppress(Error) if ended.code is None else nullcontext():
            log = b"".join(cluster.timed_log(task.namespace, task.name, container=task.container))
        for number, (line, new) in enumerate(reading.lines(log, last=True), start=1):
            hear(line)
            speech.hear(line, aloud=new)
            if event and not new and number > first.lines and not speech.is_over:
                self._said_by_trigger.append(line)
        for line in log_of_failed(cluster, task, ended):
            hear(line)
            speech.hear(line)
        if task.kept:
            with suppress(Error):
                body = {"metadata": {"annotations": {HEARD: str(reading.mark)}}}
                cluster.patch(POD, task.name, body, namespace=task.namespace, content=MERGE_PATCH, query={})

    def _operator(self, cluster: Cluster, task: PodTask, read: Callable[[str], None]) -> KubernetesPodOperator:
        """Return the provider's operator for a pod of ours: it adds Airflow's labels, starts it, removes it."""
        seconds = int(task.start_timeout.total_seconds())
        return KubernetesPodOperator(
            task_id=self._task_id,
            name=task.name,
            namespace=task.namespace,
            random_name_suffix=False,
            pod_template_dict=task.pod,
            base_container_name=task.container,
            kubernetes_conn_id=cluster.name,
            deferrable=True,
            # Pods are found by their names, here: by its task the provider would find one of an earlier try, or one
            # that somebody has written into the task's state.
            durable=False,
            on_finish_action="delete_pod",
            # We read the log ourselves: a report is in it that is not for people.
            get_logs=False,
            log_events_on_startup=False,
            log_pod_spec_on_failure=False,
            startup_timeout_seconds=seconds,
            schedule_timeout_seconds=seconds,
            do_xcom_push=False,
            callbacks=_reader(read),
        )

    def _since(self, task: PodTask) -> float:
        return self._waited.setdefault(_key(task), time.time())

    def _start_by(self, task: PodTask) -> float:
        return self._since(task) + task.start_timeout.total_seconds()

    def _deadline(self, task: PodTask) -> float:
        return self._since(task) + (task.start_timeout + task.limit).total_seconds()

    def _waiting_for(self, cluster: Cluster, task: PodTask) -> TaskDeferred:
        """Return the deferral that passes a pod's log on: the provider's trigger asks every two seconds instead."""
        deadline = self._deadline(task)
        trigger = PodTrigger(
            connection=cluster.name,
            namespace=task.namespace,
            pod=task.name,
            container=task.container,
            start_by=self._start_by(task),
            hush=task.hush,
            ends_with_task=not task.kept,
            deadline=deadline,
        )
        return self._deferred(trigger, timeout=timedelta(seconds=max(deadline - time.time(), 0)) + _GRACE)

    def _deferred(self, trigger: BaseTrigger, *, timeout: timedelta) -> TaskDeferred:
        # Airflow begins the trigger's part of a try's log anew with each trigger: what the last one has said goes.
        for line in self._said_by_trigger:
            self._say(line)
        self._said_by_trigger.clear()
        return TaskDeferred(trigger=trigger, method_name=RESUME, kwargs={"waited": self._waited}, timeout=timeout)


def _generation(pod: Manifest) -> int:
    written = str((pod["metadata"].get("annotations") or {}).get(GENERATION, ""))
    return int(written) if written.isdigit() else 0


def _key(task: PodTask) -> str:
    return f"{task.namespace}/{task.name}"


def _late(cluster: Cluster, task: PodTask, found: Manifest | None) -> PodEnd:
    """Return the end of a pod that is not waited for any longer."""
    if has_started(found) is None:
        return not_started(cluster, task)
    return PodEnd(None, "its time was over", timed_out=True)


def _reader(read: Callable[[str], None]) -> type[KubernetesPodOperatorCallback]:
    """Return a callback that reads a pod's end and its log before the operator removes it."""

    class Reader(KubernetesPodOperatorCallback):
        @staticmethod
        def on_pod_completion(*, pod: Any, **_: Any) -> None:
            """Read what the pod has come to."""
            read(pod.metadata.name)

    return Reader
