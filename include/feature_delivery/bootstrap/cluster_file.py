"""The ``platform`` part of a project file of kind ``kubernetes``."""

from __future__ import annotations

import ipaddress
import re
import shlex
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from feature_delivery.bootstrap.file_parts import Duration, Strict
from feature_delivery.domain.cluster import BackingService, ClusterConfig, Ingress, Resources
from feature_delivery.domain.plan import Command

_DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_SUBDOMAIN = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@{}-]{0,300}")
_HOST = re.compile(r"[a-z0-9{]([a-z0-9.{}-]{0,200}[a-z0-9}])?")

ISSUERS = frozenset({"cert-manager.io/issuer", "cert-manager.io/cluster-issuer", "kubernetes.io/tls-acme"})
"""Annotations with which cert-manager makes a certificate for an Ingress."""


def _image(value: str) -> str:
    # {commit} is the only thing that is filled in.
    if value and not _IMAGE.fullmatch(value):
        raise ValueError("write an image like registry.example.org/shop:{commit}")
    if re.search(r"[{}]", value.replace("{commit}", "")):
        raise ValueError("only {commit} is filled in here")
    return value


def _host(value: str) -> str:
    if value and not _HOST.fullmatch(value):
        raise ValueError("write a host name like {environment}.shop.example.org")
    return value


def _folder(value: str) -> str:
    if value and (".." in value or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,200}", value)):
        raise ValueError("write a folder of the repository like deploy/kubernetes")
    return value


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value))


