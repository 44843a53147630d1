"""What one process runs of the outbox at the moment, and which sides it leaves alone for a while.

Nobody waits for what hangs: an errand keeps others of its side waiting for ``PATIENCE``, then the next one begins
beside it, and after ``LONGEST_RUN`` it is given up, as nothing ends a thread. What hangs costs one of those, no
connection of the database, and each side has a bounded number of them.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import RateLimited
from feature_delivery.domain.records import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.domain.outbox import Side
    from feature_delivery.services.control.errands import Claimed

PATIENCE = timedelta(seconds=5)
"""So long an errand counts as one that will soon be over."""

AT_ONCE = 6
"""So many such errands are run at once, of all sides: they share the connections of the API server."""

AT_ONE_SIDE = 12
"""So many errands may hang at one side; with more of them it is the side that hangs."""

LONGEST_RUN = timedelta(minutes=30)
"""So long an errand is waited for that does not end: longer than any client's own time-outs, and than *OutboxStuck*."""

GIVEN_UP_AT_ONE_SIDE = 100
"""So many errands of one side that were given up may hang on: a process has room for so many threads."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(seconds=30)
"""A side that does not answer is left alone, ever longer, then asked by one errand after the other."""

LONGEST_WAIT = timedelta(hours=2)
"""Hosts that ask us to wait do so for an hour at most, and say it in good faith."""


def apart(work: Callable[[], None]) -> None:
    """Do something in a thread of its own, which ends with the process."""
    threading.Thread(target=work, name="feature-delivery-errand", daemon=True).start()


@dataclass(slots=True)
class _Silent:
    failures: int = 0
    until: datetime = field(default_factory=now)


class UnderWay:
    """The errands that this process runs; safe for threads.

    Attributes:
        claiming: Held by whoever looks for errands to begin.
        done: How many have succeeded so far.
        failed: How many have not.
    """

    def __init__(
        self, *, spawn: Callable[[Callable[[], None]], None] = apart, ended: Callable[[], None] = lambda: None
    ) -> None:
        """``spawn`` runs an errand, ``ended`` is called after each: another one may begin."""
        self.spawn = spawn
        self.claiming = threading.Lock()
        self.done = self.failed = 0
        self._ended = ended
        self._change = threading.Condition()
        self._begun: dict[Claimed, datetime] = {}
        self._given_up: set[Claimed] = set()
        self._silent: dict[Side, _Silent] = {}

    def begin(self, errand: Claimed) -> None:
        """Note an errand that is about to be run."""
        with self._change:
            self._begun[errand] = now()

    def end(self, errand: Claimed, *, failed: bool, silent: Exception | None = None) -> None:
        """Note that an errand is over and marked; ``silent``: why its side is left alone."""
        with self._change:
            self._begun.pop(errand, None)
            self._given_up.discard(errand)
            self.done, self.failed = self.done + (not failed), self.failed + failed
            if silent is not None:
                self._leave(errand.side, silent)
            else:
                self._silent.pop(errand.side, None)
            self._change.notify_all()
        self._ended()

    def give_up(self) -> list[Claimed]:
        """Return the errands that are waited for no longer, each of them once."""
        with self._change:
            found = [errand for errand, at in self._begun.items() if at + LONGEST_RUN <= now()]
            for errand in found:
                del self._begun[errand]
            self._given_up.update(found)
            return found

    def hush(self, side: Side, silent: Exception) -> None:
        """Leave a side alone that did not answer an errand of another side."""
        with self._change:
            self._leave(side, silent)

    def hushed(self, side: Side) -> bool:
        """Say whether a side is left alone now."""
        with self._change:
            return side in self._silent and self._silent[side].until > now()

    def wait(self, seconds: float) -> None:
        """Wait for the end of any errand; so long, while one is under way."""
        with self._change:
            if self._begun:
                self._change.wait(seconds)

    @property
    def busy(self) -> bool:
        """Say whether anything is run."""
        with self._change:
            return bool(self._begun)

    def room(self) -> int:
        """Return how many errands may begin."""
        with self._change:
            return AT_ONCE - len(self._young())

    def closed(self, at: datetime) -> frozenset[Side]:
        """Return the sides of which nothing may begin, those that were left alone ``at`` then among them."""
        with self._change:
            silent = {side for side, one in self._silent.items() if one.until > at}
            hanging = Counter(errand.side for errand in self._begun)
            given_up = Counter(errand.side for errand in self._given_up)
            full = {side for side, count in hanging.items() if count >= AT_ONE_SIDE}
            over = {side for side, count in given_up.items() if count >= GIVEN_UP_AT_ONE_SIDE}
            return frozenset(silent.union(self._young(), full, over))

    def settle(self) -> None:
        """Wait for the errands that will soon be over."""
        while self.room() < AT_ONCE:
            self.wait(0.1)

    def next_change(self, at: datetime) -> datetime | None:
        """Return when something more may begin though nothing ends."""
        with self._change:
            times = [begun + PATIENCE for begun in self._begun.values()]
            times += [one.until for one in self._silent.values()]
            return min((time for time in times if time > at), default=None)

    def numbers(self, *, since: timedelta = timedelta(0)) -> frozenset[int]:
        """Return the numbers of the errands that are waited for, ``since`` then or longer."""
        with self._change:
            return frozenset(errand.id for errand, begun in self._begun.items() if begun + since <= now())

    def _young(self) -> list[Side]:
        return [errand.side for errand, at in self._begun.items() if at + PATIENCE > now()]

    def _leave(self, side: Side, why: Exception) -> None:
        silent = self._silent.setdefault(side, _Silent())
        pause: timedelta = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(silent.failures, 8))
        silent.failures += 1
        silent.until = max(silent.until, now() + (asked_to_wait(why) or pause))


def asked_to_wait(error: Exception) -> timedelta | None:
    """Return how long the other side asks us to wait, if it does."""
    if not isinstance(error, RateLimited) or error.retry_after_seconds is None:
        return None
    return timedelta(seconds=min(error.retry_after_seconds, LONGEST_WAIT.total_seconds()))
