"""The shop of one commit: Deployment, Service, Ingress, and the pod template that suites and commands share.

Two ways to the code: an image per commit that was built elsewhere, or a runtime image into which init containers clone
the commit and run the install commands. Nothing of the shop's words reaches a shell: addresses and commits are
variables, commands are argument lists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.manifests.parts import (
    DATA,
    TEMPORARY,
    WORKSPACE,
    container,
    pod_spec,
    resources,
    scratch,
    variables,
    words,
)
from feature_delivery.adapters.platforms.kubernetes.names import (
    COMMIT,
    LABEL_LIMIT,
    NAME,
    RELEASE,
    ROLE,
    account_name,
    dns_label,
    label_value,
    labels_of,
)
from feature_delivery.adapters.platforms.kubernetes.settings import PORT
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.adapters.platforms.kubernetes.settings import Settings
    from feature_delivery.domain.cluster import BackingService
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.plan import DeliveryPlan
    from feature_delivery.ports.platform import EnvironmentRef

SHOP = "shop"
"""The container that serves."""

VENV = f"{WORKSPACE}/.venv"
CODE = f"{WORKSPACE}/code"
_PATH = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CLONE = f"""set -eu
mkdir -p {CODE} && cd {CODE}
git init -q .
login='!f() {{ echo "username=$GIT_USERNAME"; echo "password=$GIT_PASSWORD"; }}; f'
get() {{ git -c credential.helper="$login" -c safe.directory='*' fetch -q "$@"; }}
# Hosts that give out single commits give this one; from any other everything is taken.
get --depth 1 "$GIT_REPOSITORY" "$DELIVERY_COMMIT" || get "$GIT_REPOSITORY" '+refs/heads/*:refs/remotes/all/*'
git checkout -q --detach "$DELIVERY_COMMIT"
"""
"""What the cloning container does; everything that differs comes in by variables."""

MAKE_VENV = f'if command -v python3 >/dev/null; then exec python3 -m venv "{VENV}"; fi'


@dataclass(frozen=True, slots=True)
class Shop:
    """One commit in one environment: what all manifests are made of."""

    settings: Settings
    ref: EnvironmentRef
    app: str
    namespace: str
    address: str
    commit: CommitSha
    plan: DeliveryPlan
    services: tuple[BackingService, ...]

    @property
    def image(self) -> str:
        """The image that the shop's own container runs.

        Raises:
            Misconfigured: The project file names none.
        """
        config = self.settings.config
        image = config.image.replace("{commit}", self.commit) if config.image else config.runtime
        if not image:
            raise Misconfigured(
                f"Nobody knows which image runs {self.ref.project!r}. Name 'platform.image' or 'platform.runtime'."
            )
        return image

    @property
    def replicas(self) -> int:
        """How many pods serve."""
        config = self.settings.config
        return config.production_replicas if self.ref.kind.value == "production" else config.replicas

    def variables(self) -> dict[str, str]:
        """Return what every container of the shop is told."""
        given: dict[str, str] = {}
        for service in self.services:
            values = {"host": service.name, "port": str(service.port)}
            given |= {name: value.format_map(_Filled(values)) for name, value in service.gives.items()}
        ours = {
            "HOST": "0.0.0.0",  # noqa: S104 - inside a pod, behind a Service
            "PORT": str(PORT),
            "DATA_DIR": DATA,
            "HOME": TEMPORARY,
            "TMPDIR": TEMPORARY,
            "BASE_URL": self.address,
            "DELIVERY_PROJECT": self.ref.project,
            "DELIVERY_ENVIRONMENT": self.ref.kind.value,
            "DELIVERY_COMMIT": self.commit,
            "PYTHONUNBUFFERED": "1",
        }
        source = {} if self.settings.config.image else {"PATH": _PATH, "VIRTUAL_ENV": VENV}
        return {**self.plan.variables, **given, **ours, **source}


class _Filled(dict[str, str]):
    """Placeholders that we do not know stay as they are."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def pod_of(shop: Shop) -> Manifest:
    """Return the pod template of a release without its probes: what suites, commands and the server run in."""
    config = shop.settings.config
    places = (TEMPORARY, DATA) if config.image else (TEMPORARY, DATA, WORKSPACE)
    volumes, mounts = scratch(*places)
    main = container(
        SHOP,
        shop.image,
        env=variables(shop.variables()),
        envFrom=[{"secretRef": {"name": name}} for name in config.secrets],
        volumeMounts=mounts,
        workingDir=config.workdir if config.image else CODE,
        resources=resources(config.resources),
    )
    return pod_spec(
        [main],
        user=config.run_as,
        account=account_name(shop.ref),
        volumes=volumes,
        initContainers=[] if config.image else _source(shop, main, mounts),
        imagePullSecrets=[{"name": config.pull_secret}] if config.pull_secret else [],
    )


