"""Environments come and go: namespaces made whole, found again, deleted and seen to be gone."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes import record
from feature_delivery.adapters.platforms.kubernetes.apply import admit
from feature_delivery.adapters.platforms.kubernetes.failures import ForbiddenError, LostRaceError
from feature_delivery.adapters.platforms.kubernetes.manifests.backing import backing
from feature_delivery.adapters.platforms.kubernetes.manifests.environment import (
    copied_secret,
    furniture,
    namespace,
    service_account,
)
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import entrance
from feature_delivery.adapters.platforms.kubernetes.names import (
    ENVIRONMENT,
    INSTANCE,
    KIND,
    MANAGED_BY,
    MANAGER,
    PROJECT,
)
from feature_delivery.adapters.platforms.kubernetes.release import services_of
from feature_delivery.adapters.platforms.kubernetes.resources import NAMESPACE, SECRET
from feature_delivery.domain.errors import Conflict, Misconfigured, Refused, Temporary, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feature_delivery.adapters.platforms.kubernetes.place import Place
    from feature_delivery.adapters.platforms.kubernetes.record import EnvironmentRecord
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest


def provision(place: Place) -> EnvironmentRecord:
    """Find or create the environment; what an interrupted try has made is found and completed.

    Raises:
        Refused: It belongs to somebody else.
        Conflict: A newer generation has written, or its name means another feature.
        Misconfigured: Production's namespace is not there, or a Secret to copy is not; or a temporary environment
            would have a Secret that the code of a branch must not read.
    """
    if not place.is_production and (exposed := place.settings.config.exposed):
        raise Misconfigured(f"Did not provision {place.title}: {exposed}.")
    uid = _admit_namespace(place)
    found = place.look()
    if found is None:
        place.admit_instance(place.ref.instance)
        try:
            record.create(place.cluster, place.namespace, record.fresh_record(place.ref))
        except LostRaceError as error:
            raise Unavailable(f"Somebody else provisions {place.title} at this moment. Try again.") from error
    made = place.change(lambda known: known.changed(generation=place.ref.generation))
    if made.leaving:
        # A destruction has said so and stopped before it deleted the namespace: nobody else would go on there.
        with suppress(LostRaceError):
            place.cluster.delete(NAMESPACE, place.namespace, preconditions={"uid": uid})
        raise Unavailable(f"{place.title} is being destroyed. Try again when it is gone.")
    for manifest in _objects(place):
        place.apply(manifest)
    return made


def _objects(place: Place) -> Iterator[Manifest]:
    config = place.settings.config
    if place.is_production:
        yield service_account(place.ref, place.namespace, config)
    else:
        yield from furniture(place.ref, place.namespace, config)
        for name, source in config.sources_of_secrets.items():
            yield _copy_of(place, name, source)
        for service in services_of(place):
            yield from backing(service, place.namespace)
    if not config.manifests:
        yield from entrance(ref=place.ref, app=place.app, namespace=place.namespace, settings=place.settings)


def _admit_namespace(place: Place) -> str:
    """See that the namespace is there and ours, and return its uid; production's is given, and stays as it is."""
    found = place.namespace_object()
    if place.is_production:
        if found is None:
            raise Misconfigured(
                f"Production of {place.ref.project!r} has no namespace {place.namespace!r} on the cluster "
                f"{place.cluster.name!r}. Create it; deliveries never do."
            )
        return str(found["metadata"]["uid"])
    if found is None:
        place.admit_instance(place.ref.instance)
        wanted = namespace(place.ref, place.namespace, lives=place.settings.config.expires_after)
        try:
            found = place.cluster.create(NAMESPACE, wanted, manager=MANAGER)
        except LostRaceError as error:
            raise Unavailable(
                f"Somebody else creates namespace {place.namespace!r} at this moment. Try again."
            ) from error
    admit_ours(place, found)
    if found["metadata"].get("deletionTimestamp"):
        raise Unavailable(f"Namespace {place.namespace!r} is being deleted{stuck(found)}. Try again when it is gone.")
    return str(found["metadata"]["uid"])


