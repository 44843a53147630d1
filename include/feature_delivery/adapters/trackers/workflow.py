"""Moving an issue through a workflow that is seen from inside only: what leads on from where the issue is.

Trackers show the whole workflow to their administrators alone. So the way is found by going it: a direct transition
when there is one, else breadth first over what has been seen, each status once, never through an end on the way to
another, and with a bound. An issue that cannot get where it shall is brought back to where it was. Whoever watches it
is told of each step, so what led nowhere is not gone again for a day: until then a direct transition alone is taken.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from feature_delivery.domain.errors import Refused
from feature_delivery.ports.tracker import IssueState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from feature_delivery.adapters.trackers.states import Status

MOST_STEPS = 12
"""Transitions by one move; longer workflows than this are not walked to their end."""

PAUSE_SECONDS = 24 * 3600
MOST_KEPT = 1000

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


class Refusals:
    """What was walked for nothing, with the sentence about it; each process learns it for itself, once a day."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds."""
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, str], tuple[float, str]] = OrderedDict()

    def of(self, walked: tuple[str, str, str]) -> str:
        """Return the sentence about a walk that is not to be repeated yet; empty: there is none."""
        at, sentence = self._kept.get(walked, (0.0, ""))
        return sentence if sentence and self._clock() - at < PAUSE_SECONDS else ""

    def note(self, walked: tuple[str, str, str], sentence: str) -> None:
        """Remember a walk: where, what for, and from which status."""
        self._kept.pop(walked, None)
        self._kept[walked] = (self._clock(), sentence)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Walk everything anew: the workflow is another one."""
        self._kept.clear()


refusals = Refusals()


def walk(walker: Walker, goals: Sequence[Status], *, doing: str, site: str, refused: Refusals = refusals) -> None:
    """Bring the issue to one of ``goals``.

    A repetition goes on from where the issue is.

    Args:
        walker: The issue.
        goals: Where it shall be, best first.
        doing: What is going on, for sentences: ``move SHOP-1 to done``.
        site: Which tracker this is.
        refused: What has led nowhere before.

    Raises:
        Refused: There is no way for us; says what can be reached.
        Error: What ``walker`` raises.
    """
    journey = _Journey(walker, {goal.name.casefold() for goal in goals}, wanted=goals[0].state)
    walked = (site, doing, journey.here.status.name.casefold())
    before = refused.of(walked)
    if journey.arrive(explore=not before):
        return
    stuck, hindrances = journey.here, journey.hindrances()
    journey.return_to_start()
    sentence = before or _sentence(doing, goals, stuck, hindrances, journey.here)
    if not before and journey.steps:
        refused.note(walked, sentence)
    raise Refused(sentence)


class _Journey:
    def __init__(self, walker: Walker, goals: Collection[str], *, wanted: IssueState) -> None:
        self._walker = walker
        self._goals = goals
        self._wanted = wanted
        self._seen: dict[str, tuple[Way, ...]] = {}
        self._useless: set[tuple[str, str]] = set()
        self.steps = 0
        self.here = self._look()
        self._start = self.here.status.name.casefold()

    def arrive(self, *, explore: bool) -> bool:
        """Go until a goal is reached; ``False`` when no way is left that has not been tried.

        ``explore``: by statuses that were not looked at yet, too.
        """
        while self.here.status.name.casefold() not in self._goals:
            way = self._next(self._goals, explore=explore)
            if way is None or self.steps >= MOST_STEPS:
                return False
            self._go(way)
        return True

    def return_to_start(self) -> None:
        """Go back by ways that are known, as far as there are any."""
        while self.here.status.name.casefold() != self._start and self.steps < 2 * MOST_STEPS:
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
        self.steps += 1
        self.here = self._look()
        if self.here.status.name.casefold() != way.to.name.casefold():
            # Rules of the team moved it on, or back: this way does not lead where it says.
            self._useless.add((before, way.id))

    def _next(self, targets: Collection[str], *, explore: bool) -> Way | None:
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
