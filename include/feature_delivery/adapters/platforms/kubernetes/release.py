"""A commit as the cluster runs it: its manifests and the pod that its errands share."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.manifests.bounds import bounded
from feature_delivery.adapters.platforms.kubernetes.manifests.own import adapt, read_manifests
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import (
    Shop,
    address_of,
    host_of,
    pod_of,
    scraping,
    workload,
)
from feature_delivery.adapters.platforms.kubernetes.names import (
    ACCOUNT,
    COMMIT,
    RELEASE,
    ROLE,
    digest,
    label_value,
    labels_of,
)
from feature_delivery.adapters.platforms.kubernetes.record import ReleaseRecord, pack
from feature_delivery.adapters.platforms.kubernetes.resources import WORKLOADS, resource_of
from feature_delivery.adapters.platforms.links import leads_out
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import commit_sha
from feature_delivery.ports.platform import EnvironmentKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feature_delivery.adapters.platforms.kubernetes.place import Place
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.domain.cluster import BackingService
    from feature_delivery.ports.platform import Release


def services_of(place: Place) -> tuple[BackingService, ...]:
    """Return the backing services of an environment; production has its own, which we know nothing of."""
    return () if place.ref.kind is EnvironmentKind.PRODUCTION else place.settings.config.services


def address(place: Place) -> str:
    """Return the environment's address."""
    return address_of(ref=place.ref, app=place.app, namespace=place.namespace, settings=place.settings)


def make_release(place: Place, release: Release, *, say: Callable[[str], None]) -> ReleaseRecord:
    """Return ``release`` as it is applied to ``place``; the same one always has the same id.

    ``say``: told what of its own manifests was left out.

    Raises:
        Refused: Its own manifests are wrong.
        Misconfigured: The project file names no image.
    """
    shop = Shop(
        settings=place.settings,
        ref=place.ref,
        app=place.app,
        namespace=place.namespace,
        address=address(place),
        commit=commit_sha(release.commit),
        plan=release.plan,
        services=services_of(place),
    )
    template = pod_of(shop)
    # How its account is called makes no other release of it: those from before each project had its own stay the same.
    alike = {**template, "serviceAccountName": ACCOUNT}
    if place.settings.config.manifests:
        objects = _own(place, release)
        # What the project file lets through changes what is applied, and production's own manifests go as they are.
        allowed = _allowed(place) if not place.is_production else {}
        made = digest(json.dumps([objects, alike, *([allowed] if allowed else [])], sort_keys=True))
        marked = f"{shop.commit[:12]}-{made}"
        labels = {**labels_of(place.ref), RELEASE: marked, COMMIT: label_value(shop.commit), ROLE: "shop"}
        objects = adapt(objects, namespace=place.namespace, labels=labels, annotations=scraping(shop.plan))
        objects = objects if place.is_production else _bounded(place, objects, say)
    else:
        # The id is a label in the template: what it stands for is everything else.
        made = digest(json.dumps(workload(shop, release="", template=alike), sort_keys=True))
        marked = f"{shop.commit[:12]}-{made}"
        objects = workload(shop, release=marked, template=template)
    if not workloads_in(objects):
        raise Refused(f"The manifests of {shop.commit[:12]} hold no Deployment or StatefulSet: nothing would run.")
    return ReleaseRecord(id=marked, commit=shop.commit, plan=release.plan, packed=pack(objects), pod=template)


def workloads_in(objects: Sequence[Manifest]) -> list[Manifest]:
    """Return the objects whose rollout is waited for."""
    return [each for each in objects if resource_of(each) in WORKLOADS]


def _bounded(place: Place, objects: list[Manifest], say: Callable[[str], None]) -> list[Manifest]:
    return bounded(
        objects,
        host=host_of(place.ref, place.app, place.settings),
        annotations=_allowed(place),
        services={service.name for service in services_of(place)},
        say=say,
    )


def _allowed(place: Place) -> Mapping[str, str]:
    """Return the annotations that a branch's own Ingress may carry."""
    ingress = place.settings.config.ingress
    return ingress.annotations if ingress is not None else {}


def _own(place: Place, release: Release) -> list[Manifest]:
    folder = place.settings.config.manifests
    config, commit = place.settings.config, release.commit
    image = config.image.replace("{commit}", commit) if config.image else config.runtime
    values = {
        "DELIVERY_COMMIT": commit,
        "DELIVERY_ENVIRONMENT": place.ref.kind.value,
        "NAMESPACE": place.namespace,
        "IMAGE": image,
        "BASE_URL": address(place),
        "DELIVERY_HOST": host_of(place.ref, place.app, place.settings),
    }
    with tempfile.TemporaryDirectory(prefix="feature-delivery-") as made:
        checkout = Path(made) / "checkout"
        checkout.mkdir()
        release.checkout(checkout)
        wanted = Path(os.path.realpath(checkout / folder))
        if leads_out(wanted, of=checkout):
            raise Refused(f"{folder!r} leads out of the commit. Correct 'platform.manifests'.")
        return read_manifests(wanted, where=folder, values=values)
