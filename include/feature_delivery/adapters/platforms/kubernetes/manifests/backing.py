"""Backing services of temporary environments: a database, a cache, made with the environment and gone with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.manifests.parts import (
    TEMPORARY,
    container,
    pod_spec,
    resources,
    scratch,
    variables,
    words,
)
from feature_delivery.adapters.platforms.kubernetes.names import ACCOUNT, NAME, RELEASE, ROLE

if TYPE_CHECKING:
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.domain.cluster import BackingService

BACKING = "backing"
"""What stands for the release in pods of backing services: they outlive all of the shop's."""


def backing(service: BackingService, namespace: str) -> list[Manifest]:
    """Return the Deployment and the Service of a backing service."""
    chosen = {NAME: service.name, ROLE: BACKING}
    places = tuple(dict.fromkeys(place for place in (TEMPORARY, service.data, *service.scratch) if place))
    volumes, mounts = scratch(*places)
    check = {"exec": {"command": words(service.ready)}} if service.ready else {"tcpSocket": {"port": service.port}}
    serving = container(
        service.name,
        service.image,
        command=words(service.command),
        env=variables(service.variables),
        ports=[{"containerPort": service.port, "protocol": "TCP"}],
        volumeMounts=mounts,
        resources=resources(service.resources),
        readinessProbe={**check, "periodSeconds": 2, "timeoutSeconds": 3},
    )
    meta = {"name": service.name, "namespace": namespace}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": 1,
            # Two of them would each have data of their own.
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": chosen},
            "template": {
                "metadata": {"labels": {**chosen, RELEASE: BACKING}},
                "spec": pod_spec([serving], user=service.run_as, account=ACCOUNT, volumes=volumes),
            },
        },
    }
    ports = [{"port": service.port, "targetPort": service.port, "protocol": "TCP"}]
    return [
        deployment,
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": chosen, "ports": ports}},
    ]
