"""The truth, where a cluster is given: admission takes what we write, and server-side apply does what we rely on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from feature_delivery.adapters.platforms.kubernetes import apply
from feature_delivery.adapters.platforms.kubernetes.api import APPLY
from feature_delivery.adapters.platforms.kubernetes.failures import LostRaceError
from feature_delivery.adapters.platforms.kubernetes.names import MANAGER
from feature_delivery.adapters.platforms.kubernetes.place import Place
from feature_delivery.adapters.platforms.kubernetes.release import make_release
from feature_delivery.adapters.platforms.kubernetes.resources import DEPLOYMENT, NAMESPACE, Manifest, resource_of
from feature_delivery.domain.cluster import ClusterConfig
from feature_delivery.domain.errors import Conflict, Misconfigured
from tests import shops
from tests.contracts.kubernetes.cases import REF, ignore
from tests.contracts.real_cluster import NONE_GIVEN, RealBench, RealCluster
from tests.unit.adapters.test_kubernetes_manifests import IMAGE, SOURCE, everything


@pytest.fixture
def bench(given_cluster: RealCluster | None) -> Iterator[RealBench]:
    if given_cluster is None:
        pytest.skip(NONE_GIVEN)
    bench = RealBench(given_cluster)
    bench.platform.provision(REF)
    yield bench
    given_cluster.clean()


def place_of(bench: RealBench) -> Place:
    return bench.platform._place(REF)


@pytest.mark.parametrize("config", [IMAGE, SOURCE], ids=["image", "source"])
def test_admission_takes_every_object_under_the_restricted_standard(bench: RealBench, config: ClusterConfig) -> None:
    """Strictly: no unknown field, no warning made into an error later; pods pass quota, limits and Pod Security."""
    place = place_of(bench)

    def moved(manifest: Manifest) -> Manifest:
        return {**manifest, "metadata": {**manifest["metadata"], "namespace": place.namespace}}

    for one in everything(config):
        resource = resource_of(one)
        if resource is NAMESPACE:
            continue
        wanted = moved(one)
        wanted["metadata"]["name"] = f"dry-{wanted['metadata']['name']}"
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        made = place.cluster.request("POST", resource.path(place.namespace), query=query, body=wanted)
        assert made is not None
        if resource is DEPLOYMENT:
            pod = {"apiVersion": "v1", "kind": "Pod", **wanted["spec"]["template"]}
            pod["metadata"] = {**pod["metadata"], "name": "dry-pod"}
            place.cluster.request("POST", f"/api/v1/namespaces/{place.namespace}/pods", query=query, body=pod)


def test_fields_that_a_release_drops_go_whether_they_came_by_post_or_by_apply(bench: RealBench) -> None:
    place = place_of(bench)
    for label, names in (("one", {"OLD": "1", "KEPT": "1"}), ("two", {"KEPT": "2"}), ("three", {"NEW": "3"})):
        release = make_release(place, shops.release(label, variables=names), say=ignore)
        found = place.apply(release.manifests[0])
        env = found["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {one["name"]: one["value"] for one in env if one["name"] in {"OLD", "KEPT", "NEW"}} == names
        ours = [one for one in found["metadata"]["managedFields"] if one["manager"] == MANAGER]
        assert [one["operation"] for one in ours] == ["Apply"]


def test_a_writer_with_an_old_reading_is_refused_by_the_server_itself(bench: RealBench) -> None:
    place = place_of(bench)
    manifest = make_release(place, shops.release("one"), say=ignore).manifests[0]
    old = place.apply(manifest)["metadata"]["resourceVersion"]
    place.apply(make_release(place, shops.release("two"), say=ignore).manifests[0])
    body = apply.stamped(manifest, REF)
    body["metadata"]["resourceVersion"] = old
    query = {"fieldManager": MANAGER, "force": "true"}
    with pytest.raises(LostRaceError):
        place.cluster.patch(DEPLOYMENT, place.app, body, namespace=place.namespace, content=APPLY, query=query)
    with pytest.raises(Conflict, match="generation 1 has written"):
        apply.apply(place.cluster, manifest, replace(REF, generation=0))


def test_the_rights_of_rbac_yaml_are_all_there_and_no_others(bench: RealBench) -> None:
    assert [one.sentence for one in bench.platform.examine() if not one.well] == []
    cluster = place_of(bench).cluster
    for path in ("/api/v1/nodes", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/api/v1/secrets"):
        with pytest.raises(Misconfigured, match="forbidden"):
            cluster.request("GET", path)
