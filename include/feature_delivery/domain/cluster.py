"""What a project file says of its Kubernetes cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from feature_delivery.domain.plan import Command


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks for and may use at most, in Kubernetes' own notation (``250m``, ``256Mi``)."""

    cpu: str = "100m"
    memory: str = "256Mi"
    cpu_limit: str = "1"
    memory_limit: str = "512Mi"


@dataclass(frozen=True, slots=True)
class BackingService:
    """A workload that an environment needs beside the shop: a database, a cache.

    Attributes:
        name: A DNS label; the shop reaches it under this name.
        variables: Of the service's own container; plain, they exist only in temporary environments.
        gives: Variables for the shop; ``{host}`` and ``{port}`` are filled in.
        command: Instead of the image's own.
        data: Where the service keeps its data (lives as long as its pod); also the only place that it may write to
            besides ``/tmp`` and ``scratch``.
        ready: Command that succeeds once the service answers; without one its port has to accept connections.
        seed: Run once in the shop's release, after the first migration: fills in data to test with.
    """

    name: str
    image: str
    port: int
    variables: dict[str, str] = field(default_factory=dict)
    gives: dict[str, str] = field(default_factory=dict)
    command: Command = ()
    data: str = ""
    scratch: tuple[str, ...] = ()
    ready: Command = ()
    seed: Command = ()
    resources: Resources = Resources()
    run_as: int = 10001


@dataclass(frozen=True, slots=True)
class Ingress:
    """How environments are reached from outside the cluster.

    Attributes:
        host: Pattern like ``{environment}.shop.example.org``; ``production_host`` is production's own name.
        class_name: The IngressClass.
        tls_secret: Secret of type ``kubernetes.io/tls``, in each namespace under this name.
        tls_from: Namespace that the Secret is copied from into each temporary environment; empty: it comes there by
            itself, from cert-manager (``annotations``) or a replicator.
        https: The controller answers HTTPS for these names with a certificate of its own.
        namespace: Where the ingress controller runs: network policies let it in.
        annotations: Of each Ingress: what tells a controller or cert-manager what to do.
    """

    host: str
    production_host: str = ""
    class_name: str = ""
    tls_secret: str = ""
    tls_from: str = ""
    https: bool = False
    namespace: str = "ingress-nginx"
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """How its hosts are spoken to."""
        return "https" if self.tls_secret or self.https else "http"


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The ``platform`` part of a project file of kind ``kubernetes``.

    Attributes:
        connection: Id of the Airflow Connection of type Kubernetes.
        production_connection: Another cluster for production; empty: the same one.
        production_namespace: Given, and never created, labelled or deleted by us.
        image: Image per commit, like ``registry.example.org/shop:{commit}``; empty: ``runtime`` plus a clone.
        workdir: With ``image``: where it has the commit's files; suites write their reports below it.
        runtime: Image that commits are cloned into and started in.
        clone_image: Image with ``git`` and ``sh`` that clones.
        git_secret: Secret with ``username`` and ``password`` for the clone.
        build: Command that builds and pushes the image before a deploy; runs on the worker in a checkout, ``{commit}``
            and ``{image}`` are filled in.
        pull_secret: Secret of type ``kubernetes.io/dockerconfigjson``.
        secrets: Secrets whose entries become variables of the shop.
        secrets_from: Namespace that the Secrets are copied from into each temporary environment.
        manifests: Folder in the shop's repository with manifests of its own; ours are not made then.
        service: With ``manifests``: the Service that the shop answers at.
        allow_from: Namespaces whose pods may reach the shop beside the ingress controller's (workers, monitoring).
        reach: Private networks (CIDR) that pods may reach: an internal Git host, a test system.
        quota: Hard limits of each temporary namespace.
        expires_after: Written on each temporary namespace for people and clean-up tools; we go by the ledger.
    """

    connection: str = "kubernetes_default"
    production_connection: str = ""
    production_namespace: str = ""
    image: str = ""
    workdir: str = ""
    runtime: str = ""
    clone_image: str = ""
    git_secret: str = ""
    build: Command = ()
    pull_secret: str = ""
    secrets: tuple[str, ...] = ()
    secrets_from: str = ""
    ingress: Ingress | None = None
    replicas: int = 1
    production_replicas: int = 2
    resources: Resources = Resources()
    suite_resources: Resources = Resources(memory_limit="1Gi")
    run_as: int = 10001
    services: tuple[BackingService, ...] = ()
    manifests: str = ""
    service: str = ""
    allow_from: tuple[str, ...] = ()
    reach: tuple[str, ...] = ()
    quota: dict[str, str] = field(default_factory=dict)
    expires_after: timedelta = timedelta(days=30)

    @property
    def copied_secrets(self) -> tuple[str, ...]:
        """Every Secret that a temporary environment needs a copy of."""
        return tuple(self.sources_of_secrets)

    @property
    def sources_of_secrets(self) -> dict[str, str]:
        """The Secrets that a temporary environment needs a copy of, and the namespace that each is copied from."""
        source = self.secrets_from or self.production_namespace
        named = (self.pull_secret, self.git_secret if not self.image else "", *self.secrets)
        found = {name: source for name in named if name}
        if self.ingress is not None and self.ingress.tls_from:
            found[self.ingress.tls_secret] = self.ingress.tls_from
        return found

    @property
    def exposed(self) -> str:
        """Why the code of a branch would read a Secret that is production's, or no branch's; empty: it would not.

        Production itself is not concerned: what lies in its namespace is its own.
        """
        test_system = self.secrets_from not in {"", self.production_namespace}
        if self.secrets and not test_system:
            return (
                "'secrets' are given to the code of branches, too: name as 'secrets_from' a namespace that holds them "
                "for test systems, never production's"
            )
        tls_from = self.ingress.tls_from if self.ingress is not None else ""
        if tls_from and self.ingress is not None and self.ingress.tls_secret in self.secrets:
            return "'ingress.tls_secret' is one of 'secrets', too: a branch would read the key; leave it out there"
        if not self.manifests:
            return ""
        # A pod of the shop's own manifests may mount whatever lies in its namespace.
        if tls_from:
            return "'ingress.tls_from' is not for 'manifests': a branch could read the key in its namespace"
        if self.git_secret and not self.image:
            return (
                "'git_secret' is not for 'manifests': a branch could read the login in its namespace; have an 'image' "
                "built for each commit instead of 'runtime'"
            )
        if self.pull_secret and not test_system:
            return (
                "with 'manifests' a branch could read the 'pull_secret' in its namespace: name as 'secrets_from' "
                "another namespace than production's, with a login there that may only pull"
            )
        return ""
