"""What a temporary environment's namespace holds before anything is deployed to it: limits, walls, Secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.names import (
    COMMIT,
    DELIVERY,
    EXPIRES,
    account_name,
    app_name,
    identity_of,
    label_value,
    labels_of,
)
from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
from feature_delivery.adapters.platforms.kubernetes.settings import PORT

if TYPE_CHECKING:
    from datetime import timedelta

    from feature_delivery.domain.cluster import ClusterConfig
    from feature_delivery.ports.platform import EnvironmentRef

QUOTA = {
    "requests.cpu": "4",
    "requests.memory": "8Gi",
    "limits.cpu": "16",
    "limits.memory": "16Gi",
    "pods": "30",
    "services": "15",
    "services.loadbalancers": "0",
    "services.nodeports": "0",
    "persistentvolumeclaims": "5",
}
"""What a whole environment may use, unless the project file says otherwise."""

OUTSIDE: tuple[Manifest, ...] = (
    {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]},
    {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]},
)
"""Everything but private networks, where a cluster's other tenants and the cloud's metadata services are."""

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
POD_SECURITY = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
}


def namespace(
    ref: EnvironmentRef, name: str, *, lives: timedelta, commit: str = "", now: datetime | None = None
) -> Manifest:
    """Return the namespace of a temporary environment; labels find it, annotations say exactly whose it is.

    Args:
        ref: The environment.
        name: The namespace's.
        lives: From now on, or from ``now``: what ``expires-at`` says.
        commit: What runs there; empty: nothing yet.
        now: For tests.
    """
    ends = (now or datetime.now(UTC)) + lives
    labels = {**labels_of(ref), **POD_SECURITY, EXPIRES: ends.strftime("%Y-%m-%d")}
    if ref.delivery:
        labels[DELIVERY] = label_value(ref.delivery)
    annotations = identity_of(ref)
    if commit:
        # A label has no room for a commit of SHA-256.
        labels[COMMIT], annotations[COMMIT] = label_value(commit), commit
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
    }


def furniture(ref: EnvironmentRef, place: str, config: ClusterConfig) -> list[Manifest]:
    """Return what every temporary namespace gets: quota, default limits, network policies, service account."""
    return [
        _object("v1", "ResourceQuota", place, "environment", {"hard": {**QUOTA, **config.quota}}),
        _object("v1", "LimitRange", place, "environment", {"limits": [_container_limits(config)]}),
        *network_policies(ref, place, config),
        service_account(ref, place, config),
    ]


def service_account(ref: EnvironmentRef, place: str, config: ClusterConfig) -> Manifest:
    """Return the service account of our pods: no token, so no right to anything."""
    account = _object("v1", "ServiceAccount", place, account_name(ref), None)
    pulls = [{"name": config.pull_secret}] if config.pull_secret else []
    return {**account, "automountServiceAccountToken": False, **({"imagePullSecrets": pulls} if pulls else {})}


def network_policies(ref: EnvironmentRef, place: str, config: ClusterConfig) -> list[Manifest]:
    """Return the walls: nothing comes in or goes out but what is named here.

    Out: names, the shop's own parts, and everything outside the cluster's private networks (package registries, test
    systems of payment providers). In: the shop's own parts, the ingress controller and the namespaces that the project
    names.
    """
    let_in = {*config.allow_from, *([config.ingress.namespace] if config.ingress else [])}
    own: list[Manifest] = [{"podSelector": {}}]
    outside = [{"ipBlock": block} for block in (*OUTSIDE, *({"cidr": cidr} for cidr in config.reach))]
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    entrance = [
        {
            "from": [{"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: name}}} for name in sorted(let_in)],
            "ports": [{"protocol": "TCP", "port": PORT}],
        }
    ]
    shop = {"matchLabels": {"app.kubernetes.io/name": app_name(ref.project)}}
    policies: list[tuple[str, Manifest]] = [
        ("deny-all", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        (
            "allow-own",
            {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": own}],
                "egress": [{"to": own}, {"ports": dns}, {"to": outside}],
            },
        ),
    ]
    if let_in:
        policies.append(("allow-entrance", {"podSelector": shop, "policyTypes": ["Ingress"], "ingress": entrance}))
    return [_object("networking.k8s.io/v1", "NetworkPolicy", place, name, spec) for name, spec in policies]


def copied_secret(found: Manifest, place: str) -> Manifest:
    """Return a Secret as it belongs into another namespace: its content, nothing of its history."""
    copy = {"apiVersion": "v1", "kind": "Secret", "type": found.get("type", "Opaque"), "data": found.get("data") or {}}
    return {**copy, "metadata": {"name": found["metadata"]["name"], "namespace": place}}


def _container_limits(config: ClusterConfig) -> Manifest:
    default = config.resources
    return {
        "type": "Container",
        "default": {"cpu": default.cpu_limit, "memory": default.memory_limit},
        "defaultRequest": {"cpu": default.cpu, "memory": default.memory},
    }


def _object(version: str, kind: str, place: str, name: str, spec: Manifest | None) -> Manifest:
    made: Manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": place}}
    return made if spec is None else {**made, "spec": spec}
