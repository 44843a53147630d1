"""Moving an issue through a workflow that is seen from inside only: what leads on from where the issue is.

Trackers show the whole workflow to their administrators alone. So the way is found by going it: a direct transition
when there is one, else breadth first over what has been seen, each status once, never through an end on the way to
another, and with a bound. An issue that cannot get where it shall is brought back to where it was.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from feature_delivery.domain.errors import Refused
from feature_delivery.ports.tracker import IssueState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from feature_delivery.adapters.trackers.states import Status

MOST_STEPS = 12
"""Transitions by one move; longer workflows than this are not walked to their end."""

_ORDER = (IssueState.OPEN, IssueState.IN_PROGRESS, IssueState.DONE)


@dataclass(frozen=True, slots=True)
class Way:
    """One transition from where the issue is. ``hindrance``: why we cannot take it; empty when we can."""

    id: str
    name: str
    to: Status
    hindrance: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the issue is, and what leads on from there for us."""

    status: Status
    ways: tuple[Way, ...]


class Walker(Protocol):
    """One issue of a tracker."""

    def look(self) -> Place:
        """Return where the issue is by now."""

    def take(self, way: Way) -> None:
        """Take a transition, or raise one of ``domain.errors``."""


def walk(walker: Walker, goals: Sequence[Status], *, doing: str) -> None:
    """Bring the issue to one of ``goals``.

    A repetition goes on from where the issue is.

    Args:
        walker: The issue.
        goals: Where it shall be, best first.
        doing: What is going on, for sentences: ``move SHOP-1 to done``.

    Raises:
        Refused: There is no way for us; says what can be reached.
        Error: What ``walker`` raises.
    """
    journey = _Journey(walker, {goal.name.casefold() for goal in goals}, wanted=goals[0].state)
    if journey.arrive():
        return
    stuck, hindrances = journey.here, journey.hindrances()
    journey.return_to_start()
    raise Refused(_sentence(doing, goals, stuck, hindrances, journey.here))


class _Journey:
    def __init__(self, walker: Walker, goals: Collection[str], *, wanted: IssueState) -> None:
        self._walker = walker
        self._goals = goals
        self._wanted = wanted
        self._seen: dict[str, tuple[Way, ...]] = {}
        self._useless: set[tuple[str, str]] = set()
        self._steps = 0
        self.here = self._look()
        self._start = self.here.status.name.casefold()

    def arrive(self) -> bool:
        """Go until a goal is reached; ``False`` when no way is left that has not been tried."""
        while self.here.status.name.casefold() not in self._goals:
            way = self._next(self._goals)
            if way is None or self._steps >= MOST_STEPS:
                return False
            self._go(way)
        return True

    def return_to_start(self) -> None:
        """Go back by ways that are known, as far as there are any."""
        while self.here.status.name.casefold() != self._start and self._steps < 2 * MOST_STEPS:
            way = self._next({self._start}, explore=False)
            if way is None:
                return
            self._go(way)

    def hindrances(self) -> tuple[str, ...]:
        """Return why ways that were seen could not be taken."""
        return tuple(dict.fromkeys(way.hindrance for ways in self._seen.values() for way in ways if way.hindrance))

    def _look(self) -> Place:
        place = self._walker.look()
        nearest = sorted(place.ways, key=lambda way: abs(_ORDER.index(way.to.state) - _ORDER.index(self._wanted)))
        self._seen[place.status.name.casefold()] = tuple(nearest)
        return place

    def _go(self, way: Way) -> None:
        before = self.here.status.name.casefold()
        self._walker.take(way)
        self._steps += 1
        self.here = self._look()
        if self.here.status.name.casefold() != way.to.name.casefold():
            # Rules of the team moved it on, or back: this way does not lead where it says.
            self._useless.add((before, way.id))

    def _next(self, targets: Collection[str], *, explore: bool = True) -> Way | None:
        """Return the first step to the nearest target, else to the nearest status not looked at yet."""
        begin = self.here.status.name.casefold()
        reached, waiting = {begin}, deque[tuple[str, Way | None]]([(begin, None)])
        unknown: Way | None = None
        while waiting:
            name, first = waiting.popleft()
            for way in self._usable(name, targets):
                to = way.to.name.casefold()
                if to in targets:
                    return first or way
                if to in reached:
                    continue
                reached.add(to)
                if to in self._seen:
                    waiting.append((to, first or way))
                elif unknown is None:
                    unknown = first or way
        return unknown if explore else None

    def _usable(self, name: str, targets: Collection[str]) -> list[Way]:
        return [
            way
            for way in self._seen.get(name, ())
            if not way.hindrance
            and (name, way.id) not in self._useless
            and (way.to.state is not IssueState.DONE or way.to.name.casefold() in {*targets, self._start})
        ]


def _sentence(doing: str, goals: Sequence[Status], stuck: Place, hindrances: Sequence[str], left: Place) -> str:
    wanted = " or ".join(repr(goal.name) for goal in goals)
    reachable = ", ".join(dict.fromkeys(repr(way.to.name) for way in stuck.ways if not way.hindrance))
    where = stuck.status.name
    said = f"Could not {doing}: the workflow has no way to {wanted} for us. From {where!r} "
    said += f"it leads to {reachable}" if reachable else "it leads nowhere"
    if left.status.name != where:
        said += f"; the issue is back in {left.status.name!r}"
    said += "." + "".join(f" {hindrance}" for hindrance in hindrances[:3])
    return f"{said} Move it by hand, or let the workflow allow it to us."
