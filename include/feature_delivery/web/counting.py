"""What requests count: in this process first, and added to the ledger every few seconds and at each scrape.

Not in the transaction of a request: a burst would queue for one row, and strangers would make the ledger write. What a
process that is killed has not added yet is lost, a few seconds' worth; the counts in the ledger never shrink.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from feature_delivery.domain.errors import Error
from feature_delivery.web.transaction import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.web.transaction import WebUnit

WORKER = "counts"
PAUSE_SECONDS = 5.0
MOST_KEYS = 1000

Key = TypeVar("Key")
_log = logging.getLogger(__name__)


class Pending(Generic[Key]):
    """Counts by key that wait for the ledger; what could not be added waits on."""

    def __init__(
        self, what: str, add: Callable[[WebUnit, Counter[Key]], Callable[[], None] | None], *, rest: Key | None = None
    ) -> None:
        """Count nothing yet.

        Args:
            what: What is counted, for a warning.
            add: Adds counts to the ledger, all or none; returns what is to be done once they are committed.
            rest: The key of whatever comes when ``MOST_KEYS`` others wait already, so that nobody fills the memory; not
                needed where keys are few.
        """
        self._what, self._add, self._rest = what, add, rest
        self._counts: Counter[Key] = Counter()
        self._counting, self._adding = threading.Lock(), threading.Lock()
        _all.append(self)

    def note(self, key: Key) -> None:
        """Count one."""
        with self._counting:
            if self._rest is not None and key not in self._counts and len(self._counts) >= MOST_KEYS:
                key = self._rest
            self._counts[key] += 1

    def flush(self) -> None:
        """Add what was counted; whoever else does so just now is waited for."""
        with self._adding:
            with self._counting:
                taken = Counter(self._counts)
                self._counts.clear()
            if not taken:
                return
            try:
                with begin() as unit:
                    committed = self._add(unit, taken)
            except Error as error:
                _log.warning("Could not add counts of %s: %s", self._what, error)
                with self._counting:
                    self._counts.update(taken)
                return
            if committed is not None:
                committed()


_all: list[Pending[Any]] = []


def flush() -> float:
    """Add whatever was counted to the ledger; returns when to come again, in seconds."""
    for one in _all:
        one.flush()
    return PAUSE_SECONDS