def admit_ours(place: Place, found: Manifest) -> None:
    """Raise unless a namespace is this environment's.

    Raises:
        Refused: It is somebody else's, or of another instance.
        Conflict: It stands for another environment.
    """
    meta = found["metadata"]
    said = meta.get("annotations") or {}
    if (meta.get("labels") or {}).get(MANAGED_BY) != MANAGER or INSTANCE not in said:
        raise Refused(
            f"Did not touch namespace {place.namespace!r}: it belongs to somebody else, for it lacks our labels. "
            "Remove it by hand, or rename the project."
        )
    place.admit_instance(said[INSTANCE])
    if (said.get(PROJECT), said.get(ENVIRONMENT), said.get(KIND)) != (
        place.ref.project,
        place.ref.name,
        place.ref.kind,
    ):
        raise Conflict(
            f"Did not touch namespace {place.namespace!r}: it is {said.get(PROJECT)}/{said.get(ENVIRONMENT)}, "
            f"not {place.title}."
        )


def mark(place: Place, commit: str, *, say: Callable[[str], None]) -> None:
    """Write on a temporary environment's namespace which commit runs there, and until when it is expected to.

    It is for people and their tools: a right that is missing keeps no release from serving.
    """
    if place.is_production:
        return
    wanted = namespace(place.ref, place.namespace, lives=place.settings.config.expires_after, commit=commit)
    try:
        place.apply(wanted)
    except ForbiddenError as error:
        say(f"The namespace does not say which commit it runs. {error}")


def _copy_of(place: Place, name: str, source: str) -> Manifest:
    found = place.cluster.get(SECRET, name, namespace=source) if source else None
    if found is None:
        raise Misconfigured(
            f"There is no Secret {name!r} in namespace {source!r} to copy into {place.title}. Create it, or correct "
            "the place where it is said to be."
        )
    return copied_secret(found, place.namespace)


def destroy(
    place: Place,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Delete the environment's namespace and wait until it is gone; gone already is done.

    Raises:
        Refused: It is somebody else's.
        Conflict: A newer generation has written.
        Unavailable: It is still there after a while; the sentence names the finalizers it waits for.
    """
    found = place.namespace_object()
    if found is None:
        return
    admit_ours(place, found)
    if not found["metadata"].get("deletionTimestamp"):
        if place.look() is None:
            admit(found, place.ref)  # Nothing but the namespace has been made yet: its own generation counts.
        else:
            place.change(lambda known: known.changed(generation=place.ref.generation, leaving=True))
        uid = found["metadata"]["uid"]
        place.cluster.delete(NAMESPACE, place.namespace, preconditions={"uid": uid})
    end = now() + place.settings.destroy_timeout.total_seconds()
    while True:
        try:
            left = place.namespace_object()
        except Temporary:
            if now() >= end:
                raise
            left = found
        if left is None or left["metadata"]["uid"] != found["metadata"]["uid"]:
            return
        if now() >= end:
            raise Unavailable(f"Namespace {place.namespace!r} is still there{stuck(left)}. It is tried again.")
        sleep(place.settings.look_every.total_seconds())


def stuck(found: Manifest) -> str:
    """Return what a namespace that is being deleted waits for, as the end of a clause; may be empty."""
    said = [
        " ".join(str(condition.get("message", "")).split())
        for condition in (found.get("status") or {}).get("conditions") or []
        if condition.get("status") == "True"
        and condition.get("type")
        in {"NamespaceFinalizersRemaining", "NamespaceContentRemaining", "NamespaceDeletionContentFailure"}
    ]
    own = found["metadata"].get("finalizers") or []
    said += [f"finalizers on the namespace itself: {', '.join(own)}"] if own else []
    return f" ({'; '.join(said)[:600]})" if said else ""
