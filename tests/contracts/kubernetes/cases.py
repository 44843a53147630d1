"""Where the tests of this folder deploy, and what they change there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from feature_delivery.adapters.platforms.kubernetes.api import Cluster
from feature_delivery.domain.cluster import BackingService
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef
from tests.contracts.kubernetes_bench import (
    KubernetesBench,
    connect,
)
from tests.fakes.kubernetes.store import Object

PROJECT = ProjectName("demo_store")
PLACE = "demo-store-development-shop-1"
REF = EnvironmentRef(
    instance="here",
    project=PROJECT,
    name="development-shop-1",
    kind=EnvironmentKind.DEVELOPMENT,
    key=FeatureKey("SHOP-1"),
    generation=1,
)
PROD = replace(REF, name="production", kind=EnvironmentKind.PRODUCTION, key=None)
APP = ("deployments", PLACE, "demo-store")

SERVICES = (
    BackingService(
        name="postgres", image="postgres:17", port=5432, gives={"DB": "{host}:{port}"}, seed=("echo", "seeded")
    ),
)


def ignore(_: str) -> None:
    pass


def cluster_of(bench: KubernetesBench) -> Cluster:
    return Cluster(connect(bench.server.kubeconfig()), timeout=timedelta(seconds=5), name="here")


def with_config(bench: KubernetesBench, **changes: object) -> KubernetesBench:
    bench.config = replace(bench.config, **changes)  # type: ignore[arg-type]
    bench.platform = bench.of_instance("here")
    return bench


def deployment(bench: KubernetesBench) -> Object:
    return bench.server.store.get(APP)
