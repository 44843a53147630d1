"""The platform ``local`` where the machine ends with the task: in a pod of the KubernetesExecutor."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.plan import DeliveryPlan
from feature_delivery.ports.platform import EnvironmentRef, EnvironmentStatus, Release

WHY = (
    "the platform 'local' keeps environments as processes of one machine, and with the KubernetesExecutor each task "
    "has a pod of its own, which ends with it. Write 'kind: kubernetes' for the project's platform, or run Airflow "
    "with the CeleryExecutor and one worker for the queue 'feature_delivery_local'."
)
"""Ends a sentence, so that ``doctor`` and the tasks say the same."""


class PassingMachine(LocalPlatform):
    """Begins nothing. What looks and what cleans up work: there is nothing, so that a feature can be given up."""

    def provision(self, ref: EnvironmentRef) -> EnvironmentStatus:
        """Refuse.

        Raises:
            Misconfigured: Always.
        """
        _refuse("provision", ref)

    def deploy(
        self,
        ref: EnvironmentRef,
        release: Release,  # noqa: ARG002 - the port's
        *,
        say: Callable[[str], None],  # noqa: ARG002
        migrate_back: DeliveryPlan | None = None,  # noqa: ARG002
    ) -> EnvironmentStatus:
        """Refuse.

        Raises:
            Misconfigured: Always.
        """
        _refuse("deploy to", ref)


def _refuse(what: str, ref: EnvironmentRef) -> NoReturn:
    raise Misconfigured(f"Could not {what} {ref.name!r}: {WHY}")
