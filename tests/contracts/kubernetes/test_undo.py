"""Data that are taken back are taken back once, whatever becomes of the cluster, of a pod, or of the deploy itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feature_delivery.adapters.platforms.kubernetes.pods import is_over
from feature_delivery.adapters.platforms.kubernetes.waiting import WaitsHere
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.ports.platform import EnvironmentStatus, Release
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, REF, ignore
from tests.contracts.kubernetes_bench import KubernetesBench
from tests.fakes.kubernetes.cluster import Fate, running
from tests.fakes.kubernetes.server import FakeApiServer
from tests.fakes.kubernetes.store import Object
from tests.local_bench import wait_until

UP, DOWN = ("echo", "up"), ("echo", "down")


@pytest.fixture
def bench(server: FakeApiServer) -> KubernetesBench:
    """A cluster with ``one``, and a time in which each look takes ten seconds, but what controllers do takes none."""
    clock = iter(range(0, 10**9, 10))

    def sleep(_: float) -> None:
        server.cluster.settle()
        time.sleep(0.001)  # Pods run for real.

    made = KubernetesBench(
        server, waits=WaitsHere(look_every=timedelta(seconds=1), sleep=sleep, now=lambda: float(next(clock)))
    )
    made.platform.provision(REF)
    deploy(made, shops.release("one"), 1)
    return made


def deploy(bench: KubernetesBench, release: Release, generation: int, **options: object) -> EnvironmentStatus:
    ref = replace(REF, generation=generation)
    return bench.platform.deploy(ref, release, say=ignore, **options)  # type: ignore[arg-type]


def ran(bench: KubernetesBench) -> list[tuple[str, ...]]:
    return [tuple(pod["spec"]["containers"][0]["command"]) for pod in bench.server.cluster.ran]


def crashing(bench: KubernetesBench) -> Release:
    two = shops.release("two", forward=UP, back=DOWN)
    bench.fates[two.commit] = Fate("crashes")
    return two


def away_while_it_goes_back(bench: KubernetesBench) -> None:
    """Let nobody see the second migration's pod once it has begun."""
    begun = iter([False, True])

    def away(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/pods") and next(begun, False):
            bench.server.fail(0, times=99, method="GET", path="/pods/.*-migration-")

    bench.server.before = away


def interrupted(bench: KubernetesBench) -> Release:
    """Deploy what crashes; the cluster is away while its data are taken back."""
    two = crashing(bench)
    away_while_it_goes_back(bench)
    with pytest.raises(Unavailable, match="no answer"):
        deploy(bench, two, 2)
    bench.server.faults.clear()
    bench.fates.clear()
    return two


def test_a_rollback_takes_up_the_way_back_that_was_begun(bench: KubernetesBench) -> None:
    two = interrupted(bench)
    found = deploy(bench, shops.release("one"), 3, migrate_back=two.plan)
    assert (found.unsettled, ran(bench)) == (None, [UP, DOWN])


def test_the_next_try_finishes_the_way_back_and_says_why_the_release_has_failed(bench: KubernetesBench) -> None:
    two = interrupted(bench)
    with pytest.raises(Refused, match=f"Could not start {two.commit[:12]}"):
        deploy(bench, two, 3)
    assert ran(bench) == [UP, DOWN]
    assert deploy(bench, two, 4).commit == two.commit
    assert ran(bench) == [UP, DOWN, UP], "its data were back"


def test_another_commit_waits_for_the_way_back_of_the_one_before(bench: KubernetesBench) -> None:
    interrupted(bench)
    three = shops.release("three", forward=("echo", "three"))
    assert deploy(bench, three, 3).unsettled is None
    assert ran(bench) == [UP, DOWN, ("echo", "three")]


def test_a_pod_that_is_lost_on_the_way_back_is_begun_again(bench: KubernetesBench) -> None:
    two = crashing(bench)
    by_commit, losses = bench.server.cluster.fate, iter([Fate("evicted")])

    def fate(pod: Object) -> Fate | None:
        if tuple(pod["spec"]["containers"][0]["command"]) == DOWN:
            return next(losses, None)
        return by_commit(pod)

    bench.server.cluster.fate = fate
    with pytest.raises(Unavailable, match=r"Evicted.* It is tried again"):
        deploy(bench, two, 2)
    with pytest.raises(Refused, match="Could not start"):
        deploy(bench, two, 3)
    found = bench.platform.status(REF)
    assert found is not None
    assert (found.commit, found.unsettled, ran(bench)) == (shops.commit_of("one"), None, [UP, DOWN])


def test_a_way_back_that_fails_lets_the_same_commit_migrate_anew(bench: KubernetesBench) -> None:
    two = shops.release("two", forward=UP, back=("false",))
    bench.fates[two.commit] = Fate("crashes")
    with pytest.raises(Refused, match="Could not start"):
        deploy(bench, two, 2)
    bench.fates.clear()
    deploy(bench, two, 3)
    assert ran(bench) == [UP, ("false",), UP], "nobody knows how far its data have gone back"


def test_a_rollback_whose_way_back_fails_lets_the_release_that_stays_migrate_anew(bench: KubernetesBench) -> None:
    one, two = shops.release("one"), shops.release("two", forward=UP, back=("false",))
    deploy(bench, two, 2)
    with pytest.raises(Refused, match="goes on serving"):
        deploy(bench, one, 3, migrate_back=two.plan)
    assert deploy(bench, two, 4).unsettled is None
    assert ran(bench) == [UP, ("false",), UP]


@pytest.mark.parametrize("again", ["one", "two"])
def test_a_rollback_that_is_interrupted_on_the_way_back_is_not_forgotten(bench: KubernetesBench, again: str) -> None:
    """The release that goes may come again at once: it has not gone, but its data may have."""
    one, two = shops.release("one"), shops.release("two", forward=UP, back=DOWN)
    deploy(bench, two, 2)
    bench.server.before = ignore_requests(lambda: bench.server.fail(0, times=99, method="GET", path="/pods/.*-migr"))
    with pytest.raises(Unavailable):
        deploy(bench, one, 3, migrate_back=two.plan)
    bench.server.before = lambda _method, _path: None
    bench.server.faults.clear()
    wanted = one if again == "one" else two
    found = deploy(bench, wanted, 4, migrate_back=two.plan if again == "one" else None)
    assert (found.commit, found.unsettled) == (wanted.commit, None)
    assert ran(bench) == ([UP, DOWN] if again == "one" else [UP, DOWN, UP])


def ignore_requests(then: Callable[[], None]) -> Callable[[str, str], None]:
    """Return what does ``then`` once a pod is begun."""

    def seen(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/pods"):
            then()

    return seen


def unseen_forward(bench: KubernetesBench, forward: tuple[str, ...]) -> Release:
    """Deploy what migrates; nobody sees its pod once it has begun."""
    two = shops.release("two", forward=forward, back=DOWN)
    bench.server.before = ignore_requests(lambda: bench.server.fail(0, times=99, method="GET", path="/pods/.*-migr"))
    with pytest.raises(Unavailable):
        deploy(bench, two, 2)
    bench.server.before = lambda _method, _path: None
    bench.server.faults.clear()
    return two


def test_a_way_back_does_not_begin_beside_the_way_forward(bench: KubernetesBench, tmp_path: Path) -> None:
    two = unseen_forward(bench, ("sh", "-c", f"until test -e {tmp_path}/go; do sleep 0.01; done; echo gone"))
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "of an earlier deploy" in line:
            (tmp_path / "go").touch()

    bench.platform.deploy(replace(REF, generation=3), shops.release("one"), say=say, migrate_back=two.plan)
    heard = [line for line in said if line in {"gone", "down"}]
    assert heard == ["gone", "down"]


def test_a_migration_that_an_earlier_deploy_left_and_that_never_began_is_removed(bench: KubernetesBench) -> None:
    by_commit = bench.server.cluster.fate
    bench.server.cluster.fate = lambda pod: Fate("pending") if "-migration-" in pod["metadata"]["name"] else None
    two = unseen_forward(bench, UP)
    bench.server.cluster.fate = by_commit
    assert deploy(bench, shops.release("one"), 3, migrate_back=two.plan).unsettled is None
    assert ran(bench) == [DOWN]


def test_a_migration_that_does_not_end_lets_no_other_one_begin(bench: KubernetesBench) -> None:
    two = unseen_forward(bench, UP)
    [pod] = [each for each in bench.server.store.list("pods", PLACE) if "-migration-" in each["metadata"]["name"]]
    key = ("pods", PLACE, pod["metadata"]["name"])
    wait_until(lambda: is_over(bench.server.store.get(key)))  # else its own end overwrites what is said here
    bench.server.store.set_status(key, running(pod["spec"]["containers"][0]))
    with pytest.raises(Unavailable, match="of an earlier deploy still runs"):
        deploy(bench, shops.release("one"), 3, migrate_back=two.plan)
    assert ran(bench) == [UP]


def test_the_data_stay_where_the_same_commit_goes_on(bench: KubernetesBench) -> None:
    """Another plan makes another release of a commit; its migration is the one that serves."""
    two = shops.release("two", forward=UP, back=DOWN)
    deploy(bench, two, 2)
    bench.fates[two.commit] = Fate("crashes")
    with pytest.raises(Refused, match="Could not start") as caught:
        deploy(bench, replace(two, plan=replace(two.plan, variables={"A": "1"})), 3)
    assert ran(bench) == [UP, UP]
    assert caught.value.__notes__ == ["Its migration stays: the same commit goes on serving, and needs it."]
    found = bench.platform.status(REF)
    assert found is not None
    assert (found.commit, found.unsettled) == (two.commit, None)
