"""What ``doctor`` looks at: is the cluster there, new enough, and may we do what a delivery does."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.resources import NAMESPACE, SECRET
from feature_delivery.domain.errors import Error
from feature_delivery.domain.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Resource
    from feature_delivery.adapters.platforms.kubernetes.settings import Settings

OLDEST = (1, 29)
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WRITES = ("get", "create", "patch", "delete")
_AT_ONCE = 4

Right = tuple[str, str, str]
"""Verb, API group, resource (with its subresource)."""

_OBJECTS = (
    ("", "services"),
    ("", "configmaps"),
    ("apps", "deployments"),
    ("networking.k8s.io", "ingresses"),
)
ALWAYS: tuple[Right, ...] = (
    *((verb, group, resource) for group, resource in _OBJECTS for verb in _WRITES),
    ("update", "", "configmaps"),
    *((verb, "", "serviceaccounts") for verb in ("get", "create", "patch")),
    *((verb, "", "pods") for verb in ("get", "list", "watch", "create", "patch", "delete")),
    ("get", "", "pods/log"),
    ("list", "", "events"),
    ("list", "apps", "deployments"),
    ("watch", "apps", "deployments"),
)
"""In each namespace that deliveries work in, production's too."""

TEMPORARY: tuple[Right, ...] = (
    *((verb, "", "resourcequotas") for verb in ("get", "create", "patch")),
    *((verb, "", "limitranges") for verb in ("get", "create", "patch")),
    *((verb, "networking.k8s.io", "networkpolicies") for verb in ("get", "create", "patch")),
)
"""In temporary namespaces, besides."""

SECRETS: tuple[Right, ...] = tuple((verb, "", "secrets") for verb in ("get", "create", "patch"))
"""In temporary namespaces, where Secrets are copied."""

CLUSTER: tuple[Right, ...] = tuple((verb, "", "namespaces") for verb in ("get", "list", "create", "patch", "delete"))

OWN: tuple[Right, ...] = tuple(
    (verb, group, resource)
    for group, resource in (
        ("apps", "statefulsets"),
        ("", "persistentvolumeclaims"),
        ("networking.k8s.io", "networkpolicies"),
        ("autoscaling", "horizontalpodautoscalers"),
        ("policy", "poddisruptionbudgets"),
    )
    for verb in _WRITES
)
"""For shops with manifests of their own, besides."""


def examine(settings: Settings, cluster: Cluster, production: Cluster) -> list[Finding]:
    """Look at each cluster once; one that does not answer is one finding, not many."""
    found = list(_one(settings, cluster, temporary=True, production=cluster is production))
    if production is not cluster:
        found += list(_one(settings, production, temporary=False, production=True))
    return found


def _one(settings: Settings, cluster: Cluster, *, temporary: bool, production: bool) -> Iterator[Finding]:
    what = f"cluster {cluster.name}"
    try:
        yield _version(cluster, what)
        if temporary:
            yield _rights(cluster, what, "temporary environments", "", _needed(settings, temporary=True))
        place = settings.config.production_namespace
        if production and place:
            yield _rights(cluster, what, f"namespace {place}", place, _needed(settings, temporary=False))
            yield _namespace(cluster, what, place)
        elif production:
            said = "No namespace for production is named. Name it as 'platform.production.namespace'."
            yield Finding(what, well=False, sentence=said)
        yield from _secrets(settings, cluster, what, temporary=temporary)
    except Error as error:
        yield Finding(what, well=False, sentence=str(error))


def _version(cluster: Cluster, what: str) -> Finding:
    found = cluster.request("GET", "/version") or {}
    numbers = re.match(r"v?(\d+)\.(\d+)", str(found.get("gitVersion", "")))
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    oldest = ".".join(map(str, OLDEST))
    said = f"Kubernetes {found.get('gitVersion', 'of an unknown version')} answers; {oldest} or newer is needed."
    return Finding(what, well=version >= OLDEST, sentence=said)


def _needed(settings: Settings, *, temporary: bool) -> tuple[Right, ...]:
    config = settings.config
    rights = (*ALWAYS, *(OWN if config.manifests else ()))
    if not temporary:
        return rights
    return (*rights, *TEMPORARY, *CLUSTER, *(SECRETS if config.copied_secrets else ()))


def _rights(cluster: Cluster, what: str, where: str, namespace: str, needed: tuple[Right, ...]) -> Finding:
    needed = tuple(dict.fromkeys(needed))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rights") as pool:
        answers = list(pool.map(lambda right: may(cluster, right, namespace=namespace), needed))
    missing = [_words(right) for right, allowed in zip(needed, answers, strict=True) if not allowed]
    if not missing:
        return Finding(what, well=True, sentence=f"All {len(needed)} rights for {where} are there.")
    said = f"Missing rights for {where}: {', '.join(missing)}. include/kubernetes/rbac.yaml grants them."
    return Finding(what, well=False, sentence=said)


def may(cluster: Cluster, right: Right, *, namespace: str) -> bool:
    """Ask the API server whether we have a right; in ``namespace``, or everywhere."""
    verb, group, resource = right
    name, _, part = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": name, "subresource": part, "namespace": namespace}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {field: value for field, value in asked.items() if value}},
    }
    answer = cluster.request("POST", _REVIEW, body=body) or {}
    return bool((answer.get("status") or {}).get("allowed"))


def _namespace(cluster: Cluster, what: str, name: str) -> Finding:
    there = cluster.get(NAMESPACE, name) is not None
    said = f"Production's namespace {name} is there." if there else f"There is no namespace {name}. Create it."
    return Finding(what, well=there, sentence=said)


def _secrets(settings: Settings, cluster: Cluster, what: str, *, temporary: bool) -> Iterator[Finding]:
    wanted = settings.config.sources_of_secrets
    if not temporary or not wanted:
        return
    missing = [f"{name} in {source}" for name, source in wanted.items() if not _is_there(cluster, SECRET, name, source)]
    said = f"There is no Secret {', '.join(missing)}. Create it." if missing else "Its Secrets are there."
    yield Finding(what, well=not missing, sentence=said)


def _is_there(cluster: Cluster, resource: Resource, name: str, namespace: str) -> bool:
    return cluster.get(resource, name, namespace=namespace) is not None


def _words(right: Right) -> str:
    verb, group, resource = right
    return f"{verb} {resource}{'.' + group if group else ''}"