def _source(shop: Shop, main: Manifest, mounts: list[Manifest]) -> list[Manifest]:
    """Return the containers that bring the commit in and install it."""
    config = shop.settings.config
    if not config.clone_image:
        raise Misconfigured(f"Nobody knows how to clone {shop.ref.project!r}. Name 'platform.clone_image'.")
    login = [
        {"name": f"GIT_{key.upper()}", "valueFrom": {"secretKeyRef": {"name": config.git_secret, "key": key}}}
        for key in ("username", "password")
        if config.git_secret
    ] or variables({"GIT_USERNAME": "", "GIT_PASSWORD": ""})
    told = {
        "GIT_REPOSITORY": shop.settings.repository,
        "DELIVERY_COMMIT": shop.commit,
        "HOME": TEMPORARY,
        "GIT_TERMINAL_PROMPT": "0",
    }
    clone = container(
        "clone",
        config.clone_image,
        command=["sh", "-c", words((CLONE,))[0]],
        env=[*variables(told), *login],
        volumeMounts=mounts,
        resources=main["resources"],
    )
    inner = {field: value for field, value in main.items() if field != "name"}
    commands = [["sh", "-c", MAKE_VENV], *(words(command) for command in shop.plan.install)]
    named = ("environment", *(f"install-{number}" for number in range(1, len(commands))))
    return [clone, *({**inner, "name": name, "command": done} for name, done in zip(named, commands, strict=True))]


def workload(shop: Shop, *, release: str, template: Manifest) -> list[Manifest]:
    """Return the objects that a deploy switches: the Deployment alone, for Service and Ingress stay the same."""
    chosen = {NAME: shop.app, ROLE: "shop"}
    seconds = shop.plan.health.timeout.total_seconds()
    probe = {"httpGet": {"path": shop.plan.health.path, "port": PORT}, "timeoutSeconds": 3}
    serving = {
        **template["containers"][0],
        "command": words(shop.plan.start),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        # Until it answers for the first time only this one counts: the shop's own word on how long it may take.
        "startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": max(math.ceil(seconds / 2), 1)},
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
        # Requests under way end before the process is told to: the endpoints need a moment to forget a pod.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
    }
    deadline = math.ceil(seconds + shop.settings.start_allowance.total_seconds())
    spec: Manifest = {
        "replicas": shop.replicas,
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": deadline,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": chosen},
        "template": {
            "metadata": {
                "labels": {**labels_of(shop.ref), **chosen, RELEASE: release, COMMIT: label_value(shop.commit)},
                **({"annotations": scraped} if (scraped := scraping(shop.plan, port=PORT)) else {}),
            },
            "spec": {**template, "containers": [serving], "terminationGracePeriodSeconds": 40},
        },
    }
    return [_object("apps/v1", "Deployment", shop, spec, labels={COMMIT: label_value(shop.commit), RELEASE: release})]


def scraping(plan: DeliveryPlan, *, port: int | None = None) -> dict[str, str]:
    """Return the annotations by which Prometheus' usual configurations find a pod's figures; none: it has none.

    ``port``: where they are; ``None``: at every port that the pod names.
    """
    if plan.metrics_path is None:
        return {}
    place = {} if port is None else {"prometheus.io/port": str(port)}
    return {"prometheus.io/scrape": "true", "prometheus.io/path": plan.metrics_path, **place}


def entrance(*, ref: EnvironmentRef, app: str, namespace: str, settings: Settings) -> list[Manifest]:
    """Return what gives an environment its address, whatever runs behind it: Service and Ingress."""
    meta: Manifest = {"name": app, "namespace": namespace}
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "selector": {NAME: app, ROLE: "shop"},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}],
        },
    }
    ingress, host = settings.config.ingress, host_of(ref, app, settings)
    if ingress is None or not host:
        return [service]
    backend = {"service": {"name": app, "port": {"number": 80}}}
    spec: Manifest = {
        "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    }
    spec |= {"ingressClassName": ingress.class_name} if ingress.class_name else {}
    if ingress.scheme == "https":
        # Without a Secret the controller takes a certificate of its own.
        spec["tls"] = [{"hosts": [host], **({"secretName": ingress.tls_secret} if ingress.tls_secret else {})}]
    meta = {**meta, **({"annotations": dict(ingress.annotations)} if ingress.annotations else {})}
    return [service, {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec}]


def host_of(ref: EnvironmentRef, app: str, settings: Settings) -> str:
    """Return the host name of an environment; empty: none from outside the cluster."""
    ingress = settings.config.ingress
    if ingress is None:
        return ""
    if ref.key is None:
        return ingress.production_host
    host = ingress.host.format_map(_Filled({"environment": ref.name, "project": app, "kind": ref.kind.value}))
    return ".".join(part if len(part) <= LABEL_LIMIT else dns_label(part) for part in host.split("."))


def address_of(*, ref: EnvironmentRef, app: str, namespace: str, settings: Settings) -> str:
    """Return where people and suites reach the environment; the same over all its releases."""
    host, config = host_of(ref, app, settings), settings.config
    if host and config.ingress is not None:
        return f"{config.ingress.scheme}://{host}"
    return f"http://{config.service or app}.{namespace}.svc"


def _object(version: str, kind: str, shop: Shop, spec: Manifest, *, labels: dict[str, str]) -> Manifest:
    meta = {"name": shop.app, "namespace": shop.namespace, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}
