"""What every platform does, the fake one too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pytest

from feature_delivery.adapters.platforms.local import LocalPlatform, Settings
from feature_delivery.domain import suites
from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.marks import ANY, Claim
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.plan import SuitePlan
from feature_delivery.domain.records import Environment, EnvironmentState
from feature_delivery.domain.upkeep import Found, ReapPlan
from feature_delivery.ports.ledger import Unit
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, Platform, Release
from feature_delivery.services.control.reap import plan_reaping
from feature_delivery.services.work.reap import reap
from tests import shops
from tests.contracts.kubernetes_bench import KubernetesBench, fake_server
from tests.contracts.real_cluster import NONE_GIVEN, RealBench, RealCluster
from tests.fakes.books import FakeBooks
from tests.fakes.fake_platform import FakePlatform
from tests.fakes.runs import FakeRuns
from tests.support.ports import port_range
from tests.support.world import shop

if TYPE_CHECKING:
    from feature_delivery.ports.control import Control

PROJECT = ProjectName("demo_store")
UP, DOWN = ("echo", "up"), ("echo", "down")
HALFWAY = ("sh", "-c", "echo no such column; exit 4")


class Bench(Protocol):
    """What the suite needs of a platform beside the port."""

    @property
    def platform(self) -> Platform: ...

    def broken(self, label: str) -> Release: ...

    def red(self, release: Release) -> SuitePlan: ...

    def of_instance(self, instance: str) -> Platform: ...


class FakeBench:
    def __init__(self) -> None:
        self.platform = FakePlatform("here")
        self.platform.failing[HALFWAY] = "no such column"

    def broken(self, label: str) -> Release:
        release = shops.release(label)
        self.platform.broken[release.commit] = "no price list found"
        return release

    def red(self, release: Release) -> SuitePlan:
        self.platform.cases[release.commit, "red"] = (
            suites.TestCase("buys", suites.CaseState.FAILED, 0.0, "no stock"),
        )
        return shops.suite(shops.writes(shops.RED, code=1))

    def of_instance(self, instance: str) -> Platform:
        other = FakePlatform(instance)
        other.environments = self.platform.environments
        return other


class LocalBench:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.platform = LocalPlatform(Settings(root=root, instance="here", ports=port_range()))

    def broken(self, label: str) -> Release:
        return shops.release(label, {"shop.py": shops.CRASH})

    def red(self, release: Release) -> SuitePlan:
        return shops.suite(shops.writes(shops.RED, code=1))

    def of_instance(self, instance: str) -> Platform:
        return LocalPlatform(Settings(root=self.root, instance=instance, ports=port_range()))


@pytest.fixture(params=["fake", "local", "kubernetes", "real_cluster"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, given_cluster: RealCluster | None) -> Iterator[Bench]:
    if request.param == "fake":
        yield FakeBench()
        return
    if request.param == "kubernetes":
        server = fake_server()
        yield KubernetesBench(server)
        server.close()
        return
    if request.param == "real_cluster":
        if given_cluster is None:
            pytest.skip(NONE_GIVEN)
        yield RealBench(given_cluster)
        given_cluster.clean()
        return
    local = LocalBench(tmp_path / "environments")
    yield local
    local.platform.stop_all(PROJECT)


def reference(name: str = "development-shop-1", *, generation: int = 1, **changes: object) -> EnvironmentRef:
    ref = EnvironmentRef(
        instance="here",
        project=PROJECT,
        name=name,
        kind=EnvironmentKind.DEVELOPMENT,
        key=FeatureKey("SHOP-1"),
        generation=generation,
    )
    return replace(ref, **changes)  # type: ignore[arg-type]


def ignore(_: str) -> None:
    pass


def test_a_fresh_environment_is_empty_and_keeps_its_address(bench: Bench) -> None:
    first = bench.platform.provision(reference())
    assert (first.commit, first.previous, first.healthy, first.foreign) == (None, None, False, False)
    assert bench.platform.provision(reference()) == first
    deployed = bench.platform.deploy(reference(), shops.release("one"), say=ignore)
    assert deployed.address == first.address
    assert bench.platform.status(reference()) == deployed
    assert (first.health_path, deployed.health_path, deployed.metrics_path) == ("", "/healthz", "")


def test_what_was_never_provisioned_is_not_found(bench: Bench) -> None:
    assert bench.platform.status(reference()) is None
    assert bench.platform.list(PROJECT) == ()
    with pytest.raises(NotFound):
        bench.platform.deploy(reference(), shops.release("one"), say=ignore)


def test_a_second_deploy_keeps_the_first_as_previous_and_a_repeated_one_changes_nothing(bench: Bench) -> None:
    bench.platform.provision(reference())
    one, two = shops.release("one"), shops.release("two")
    bench.platform.deploy(reference(), one, say=ignore)
    status = bench.platform.deploy(reference(), two, say=ignore)
    assert (status.commit, status.previous, status.healthy) == (two.commit, one.commit, True)
    assert bench.platform.deploy(reference(), two, say=ignore) == status


def test_a_broken_release_is_refused_with_its_log_and_the_old_one_goes_on_serving(bench: Bench) -> None:
    bench.platform.provision(reference())
    one = shops.release("one")
    before = bench.platform.deploy(reference(), one, say=ignore)
    with pytest.raises(Refused, match="no price list found"):
        bench.platform.deploy(reference(), bench.broken("two"), say=ignore)
    assert bench.platform.status(reference()) == before


def test_a_broken_first_release_leaves_an_empty_environment(bench: Bench) -> None:
    empty = bench.platform.provision(reference())
    with pytest.raises(Refused):
        bench.platform.deploy(reference(), bench.broken("one"), say=ignore)
    assert bench.platform.status(reference()) == empty


def test_a_migration_that_fails_half_way_is_not_settled_until_a_rollback_takes_it_back(bench: Bench) -> None:
    bench.platform.provision(reference())
    one, bad = shops.release("one"), shops.release("two", forward=HALFWAY, back=DOWN)
    before = bench.platform.deploy(reference(), one, say=ignore)
    said: list[str] = []
    with pytest.raises(Refused, match=r"(?s)Could not migrate.*It ended with:\nno such column"):
        bench.platform.deploy(reference(), bad, say=said.append)
    after = bench.platform.status(reference())
    assert after == replace(before, unsettled=bad.commit)
    assert "down" not in said, "whether it can be taken back is for people, or a rollback, to say"
    assert bench.platform.deploy(reference(), one, say=said.append, migrate_back=bad.plan).unsettled is None
    assert said.count("down") == 1


class Interrupted(BaseException):
    """What a task's time limit does: it comes anywhere, and is no error of the platform's."""


def test_a_rollback_that_is_interrupted_takes_the_migration_back_once(bench: Bench) -> None:
    """Also that of a release which came again after its migration was taken back: it has migrated anew."""
    bench.platform.provision(reference())
    one, two = shops.release("one"), shops.release("two", forward=UP, back=DOWN)
    moves: list[str] = []

    def say(line: str) -> None:
        if line in {"up", "down"}:
            moves.append(line)

    def interrupt(line: str) -> None:
        say(line)
        if moves[-1] == "down" and line.startswith("Wait "):
            raise Interrupted

    for generation in (1, 3):
        bench.platform.deploy(reference(generation=generation), two, say=say)
        with pytest.raises(Interrupted):
            bench.platform.deploy(reference(generation=generation + 1), one, say=interrupt, migrate_back=two.plan)
    status = bench.platform.status(reference())
    assert status is not None
    assert status.commit == two.commit
    status = bench.platform.deploy(reference(generation=5), one, say=say, migrate_back=two.plan)
    assert (status.commit, status.unsettled) == (one.commit, None)
    assert moves == ["up", "down", "up", "down"]


def test_a_lower_generation_cannot_write(bench: Bench) -> None:
    bench.platform.provision(reference(generation=2))
    bench.platform.deploy(reference(generation=5), shops.release("one"), say=ignore)
    old = reference(generation=4)
    for write in (
        lambda: bench.platform.provision(old),
        lambda: bench.platform.deploy(old, shops.release("two"), say=ignore),
        lambda: bench.platform.destroy(old),
        lambda: bench.platform.run_suite(
            old, name="unit", suite=shops.suite("pass"), release=shops.release("one"), variables={}, say=ignore
        ),
    ):
        with pytest.raises(Conflict, match="eneration 5"):
            write()
    status = bench.platform.status(old)
    assert status is not None
    assert (status.ref.generation, status.commit) == (5, shops.commit_of("one"))


def test_a_suite_reports_its_tests_green_or_red(bench: Bench) -> None:
    bench.platform.provision(reference())
    release = shops.release("one")
    bench.platform.deploy(reference(), release, say=ignore)
    said: list[str] = []
    green = bench.platform.run_suite(
        reference(),
        name="unit",
        suite=shops.suite("print('hello')\n" + shops.writes(shops.GREEN)),
        release=release,
        variables={},
        say=said.append,
    )
    assert (green.problem, green.executed, green.commit, green.suite) == ("", 1, release.commit, "unit")
    assert said
    red = bench.platform.run_suite(
        reference(), name="red", suite=bench.red(release), release=release, variables={}, say=ignore
    )
    assert (red.problem, red.count(suites.CaseState.FAILED)) == ("", 1)


def test_a_suite_of_a_commit_that_does_not_run_here_is_a_conflict(bench: Bench) -> None:
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=ignore)
    with pytest.raises(Conflict):
        bench.platform.run_suite(
            reference(),
            name="unit",
            suite=shops.suite("pass"),
            release=shops.release("two"),
            variables={},
            say=ignore,
        )


def test_destroy_is_complete_and_may_be_repeated(bench: Bench) -> None:
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=ignore)
    bench.platform.destroy(reference())
    bench.platform.destroy(reference())
    assert bench.platform.status(reference()) is None
    assert bench.platform.list(PROJECT) == ()


def test_production_is_never_torn_down_whatever_the_reference_says(bench: Bench) -> None:
    production = reference("production", kind=EnvironmentKind.PRODUCTION, key=None)
    bench.platform.provision(production)
    for disguised in (
        production,
        replace(production, kind=EnvironmentKind.DEVELOPMENT),
        replace(production, kind=EnvironmentKind.PREPROD, key=FeatureKey("SHOP-1"), generation=99),
    ):
        with pytest.raises(Refused, match="never torn down"):
            bench.platform.destroy(disguised)
    assert bench.platform.status(production) is not None


class Housekeeping:
    """Implements what ``reap`` asks of ``Control``, by the real rules over books in memory."""

    def __init__(self) -> None:
        self.books = FakeBooks()
        self.books.instance = lambda: "here"  # type: ignore[method-assign]
        self.doomed: list[str] = []

    def claim(self, project: ProjectName) -> Claim:
        return Claim(instance="here", fresh="fresh", known=(ANY,))

    def plan_reaping(self, project: ProjectName, found: Sequence[Found], *, left: str) -> ReapPlan:
        assert left == "fresh"
        plan = plan_reaping(Unit(self.books, FakeRuns()), replace(shop(), name=project), found)
        self.doomed += [one.name for one in plan.destroy]
        return plan

    def round(self, platform: Platform) -> Environment | None:
        """One round; returns the ledger's row of production."""
        assert reap(cast("Control", self), PROJECT, lambda _instance: platform, say=ignore) == ()
        return self.books.environment(PROJECT, "production")


