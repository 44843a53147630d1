"""What a branch's own manifests may not do: nothing in a temporary environment leads out of it, or takes from others.

Quota, Pod Security and rights hold whatever a manifest says; here is what they do not look at. Production's manifests
were read and signed off before they come there, and are not asked for this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.platforms.kubernetes.resources import (
    CLAIM,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    INGRESS,
    NETWORK_POLICY,
    SERVICE,
    WORKLOADS,
    resource_of,
    title,
)
from feature_delivery.domain.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

_HARMLESS = "prometheus.io/"
"""Annotations that are read by who measures, and changed nothing by."""


def bounded(
    objects: list[Manifest],
    *,
    host: str,
    annotations: Mapping[str, str],
    services: Collection[str],
    say: Callable[[str], None],
) -> list[Manifest]:
    """Return the objects as a temporary environment may have them.

    Args:
        objects: In their namespace, with valid names.
        host: The environment's own name, the only one that it may be reached by; empty: it has none.
        annotations: What the project file lets Ingresses and Services say to the cluster's controllers.
        services: Names of the environment's backing services.
        say: Told what was left out.

    Raises:
        Refused: One of them takes a name, an address or an object that is not its own.
    """
    made = []
    for each in objects:
        resource = resource_of(each)
        if resource is NETWORK_POLICY:
            # Policies add up, so that one more can only open what ours close; without ours it would mean nothing.
            say(f"Left {title(each)} out: the walls of a temporary environment are the project file's.")
            continue
        if resource is DISRUPTION_BUDGET:
            say(f"Left {title(each)} out: a temporary environment may be moved whenever a node is emptied.")
            continue
        if resource in (DEPLOYMENT, SERVICE) and each["metadata"]["name"] in services:
            raise Refused(
                f"{title(each)} in the shop's manifests has the name of a backing service. Give it another one, or "
                "take the service out of 'platform.services'."
            )
        if resource is INGRESS:
            _admit_ingress(each, host)
        if resource is SERVICE:
            _admit_service(each)
        _admit_claims(each)
        if resource in (INGRESS, SERVICE):
            made.append(_quiet(each, annotations, say))
        else:
            made.append(_humble(each, say) if resource in WORKLOADS else each)
    return made


def _admit_ingress(manifest: Manifest, host: str) -> None:
    spec = _object(manifest.get("spec"))
    if spec.get("defaultBackend") is not None:
        raise Refused(f"{title(manifest)} in the shop's manifests has a default backend, which answers for everybody.")
    taken = [name for name in _hosts(spec) if not host or name != host]
    if not taken:
        return
    what = f"the host {taken[0][:253]!r}" if taken[0] else "no host, and so every one"
    ours = f"{host!r}, which is ${{DELIVERY_HOST}}" if host else "none: the project file has no 'platform.ingress'"
    raise Refused(f"{title(manifest)} in the shop's manifests names {what}. This environment's own is {ours}.")


def _hosts(spec: Manifest) -> Iterator[str]:
    """Yield every host that an Ingress answers for or has a certificate for; an empty one is all of them."""
    for rule in _list(spec.get("rules")):
        yield str(_object(rule).get("host") or "")
    for certificate in _list(spec.get("tls")):
        for name in _list(_object(certificate).get("hosts")) or [""]:
            yield str(name)


def _admit_service(manifest: Manifest) -> None:
    spec = _object(manifest.get("spec"))
    if spec.get("externalIPs"):
        raise Refused(f"{title(manifest)} in the shop's manifests takes addresses for itself ('externalIPs').")
    if spec.get("type") == "ExternalName":
        raise Refused(
            f"{title(manifest)} in the shop's manifests leads elsewhere ('ExternalName'): the Ingress controller would "
            "go there from outside the environment's walls."
        )


def _admit_claims(manifest: Manifest) -> None:
    """Refuse claims that choose their volume: what was left on one by others would be read."""
    spec = _object(manifest.get("spec"))
    claims = [manifest] if resource_of(manifest) is CLAIM else _list(spec.get("volumeClaimTemplates"))
    for claim in claims:
        wanted = _object(_object(claim).get("spec"))
        if wanted.get("volumeName") or wanted.get("selector"):
            raise Refused(
                f"{title(manifest)} in the shop's manifests names the volume that it wants: it gets a new one."
            )


def _quiet(manifest: Manifest, allowed: Mapping[str, str], say: Callable[[str], None]) -> Manifest:
    """Leave out what speaks to controllers of the whole cluster: other hosts, DNS records, certificates, snippets."""
    meta = manifest["metadata"]
    said = _object(meta.get("annotations"))
    kept = {name: value for name, value in said.items() if name.startswith(_HARMLESS) or allowed.get(name) == value}
    if left := sorted(said.keys() - kept.keys()):
        names = ", ".join(left)[:300]
        say(f"Left annotations of {title(manifest)} out that 'platform.ingress.annotations' does not name: {names}.")
    return {**manifest, "metadata": {**meta, "annotations": kept}} if "annotations" in meta else manifest


def _humble(manifest: Manifest, say: Callable[[str], None]) -> Manifest:
    """Return a workload whose pods drive nobody else's off a node, and have no token of the API server."""
    spec = _object(manifest.get("spec"))
    template = _object(spec.get("template"))
    pod = dict(_object(template.get("spec")))
    sources = [
        source
        for volume in _list(pod.get("volumes"))
        for source in _list(_object(_object(volume).get("projected")).get("sources"))
    ]
    if any("serviceAccountToken" in _object(source) for source in sources):
        raise Refused(f"{title(manifest)} in the shop's manifests asks for a token of the API server.")
    if priority := pod.pop("priorityClassName", None):
        say(f"Left the priority class {str(priority)[:63]!r} of {title(manifest)} out: it is for production's pods.")
    pod["automountServiceAccountToken"] = False
    return {**manifest, "spec": {**spec, "template": {**template, "spec": pod}}}


def _object(found: Any) -> Manifest:
    return found if isinstance(found, dict) else {}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
