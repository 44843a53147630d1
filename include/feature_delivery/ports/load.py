"""Putting a small load on a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the load: when it was sent (seconds since the epoch), what it was answered, how long it took."""

    at: float
    path: str
    status: int | None
    seconds: float


class Load(Protocol):
    """Asks for pages, evenly."""

    def put(self, address: str, paths: Sequence[str], *, seconds: float) -> list[Asked]:
        """Return what became of each request; a service that does not answer ends it early."""
