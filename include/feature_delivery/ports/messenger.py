"""Messages to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a feature. ``id`` is stable over retries; ``to``: who is meant, nobody in particular if empty."""

    id: str
    project: ProjectName
    key: FeatureKey
    to: tuple[PersonName, ...]
    text: str


class Messenger(Protocol):
    """Sends one message; the same ``id`` again is not sent twice where the channel allows."""

    def send(self, message: Message) -> None:
        """Send it.

        Raises:
            Temporary: It was not sent; the outbox tries again.
        """
