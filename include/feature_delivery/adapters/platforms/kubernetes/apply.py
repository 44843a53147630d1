"""Server-side apply that an older attempt cannot win: each write names the object that it has looked at.

Every object of ours carries the generation that wrote it. A write reads the object, compares instance and generation,
and applies with the ``resourceVersion`` that it has read; who wrote in between makes it look again. What is not there
yet is created by a plain POST, which fails when somebody was quicker: an apply would overwrite what that one has made.
Fields of a POST belong to an *update*, which an apply would never remove again, so that they are made fields of an
apply at once, as client-go's ``csaupgrade`` does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.api import APPLY, JSON_PATCH
from feature_delivery.adapters.platforms.kubernetes.failures import LostRaceError
from feature_delivery.adapters.platforms.kubernetes.names import (
    GENERATION,
    INSTANCE,
    MANAGED_BY,
    MANAGER,
    PROJECT,
    label_value,
    labels_of,
)
from feature_delivery.adapters.platforms.kubernetes.resources import resource_of, title
from feature_delivery.domain.errors import Conflict, Refused, Unavailable

if TYPE_CHECKING:
    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest, Resource
    from feature_delivery.ports.platform import EnvironmentRef

TRIES = 8


def stamped(manifest: Manifest, ref: EnvironmentRef) -> Manifest:
    """Return a manifest with the labels and the generation of the environment that it is for."""
    meta = manifest["metadata"]
    return {
        **manifest,
        "metadata": {
            **meta,
            "labels": {**meta.get("labels", {}), **labels_of(ref)},
            "annotations": {**meta.get("annotations", {}), GENERATION: str(ref.generation)},
        },
    }


def apply(cluster: Cluster, manifest: Manifest, ref: EnvironmentRef) -> Manifest:
    """Make an object what ``manifest`` says, in the name of ``ref``; return it as it is now.

    Raises:
        Refused: It is somebody else's, or the cluster does not take it.
        Conflict: A newer generation has written it.
    """
    wanted, resource = stamped(manifest, ref), resource_of(manifest)
    name, namespace = wanted["metadata"]["name"], wanted["metadata"].get("namespace", "")
    for _ in range(TRIES):
        found = cluster.get(resource, name, namespace=namespace)
        try:
            if found is None:
                created = cluster.create(resource, wanted, namespace=namespace, manager=MANAGER)
                return _ours_by_apply(cluster, resource, created)
            admit(found, ref)
            found = _ours_by_apply(cluster, resource, found)
            version = found["metadata"]["resourceVersion"]
            body = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}
            query = {"fieldManager": MANAGER, "force": "true"}
            return cluster.patch(resource, name, body, namespace=namespace, content=APPLY, query=query)
        except LostRaceError as conflict:
            lost = conflict  # Somebody wrote between our look and our write: look again at what is there now.
    raise Unavailable(f"Could not apply {title(wanted)}: it keeps changing. Try again.") from lost


def remove(cluster: Cluster, manifest: Manifest, ref: EnvironmentRef) -> None:
    """Delete an object of ours; gone already is done.

    Raises:
        Refused: It is somebody else's.
        Conflict: A newer generation has written it.
    """
    resource = resource_of(manifest)
    name, namespace = manifest["metadata"]["name"], manifest["metadata"].get("namespace", "")
    for _ in range(TRIES):
        found = cluster.get(resource, name, namespace=namespace)
        if found is None:
            return
        admit(found, ref)
        meta = found["metadata"]
        try:
            seen = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
            cluster.delete(resource, name, namespace=namespace, preconditions=seen)
        except LostRaceError as conflict:
            lost = conflict
        else:
            return
    raise Unavailable(f"Could not delete {title(manifest)}: it keeps changing. Try again.") from lost


def admit(found: Manifest, ref: EnvironmentRef) -> None:
    """Raise unless ``ref`` may write an object that is there.

    Raises:
        Refused: It is somebody else's.
        Conflict: A newer generation has written it.
    """
    labels = found["metadata"].get("labels") or {}
    owner = labels.get(INSTANCE)
    if labels.get(MANAGED_BY) != MANAGER or owner != label_value(ref.instance):
        whose = f"belongs to the instance {owner!r}" if owner else "belongs to somebody else"
        raise Refused(f"Did not touch {title(found)}: it {whose}. Remove it by hand, or let it have another name.")
    if labels.get(PROJECT) != label_value(ref.project):
        # Generations of two projects say nothing of each other.
        raise Refused(
            f"Did not touch {title(found)}: it belongs to the project {labels.get(PROJECT)!r}, and this is "
            f"{ref.project!r}. Let it have another name, or give each project a namespace of its own."
        )
    written = (found["metadata"].get("annotations") or {}).get(GENERATION, "0")
    if written.isdigit() and int(written) > ref.generation:
        raise Conflict(
            f"Did not touch {title(found)}: generation {written} has written it already, and this is generation "
            f"{ref.generation}. A newer attempt owns the environment; this one has nothing left to do."
        )


def _ours_by_apply(cluster: Cluster, resource: Resource, found: Manifest) -> Manifest:
    """Turn fields that a POST of ours has set into applied ones; nothing when there are none."""
    meta = found["metadata"]
    entries = meta.get("managedFields") or []
    ours = [
        place
        for place, entry in enumerate(entries)
        if entry.get("manager") == MANAGER and entry.get("operation") == "Update" and not entry.get("subresource")
    ]
    applied = any(entry.get("manager") == MANAGER and entry.get("operation") == "Apply" for entry in entries)
    if not ours:
        return found
    place = ours[0]
    change = (
        {"op": "remove", "path": f"/metadata/managedFields/{place}"}
        if applied
        else {"op": "replace", "path": f"/metadata/managedFields/{place}/operation", "value": "Apply"}
    )
    version = {"op": "replace", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}
    namespace = meta.get("namespace", "")
    return cluster.patch(resource, meta["name"], [version, change], namespace=namespace, content=JSON_PATCH, query={})
