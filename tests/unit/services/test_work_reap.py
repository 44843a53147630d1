"""The hands of the reaper destroy what they are told to, and go on after one that resists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.upkeep import Doomed, Found, ReapPlan
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef
from feature_delivery.services.work.reap import reap
from tests.fakes.fake_platform import FakePlatform
from tests.support.bench import FakeControl as Permits

SHOP = ProjectName("shop")


@dataclass
class FakeControl(Permits):
    """Knows which environments are over."""

    over: tuple[str, ...] = ()
    asked: list[tuple[str, ...]] = field(default_factory=list)
    gone: list[tuple[str, int]] = field(default_factory=list)

    def plan_reaping(self, project: ProjectName, found: Sequence[Found], *, left: str = "") -> ReapPlan:
        assert left
        self.asked.append(tuple(one.name for one in found))
        doomed = [
            Doomed(name=one.name, kind=one.kind, key=one.key, generation=9) for one in found if one.name in self.over
        ]
        return ReapPlan(instance="here", destroy=tuple(doomed), report=("foreign-1 was left alone.",) if found else ())

    def reaped(self, project: ProjectName, *, name: str, generation: int) -> None:
        self.gone.append((name, generation))


def platform(*names: str) -> FakePlatform:
    made = FakePlatform("here")
    for name in names:
        kind, key = EnvironmentKind.PREPROD, FeatureKey("SHOP-1")
        made.provision(EnvironmentRef("here", SHOP, name, kind, key, 1))
    return made


def test_only_what_is_over_is_destroyed_and_written_down() -> None:
    control, there = FakeControl(over=("preprod-shop-1",)), platform("preprod-shop-1", "preprod-shop-2")
    said: list[str] = []
    assert reap(control, SHOP, lambda _instance: there, say=said.append) == ()
    assert {name for _, name in there.environments} == {"preprod-shop-2"}
    assert control.gone == [("preprod-shop-1", 9)]
    assert said == ["foreign-1 was left alone.", "Destroyed preprod-shop-1: its feature is over."]


def test_one_that_resists_keeps_no_other_alive_and_is_not_written_down() -> None:
    control, there = FakeControl(over=("a", "b", "c")), platform("a", "b", "c")

    def before(method: str) -> None:
        if method == "destroy" and len(there.environments) == 2:
            there.before = lambda _method: None
            raise Unavailable("Busy.")

    there.before = before
    failures = reap(control, SHOP, lambda _instance: there, say=lambda _line: None)
    assert failures == ("b: Busy.",)
    assert control.gone == [("a", 9), ("c", 9)]
    assert reap(control, SHOP, lambda _instance: there, say=lambda _line: None) == ()
    assert there.environments == {}


def test_where_nothing_is_nothing_is_asked_for() -> None:
    control = FakeControl()
    assert reap(control, SHOP, lambda _instance: platform(), say=lambda _line: None) == ()
    assert control.asked == [()]
