"""``KubernetesPlatform`` on a cluster: the fake one with the rights of ``rbac.yaml``, or a real one that is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from kubernetes.config import new_client_from_config_dict

from feature_delivery.adapters.platforms.kubernetes import KubernetesPlatform, Settings
from feature_delivery.adapters.platforms.kubernetes.api import Cluster
from feature_delivery.adapters.platforms.kubernetes.waiting import Waits, WaitsHere
from feature_delivery.domain.cluster import ClusterConfig
from feature_delivery.domain.plan import SuitePlan
from feature_delivery.ports.platform import Release
from kubernetes import client
from tests import shops
from tests.fakes.kubernetes.cluster import COMMIT, Fate
from tests.fakes.kubernetes.server import FakeApiServer, Rules
from tests.fakes.kubernetes.store import Object

RBAC = Path(__file__).parents[2] / "include" / "kubernetes" / "rbac.yaml"
PRODUCTION = "shop-production"
CONFIG = ClusterConfig(connection="here", image="registry.test/shop:{commit}", production_namespace=PRODUCTION)


class KubernetesBench:
    """One fake cluster, its platform, and what becomes of pods by commit."""

    def __init__(self, server: FakeApiServer, *, config: ClusterConfig = CONFIG, waits: Waits | None = None) -> None:
        self.server = server
        self.config = config
        self.waits = waits
        self.fates: dict[str, Fate] = {}
        server.cluster.fate = self._fate
        server.namespace(PRODUCTION)
        self.platform = self.of_instance("here")

    def _fate(self, pod: Object) -> Fate | None:
        owned = bool(pod["metadata"].get("ownerReferences"))
        return self.fates.get(pod["metadata"]["labels"].get(COMMIT, "")) if owned else None

    def broken(self, label: str) -> Release:
        release = shops.release(label)
        self.fates[release.commit] = Fate("crashes", log="no price list found\n", code=3)
        return release

    def red(self, release: Release) -> SuitePlan:
        return shops.suite(shops.writes(shops.RED, code=1))

    def of_instance(self, instance: str) -> KubernetesPlatform:
        return platform(connect(self.server.kubeconfig()), instance=instance, config=self.config, waits=self.waits)


def platform(
    api: client.ApiClient, *, instance: str, config: ClusterConfig, waits: Waits | None = None, **changes: Any
) -> KubernetesPlatform:
    settings = replace(
        Settings(instance=instance, config=config, repository="https://git.test/shop.git"),
        look_every=timedelta(milliseconds=10),
        **changes,
    )
    cluster = Cluster(api, timeout=timedelta(seconds=10), name="here")
    return KubernetesPlatform(settings, cluster, waits=waits or quick_waits())


def quick_waits(*, sleep: Callable[[float], None] | None = None) -> WaitsHere:
    pause = timedelta(milliseconds=10)
    return WaitsHere(look_every=pause) if sleep is None else WaitsHere(look_every=pause, sleep=sleep)


def connect(kubeconfig: Mapping[str, object]) -> client.ApiClient:
    return new_client_from_config_dict(dict(kubeconfig))


def fake_server() -> FakeApiServer:
    """Return a cluster in which deliveries have the rights of ``rbac.yaml`` and no others."""
    return FakeApiServer(Rules.read(RBAC))
