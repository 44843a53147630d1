"""The kinds of objects that we handle, and their places in the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from feature_delivery.domain.errors import Refused

Manifest = dict[str, Any]
"""An object as the API has it: JSON."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind: ``group_version`` is ``v1`` or ``apps/v1``; ``own`` kinds may be in a shop's own manifests."""

    kind: str
    group_version: str
    plural: str
    namespaced: bool = True
    own: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core one."""
        return self.group_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "") -> str:
        """Return the path of one object or of all of them."""
        root = f"/apis/{self.group_version}" if self.group else f"/api/{self.group_version}"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{place}/{self.plural}" + (f"/{name}" if name else "")


NAMESPACE = Resource("Namespace", "v1", "namespaces", namespaced=False, own=False)
POD = Resource("Pod", "v1", "pods", own=False)
EVENT = Resource("Event", "v1", "events", own=False)
CONFIG_MAP = Resource("ConfigMap", "v1", "configmaps")
SECRET = Resource("Secret", "v1", "secrets", own=False)
SERVICE = Resource("Service", "v1", "services")
SERVICE_ACCOUNT = Resource("ServiceAccount", "v1", "serviceaccounts", own=False)
RESOURCE_QUOTA = Resource("ResourceQuota", "v1", "resourcequotas", own=False)
LIMIT_RANGE = Resource("LimitRange", "v1", "limitranges", own=False)
CLAIM = Resource("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
DEPLOYMENT = Resource("Deployment", "apps/v1", "deployments")
STATEFUL_SET = Resource("StatefulSet", "apps/v1", "statefulsets")
INGRESS = Resource("Ingress", "networking.k8s.io/v1", "ingresses")
NETWORK_POLICY = Resource("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
AUTOSCALER = Resource("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers")
DISRUPTION_BUDGET = Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets")

WORKLOADS = (DEPLOYMENT, STATEFUL_SET)
"""What runs pods, and is waited for."""

RESOURCES = (
    *(NAMESPACE, POD, EVENT, CONFIG_MAP, SECRET, SERVICE, SERVICE_ACCOUNT, RESOURCE_QUOTA, LIMIT_RANGE, CLAIM),
    *(DEPLOYMENT, STATEFUL_SET, INGRESS, NETWORK_POLICY, AUTOSCALER, DISRUPTION_BUDGET),
)
_BY_KIND = {(resource.group_version, resource.kind): resource for resource in RESOURCES}


def resource_of(manifest: Manifest) -> Resource:
    """Return what kind of object a manifest is.

    Raises:
        Refused: We do not handle such objects.
    """
    version, kind = manifest.get("apiVersion"), manifest.get("kind")
    found = _BY_KIND.get((version, kind))  # type: ignore[arg-type]  # whatever it is, it is looked up
    if found is None:
        raise Refused(f"{str(kind)[:60]!r} of {str(version)[:60]!r} is no kind of object that deliveries handle.")
    return found


def title(manifest: Manifest) -> str:
    """Return what an object is called in sentences."""
    meta = manifest["metadata"]
    place = f" in {meta['namespace']}" if meta.get("namespace") else ""
    return f"{manifest['kind']} {meta['name']}{place}"
