"""What only a cluster can do to a delivery: lose races, refuse rights, be away, keep what should go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from feature_delivery.adapters.platforms.kubernetes.resources import NAMESPACE, POD
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
from feature_delivery.ports.platform import EnvironmentRef
from tests import shops
from tests.contracts.kubernetes.cases import PROJECT, REF, SERVICES, cluster_of, ignore, with_config
from tests.contracts.kubernetes_bench import (
    KubernetesBench,
    quick_waits,
)
from tests.fakes.kubernetes.cluster import Fate
from tests.fakes.kubernetes.server import LOST, FakeApiServer, Fault, Rules, serving


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
