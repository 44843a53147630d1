"""Environments as namespaces of a Kubernetes cluster, 1.29 and newer.

Nothing of the API server's client is imported before the platform is made: DAG files never do.
"""

from feature_delivery.adapters.platforms.kubernetes.kubernetes_platform import KubernetesPlatform
from feature_delivery.adapters.platforms.kubernetes.settings import Settings

__all__ = ["KubernetesPlatform", "Settings"]
