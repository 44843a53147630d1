"""Clusters: Airflow's Kubernetes Connections as API servers to speak to."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.platforms.kubernetes import KubernetesPlatform, Settings
from feature_delivery.adapters.platforms.kubernetes.api import Cluster
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from datetime import timedelta

    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.domain.cluster import ClusterConfig
    from feature_delivery.domain.project import ProjectConfig

_one_at_a_time = threading.Lock()
"""The client's configuration passes through a global of the library."""


def kubernetes_platform(
    project: ProjectConfig,
    config: ClusterConfig,
    instance: str,
    *,
    waits: Waits | None = None,
    patience: timedelta | None = None,
) -> KubernetesPlatform:
    """Return the platform of a project that runs on Kubernetes; ``waits``, ``patience``: see ``tools.platform``.

    Raises:
        Misconfigured: A Connection is missing, or leads nowhere.
    """
    settings = Settings(instance=instance, config=config, repository=project.repository)
    if patience is not None:
        settings = replace(settings, destroy_timeout=patience)
    other = config.production_connection
    temporary = cluster(config.connection, settings)
    production = cluster(other, settings) if other and other != config.connection else temporary
    return KubernetesPlatform(settings, temporary, production=production, waits=waits)


def cluster(connection: str, settings: Settings) -> Cluster:
    """Return the API server that an Airflow Connection of type Kubernetes names.

    Raises:
        Misconfigured: There is no such Connection, or its kubeconfig is none.
    """
    return Cluster(api_client(connection), timeout=settings.request_timeout, name=connection)


def api_client(connection: str) -> Any:
    """Return the official client with what the Connection says: kubeconfig, path, context, or the pod's own token.

    Raises:
        Misconfigured: As ``cluster``.
    """
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook  # noqa: PLC0415 - heavy

    try:
        with _one_at_a_time:
            return KubernetesHook(conn_id=connection).get_conn()
    except Exception as error:  # the SDK's, the provider's and the client's own errors have nothing in common
        raise Misconfigured(
            f"Could not use the Airflow Connection {connection!r} ({type(error).__name__}). Add one of type Kubernetes "
            "with a kubeconfig, the path of one, or 'in cluster'."
        ) from error


def for_examination(project: ProjectConfig) -> KubernetesPlatform:
    """Return the platform for whoever only looks.

    Raises:
        Misconfigured: As ``cluster``; also when the project does not run on Kubernetes.
    """
    if project.cluster is None:
        raise Misconfigured(f"Project {project.name!r} does not run on Kubernetes.")
    return kubernetes_platform(project, project.cluster, "")
