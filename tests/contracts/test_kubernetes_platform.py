"""What only a cluster can do to a delivery: lose races, refuse rights, fail rollouts, be away, keep what should go."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feature_delivery.adapters.platforms.kubernetes import apply as applying
from feature_delivery.adapters.platforms.kubernetes.api import Cluster
from feature_delivery.adapters.platforms.kubernetes.names import namespace_name
from feature_delivery.adapters.platforms.kubernetes.resources import DEPLOYMENT, NAMESPACE, POD
from feature_delivery.domain.cluster import BackingService, ClusterConfig, Ingress
from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Temporary,
    Unavailable,
)
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, Release
from tests import shops
from tests.contracts.kubernetes_bench import (
    CONFIG,
    PRODUCTION,
    KubernetesBench,
    connect,
    fake_server,
    platform,
    quick_waits,
)
from tests.fakes.kubernetes.cluster import Fate
from tests.fakes.kubernetes.server import LOST, FakeApiServer, Fault, Rules, serving
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


def ignore(_: str) -> None:
    pass


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    made = fake_server()
    yield made
    made.close()


@pytest.fixture
def bench(server: FakeApiServer) -> KubernetesBench:
    return KubernetesBench(server)


def cluster_of(bench: KubernetesBench) -> Cluster:
    return Cluster(connect(bench.server.kubeconfig()), timeout=timedelta(seconds=5), name="here")


def with_config(bench: KubernetesBench, **changes: object) -> KubernetesBench:
    bench.config = replace(bench.config, **changes)  # type: ignore[arg-type]
    bench.platform = bench.of_instance("here")
    return bench


def deployment(bench: KubernetesBench) -> Object:
    return bench.server.store.get(APP)


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
        with_config(bench, secrets=("payment",))
        with pytest.raises(Misconfigured, match="'payment' in namespace 'shop-production'"):
            bench.platform.provision(REF)
        secret = {"kind": "Secret", "metadata": {"name": "payment"}, "type": "Opaque", "data": {"KEY": "eA=="}}
        bench.server.store.create("secrets", PRODUCTION, secret, manager="people")
        bench.platform.provision(REF)
        assert bench.server.store.get(("secrets", PLACE, "payment"))["data"] == {"KEY": "eA=="}

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


FATES: list[tuple[Fate, str]] = [
    (Fate("no_image"), "cannot be pulled .ImagePullBackOff.: manifest unknown"),
    (Fate("no_secret"), 'CreateContainerConfigError.: secret "shop" not found'),
    (Fate("crashes", log="KeyError: price\n", code=3), "again and again with exit code 3. It ended with:\nKeyError"),
    (Fate("out_of_memory", log="loading\n"), "ran out of memory .OOMKilled, its limit is 512Mi"),
    (Fate("unhealthy", log="thinking\n"), "was not healthy in time and was stopped. It ended with:\nthinking"),
    (Fate("not_ready", log="503\n"), "runs, but its health check fails.*made no progress"),
    (Fate("unschedulable"), "no node takes its pod .0/3 nodes: Insufficient memory.*made no progress"),
]


class TestRollouts:
    @pytest.mark.parametrize(("fate", "reason"), FATES, ids=[fate.kind for fate, _ in FATES])
    def test_a_rollout_fails_with_its_real_reason_and_the_old_version_serves_on(
        self, bench: KubernetesBench, fate: Fate, reason: str
    ) -> None:
        bench.platform.provision(REF)
        before = bench.platform.deploy(REF, shops.release("one"), say=ignore)
        bad = shops.release("two")
        bench.fates[bad.commit] = fate
        with pytest.raises(Refused, match=f"(?s){reason}"):
            bench.platform.deploy(REF, bad, say=ignore)
        assert bench.platform.status(REF) == before
        labels = deployment(bench)["spec"]["template"]["metadata"]["labels"]
        assert labels["feature-delivery.io/commit"] == shops.commit_of("one")

    def test_a_quota_fails_a_rollout_by_name(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        bench.server.cluster.quota = 'pods "x" is forbidden: exceeded quota: environment, requested: pods=1'
        with pytest.raises(Refused, match=r"not allowed: .*exceeded quota: environment"):
            bench.platform.deploy(REF, shops.release("one"), say=ignore)

    def test_the_old_pod_is_there_until_the_new_one_serves(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        bench.platform.deploy(REF, shops.release("one"), say=ignore)
        ready: list[int] = []

        def count(change: object) -> None:
            pods = [pod for key, pod in bench.server.store.objects.items() if key[:2] == ("pods", PLACE)]
            ready.append(sum(one.get("ready", False) for pod in pods for one in _statuses(pod)))

        bench.server.store.listeners.append(count)
        bench.platform.deploy(REF, shops.release("two"), say=ignore)
        assert min(ready) >= 1

    def test_a_deploy_that_was_killed_is_taken_up_where_it_stood(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        two = shops.release("two", forward=("true",))
        bench.server.fail(503, times=50, method="GET", path=r"/deployments/demo-store")
        with pytest.raises(Unavailable):
            bench.platform.deploy(REF, two, say=ignore)
        bench.server.faults.clear()
        said: list[str] = []
        again = bench.platform.deploy(replace(REF, generation=2), two, say=said.append)
        assert (again.commit, again.healthy) == (two.commit, True)
        assert not any(line.startswith("Migrate") for line in said), "the migration had run already"


def _statuses(pod: Object) -> list[Object]:
    found: list[Object] = (pod.get("status") or {}).get("containerStatuses") or []
    return found


class TestBuilding:
    def test_an_image_is_built_from_the_commit_before_it_is_deployed(
        self, bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "not for builds")
        script = "ls; echo build {image}; env | grep -c FERNET; test -f shop.py"
        with_config(bench, build=("sh", "-c", script))
        bench.platform.provision(REF)
        said: list[str] = []
        one = shops.release("one")
        assert bench.platform.deploy(REF, one, say=said.append).healthy
        assert {"shop.py", f"build registry.test/shop:{one.commit}", "0"} <= set(said)

    def test_a_build_that_fails_or_hangs_is_refused_and_the_old_version_serves_on(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        before = bench.platform.deploy(REF, shops.release("one"), say=ignore)
        cases: list[tuple[tuple[str, ...], type[Error], str]] = [
            (("sh", "-c", "echo no space; exit 5"), Refused, r"'sh' exited with 5. It ended with:\nno space"),
            (("sh", "-c", "sleep 60 & sleep 60"), Refused, "did not end within 0.3 seconds"),
            (("no-such-builder",), Misconfigured, "Install it on the worker"),
        ]
        for command, kind, why in cases:
            slow = platform(
                connect(bench.server.kubeconfig()),
                instance="here",
                config=replace(CONFIG, build=command),
                build_timeout=timedelta(seconds=0.3),
            )
            with pytest.raises(kind, match=why):
                slow.deploy(REF, shops.release("two"), say=ignore)
            assert bench.platform.status(REF) == before


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


class TestGoing:
    def test_a_namespace_that_stays_is_reported_with_its_finalizers(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        bench.server.cluster.finalizers[PLACE] = "Some content has finalizers remaining: shop.io/backup in 1 resource"
        quick = platform(
            connect(bench.server.kubeconfig()),
            instance="here",
            config=CONFIG,
            destroy_timeout=timedelta(seconds=0.2),
        )
        with pytest.raises(Unavailable, match=r"shop\.io/backup in 1 resource"):
            quick.destroy(REF)
        with pytest.raises(Unavailable, match="is being deleted"):
            bench.platform.provision(replace(REF, generation=2))
        bench.server.cluster.finalizers.clear()
        bench.server.store.remove(("namespaces", "", PLACE))
        quick.destroy(REF)
        assert quick.status(REF) is None

    def test_the_production_namespace_is_never_deleted_whatever_is_asked(self, bench: KubernetesBench) -> None:
        bench.platform.provision(PROD)
        with_config(bench, production_namespace=PLACE)
        bench.server.namespace(PLACE)
        with pytest.raises(Refused, match="never torn down"):
            bench.platform.destroy(replace(REF, generation=99))
        assert not any(method == "DELETE" for method, _ in bench.server.requests)

    def test_a_namespace_that_was_made_anew_meanwhile_is_not_deleted(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)

        def anew(method: str, path: str) -> None:
            if method == "DELETE":
                bench.server.before = lambda _m, _p: None
                for key in [key for key in bench.server.store.objects if PLACE in key]:
                    bench.server.store.remove(key)
                bench.server.namespace(PLACE)

        bench.server.before = anew
        with pytest.raises(Conflict):
            bench.platform.destroy(replace(REF, generation=2))
        assert bench.server.store.get(("namespaces", "", PLACE))

    def test_an_older_teardown_does_not_delete_what_a_newer_attempt_has_just_begun(
        self, bench: KubernetesBench
    ) -> None:
        bench.server.fail(500, method="POST", path="/configmaps")
        with pytest.raises(Unavailable):
            bench.platform.provision(replace(REF, generation=5))
        with pytest.raises(Conflict, match="generation 5"):
            bench.platform.destroy(replace(REF, generation=4))
        assert bench.platform.status(REF) is not None
        bench.platform.destroy(replace(REF, generation=6))
        assert bench.platform.status(REF) is None

    def test_a_half_made_environment_is_completed_by_the_next_try(self, bench: KubernetesBench) -> None:
        for path in ("/configmaps", "/resourcequotas", "/networkpolicies", "/services"):
            bench.server.fail(500, method="POST", path=path)
            with pytest.raises(Unavailable):
                bench.platform.provision(REF)
        assert bench.platform.provision(REF).ref == REF


SERVICES = (
    BackingService(
        name="postgres", image="postgres:17", port=5432, gives={"DB": "{host}:{port}"}, seed=("echo", "seeded")
    ),
)


class TestData:
    def test_backing_services_come_with_the_environment_and_are_filled_once(self, bench: KubernetesBench) -> None:
        with_config(bench, services=SERVICES)
        bench.platform.provision(REF)
        for label in ("one", "two"):
            bench.platform.deploy(REF, shops.release(label), say=ignore)
        seeds = [pod["metadata"]["name"] for pod in bench.server.cluster.ran if "-seed-" in pod["metadata"]["name"]]
        assert len(seeds) == 1
        env = {one["name"]: one.get("value") for one in bench.server.cluster.ran[0]["spec"]["containers"][0]["env"]}
        assert env["DB"] == "postgres:5432"

    def test_a_backing_service_that_does_not_start_is_named(self, bench: KubernetesBench) -> None:
        with_config(bench, services=SERVICES)
        bench.server.cluster.fate = lambda pod: Fate("no_image") if "postgres" in pod["metadata"]["name"] else None
        bench.platform.provision(REF)
        with pytest.raises(Refused, match="postgres did not start: the image 'postgres:17' cannot be pulled"):
            bench.platform.deploy(REF, shops.release("one"), say=ignore)

    def test_production_gets_no_backing_services(self, bench: KubernetesBench) -> None:
        with_config(bench, services=SERVICES)
        bench.platform.provision(PROD)
        bench.platform.deploy(PROD, shops.release("one"), say=ignore)
        assert ("deployments", PRODUCTION, "postgres") not in bench.server.store.objects

    def test_an_installation_that_fails_before_a_migration_says_why(self, bench: KubernetesBench) -> None:
        bench.server.cluster.fate = lambda _: Fate("no_install", log="no such package: gifts\n")
        bench.platform.provision(REF)
        with pytest.raises(
            Refused, match=r"(?s)'install-1', which comes before, exited with 1.*no such package: gifts"
        ):
            bench.platform.deploy(REF, shops.release("one", forward=("true",)), say=ignore)

    def test_a_migration_that_fails_is_refused_with_its_last_lines(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        before = bench.platform.deploy(REF, shops.release("one"), say=ignore)
        bad = shops.release("two", forward=("sh", "-c", "echo no such column; exit 4"))
        with pytest.raises(Refused, match=r"(?s)migrate .* exited with 4. It ended with:\nno such column"):
            bench.platform.deploy(REF, bad, say=ignore)
        after = bench.platform.status(REF)
        assert after is not None
        assert (after.commit, after.unsettled) == (before.commit, bad.commit)

    def test_the_data_of_a_release_that_never_served_are_taken_back(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        before = bench.platform.deploy(REF, shops.release("one"), say=ignore)
        bad = shops.release("two", forward=("echo", "up"), back=("echo", "down"))
        bench.fates[bad.commit] = Fate("crashes")
        said: list[str] = []
        with pytest.raises(Refused):
            bench.platform.deploy(REF, bad, say=said.append)
        assert [line for line in said if line in {"up", "down"}] == ["up", "down"]
        assert bench.platform.status(REF) == before

    def test_a_migration_pod_of_an_earlier_deploy_is_not_taken_for_this_ones(self, bench: KubernetesBench) -> None:
        """A task was killed after its migration; the same release comes again, after a rollback."""
        bench.platform.provision(REF)
        one, two = shops.release("one"), shops.release("two", forward=("echo", "up"), back=("echo", "down"))
        bench.platform.deploy(REF, one, say=ignore)
        bench.server.fail(500, times=99, method="DELETE", path="/pods/")  # What ended well stays behind.
        bench.platform.deploy(replace(REF, generation=2), two, say=ignore)
        bench.server.faults.clear()
        bench.platform.deploy(replace(REF, generation=3), one, say=ignore, migrate_back=two.plan)
        bench.platform.deploy(replace(REF, generation=4), two, say=ignore)
        commands = [pod["spec"]["containers"][0]["command"] for pod in bench.server.cluster.ran]
        assert commands == [["echo", "up"], ["echo", "down"], ["echo", "up"]]

    def test_a_rollback_takes_the_migration_back_in_the_code_that_goes(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        one, two = shops.release("one"), shops.release("two", forward=("echo", "up"), back=("echo", "down"))
        bench.platform.deploy(REF, one, say=ignore)
        bench.platform.deploy(REF, two, say=ignore)
        bench.server.cluster.ran.clear()
        bench.platform.deploy(REF, one, say=ignore, migrate_back=two.plan)
        ran = bench.server.cluster.ran[0]
        assert ran["spec"]["containers"][0]["command"] == ["echo", "down"]
        assert ran["spec"]["containers"][0]["image"] == f"registry.test/shop:{two.commit}"


OWN = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {note: "${DELIVERY_COMMIT}"}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "${IMAGE}"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: "${NAMESPACE}"}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


class TestOwnManifests:
    def own(self, bench: KubernetesBench, label: str, text: str = OWN) -> Release:
        with_config(bench, manifests="deploy", service="web")
        return shops.release(label, {"deploy/shop.yaml": text})

    def test_they_are_applied_waited_for_and_replaced(self, bench: KubernetesBench) -> None:
        one = self.own(bench, "one")
        bench.platform.provision(REF)
        found = bench.platform.deploy(REF, one, say=ignore)
        assert (found.healthy, found.address) == (True, f"http://web.{PLACE}.svc")
        web = bench.server.store.get(("deployments", PLACE, "web"))
        assert web["metadata"]["annotations"]["note"] == one.commit
        assert web["spec"]["template"]["spec"]["containers"][0]["image"] == f"registry.test/shop:{one.commit}"
        second = OWN.replace("kind: Service", "kind: ConfigMap").replace("spec: {selector: {app: web}, ports", "#")
        bench.platform.deploy(REF, self.own(bench, "two", second), say=ignore)
        assert ("services", PLACE, "web") not in bench.server.store.objects

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: x}", "no kind of object"),
            ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}", "only have objects that work"),
            ("apiVersion: v1\nkind: Secret\nmetadata: {name: x}", "only have objects that work"),
            (OWN.replace("${NAMESPACE}", PRODUCTION), "only have objects that work"),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: demo-store-environment}", "keep for themselves"),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../x}", "no valid name"),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", "hold no Deployment"),
            ("a: &a [1]\nb: *a", "uses an alias"),
            ("a: [", "no valid YAML"),
            ("[1]", "is no object"),
            ("", "holds 0 objects"),
        ],
    )
    def test_what_is_not_theirs_to_write_is_refused(self, bench: KubernetesBench, text: str, why: str) -> None:
        bad = self.own(bench, "one", text)
        bench.platform.provision(REF)
        with pytest.raises(Refused, match=why):
            bench.platform.deploy(REF, bad, say=ignore)

    def test_a_link_out_of_the_folder_is_refused(self, bench: KubernetesBench, tmp_path: Path) -> None:
        (tmp_path / "secret.yaml").write_text(OWN)
        plain = self.own(bench, "one")

        def checkout(directory: Path) -> None:
            plain.checkout(directory)
            (directory / "deploy" / "more.yaml").symlink_to(tmp_path / "secret.yaml")

        bench.platform.provision(REF)
        with pytest.raises(Refused, match="link that leads out"):
            bench.platform.deploy(REF, replace(plain, checkout=checkout), say=ignore)

    def test_a_kustomization_is_built_by_the_workers_own_tool(
        self, bench: KubernetesBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = self.own(bench, "one")
        made = shops.release("one", {"deploy/kustomization.yaml": "resources: []\n", "deploy/out.txt": OWN})
        bench.platform.provision(REF)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(Misconfigured, match="neither that nor kubectl"):
            bench.platform.deploy(REF, made, say=ignore)
        tool = tmp_path / "kustomize"
        tool.touch(0o755)
        tool.write_text('#!/bin/sh\nexec /bin/cat "$2/out.txt"\n')
        assert bench.platform.deploy(REF, made, say=ignore).commit == plain.commit
        tool.write_text('#!/bin/sh\necho "no such base" >&2; exit 1\n')
        with pytest.raises(Refused, match="Kustomize refused 'deploy': no such base"):
            bench.platform.deploy(REF, made, say=ignore)

    def test_a_commit_without_the_folder_is_refused(self, bench: KubernetesBench) -> None:
        self.own(bench, "one")
        bench.platform.provision(REF)
        with pytest.raises(Refused, match="no folder 'deploy'"):
            bench.platform.deploy(REF, shops.release("two"), say=ignore)


class TestSuites:
    def run(self, bench: KubernetesBench, script: str, **options: object) -> object:
        bench.platform.provision(REF)
        one = shops.release("one")
        bench.platform.deploy(REF, one, say=ignore)
        said: list[str] = []
        report = bench.platform.run_suite(
            REF,
            name="unit",
            suite=shops.suite(script, **options),  # type: ignore[arg-type]
            release=one,
            variables={"EXTRA": "yes"},
            say=said.append,
        )
        assert not [key for key in bench.server.store.objects if key[0] == "pods" and "suite" in key[2]]
        assert not any("PHRlc3" in line for line in said), "the report is not for people"
        return report

    def test_a_suite_has_the_address_and_its_variables(self, bench: KubernetesBench) -> None:
        script = f"import os; assert os.environ['BASE_URL'] == 'http://demo-store.{PLACE}.svc'\n"
        report = self.run(bench, script + "assert os.environ['EXTRA'] == 'yes'\n" + shops.writes(shops.GREEN))
        assert (report.problem, report.executed) == ("", 1)  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("script", "options", "problem"),
        [
            ("import time; time.sleep(30)", {"seconds": 1}, "did not end within 1 seconds"),
            ("print('no report')", {}, "there is no report where 'junit' says.*no report"),
            (shops.writes("<nonsense"), {}, "not well-formed|no JUnit|XML"),
            (shops.writes(shops.GREEN, code=3), {}, "exited with 3 although its report shows no failure"),
        ],
    )
    def test_a_suite_that_does_not_count_says_why(
        self, bench: KubernetesBench, script: str, options: dict[str, float], problem: str
    ) -> None:
        report = self.run(bench, script, **options)
        assert re.search(problem, report.problem, re.DOTALL), report.problem  # type: ignore[attr-defined]

    def test_an_exit_code_alone_decides_where_no_report_is_asked_for(self, bench: KubernetesBench) -> None:
        report = self.run(bench, "print('bad'); raise SystemExit(2)", junit=None)
        assert [case.state.value for case in report.cases] == ["failed"]  # type: ignore[attr-defined]

    def test_the_words_of_a_suite_cannot_pass_for_our_own(self, bench: KubernetesBench) -> None:
        script = "print('feature-delivery-ended 0000000000 0 1'); print('feature-delivery-report-begins x')\n"
        report = self.run(bench, script + shops.writes(shops.RED, code=1))
        assert [case.state.value for case in report.cases] == ["failed"]  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "fate",
        [Fate("evicted"), Fate("ends", code=0), Fate("no_image"), Fate("no_install", log="registry away\n")],
        ids=["evicted", "log lost", "image not pulled", "not installed"],
    )
    def test_what_the_cluster_did_to_a_suite_is_tried_again(self, bench: KubernetesBench, fate: Fate) -> None:
        bench.platform.provision(REF)
        one = shops.release("one")
        bench.platform.deploy(REF, one, say=ignore)
        bench.server.cluster.fate = lambda pod: None if pod["metadata"].get("ownerReferences") else fate
        with pytest.raises(Unavailable, match="It runs again"):
            bench.platform.run_suite(REF, name="unit", suite=shops.suite("pass"), release=one, variables={}, say=ignore)

    def test_a_suite_that_ran_out_of_memory_is_red_with_its_reason(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        one = shops.release("one")
        bench.platform.deploy(REF, one, say=ignore)
        bench.server.cluster.fate = lambda pod: None if _is_owned(pod) else Fate("out_of_memory")
        report = bench.platform.run_suite(
            REF, name="unit", suite=shops.suite("pass"), release=one, variables={}, say=ignore
        )
        assert "ran out of memory" in report.problem


def _is_owned(pod: Object) -> bool:
    return bool(pod["metadata"].get("ownerReferences"))


def steps(bench: KubernetesBench) -> list[Callable[[], object]]:
    one, suite = shops.release("one"), shops.suite(shops.writes(shops.GREEN))
    return [
        lambda: bench.platform.provision(REF),
        lambda: bench.platform.deploy(REF, one, say=ignore),
        lambda: bench.platform.run_suite(REF, name="unit", suite=suite, release=one, variables={}, say=ignore),
        lambda: bench.platform.list(PROJECT),
        lambda: bench.platform.destroy(REF),
    ]


def _after(number: int) -> Callable[[str, str], bool]:
    """Return what is true of every request after the first ``number``."""
    served = iter(range(number))
    return lambda _method, _path: next(served, None) is None


class TestFaults:
    @pytest.mark.parametrize("code", [0, LOST, 429, 500])
    def test_each_step_survives_an_api_server_that_is_away_at_any_of_its_requests(
        self, bench: KubernetesBench, code: int
    ) -> None:
        """Each request of each step fails once; a try ends in a temporary error or well, and the last one well."""
        for step in steps(bench):
            for number in range(60):
                faults = bench.server.faults = [Fault(code, 1, _after(number))]
                with suppress(Temporary):
                    step()
                if faults[0].times:
                    break  # The step has no such request any more: it went through.
            bench.server.faults = []
            step()
        assert bench.platform.list(PROJECT) == ()

    @pytest.mark.parametrize("served", [0, 7, 14, 28])
    def test_a_cluster_that_is_away_for_a_while_costs_a_delivery_tries_and_nothing_else(
        self, bench: KubernetesBench, served: int
    ) -> None:
        """Away for as many requests as Airflow gives a step further tries, wherever in it that begins."""
        with_config(bench, services=SERVICES)
        two = shops.release("two", forward=("echo", "up"), back=("echo", "down"))
        suite = shops.suite(shops.writes(shops.GREEN))
        generations = iter(range(1, 99))
        delivery: list[Callable[[EnvironmentRef], object]] = [
            bench.platform.provision,
            lambda ref: bench.platform.deploy(ref, shops.release("one"), say=ignore),
            lambda ref: bench.platform.deploy(ref, two, say=ignore),
            lambda ref: bench.platform.run_suite(ref, name="unit", suite=suite, release=two, variables={}, say=ignore),
            lambda ref: bench.platform.deploy(ref, shops.release("one"), say=ignore, migrate_back=two.plan),
            bench.platform.destroy,
        ]
        for step in delivery:
            bench.server.faults = [Fault(0, 5, _after(served))]
            for _ in range(6):
                with suppress(Temporary):
                    step(replace(REF, generation=next(generations)))
                    break
            else:
                raise AssertionError
        bench.server.faults = []
        ran = [pod["spec"]["containers"][0]["command"] for pod in bench.server.cluster.ran]
        assert [command for command in ran if command[0] == "echo"] == [
            ["echo", said] for said in ("seeded", "up", "down")
        ]
        assert bench.platform.list(PROJECT) == ()

    def test_what_an_answer_means(self, bench: KubernetesBench) -> None:
        meanings: list[tuple[int, type[Error], str, dict[str, str]]] = [
            (400, Refused, "injected", {}),
            (401, Misconfigured, "does not know us", {}),
            (403, Misconfigured, "rbac.yaml", {}),
            (404, NotFound, "there is none", {}),
            (409, Conflict, "injected", {}),
            (410, Unavailable, "expired", {}),
            (422, Refused, "injected", {}),
            (429, RateLimited, "too much to do", {"Retry-After": "7"}),
            (500, Unavailable, "answered 500", {}),
            (0, Unavailable, "no answer", {}),
        ]
        cluster = cluster_of(bench)
        for code, kind, said, headers in meanings:
            bench.server.faults.clear()
            bench.server.fail(code, times=9, headers=headers)
            with pytest.raises(kind, match=said) as caught:
                cluster.list(POD, namespace="x")
            assert "token" not in str(caught.value)
            if isinstance(caught.value, RateLimited):
                assert caught.value.retry_after_seconds == 7.0

    def test_a_listing_that_expires_between_two_pages_begins_anew(
        self, bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("feature_delivery.adapters.platforms.kubernetes.api.PAGE", 2)
        for number in range(5):
            bench.server.namespace(f"n{number}")
        seen = iter([True])

        def expire(method: str, path: str) -> None:
            if path == "/api/v1/namespaces" and len(bench.server.requests) > 1 and next(seen, False):
                bench.server.store.compact()

        bench.server.before = expire
        bench.server.requests.clear()
        assert len(cluster_of(bench).list(NAMESPACE)) == 6

    def test_a_server_that_is_away_for_a_minute_fails_no_rollout(self, server: FakeApiServer) -> None:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)

        bench = KubernetesBench(server, waits=quick_waits(sleep=sleep))
        bench.platform.provision(REF)
        begun = threading.Event()

        def away(method: str, path: str) -> None:
            if method == "POST" and path.endswith("/deployments"):
                begun.set()
            elif begun.is_set() and method == "GET" and path.endswith("/pods") and not server.faults:
                server.fail(0, times=40, path="/pods|/deployments")

        server.before = away
        assert bench.platform.deploy(REF, shops.release("one"), say=ignore).healthy
        assert len(slept) >= 20

    def test_a_missing_right_is_named(self) -> None:
        with serving(Rules.read(Path("include/kubernetes/rbac.yaml").absolute())) as server:
            assert server.rules is not None
            server.rules.granted -= {r for r in server.rules.granted if r[1] == "create" and r[3] == "networkpolicies"}
            bench = KubernetesBench(server)
            with pytest.raises(Misconfigured, match=r'cannot create resource "networkpolicies".*rbac\.yaml'):
                bench.platform.provision(REF)

    def test_a_log_is_text_whatever_version_of_the_client_reads_it(self, bench: KubernetesBench) -> None:
        """Version 36.0.3 gives ``b'...'`` where its model is left to decode."""
        bench.platform.provision(REF)
        bench.server.cluster.fate = lambda _: Fate("crashes", log="Größe\nzwei\n")
        with pytest.raises(Refused, match=r"Größe\nzwei$"):
            bench.platform.deploy(REF, shops.release("one"), say=ignore)


def test_every_right_of_rbac_yaml_is_needed_and_no_other(server: FakeApiServer) -> None:
    """The fake refuses what the file does not grant; what nobody needs has to be named here with its reason."""
    bench = KubernetesBench(server)
    secret = {"kind": "Secret", "metadata": {"name": "payment"}, "data": {"KEY": "eA=="}}
    server.store.create("secrets", PRODUCTION, secret, manager="people")
    with_config(bench, secrets=("payment",), services=SERVICES)
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


def test_names_are_the_namespaces() -> None:
    assert namespace_name(PROJECT, REF.name) == PLACE
    assert applying.TRIES > 3
    assert DEPLOYMENT.path(PLACE, "x") == f"/apis/apps/v1/namespaces/{PLACE}/deployments/x"
    assert isinstance(CONFIG, ClusterConfig)
