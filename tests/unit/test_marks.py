"""Two control planes of one ledger find each other by their marks, whatever crashes; one alone never does."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.marks import Claim
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.work import Work
from feature_delivery.ports.ledger import Unit
from feature_delivery.services.control import brake, marks
from feature_delivery.services.work.claiming import claim_for
from tests.fakes.books import FakeBooks
from tests.fakes.fake_platform import FakePlatform
from tests.fakes.runs import FakeRuns
from tests.support.bench import FakeControl

if TYPE_CHECKING:
    from feature_delivery.services.work.job import Tools

SHOP = ProjectName("shop")


@dataclass
class Side:
    """A ledger and the claims that tasks of it have in their hands."""

    platform: FakePlatform
    books: FakeBooks = field(default_factory=FakeBooks)
    held: list[Claim] = field(default_factory=list)
    worked: int = 0

    @property
    def unit(self) -> Unit:
        return Unit(self.books, FakeRuns())

    @property
    def is_stopped(self) -> bool:
        return bool(brake.held(self.books, SHOP))

    def take(self) -> None:
        if not self.is_stopped:
            self.held.append(marks.claim(self.unit, SHOP))

    def leave(self, number: int, *, tells: bool) -> None:
        """A task that has taken a claim goes on, or was killed right after it left its mark."""
        if self.held and not self.is_stopped:
            claim = self.held.pop(number % len(self.held))
            if found := self.platform.claim(SHOP, claim):
                if marks.contested(self.unit, SHOP, found):
                    return
            elif tells:
                marks.left(self.unit, SHOP, claim.fresh)
            self.worked += 1

    def crash(self) -> None:
        self.held.clear()


MOVES = st.lists(
    st.tuples(st.sampled_from(["take", "leave", "killed", "crash"]), st.integers(0, 3), st.booleans()), max_size=40
)


def play(sides: list[Side], moves: list[tuple[str, int, bool]]) -> None:
    for move, number, which in moves:
        side = sides[which % len(sides)]
        match move:
            case "take":
                side.take()
            case "crash":
                side.crash()
            case _:
                side.leave(number, tells=move == "leave")


@given(MOVES)
def test_one_control_plane_alone_is_never_stopped(moves: list[tuple[str, int, bool]]) -> None:
    """Its tasks overtake each other, and are killed before and after they have left their mark."""
    side = Side(FakePlatform("here"))
    play([side], moves)
    assert not side.is_stopped
    assert len(side.books.marks.get(SHOP, [])) <= len(moves)


@given(MOVES, MOVES, MOVES)
def test_of_a_ledger_and_its_copy_at_most_one_works_on(
    before: list[tuple[str, int, bool]], after: list[tuple[str, int, bool]], later: list[tuple[str, int, bool]]
) -> None:
    """The copy is taken at any moment; what a task has in its hands just then is of the past of both, and ends."""
    first = Side(FakePlatform("here"))
    play([first], before)
    first.crash()
    second = Side(first.platform, books=copy.deepcopy(first.books))
    first.worked = 0
    play([first, second], after)
    assert not (first.worked and second.worked), "both have had an effect"
    play([first, second], later)
    assert not (first.worked and second.worked)
    assert not (first.is_stopped and second.is_stopped), "the one goes on"


def test_who_finds_another_mark_is_stopped_with_a_sentence_and_stays_so() -> None:
    first = Side(FakePlatform("here"))
    second = Side(first.platform, books=copy.deepcopy(first.books))
    for side in (first, second):
        side.take()
        side.leave(0, tells=True)
    assert (first.is_stopped, second.is_stopped) == (False, True)
    with pytest.raises(Unavailable, match=r"another control plane of instance .* has left its mark.*instance adopt"):
        marks.claim(second.unit, SHOP)


def test_a_new_ledger_of_an_instance_that_has_worked_there_is_stopped() -> None:
    """Nor does an older one know what was done since: whoever restores it says so."""
    first = Side(FakePlatform("here"))
    first.take()
    first.leave(0, tells=True)
    fresh = Side(first.platform)
    fresh.take()
    fresh.leave(0, tells=True)
    assert fresh.is_stopped


@dataclass
class Hands:
    """What a task has at hand: the platform alone."""

    fake: FakePlatform = field(default_factory=lambda: FakePlatform("here"))

    def platform(self, instance: str) -> FakePlatform:
        assert instance == "here"
        return self.fake


def try_to(step: Step, hands: Hands, claim: Claim) -> None:
    work = Work(
        permit=1,
        project=SHOP,
        step=step,
        key=FeatureKey("SHOP-1"),
        delivery=1,
        title="",
        description="",
        requester="",
        branch=None,
        attempt=1,
        commit=None,
        issue_url="",
        request_number=None,
        claim=claim,
    )
    claim_for(FakeControl(), cast("Tools", hands), work)


def test_no_step_touches_the_platform_where_another_one_works() -> None:
    claim, hands = Claim(instance="here", fresh="ours", known=("ours before",)), Hands()
    hands.fake.marks["here", SHOP] = "another's"
    for step in (Step.DEPLOY_PRODUCTION, Step.DESTROY_PREPROD, Step.PROMOTE, Step.DEPLOY_DEVELOPMENT):
        assert step in marks.CLAIMED
        with pytest.raises(Unavailable, match="another's"):
            try_to(step, hands, claim)
    hands.fake.marks["here", SHOP] = "ours before"
    try_to(Step.DEPLOY_PRODUCTION, hands, claim)
    assert hands.fake.marks["here", SHOP] == "ours"


def test_a_place_out_of_reach_stops_what_destroys_or_ships_and_not_a_deploy_for_a_developer() -> None:
    def away(method: str) -> None:
        raise Unavailable(f"Production's cluster does not answer to {method}.")

    claim, hands = Claim(instance="here", fresh="ours", known=()), Hands()
    hands.fake.before = away
    try_to(Step.DEPLOY_DEVELOPMENT, hands, claim)
    for step in (Step.DEPLOY_PRODUCTION, Step.DESTROY_DEVELOPMENT, Step.PROMOTE):
        with pytest.raises(Unavailable, match="does not answer"):
            try_to(step, hands, claim)