def _command(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


Image = Annotated[str, AfterValidator(_image)]
Name = Annotated[str, Field(pattern=_DNS_LABEL)]
ObjectName = Annotated[str, Field(pattern=_SUBDOMAIN)]
Quantity = Annotated[str, Field(pattern=_QUANTITY)]
Folder = Annotated[str, AfterValidator(_folder)]
Network = Annotated[str, AfterValidator(_network)]
Words = Annotated[
    list[str],
    BeforeValidator(_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Path = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]{1,200}$")]
AnnotationName = Annotated[
    str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]


class ResourcesPart(Strict):
    """What a container asks for and may use at most."""

    cpu: Quantity = "100m"
    memory: Quantity = "256Mi"
    cpu_limit: Quantity = "1"
    memory_limit: Quantity = "512Mi"

    def value(self) -> Resources:
        """Return it as the platform takes it."""
        return Resources(**self.model_dump())


class ServicePart(Strict):
    """A backing service of temporary environments; the key above is its name."""

    image: Image
    port: int = Field(ge=1, le=65535)
    variables: dict[Variable, str] = Field(default_factory=dict)
    gives: dict[Variable, str] = Field(default_factory=dict)
    command: Words = Field(default_factory=list)
    data: Path | Literal[""] = ""
    scratch: list[Path] = Field(default_factory=list)
    ready: Words = Field(default_factory=list)
    seed: Words = Field(default_factory=list)
    resources: ResourcesPart = ResourcesPart()
    run_as: int = Field(default=10001, ge=1)

    def value(self, name: str) -> BackingService:
        """Return it as the platform takes it."""
        return BackingService(
            name=name,
            image=self.image,
            port=self.port,
            variables=dict(self.variables),
            gives=dict(self.gives),
            command=tuple(self.command),
            data=self.data,
            scratch=tuple(self.scratch),
            ready=tuple(self.ready),
            seed=tuple(self.seed),
            resources=self.resources.value(),
            run_as=self.run_as,
        )


class IngressPart(Strict):
    """How environments are reached from outside the cluster."""

    host: Annotated[str, AfterValidator(_host)]
    production_host: Annotated[str, AfterValidator(_host)] = ""
    class_name: ObjectName | Literal[""] = ""
    tls_secret: ObjectName | Literal[""] = ""
    tls_from: Name | Literal[""] = ""
    https: bool = False
    namespace: Name = "ingress-nginx"
    annotations: dict[AnnotationName, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _differs_by_environment(self) -> IngressPart:
        if "{environment}" not in self.host or re.search(
            r"[{}]", re.sub(r"\{(environment|project|kind)\}", "", self.host)
        ):
            raise ValueError("needs {environment} in it; {project} and {kind} are filled in, too")
        return self

    @model_validator(mode="after")
    def _knows_its_certificate(self) -> IngressPart:
        if self.tls_from and not self.tls_secret:
            raise ValueError("'tls_from' says where 'tls_secret' is copied from; name that, too")
        if self.https and self.tls_secret:
            raise ValueError("'https' is for a certificate that the controller has; with 'tls_secret' leave it out")
        if ISSUERS & set(self.annotations) and not self.tls_secret:
            raise ValueError("cert-manager needs a 'tls_secret' to put the certificate into")
        if ISSUERS & set(self.annotations) and self.tls_from:
            raise ValueError("cert-manager makes 'tls_secret' in each namespace; leave 'tls_from' out")
        return self


class ProductionPart(Strict):
    """Where production runs: a namespace that is given, on the same cluster or another one."""

    namespace: Name
    connection: str = ""
    replicas: int = Field(default=2, ge=1, le=100)


class KubernetesPart(Strict):
    """The whole part; the meaning is in ``domain.cluster.ClusterConfig``."""

    kind: Literal["kubernetes"]
    connection: str = "kubernetes_default"
    production: ProductionPart
    image: Image = ""
    workdir: Path | Literal[""] = ""
    runtime: Image = ""
    clone_image: Image = ""
    git_secret: ObjectName | Literal[""] = ""
    build: Words = Field(default_factory=list)
    pull_secret: ObjectName | Literal[""] = ""
    secrets: list[ObjectName] = Field(default_factory=list)
    secrets_from: Name | Literal[""] = ""
    ingress: IngressPart | None = None
    replicas: int = Field(default=1, ge=1, le=20)
    resources: ResourcesPart = ResourcesPart()
    suite_resources: ResourcesPart = ResourcesPart(memory_limit="1Gi")
    run_as: int = Field(default=10001, ge=1)
    services: dict[Name, ServicePart] = Field(default_factory=dict)
    manifests: Folder = ""
    service: Name | Literal[""] = ""
    allow_from: list[Name] = Field(default_factory=list)
    reach: list[Network] = Field(default_factory=list)
    quota: dict[Annotated[str, Field(pattern=r"^[a-z0-9./-]{1,100}$")], Quantity] = Field(default_factory=dict)
    expires_after: Duration = timedelta(days=30)

    @model_validator(mode="after")
    def _says_how_a_commit_runs(self) -> KubernetesPart:
        if bool(self.image) == bool(self.runtime):
            raise ValueError("name either 'image' (built for each commit) or 'runtime' (commits are cloned into it)")
        if self.image and "{commit}" not in self.image:
            raise ValueError("'image' needs {commit} in it: each commit has an image of its own")
        if self.runtime and not self.clone_image:
            raise ValueError("'runtime' needs a 'clone_image' that holds git and sh")
        if self.build and not self.image:
            raise ValueError("'build' makes an 'image'; name that, too")
        if bool(self.manifests) != bool(self.service):
            raise ValueError("'manifests' and 'service' go together: the shop's own objects, and where it answers")
        if exposed := self.value().exposed:
            raise ValueError(exposed)
        return self

    def value(self) -> ClusterConfig:
        """Return it as the platform takes it."""
        fields: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("connection", "image", "workdir", "runtime", "clone_image", "git_secret", "pull_secret")
        }
        fields |= {
            name: getattr(self, name)
            for name in ("secrets_from", "replicas", "run_as", "manifests", "service", "expires_after")
        }
        fields |= {name: tuple(getattr(self, name)) for name in ("secrets", "allow_from", "reach")}
        build: Command = tuple(self.build)
        return ClusterConfig(
            **fields,
            build=build,
            production_connection=self.production.connection,
            production_namespace=self.production.namespace,
            production_replicas=self.production.replicas,
            ingress=Ingress(**self.ingress.model_dump()) if self.ingress else None,
            resources=self.resources.value(),
            suite_resources=self.suite_resources.value(),
            services=tuple(part.value(name) for name, part in self.services.items()),
            quota=dict(self.quota),
        )
