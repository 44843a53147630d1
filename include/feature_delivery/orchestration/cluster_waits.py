"""How a task waits for a cluster: it defers, so that no worker is held, and does its step again when called back.

Every step finds what is there first; coming back is the same as being tried again, except that the try goes on.
Imported by tasks of Kubernetes projects only: the provider's operator and the client behind it cost most of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import TaskDeferred

from feature_delivery.adapters.platforms.kubernetes.names import ROLE
from feature_delivery.adapters.platforms.kubernetes.pods import PodEnd, end_of, log_of_failed
from feature_delivery.adapters.platforms.kubernetes.resources import POD
from feature_delivery.adapters.platforms.kubernetes.rollout import Judgement, Outcome
from feature_delivery.adapters.platforms.kubernetes.waiting import Rollout, WaitsHere, look
from feature_delivery.domain.errors import Error, Unavailable
from feature_delivery.orchestration.cluster_triggers import RolloutTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

RESUME = "resume"
SUITE = "suite"
"""Role of the pods that are run by the provider's operator; the others are short, and are waited for here."""

_GRACE = timedelta(minutes=5)


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
        self._here = WaitsHere(look_every=timedelta(seconds=1))

    def rollout(self, cluster: Cluster, rollout: Rollout) -> Judgement:
        """Return what came of it, or defer until something has.

        Raises:
            TaskDeferred: Nothing has yet.
        """
        found = look(cluster, rollout)
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

    def run(
        self,
        cluster: Cluster,
        pod: Manifest,
        *,
        start_timeout: timedelta,
        hear: Callable[[str], None],
        say: Callable[[str], None],
    ) -> PodEnd:
        """Run a suite's pod by ``KubernetesPodOperator``, deferred; any other one here.

        Raises:
            TaskDeferred: The pod runs.
            Unavailable: The provider could not do it.
        """
        if pod["metadata"]["labels"].get(ROLE) != SUITE:
            return self._here.run(cluster, pod, start_timeout=start_timeout, hear=hear, say=say)
        ended: list[PodEnd] = []
        operator = self._operator(cluster, pod, start_timeout, hear, ended)
        try:
            if self._event.get("name") == pod["metadata"]["name"]:
                operator.trigger_reentry(self._context, dict(self._event))
            else:
                operator.execute_async(self._context)
        except TaskDeferred as deferred:
            raise self._deferred(deferred.trigger, timeout=deferred.timeout) from None
        except Error:
            raise
        except Exception as error:
            # The provider raises when a pod fails; how it ended has been read before it was removed.
            if not ended:
                said = " ".join(str(error).split())[:300]
                raise Unavailable(f"Could not run pod {pod['metadata']['name']}: {said} It is tried again.") from error
        return ended[0] if ended else PodEnd(None, "its pod was gone before its log was read", lost=True)

    def _operator(
        self,
        cluster: Cluster,
        pod: Manifest,
        start_timeout: timedelta,
        hear: Callable[[str], None],
        ended: list[PodEnd],
    ) -> KubernetesPodOperator:
        """Return the provider's operator for a pod of ours: it adds Airflow's labels, starts, watches, removes it."""
        container = pod["spec"]["containers"][0]["name"]
        seconds = int(start_timeout.total_seconds())
        return KubernetesPodOperator(
            task_id=self._task_id,
            name=pod["metadata"]["name"],
            namespace=pod["metadata"]["namespace"],
            random_name_suffix=False,
            pod_template_dict=pod,
            base_container_name=container,
            kubernetes_conn_id=cluster.name,
            deferrable=True,
            on_finish_action="delete_pod",
            # We read the log ourselves: a report is in it that is not for people.
            get_logs=False,
            log_events_on_startup=False,
            log_pod_spec_on_failure=False,
            startup_timeout_seconds=seconds,
            schedule_timeout_seconds=seconds,
            do_xcom_push=False,
            callbacks=_reader(cluster, container, hear, ended),
        )

    def _deferred(self, trigger: Any, *, timeout: timedelta | None) -> TaskDeferred:
        return TaskDeferred(trigger=trigger, method_name=RESUME, kwargs={"waited": self._waited}, timeout=timeout)


def _reader(
    cluster: Cluster, container: str, hear: Callable[[str], None], ended: list[PodEnd]
) -> type[KubernetesPodOperatorCallback]:
    """Return a callback that reads a pod's end and its log before the operator removes it."""

    class Reader(KubernetesPodOperatorCallback):
        @staticmethod
        def on_pod_completion(*, pod: Any, **_: Any) -> None:
            """Read what the pod has come to."""
            name, namespace = pod.metadata.name, pod.metadata.namespace
            found = end_of(cluster.get(POD, name, namespace=namespace))
            if found is not None and found.code is not None:
                for line in cluster.log(namespace, name, container=container).splitlines():
                    hear(line)
            if found is not None and found.container:
                for line in log_of_failed(cluster, namespace, name, found):
                    hear(line)
            ended.append(found or PodEnd(None, "its pod did not start in time", lost=True))

    return Reader
