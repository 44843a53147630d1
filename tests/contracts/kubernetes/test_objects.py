"""What stands in the cluster for an environment, and behind which fences."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from feature_delivery.domain.cluster import Ingress
from feature_delivery.domain.errors import (
    Conflict,
    Misconfigured,
    Refused,
    Unavailable,
)
from tests import shops
from tests.contracts.kubernetes.cases import APP, PLACE, PROD, PROJECT, REF, deployment, ignore, with_config
from tests.contracts.kubernetes_bench import (
    PRODUCTION,
    KubernetesBench,
)
from tests.fakes.kubernetes.cluster import Fate


class TestWhatIsMade:
    def test_a_namespace_carries_who_it_is_for(self, bench: KubernetesBench) -> None:
        bench.platform.provision(replace(REF, delivery="SHOP-1__2"))
        labels = bench.server.store.get(("namespaces", "", PLACE))["metadata"]["labels"]
        assert {name.rpartition("/")[2]: value for name, value in labels.items()} == {
            "managed-by": "feature-delivery",
            "instance": "here",
            "project": "demo_store",
            "environment": "development-shop-1",
            "kind": "development",
            "feature": "SHOP-1",
            "delivery": "SHOP-1__2",
            "expires-at": labels["feature-delivery.io/expires-at"],
            "enforce": "restricted",
            "warn": "restricted",
        }
        kinds = {(key[0], key[2]) for key in bench.server.store.objects if key[1] == PLACE}
        assert kinds >= {("resourcequotas", "environment"), ("limitranges", "environment")}
        assert kinds >= {("networkpolicies", "deny-all"), ("serviceaccounts", "feature-delivery-shop")}

    def test_a_namespace_says_which_commit_runs_in_it(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        for generation, label in enumerate(("one", "two", "one"), start=2):
            made = shops.release(label)
            bench.platform.deploy(replace(REF, generation=generation), made, say=ignore)
            meta = bench.server.store.get(("namespaces", "", PLACE))["metadata"]
            assert meta["labels"]["feature-delivery.io/commit"] == made.commit
            assert meta["annotations"]["feature-delivery.io/commit"] == made.commit
            assert meta["annotations"]["feature-delivery.io/generation"] == str(generation)
            assert meta["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        bench.fates[shops.commit_of("bad")] = Fate("crashes")
        with pytest.raises(Refused):
            bench.platform.deploy(replace(REF, generation=9), shops.release("bad"), say=ignore)
        assert bench.server.store.get(("namespaces", "", PLACE))["metadata"] == meta

    def test_without_the_right_to_say_it_a_release_serves_all_the_same(self, bench: KubernetesBench) -> None:
        rules = bench.server.rules
        assert rules is not None
        rules.granted -= {right for right in rules.granted if right[1] == "patch" and right[3] == "namespaces"}
        bench.platform.provision(REF)
        said: list[str] = []
        assert bench.platform.deploy(REF, shops.release("one"), say=said.append).healthy
        assert any("rbac.yaml" in line for line in said)

    def test_a_certificate_is_copied_from_where_it_is_kept(self, bench: KubernetesBench) -> None:
        ingress = Ingress(host="{environment}.shop.test", tls_secret="wildcard", tls_from="certificates")
        with_config(bench, ingress=ingress)
        with pytest.raises(Misconfigured, match="'wildcard' in namespace 'certificates'"):
            bench.platform.provision(REF)
        bench.server.namespace("certificates")
        secret = {"kind": "Secret", "metadata": {"name": "wildcard"}, "type": "kubernetes.io/tls", "data": {}}
        bench.server.store.create("secrets", "certificates", secret, manager="people")
        assert bench.platform.provision(REF).address == "https://development-shop-1.shop.test"
        assert bench.server.store.get(("secrets", PLACE, "wildcard"))["type"] == "kubernetes.io/tls"

    def test_production_gets_the_shops_own_objects_and_its_namespace_stays_as_it_is(
        self, bench: KubernetesBench
    ) -> None:
        before = bench.server.store.get(("namespaces", "", PRODUCTION))
        bench.platform.provision(PROD)
        bench.platform.deploy(PROD, shops.release("one"), say=ignore)
        assert bench.server.store.get(("namespaces", "", PRODUCTION)) == before
        kinds = {key[0] for key in bench.server.store.objects if key[1] == PRODUCTION}
        assert kinds == {"configmaps", "serviceaccounts", "services", "deployments", "pods"}
        found = bench.server.store.get(("deployments", PRODUCTION, "demo-store"))
        assert found["spec"]["replicas"] == 2

    def test_a_production_namespace_that_is_not_there_is_not_created(self, bench: KubernetesBench) -> None:
        with_config(bench, production_namespace="elsewhere")
        with pytest.raises(Misconfigured, match="Create it; deliveries never do"):
            bench.platform.provision(PROD)

    def test_secrets_are_copied_and_a_missing_one_is_named(self, bench: KubernetesBench) -> None:
        with_config(bench, secrets=("payment",), secrets_from="shop-test")
        secret = {"kind": "Secret", "metadata": {"name": "payment"}, "type": "Opaque", "data": {"KEY": "eA=="}}
        bench.server.store.create("secrets", PRODUCTION, secret, manager="people")
        bench.server.namespace("shop-test")
        with pytest.raises(Misconfigured, match="'payment' in namespace 'shop-test'"):
            bench.platform.provision(REF)
        bench.server.store.create("secrets", "shop-test", {**secret, "data": {"KEY": "dA=="}}, manager="people")
        bench.platform.provision(REF)
        assert bench.server.store.get(("secrets", PLACE, "payment"))["data"] == {"KEY": "dA=="}

    @pytest.mark.parametrize("source", ["", PRODUCTION])
    def test_productions_secrets_are_copied_for_no_branch_whoever_made_the_configuration(
        self, bench: KubernetesBench, source: str
    ) -> None:
        """The project file refuses it, too; production goes on with what lies in its own namespace."""
        with_config(bench, secrets=("payment",), secrets_from=source)
        secret = {"kind": "Secret", "metadata": {"name": "payment"}, "type": "Opaque", "data": {"KEY": "eA=="}}
        bench.server.store.create("secrets", PRODUCTION, secret, manager="people")
        with pytest.raises(Misconfigured, match="given to the code of branches, too"):
            bench.platform.provision(REF)
        assert {key[1] for key in bench.server.store.objects if key[0] == "secrets"} == {PRODUCTION}
        assert ("namespaces", "", PLACE) not in bench.server.store.objects, "nothing was begun"
        bench.platform.provision(PROD)
        assert bench.platform.deploy(PROD, shops.release("one"), say=ignore).healthy

    def test_a_removed_variable_leaves_the_deployment(self, bench: KubernetesBench) -> None:
        """Whether it was created by a POST or by an apply."""
        bench.platform.provision(REF)
        for label, names in (("one", {"OLD": "1", "KEPT": "1"}), ("two", {"KEPT": "2"}), ("three", {"NEW": "3"})):
            bench.platform.deploy(REF, shops.release(label, variables=names), say=ignore)
            env = deployment(bench)["spec"]["template"]["spec"]["containers"][0]["env"]
            assert {one["name"]: one["value"] for one in env if one["name"] in {"OLD", "KEPT", "NEW"}} == names

    def test_what_others_have_set_stays(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        bench.platform.deploy(REF, shops.release("one"), say=ignore)
        bench.server.store.patch_merge(APP, {"metadata": {"annotations": {"people/note": "hands off"}}})
        bench.platform.deploy(REF, shops.release("two"), say=ignore)
        assert deployment(bench)["metadata"]["annotations"]["people/note"] == "hands off"


class TestFences:
    def test_an_older_writer_that_has_looked_cannot_write_any_more(self, bench: KubernetesBench) -> None:
        """A task that stalls between its look and its write meets what a newer attempt has written."""
        bench.platform.provision(REF)
        bench.platform.deploy(REF, shops.release("one"), say=ignore)
        overtaken = threading.Event()

        def interfere(method: str, path: str) -> None:
            if method == "PATCH" and path.endswith("/deployments/demo-store") and not overtaken.is_set():
                overtaken.set()
                bench.server.before = lambda _m, _p: None
                bench.of_instance("here").deploy(replace(REF, generation=3), shops.release("three"), say=ignore)

        bench.server.before = interfere
        with pytest.raises(Conflict, match="generation 3"):
            bench.platform.deploy(replace(REF, generation=2), shops.release("two"), say=ignore)
        assert overtaken.is_set()
        found = bench.platform.status(REF)
        assert found is not None
        assert (found.commit, found.ref.generation) == (shops.commit_of("three"), 3)

    def test_an_older_writer_cannot_create_over_a_newer_ones_first_object(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        overtaken = threading.Event()

        def interfere(method: str, path: str) -> None:
            if method == "POST" and path.endswith("/deployments") and not overtaken.is_set():
                overtaken.set()
                bench.server.before = lambda _m, _p: None
                bench.of_instance("here").deploy(replace(REF, generation=3), shops.release("three"), say=ignore)

        bench.server.before = interfere
        with pytest.raises(Conflict):
            bench.platform.deploy(replace(REF, generation=2), shops.release("two"), say=ignore)
        labels = deployment(bench)["spec"]["template"]["metadata"]["labels"]
        assert labels["feature-delivery.io/commit"] == shops.commit_of("three")

    def test_a_change_by_somebody_else_in_between_is_looked_at_again(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        bench.platform.deploy(REF, shops.release("one"), say=ignore)
        times = iter(range(2))

        def interfere(method: str, path: str) -> None:
            if method == "PATCH" and path.endswith("/deployments/demo-store") and next(times, None) is not None:
                note = {"metadata": {"annotations": {"people/note": str(bench.server.store.version)}}}
                bench.server.store.patch_merge(APP, note)

        bench.server.before = interfere
        assert bench.platform.deploy(REF, shops.release("two"), say=ignore).commit == shops.commit_of("two")

    def test_what_keeps_changing_is_tried_again_later(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        bench.platform.deploy(REF, shops.release("one"), say=ignore)
        bench.server.fail(409, times=100, method="PATCH", path="deployments/demo-store")
        with pytest.raises(Unavailable, match="keeps changing"):
            bench.platform.deploy(REF, shops.release("two"), say=ignore)

    def test_a_namespace_of_somebody_else_is_not_touched(self, bench: KubernetesBench) -> None:
        bench.server.namespace(PLACE, labels={"team": "data"})
        before = dict(bench.server.store.objects)
        for write in (
            lambda: bench.platform.provision(REF),
            lambda: bench.platform.destroy(replace(REF, generation=99)),
        ):
            with pytest.raises(Refused, match="belongs to somebody else"):
                write()
        assert bench.server.store.objects == before

    def test_an_object_of_somebody_else_is_not_overwritten(self, bench: KubernetesBench) -> None:
        theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-store"}, "spec": {"ports": []}}
        bench.server.store.create("services", PRODUCTION, theirs, manager="people")
        with pytest.raises(Refused, match="Service demo-store in shop-production: it belongs to somebody else"):
            bench.platform.provision(PROD)

    def test_a_namespace_made_by_hand_with_our_labels_is_listed_as_foreign(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        meta = bench.server.store.get(("namespaces", "", PLACE))["metadata"]
        bench.server.namespace("a-copy", labels=meta["labels"], annotations=meta["annotations"])
        found = bench.platform.list(PROJECT)
        assert sorted((one.ref.kind.value, one.foreign) for one in found) == [
            ("development", False),
            ("production", True),
        ]
