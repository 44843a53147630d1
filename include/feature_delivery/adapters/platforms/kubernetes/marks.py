"""The mark of whoever works on a cluster: a ConfigMap in production's namespace, replaced only as it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes import apply
from feature_delivery.adapters.platforms.kubernetes.failures import LostRaceError
from feature_delivery.adapters.platforms.kubernetes.names import (
    INSTANCE,
    MANAGED_BY,
    MANAGER,
    PROJECT,
    app_name,
    dns_label,
    label_value,
)
from feature_delivery.adapters.platforms.kubernetes.resources import CONFIG_MAP
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.marks import UNREADABLE

if TYPE_CHECKING:
    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.names import ProjectName

_KEY = "mark"


def leave(cluster: Cluster, namespace: str, project: ProjectName, claim: Claim) -> str:
    """Put a mark in the place of one that the claim admits; returns what is there when it admits it not.

    Raises:
        Unavailable: It keeps changing.
        Error: The cluster does not answer, or there is no such namespace.
    """
    name = dns_label(f"{app_name(project)}-control-{claim.instance}")
    lost: LostRaceError | None = None
    for _ in range(apply.TRIES):
        read = cluster.get(CONFIG_MAP, name, namespace=namespace)
        found = "" if read is None else (read.get("data") or {}).get(_KEY, UNREADABLE)
        if not claim.admits(found):
            return str(found)
        if found == claim.fresh:
            return ""
        wanted = _manifest(name, namespace, project, claim)
        try:
            if read is None:
                cluster.create(CONFIG_MAP, wanted, namespace=namespace)
            else:
                wanted["metadata"]["resourceVersion"] = read["metadata"]["resourceVersion"]
                cluster.replace(CONFIG_MAP, wanted)
        except LostRaceError as error:
            lost = error
        else:
            return ""
    raise Unavailable(f"Could not leave a mark for {project}: ConfigMap {name!r} keeps changing. Try again.") from lost


def _manifest(name: str, namespace: str, project: ProjectName, claim: Claim) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGER, INSTANCE: label_value(claim.instance), PROJECT: label_value(project)},
        },
        "data": {_KEY: claim.fresh},
    }