def test_production_that_ran_before_any_delivery_is_known_to_the_ledger_and_stays(bench: Bench) -> None:
    production = reference("production", kind=EnvironmentKind.PRODUCTION, key=None)
    rounds = Housekeeping()
    assert rounds.round(bench.platform) is None
    bench.platform.provision(production)
    assert rounds.round(bench.platform) is None, "nothing answers there yet"
    release = shops.release("one")
    measured = replace(release, plan=replace(release.plan, metrics_path="/internal/metrics"))
    status = bench.platform.deploy(production, measured, say=ignore)
    row = rounds.round(bench.platform)
    assert row is not None
    assert (row.state, row.feature_id, row.address) == (EnvironmentState.READY, None, status.address)
    assert (row.commit, row.metrics_path, row.health_path) == (release.commit, "/internal/metrics", "/healthz")
    again = rounds.round(bench.platform)
    assert (again, len(rounds.books.of(Environment)), row.generation) == (row, 1, 0)
    assert rounds.doomed == []
    assert bench.platform.status(production) == status


def test_environments_of_another_instance_are_listed_as_foreign_and_not_touched(bench: Bench) -> None:
    bench.platform.provision(reference())
    elsewhere = bench.of_instance("elsewhere")
    claimed = reference(instance="elsewhere", generation=9)
    for ref in (claimed, reference(generation=9)):
        for write in (
            lambda ref=ref: elsewhere.provision(ref),
            lambda ref=ref: elsewhere.destroy(ref),
            lambda ref=ref: elsewhere.deploy(ref, shops.release("one"), say=ignore),
        ):
            with pytest.raises(Refused, match="belongs to"):
                write()
    with pytest.raises(Refused, match="belongs to"):
        bench.platform.destroy(claimed)
    assert [status.foreign for status in elsewhere.list(PROJECT)] == [True]
    assert [status.foreign for status in bench.platform.list(PROJECT)] == [False]


