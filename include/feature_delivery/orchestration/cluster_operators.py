"""The operator of steps that wait for a cluster. It is light: DAG files import it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.process import CHECKS, Step
from feature_delivery.orchestration.operators import StepOperator, attempt_step, ending_in_a_sentence

if TYPE_CHECKING:
    from airflow.sdk import Context

WAITING: frozenset[Step] = frozenset(
    {
        *CHECKS,
        Step.DEPLOY_DEVELOPMENT,
        Step.DEPLOY_PREPROD,
        Step.TEST_PREPROD,
        Step.REFRESH_CANDIDATE,
        Step.DEPLOY_PRODUCTION,
        Step.TEST_PRODUCTION,
        Step.DEPLOY_ROLLBACK,
        Step.TEST_ROLLBACK,
    }
)
"""Steps that wait for a rollout or for a suite's pod."""


class ClusterStepOperator(StepOperator):
    """Does one step of a delivery on a cluster; while the cluster works, it holds no worker.

    Retry-safe as ``StepOperator``. It defers where it would wait, and is called back when something has happened: then
    it does its step again, under a permit of its own, and finds what it began. If killed while deferred, the cluster
    goes on and the next try finds that, too. Templated: nothing.
    """

    def execute(self, context: Context) -> None:
        """Take the permit, do the step, report; or defer."""
        self._attempt(context, event=None, waited=None)

    def resume(
        self, context: Context, event: Mapping[str, Any] | None = None, waited: Mapping[str, float] | None = None
    ) -> None:
        """Go on after something has happened; ``waited``: since when it waits for what."""
        self._attempt(context, event=event, waited=waited)

    def _attempt(
        self, context: Context, *, event: Mapping[str, Any] | None, waited: Mapping[str, float] | None
    ) -> None:
        from feature_delivery.orchestration.cluster_waits import DeferringWaits  # noqa: PLC0415 - heavy: tasks only

        waits = DeferringWaits(context, task_id=self.task_id, event=event, waited=waited)
        with ending_in_a_sentence(context):
            attempt_step(self, context, project=self.project, step=Step(self.step), waits=waits)
