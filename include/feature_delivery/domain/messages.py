"""What a project says about messages: where they go, who is called what there, when people are reminded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.hours import WorkingHours
from feature_delivery.domain.process import Step, Who

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.domain.names import PersonName

CHAT = "slack"
"""Channel of the chat: messages there can be answered, and are mended when what they say is over."""


class MessageKind(StrEnum):
    """What a message is for."""

    NOTE = "note"  # a milestone
    QUESTION = "question"  # somebody is waited for
    ALERT = "alert"
    RECOVERY = "recovery"  # what an alert told of is over
    REMINDER = "reminder"
    DIGEST = "digest"  # everything of a project that waits


@dataclass(frozen=True, slots=True)
class Reminding:
    """When a gate's people are reminded, and when managers are told; ``None``: never."""

    after: timedelta | None = timedelta(hours=4)
    escalate_after: timedelta | None = timedelta(days=1)


class Stage:
    """How often people were told that a gate waits; a number in the ledger, so that it can be compared."""

    ASKED, REMINDED, ESCALATED = 0, 1, 2


def stage(opened: datetime, at: datetime, *, reminding: Reminding, hours: WorkingHours) -> int:
    """Return how far telling people about a waiting gate should have come; nothing is due outside working hours."""
    if not hours.open(at):
        return Stage.ASKED
    late = [
        number
        for number, delay in ((Stage.REMINDED, reminding.after), (Stage.ESCALATED, reminding.escalate_after))
        if delay is not None and hours.later(opened, delay) <= at
    ]
    return max(late, default=Stage.ASKED)


@dataclass(frozen=True, slots=True)
class NotifierConfig:
    """One Airflow notifier.

    Attributes:
        name: What it is called in the ledger and in sentences.
        notifier: The class, ``package.module.Class``.
        kwargs: What it is made with; those that the class has as templates are rendered.
        kinds: Messages it is given; empty: all.
    """

    name: str
    notifier: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    kinds: frozenset[MessageKind] = frozenset()


@dataclass(frozen=True, slots=True)
class MessagesConfig:
    """Messages of one project; every message is kept for the board, wherever else it goes.

    Attributes:
        kind: ``local`` (the board alone) or ``slack``.
        connection: Id of the Airflow Connection of type Slack API.
        channel: Id of the channel.
        mentions: What people are called in Slack: a user id, or the e-mail address of their account.
        groups: Slack user groups that stand for everybody with a role.
        hours: When people are reminded.
        reminders: When, at gates that say nothing else.
        gate_reminders: What differs at single gates.
        digest: Hour (by the clock of ``hours``) of the daily word about what waits; ``None``: never.
        notifiers: Airflow notifiers that are told as well.
    """

    kind: str = "local"
    connection: str = ""
    channel: str = ""
    mentions: dict[PersonName, str] = field(default_factory=dict)
    groups: dict[Who, str] = field(default_factory=dict)
    hours: WorkingHours = field(default_factory=WorkingHours)
    reminders: Reminding = field(default_factory=Reminding)
    gate_reminders: dict[Step, Reminding] = field(default_factory=dict)
    digest: time | None = None
    notifiers: tuple[NotifierConfig, ...] = ()

    def channels(self, kind: MessageKind) -> tuple[str, ...]:
        """Return the channels that get messages of this kind, beside the board."""
        others = tuple(one.name for one in self.notifiers if not one.kinds or kind in one.kinds)
        return (CHAT, *others) if self.kind == CHAT else others

    def reminding(self, gate: Step) -> Reminding:
        """Return when people are reminded at a gate."""
        return self.gate_reminders.get(gate, self.reminders)
