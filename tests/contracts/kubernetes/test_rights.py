"""What the platform may do, on which cluster, and whose things are whose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from feature_delivery.adapters.platforms.kubernetes import apply as applying
from feature_delivery.adapters.platforms.kubernetes.api import Cluster
from feature_delivery.adapters.platforms.kubernetes.manifests import environment, workload
from feature_delivery.adapters.platforms.kubernetes.names import ACCOUNT, namespace_name
from feature_delivery.adapters.platforms.kubernetes.resources import DEPLOYMENT
from feature_delivery.domain.cluster import ClusterConfig
from feature_delivery.domain.errors import (
    Refused,
)
from feature_delivery.domain.names import ProjectName
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, PROD, PROJECT, REF, SERVICES, cluster_of, ignore, with_config
from tests.contracts.kubernetes.test_data import OWN
from tests.contracts.kubernetes_bench import (
    CONFIG,
    PRODUCTION,
    KubernetesBench,
    connect,
)
from tests.fakes.kubernetes.cluster import Fate
from tests.fakes.kubernetes.server import FakeApiServer, serving


def test_every_right_of_rbac_yaml_is_needed_and_no_other(server: FakeApiServer) -> None:
    """The fake refuses what the file does not grant; what nobody needs has to be named here with its reason."""
    bench = KubernetesBench(server)
    secret = {"kind": "Secret", "metadata": {"name": "payment"}, "data": {"KEY": "eA=="}}
    server.namespace("shop-test")
    server.store.create("secrets", "shop-test", secret, manager="people")
    with_config(bench, secrets=("payment",), secrets_from="shop-test", services=SERVICES)
    bad = shops.release("bad")
    bench.fates[bad.commit] = Fate("crashes", log="x")
    for ref in (REF, PROD):
        bench.platform.provision(ref)
        bench.platform.provision(replace(ref, generation=2))
        with pytest.raises(Refused):
            bench.platform.deploy(replace(ref, generation=2), bad, say=ignore)
        one = shops.release("one")
        bench.platform.deploy(replace(ref, generation=2), one, say=ignore)
        suite = shops.suite(shops.writes(shops.GREEN))
        bench.platform.run_suite(
            replace(ref, generation=2), name="unit", suite=suite, release=one, variables={}, say=ignore
        )
    bench.platform.list(PROJECT)
    bench.platform.destroy(replace(REF, generation=3))
    assert server.rules is not None
    unused = {right[1:] for right in server.rules.granted} - {right[1:] for right in server.rules.used}
    operators = {(verb, "", "pods") for verb in ("list", "watch", "patch")} | {("list", "", "events")}
    trigger = {(verb, "apps", "deployments") for verb in ("list", "watch")}
    own_kinds = {"statefulsets", "persistentvolumeclaims", "horizontalpodautoscalers", "poddisruptionbudgets"}
    own = {right for right in unused if right[2] in {*own_kinds, "ingresses"}}
    own |= {
        (verb, group, kind)
        for verb in ("delete", "patch", "create")
        for group, kind in (("", "configmaps"), ("", "services"), ("networking.k8s.io", "networkpolicies"))
    }
    assert unused - operators - trigger - own == set()


def test_the_platform_is_examined_right_by_right(server: FakeApiServer) -> None:
    bench = KubernetesBench(server)
    found = bench.platform.examine()
    assert [(one.well, one.sentence) for one in found if not one.well] == []
    assert server.rules is not None
    server.rules.granted -= {
        r for r in server.rules.granted if r[1:] in {("get", "", "pods/log"), ("patch", "apps", "deployments")}
    }
    sentences = [one.sentence for one in bench.platform.examine() if not one.well]
    assert len(sentences) == 2
    assert all("get pods/log" in said and "patch deployments.apps" in said for said in sentences)


def test_an_old_or_absent_cluster_is_said() -> None:
    with serving(version="v1.28.9") as server:
        bench = KubernetesBench(server)
        assert next(one.well for one in bench.platform.examine()) is False
        server.fail(0, times=99)
        found = bench.platform.examine()
        assert ("no answer" in found[0].sentence, len(found)) == (True, 1)


def test_two_clusters_hold_what_is_theirs() -> None:
    with serving() as here, serving() as there:
        there.namespace(PRODUCTION)
        bench = KubernetesBench(here)
        two = type(bench.platform)(
            bench.platform.settings,
            cluster_of(bench),
            production=Cluster(connect(there.kubeconfig()), timeout=timedelta(seconds=5), name="there"),
        )
        two.provision(REF)
        two.provision(PROD)
        assert ("configmaps", PRODUCTION, "demo-store-environment") in there.store.objects
        assert ("configmaps", PRODUCTION, "demo-store-environment") not in here.store.objects
        assert [one.ref.name for one in two.list(PROJECT)] == ["development-shop-1", "production"]


OTHER = replace(PROD, project=ProjectName("other_shop"), generation=12)
SETTINGS = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {of: '${BASE_URL}'}\n"


def test_projects_share_productions_namespace_whatever_their_generations(server: FakeApiServer) -> None:
    bench = KubernetesBench(server)
    pods = {}
    for ref in (replace(PROD, generation=40), OTHER, replace(PROD, generation=41), replace(OTHER, generation=13)):
        bench.platform.provision(ref)
        assert bench.platform.deploy(ref, shops.release("one"), say=ignore).healthy
    for app in ("demo-store", "other-shop"):
        pods[app] = server.store.get(("deployments", PRODUCTION, app))["spec"]["template"]["spec"]
        assert ("serviceaccounts", PRODUCTION, pods[app]["serviceAccountName"]) in server.store.objects
    assert [pod["serviceAccountName"] for pod in pods.values()] == ["demo-store-shop", "other-shop-shop"]


def test_no_project_overwrites_or_removes_an_object_of_another(server: FakeApiServer) -> None:
    """Both have their own manifests, and a ConfigMap of the same name in them."""
    bench = with_config(KubernetesBench(server), manifests="deploy", service="web")
    theirs = OWN.replace("name: web", "name: theirs").replace("app: web", "app: theirs")
    for ref in (PROD, OTHER):
        bench.platform.provision(ref)
    bench.platform.deploy(PROD, shops.release("one", {"deploy/a.yaml": OWN + SETTINGS}), say=ignore)
    before = server.store.get(("configmaps", PRODUCTION, "settings"))
    with pytest.raises(Refused, match="it belongs to the project 'demo_store'"):
        bench.platform.deploy(OTHER, shops.release("two", {"deploy/a.yaml": theirs + SETTINGS}), say=ignore)
    assert bench.platform.deploy(OTHER, shops.release("three", {"deploy/a.yaml": theirs}), say=ignore).healthy
    assert server.store.get(("configmaps", PRODUCTION, "settings")) == before


def test_production_of_an_older_version_is_taken_over_as_it_runs(
    server: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its account had one name for all projects: it stays, nothing rolls out anew, and no migration runs twice."""
    bench = KubernetesBench(server)
    one = shops.release("one", forward=("echo", "up"))
    with monkeypatch.context() as before:
        for module in (environment, workload):
            before.setattr(module, "account_name", lambda _: ACCOUNT)
        bench.platform.provision(PROD)
        bench.platform.deploy(PROD, one, say=ignore)
    running = server.store.get(("deployments", PRODUCTION, "demo-store"))
    said: list[str] = []
    bench.platform.provision(replace(PROD, generation=2))
    bench.platform.deploy(replace(PROD, generation=2), one, say=said.append)
    assert any("runs in demo_store/production already" in line for line in said)
    assert server.store.get(("deployments", PRODUCTION, "demo-store")) == running
    assert {key[2] for key in server.store.objects if key[0] == "serviceaccounts"} == {ACCOUNT, "demo-store-shop"}
    bench.platform.deploy(replace(PROD, generation=3), shops.release("two"), say=ignore)
    spec = server.store.get(("deployments", PRODUCTION, "demo-store"))["spec"]["template"]["spec"]
    assert (spec["serviceAccountName"], len(server.cluster.ran)) == ("demo-store-shop", 1)


def test_names_are_the_namespaces() -> None:
    assert namespace_name(PROJECT, REF.name) == PLACE
    assert applying.TRIES > 3
    assert DEPLOYMENT.path(PLACE, "x") == f"/apis/apps/v1/namespaces/{PLACE}/deployments/x"
    assert isinstance(CONFIG, ClusterConfig)
