"""A monitoring that nobody can ask: its Connection is missing or wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feature_delivery.domain.errors import Misconfigured


class Unreachable:
    """Implements ``Measuring``: says why, whatever is asked."""

    def __init__(self, reason: str) -> None:
        """``reason``: the sentence."""
        self._reason = reason

    def values(self, query: str, *, since: float, until: float, step_seconds: float) -> list[tuple[float, float]]:
        """See ``Measuring.values``."""
        raise Misconfigured(self._reason)

    def known(self, selector: str, *, since: float, until: float) -> Sequence[Mapping[str, str]]:
        """See ``Measuring.known``."""
        raise Misconfigured(self._reason)