def test_a_name_that_means_another_feature_is_a_conflict(bench: Bench) -> None:
    bench.platform.provision(reference())
    with pytest.raises(Conflict):
        bench.platform.provision(reference(key=FeatureKey("SHOP-2"), generation=2))


def test_a_mark_is_left_only_where_one_of_the_same_ledger_is(bench: Bench) -> None:
    """Each time anew, also after a crash; what another one left stays, and each instance and project has its own."""

    def claim(fresh: str, *known: str, instance: str = "here") -> Claim:
        return Claim(instance=instance, fresh=fresh, known=known)

    leave = bench.platform.claim
    assert leave(PROJECT, claim("one")) == ""
    assert leave(PROJECT, claim("one")) == ""
    assert leave(PROJECT, claim("two", "one")) == ""
    assert leave(PROJECT, claim("three", "one")) == "two"
    assert leave(PROJECT, claim("three", "one")) == "two"
    assert leave(PROJECT, claim("four", ANY)) == ""
    assert leave(PROJECT, claim("five", "two")) == "four"
    assert leave(PROJECT, claim("six", instance="there")) == ""
    assert leave(ProjectName("other"), claim("seven")) == ""
    assert leave(PROJECT, claim("eight", "four")) == ""
    assert bench.platform.list(PROJECT) == (), "a mark is no environment"


def test_list_shows_every_environment_of_the_project_only(bench: Bench) -> None:
    bench.platform.provision(reference("preprod-shop-1", kind=EnvironmentKind.PREPROD))
    bench.platform.provision(reference("development-shop-1"))
    assert [status.ref.name for status in bench.platform.list(PROJECT)] == ["development-shop-1", "preprod-shop-1"]
    assert bench.platform.list(ProjectName("another")) == ()
