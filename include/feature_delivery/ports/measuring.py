"""Monitoring that has measured: series of the past, by query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Measuring(Protocol):
    """A time series database that understands PromQL. Every call only reads.

    All raise:
        Unavailable: It did not answer in time, or is starting.
        Misconfigured: It does not accept the login, or does not understand the query.
    """

    def values(self, query: str, *, since: float, until: float, step_seconds: float) -> list[tuple[float, float]]:
        """Return the one series of ``query``: moments in seconds since the epoch and values; empty: there is none.

        Raises:
            Misconfigured: The query gives several series.
        """

    def known(self, selector: str, *, since: float, until: float) -> Sequence[Mapping[str, str]]:
        """Return the labels of every series that ``selector`` finds in that time, its name as ``__name__``."""
