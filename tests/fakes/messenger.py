"""A messenger that keeps what it was given, in which people have accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from feature_delivery.domain.errors import Error
from feature_delivery.domain.finding import Finding
from feature_delivery.ports.messenger import Message


@dataclass
class FakeMessenger:
    """``Chat`` in memory.

    Attributes:
        sent: Every message as it was sent, in order.
        shows: What each message says now, by project and id.
        accounts: Addresses by account.
        whispers: What accounts were told alone.
        refuses: Raised by whatever is asked, until it is taken away.
    """

    sent: list[Message] = field(default_factory=list)
    shows: dict[tuple[str, str], Message] = field(default_factory=dict)
    accounts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    whispers: list[tuple[str, str]] = field(default_factory=list)
    refuses: Error | None = None

    def _answer(self) -> None:
        if self.refuses is not None:
            raise self.refuses

    def send(self, message: Message) -> None:
        self._answer()
        if (message.project, message.id) not in self.shows:
            self.sent.append(message)
            self.shows[message.project, message.id] = message

    def update(self, message: Message) -> None:
        self._answer()
        if (message.project, message.id) in self.shows:
            self.shows[message.project, message.id] = message

    def emails_of(self, user: str) -> Sequence[str]:
        self._answer()
        return self.accounts.get(user, ())

    def whisper(self, user: str, place: str, thread: str, text: str) -> None:
        self._answer()
        self.whispers.append((user, text))

    def examine(self) -> list[Finding]:
        self._answer()
        return [Finding("", well=True, sentence="It answers.")]
