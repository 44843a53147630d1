"""Releases that are built, roll out, fail to, and go again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    Refused,
    Unavailable,
)
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, PROD, REF, SERVICES, deployment, ignore, with_config
from tests.contracts.kubernetes_bench import (
    CONFIG,
    PRODUCTION,
    KubernetesBench,
    connect,
    platform,
)
from tests.fakes.kubernetes.cluster import Fate
from tests.fakes.kubernetes.store import Object
from tests.local_bench import wait_until

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

    def test_a_release_that_serves_is_neither_broken_nor_migrated_again_for_what_its_pods_have_been_through(
        self, bench: KubernetesBench
    ) -> None:
        """Nodes were restarted, a pod ran out of memory, one is moved at this moment; the deploy is cleared."""
        bench.platform.provision(PROD)
        one = shops.release("one", forward=("echo", "up"))
        bench.platform.deploy(PROD, one, say=ignore)
        was: Object = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "restartCount": 3}
        for _ in _pods(bench, **was):
            pass
        said: list[str] = []
        bench.platform.deploy(replace(PROD, generation=2), one, say=said.append)
        assert any("already" in line for line in said)
        moved = _pods(bench, lastState={}, restartCount=0, ready=False)
        next(moved)
        shop = ("deployments", PRODUCTION, "demo-store")
        wait_until(lambda: bench.server.store.get(shop)["status"]["availableReplicas"] == 1)
        patched = threading.Event()

        def back(method: str, path: str) -> None:
            if method == "PATCH" and path.endswith("/demo-store") and not patched.is_set():
                patched.set()
                for _ in _pods(bench, ready=True):
                    pass

        bench.server.before = back
        assert bench.platform.deploy(replace(PROD, generation=3), one, say=ignore).healthy
        assert (patched.is_set(), len(bench.server.cluster.ran)) == (True, 1)

    def test_what_was_brought_back_by_hand_is_not_taken_for_the_release_that_is_written_down(
        self, bench: KubernetesBench
    ) -> None:
        """``kubectl rollout undo``, and then the deploy is cleared to get back."""
        bench.platform.provision(REF)
        bench.platform.deploy(REF, shops.release("one"), say=ignore)
        older = deployment(bench)["spec"]["template"]
        two = shops.release("two")
        bench.platform.deploy(REF, two, say=ignore)
        key = ("deployments", PLACE, "demo-store")

        found = bench.server.store.get(key)
        undone = {**found, "spec": {**found["spec"], "template": older}}
        bench.server.store.replace(key, undone, manager="kubectl-rollout")
        wait_until(lambda: deployment(bench)["status"].get("availableReplicas") == 1)
        assert bench.platform.deploy(replace(REF, generation=2), two, say=ignore).commit == two.commit
        labels = deployment(bench)["spec"]["template"]["metadata"]["labels"]
        assert labels["feature-delivery.io/commit"] == two.commit

    def test_where_a_backing_service_may_have_lost_its_data_the_same_commit_migrates_again(
        self, bench: KubernetesBench
    ) -> None:
        with_config(bench, services=SERVICES)
        bench.platform.provision(REF)
        one = shops.release("one", forward=("echo", "up"))
        bench.platform.deploy(REF, one, say=ignore)
        for _ in _pods(bench, PLACE, ready=False):
            pass
        wait_until(lambda: deployment(bench)["status"]["availableReplicas"] == 0)
        database = ("deployments", PLACE, "postgres")
        wait_until(lambda: bench.server.store.get(database)["status"]["availableReplicas"] == 0)
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            for _ in _pods(bench, PLACE, ready=True) if line.startswith("Wait until") else ():
                pass

        assert bench.platform.deploy(replace(REF, generation=2), one, say=say).healthy
        assert "Migrate: echo up" in said


def _pods(bench: KubernetesBench, namespace: str = PRODUCTION, **changes: object) -> Iterator[None]:
    """Change what is said of the container of one pod after the other."""
    for pod in bench.server.store.list("pods", namespace):
        [now] = _statuses(pod)
        status = {**pod["status"], "containerStatuses": [{**now, **changes}]}
        bench.server.store.set_status(("pods", namespace, pod["metadata"]["name"]), status)
        yield


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
        soon, long = timedelta(seconds=0.3), timedelta(minutes=10)
        cases: list[tuple[tuple[str, ...], timedelta, type[Error], str]] = [
            (("sh", "-c", "echo no space; exit 5"), long, Refused, r"'sh' exited with 5. It ended with:\nno space"),
            (("sh", "-c", "sleep 60 & sleep 60"), soon, Refused, "did not end within 0.3 seconds"),
            (("no-such-builder",), long, Misconfigured, "Install it on the worker"),
        ]
        for command, limit, kind, why in cases:
            builds = platform(
                connect(bench.server.kubeconfig()),
                instance="here",
                config=replace(CONFIG, build=command),
                build_timeout=limit,
            )
            with pytest.raises(kind, match=why):
                builds.deploy(REF, shops.release("two"), say=ignore)
            assert bench.platform.status(REF) == before


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

    @pytest.mark.parametrize("why", ["refused", "killed"])
    def test_a_destruction_that_stopped_half_way_is_gone_on_with_by_who_wants_the_environment(
        self, bench: KubernetesBench, why: str
    ) -> None:
        """It has said that it leaves, and its feature goes on: nobody else would ever delete it."""
        bench.platform.provision(REF)
        bench.server.fail(403 if why == "refused" else 0, method="DELETE", path="/namespaces/", times=2)
        for step in (bench.platform.destroy, bench.platform.provision)[: 2 if why == "refused" else 1]:
            with pytest.raises((Misconfigured, Unavailable), match=r"delete namespaces|no answer"):
                step(replace(REF, generation=2))
        bench.server.faults.clear()
        with pytest.raises(Unavailable, match="is being destroyed"):
            bench.platform.provision(replace(REF, generation=3))
        wait_until(lambda: ("namespaces", "", PLACE) not in bench.server.store.objects)
        assert bench.platform.provision(replace(REF, generation=4)).ref.generation == 4

    def test_a_half_made_environment_is_completed_by_the_next_try(self, bench: KubernetesBench) -> None:
        for path in ("/configmaps", "/resourcequotas", "/networkpolicies", "/services"):
            bench.server.fail(500, method="POST", path=path)
            with pytest.raises(Unavailable):
                bench.platform.provision(REF)
        assert bench.platform.provision(REF).ref == REF
