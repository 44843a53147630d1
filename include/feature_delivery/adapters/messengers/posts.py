"""What messengers remember of the messages they have sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from feature_delivery.domain.names import ProjectName


@dataclass(frozen=True, slots=True)
class Sent:
    """One message in a channel.

    Attributes:
        place: Where it is there; empty: it was about to be sent, and may or may not have arrived.
        ts: Its id there.
        digest: What it says, as a digest.
        settled: What it says will not change any more.
        at: When it was about to be sent.
    """

    place: str
    ts: str
    digest: str
    settled: bool
    at: datetime


class Posts(Protocol):
    """Every call is a transaction of its own, and raises ``Unavailable`` when the records cannot be reached."""

    def find(self, project: ProjectName, channel: str, marker: str) -> Sent | None:
        """Return what is known of a message."""

    def intend(self, project: ProjectName, channel: str, marker: str) -> None:
        """Write down that a message is about to be sent; again changes nothing."""

    def withdraw(self, project: ProjectName, channel: str, marker: str) -> None:
        """Write down that it was not sent, for certain."""

    def keep(self, project: ProjectName, channel: str, marker: str, sent: Sent) -> None:
        """Write down that a message is there, and what it says."""
