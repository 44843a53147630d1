"""The contract on a real API server, where ``FEATURE_DELIVERY_TEST_KUBECONFIG`` names one.

A cluster without nodes (a bare control plane) gets a scripted one. On a cluster with nodes pods really run: the shop of
these tests is handed over as an argument of ``python -c`` in ``FEATURE_DELIVERY_TEST_IMAGE`` (``python:3.12-slim``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from feature_delivery.adapters.platforms.kubernetes import KubernetesPlatform
from feature_delivery.adapters.platforms.kubernetes.api import APPLY, Cluster
from feature_delivery.adapters.platforms.kubernetes.names import MANAGED_BY, MANAGER
from feature_delivery.adapters.platforms.kubernetes.resources import NAMESPACE, Resource
from feature_delivery.domain.cluster import ClusterConfig
from feature_delivery.domain.plan import DeliveryPlan, SuitePlan
from feature_delivery.ports.platform import EnvironmentRef, EnvironmentStatus, Release
from tests import shops
from tests.contracts.kubernetes_bench import CONFIG, PRODUCTION, RBAC, connect, platform
from tests.fakes.kubernetes.cluster import COMMIT, Fate
from tests.fakes.kubernetes.nodes import ScriptedNode, service_account_kubeconfig
from tests.fakes.kubernetes.store import Object

VARIABLE = "FEATURE_DELIVERY_TEST_KUBECONFIG"
BUILD, BUILT = "FEATURE_DELIVERY_TEST_BUILD", "FEATURE_DELIVERY_TEST_BUILT_IMAGE"
NONE_GIVEN = f"No cluster is given: set {VARIABLE} to the path of a kubeconfig with an administrator's rights."
OURS = "feature-delivery"


class RealCluster:
    """A cluster for the length of a session: rights granted, production's namespace made, a node where none is."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config: Object = yaml.safe_load(kubeconfig.read_text())
        self.admin = Cluster(connect(config), timeout=timedelta(seconds=30), name="real")
        self.fates: dict[str, Fate] = {}
        for name in (OURS, PRODUCTION):
            if self.admin.get(NAMESPACE, name) is None:
                self.admin.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for one in yaml.safe_load_all(RBAC.read_text()):
            self._grant(one)
        self.kubeconfig = service_account_kubeconfig(self.admin, config, namespace=OURS, name=OURS)
        self.node: ScriptedNode | None = None
        if not (self.admin.request("GET", "/api/v1/nodes") or {}).get("items"):
            self.node = ScriptedNode(self.admin, folder, self._fate)
            self.node.start()

    def _fate(self, pod: Object) -> Fate | None:
        if not pod["metadata"].get("ownerReferences"):
            return None
        commit = (pod["metadata"].get("labels") or {}).get(COMMIT, "")
        return self.fates.get(f"{pod['metadata']['namespace']}/{commit}") or self.fates.get(commit)

    def broken_in(self, namespace: str, commit: str, fate: Fate) -> None:
        """Say what becomes of a commit in one namespace only; takes a scripted node."""
        self.fates[f"{namespace}/{commit}"] = fate

    def _grant(self, manifest: Object) -> None:
        plural = f"{manifest['kind'].lower()}s"
        meta = manifest["metadata"]
        resource = Resource(manifest["kind"], manifest["apiVersion"], plural, namespaced="namespace" in meta)
        query = {"fieldManager": "test", "force": "true"}
        place = meta.get("namespace", "")
        self.admin.patch(resource, meta["name"], manifest, namespace=place, content=APPLY, query=query)

    def clean(self) -> None:
        """Remove what a test has left."""
        self.fates.clear()
        bench = RealBench(self)
        for one in self.admin.list(NAMESPACE, labels=f"{MANAGED_BY}={MANAGER}"):
            self.admin.delete(NAMESPACE, one["metadata"]["name"])
        for kind in ("apps/v1/deployments", "v1/configmaps", "v1/services", "v1/serviceaccounts", "v1/pods"):
            version, _, plural = kind.rpartition("/")
            path = Resource("x", version, plural).path(PRODUCTION)
            for one in self.admin.list(Resource("x", version, plural), namespace=PRODUCTION):
                if (one["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER:
                    self.admin.request("DELETE", f"{path}/{one['metadata']['name']}", missing_ok=True)
        bench.until(lambda: not self.admin.list(NAMESPACE, labels=f"{MANAGED_BY}={MANAGER}"))

    def close(self) -> None:
        if self.node is not None:
            self.node.close()


class RealBench:
    """One test's platform on the real cluster."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.platform = self.of_instance("here")

    @property
    def has_nodes(self) -> bool:
        return self.cluster.node is None

    def until(self, true: Callable[[], bool], *, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "the cluster did not get there in time"
            time.sleep(0.2)

    def broken(self, label: str) -> Release:
        release = shops.release(label, {"shop.py": shops.CRASH})
        self.cluster.fates[release.commit] = Fate("crashes", log="no price list found\n", code=3)
        return replace(release, plan=replace(release.plan, start=("python", "-c", shops.CRASH)))

    def red(self, release: Release) -> SuitePlan:
        return shops.suite(shops.writes(shops.RED, code=1))

    def of_instance(self, instance: str) -> KubernetesPlatform:
        config: ClusterConfig = CONFIG
        kind: type[KubernetesPlatform] = KubernetesPlatform
        if self.has_nodes:
            config, kind = inline_config(), _Inline
        made = platform(connect(self.cluster.kubeconfig), instance=instance, config=config)
        return kind(made.settings, made._cluster, waits=made._waits)


def inline_config() -> ClusterConfig:
    """Return the project file of a shop that one image runs, whatever its commit."""
    return replace(CONFIG, image=os.environ.get("FEATURE_DELIVERY_TEST_IMAGE", "python:3.12-slim"))


class _Inline(KubernetesPlatform):
    """Hands the shop over as an argument: a cluster with nodes has no way to the files of these tests."""

    def deploy(
        self,
        ref: EnvironmentRef,
        release: Release,
        *,
        say: Callable[[str], None],
        migrate_back: DeliveryPlan | None = None,
    ) -> EnvironmentStatus:
        if release.plan.start == ("python", "shop.py"):
            release = replace(release, plan=replace(release.plan, start=("python", "-c", shops.SHOP)))
        return super().deploy(ref, release, say=say, migrate_back=migrate_back)


def image(cluster: RealCluster) -> dict[str, str]:
    """Return what a project file says of images: where pods really run, each commit's has to be built."""
    if cluster.node is not None:
        return {"image": "registry.test/shop:{commit}"}
    build = os.environ.get(BUILD)
    if not build:
        pytest.skip(
            f"Pods of this cluster need an image of each commit. Set {BUILD} to a command that makes '{{image}}' from "
            "the Dockerfile of a checkout and brings it to the nodes, like: "
            "sh -c 'docker build -t {image} . && kind load docker-image {image}'"
        )
    return {"image": os.environ.get(BUILT, "shop.test/shop:{commit}"), "build": build, "workdir": "/app"}


def given() -> Path | None:
    """Return the kubeconfig that the environment names."""
    found = os.environ.get(VARIABLE)
    return Path(found) if found else None
