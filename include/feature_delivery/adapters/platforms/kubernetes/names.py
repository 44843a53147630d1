"""Names and labels of Kubernetes objects: valid whatever a project, a key or a branch is called, unique, reversible.

A name that loses something on its way into a DNS label ends with a hash of what it stands for, so that two things never
share a name; what it stands for is read back from labels and annotations, never from the name.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import slug

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.ports.platform import EnvironmentRef

LABEL_LIMIT = 63
_DIGEST = 10

PREFIX = "feature-delivery.io"
MANAGER = "feature-delivery"
"""Our field manager in server-side apply."""

INSTANCE, PROJECT, ENVIRONMENT, KIND, FEATURE = (
    f"{PREFIX}/{word}" for word in ("instance", "project", "environment", "kind", "feature")
)
COMMIT, DELIVERY, EXPIRES, GENERATION, RELEASE, ROLE = (
    f"{PREFIX}/{word}" for word in ("commit", "delivery", "expires-at", "generation", "release", "role")
)
ACCOUNT = "feature-delivery-shop"
"""The service account of pods in a temporary namespace."""

MANAGED_BY = "app.kubernetes.io/managed-by"
NAME = "app.kubernetes.io/name"


def digest(text: str) -> str:
    """Return ten hexadecimal digits that stand for ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]


def dns_label(text: str, *, limit: int = LABEL_LIMIT) -> str:
    """Return ``text`` as a DNS label of at most ``limit`` characters that no other text shares.

    Text that is a DNS label already stays what it is; any other one ends with its hash.
    """
    if len(text) <= limit and re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", text):
        return text
    plain = slug(text, limit=limit - _DIGEST - 1)
    plain = plain if plain[:1].isalpha() else f"x{plain}"[: limit - _DIGEST - 1].strip("-")
    return f"{plain}-{digest(text)}"


def app_name(project: ProjectName) -> str:
    """Return what a project's own objects are called; project names have ``_`` where DNS labels have ``-``."""
    plain = project.replace("_", "-")
    return plain if dns_label(plain) == plain and "--" not in plain else dns_label(project, limit=40)


def account_name(ref: EnvironmentRef) -> str:
    """Return the service account of an environment's pods; a production namespace may hold several projects."""
    return f"{app_name(ref.project)}-shop" if "production" in (ref.kind, ref.name) else ACCOUNT


def namespace_name(project: ProjectName, environment: str) -> str:
    """Return the namespace of an environment that we create.

    Raises:
        Refused: ``environment`` is no DNS label.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", environment):
        raise Refused(f"{environment[:80]!r} is not an environment's name. Use one like 'development-shop-1'.")
    # Both parts are injective, and a hash of both says where one ends when they are joined or cut.
    app = app_name(project)
    plain = f"{app}-{environment}"
    lossless = len(plain) <= LABEL_LIMIT and re.match(r"(development|preprod)-", environment) is not None
    if lossless and not re.search(r"-(development|preprod)(-|$)", f"-{app}"):
        return plain
    return f"{plain[: LABEL_LIMIT - _DIGEST - 1].strip('-')}-{digest(f'{project}/{environment}')}"


def label_value(text: str) -> str:
    """Return ``text`` as the value of a label; what does not fit is cut and ends with a hash of the whole."""
    if re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", text):
        return text
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[: LABEL_LIMIT - _DIGEST - 1].strip("-._")
    return f"{plain}-{digest(text)}".lstrip("-")


def labels_of(ref: EnvironmentRef) -> dict[str, str]:
    """Return the labels by which objects of an environment are found."""
    labels = {
        MANAGED_BY: MANAGER,
        INSTANCE: label_value(ref.instance),
        PROJECT: label_value(ref.project),
        ENVIRONMENT: label_value(ref.name),
        KIND: ref.kind.value,
    }
    return labels if ref.key is None else {**labels, FEATURE: label_value(ref.key)}


def identity_of(ref: EnvironmentRef) -> dict[str, str]:
    """Return the annotations that say exactly what a namespace stands for: labels may be cut, these are not."""
    return {
        INSTANCE: ref.instance,
        PROJECT: ref.project,
        ENVIRONMENT: ref.name,
        KIND: ref.kind.value,
        FEATURE: ref.key or "",
        GENERATION: str(ref.generation),
    }


def selector(labels: Mapping[str, str]) -> str:
    """Return a label selector."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
