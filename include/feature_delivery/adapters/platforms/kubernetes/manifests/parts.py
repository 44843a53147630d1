"""What all our pods have in common: the restricted Pod Security Standard, volumes, variables.

A pod that these make passes the standard ``restricted`` (https://kubernetes.io/docs/concepts/security/pod-security-standards/)
and more: its root file system is read-only, and it holds no token of the API server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.domain.cluster import Resources
    from feature_delivery.domain.plan import Command

WORKSPACE, TEMPORARY, DATA = "/workspace", "/tmp", "/data"  # noqa: S108 - inside a pod of its own


def pod_security(user: int) -> Manifest:
    """Return the security context of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """Return the security context of every container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }


def resources(found: Resources) -> Manifest:
    """Return what a container asks for and may use."""
    return {
        "requests": {"cpu": found.cpu, "memory": found.memory},
        "limits": {"cpu": found.cpu_limit, "memory": found.memory_limit},
    }


def variables(values: Mapping[str, str]) -> list[Manifest]:
    """Return variables; ``$(`` would be filled in by Kubernetes and is meant as it stands."""
    return [{"name": name, "value": value.replace("$(", "$$(")} for name, value in sorted(values.items())]


def words(command: Command) -> list[str]:
    """Return a command as Kubernetes takes it: no shell, and ``$(VARIABLE)`` stays what it is."""
    return [word.replace("$(", "$$(") for word in command]


def scratch(*places: str, prefix: str = "scratch") -> tuple[list[Manifest], list[Manifest]]:
    """Return volumes and mounts for places that may be written to; they live as long as the pod."""
    named = [(f"{prefix}-{number}", place) for number, place in enumerate(places)]
    return (
        [{"name": name, "emptyDir": {}} for name, _ in named],
        [{"name": name, "mountPath": place} for name, place in named],
    )


def container(name: str, image: str, **fields: Any) -> Manifest:
    """Return a container with our security context; fields without a value are left out."""
    return {
        "name": name,
        "image": image,
        "securityContext": container_security(),
        **{field: value for field, value in fields.items() if value},
    }


def pod_spec(containers: list[Manifest], *, user: int, account: str, **fields: Any) -> Manifest:
    """Return a pod's spec with our security context; fields without a value are left out."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "serviceAccountName": account,
        "securityContext": pod_security(user),
        "containers": containers,
        **{field: value for field, value in fields.items() if value},
    }
