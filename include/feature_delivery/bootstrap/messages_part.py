"""The part ``messages`` of a project file."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, WithJsonSchema

from feature_delivery.bootstrap.file_parts import Duration, Strict
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.hours import WEEK_DAYS, WorkingHours
from feature_delivery.domain.messages import CHAT, MessageKind, MessagesConfig, NotifierConfig, Reminding
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.people import DEFAULT_POLICIES, People
from feature_delivery.domain.process import Step, Who, gate


def _clock(value: object) -> object:
    """Read ``09:00``; YAML makes a number of seconds or minutes of it when it is not quoted."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value // 60:02}:{value % 60:02}"
    match = re.fullmatch(r"([01]?\d|2[0-4]):([0-5]\d)", value) if isinstance(value, str) else None
    if match is None or (match[1] == "24" and match[2] != "00"):
        raise ValueError("write a time of day like '09:00'")
    return time(int(match[1]) % 24, int(match[2]))


Clock = Annotated[
    time,
    BeforeValidator(_clock),
    WithJsonSchema(
        {
            "description": "A time of day like '09:00', in quotes.",
            "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^(([01]?\d|2[0-3]):[0-5]\d|24:00)$"}],
        }
    ),
]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Role = Literal["developer", "reviewer", "tester", "manager", "operator"]


class HoursPart(Strict):
    """When people work, by the clock of their zone."""

    zone: str = "UTC"
    days: tuple[Day, ...] = Field(default=("mon", "tue", "wed", "thu", "fri"), min_length=1)
    begin: Clock = time(9)
    end: Clock = time(18)


class RemindingPart(Strict):
    """When a gate's people are reminded, and when managers are told."""

    after: Duration | Literal["never"] | None = None
    escalate_after: Duration | Literal["never"] | None = None


class RemindersPart(RemindingPart):
    """The same for every gate, and what differs at single ones."""

    gates: dict[str, RemindingPart] = Field(default_factory=dict)


class NotifierPart(Strict):
    """One Airflow notifier; the meaning is in ``domain.messages.NotifierConfig``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,29}$")
    notifier: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    kwargs: dict[str, Any] = Field(default_factory=dict)
    only: list[Literal["note", "question", "alert", "recovery", "reminder", "digest"]] = Field(default_factory=list)


class MessagesPart(Strict):
    """Where messages go; the meaning is in ``domain.messages.MessagesConfig``."""

    kind: Literal["local", "slack"] = "local"
    connection: str = ""
    channel: str = ""
    mentions: dict[str, str] = Field(default_factory=dict)
    groups: dict[Role, str] = Field(default_factory=dict)
    working_hours: HoursPart | None = None
    reminders: RemindersPart = RemindersPart()
    digest: Clock | Literal["never"] = "never"
    notifiers: list[NotifierPart] = Field(default_factory=list)


def messages_config(part: MessagesPart, *, people: People) -> MessagesConfig:
    """Return the part as the domain has it.

    Raises:
        Refused: Something in it names what is not there, or is not named as Slack names it.
    """
    names = [CHAT, *(one.name for one in part.notifiers)]
    if len(names) != len(set(names)):
        raise Refused(f"Each of 'messages.notifiers' needs a name of its own, and none may be {CHAT!r}.")
    if part.kind == CHAT:
        _check_slack(part, people)
    default = _reminding(part.reminders, Reminding())
    return MessagesConfig(
        kind=part.kind,
        connection=part.connection,
        channel=part.channel,
        mentions={PersonName(name): called for name, called in part.mentions.items()},
        groups={Who(role): group for role, group in part.groups.items()},
        hours=_hours(part.working_hours) if part.working_hours is not None else WorkingHours(),
        reminders=default,
        gate_reminders={_gate(text): _reminding(one, default) for text, one in part.reminders.gates.items()},
        digest=None if part.digest == "never" else part.digest,
        notifiers=tuple(
            NotifierConfig(one.name, one.notifier, one.kwargs, frozenset(MessageKind(kind) for kind in one.only))
            for one in part.notifiers
        ),
    )


def _check_slack(part: MessagesPart, people: People) -> None:
    if not part.connection:
        raise Refused("Slack needs an Airflow Connection of type Slack API. Name it as 'messages.connection'.")
    if not re.fullmatch(r"[CG][A-Z0-9]{2,20}", part.channel):
        raise Refused(
            f"{part.channel[:40]!r} is no id of a Slack channel. Name it as 'messages.channel', like 'C0123456789': it "
            "is at the end of the channel's details, and stays the same when the channel gets another name."
        )
    for name, called in part.mentions.items():
        if name not in people.persons:
            raise Refused(f"{name[:40]!r} in 'messages.mentions' is nobody of this project. Add them to 'people'.")
        if not re.fullmatch(r"[UW][A-Z0-9]{2,20}|[^@\s]+@[^@\s]+", called):
            raise Refused(
                f"{called[:40]!r}, {name}'s in 'messages.mentions', is neither a Slack user id like 'U0123456789' nor "
                "an e-mail address."
            )
    accounts = [called.lower() for called in part.mentions.values()]
    if len(accounts) != len(set(accounts)):
        raise Refused("Two people in 'messages.mentions' have the same account: one account is one person.")
    for role, group in part.groups.items():
        if not re.fullmatch(r"S[A-Z0-9]{2,20}", group):
            raise Refused(
                f"{group[:40]!r}, {role}'s in 'messages.groups', is no Slack user group id like 'S0123456789'."
            )


def _hours(part: HoursPart) -> WorkingHours:
    try:
        ZoneInfo(part.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refused(f"{part.zone[:40]!r} is no time zone. Name one like 'Europe/Berlin'.") from error
    if part.end != time(0) and part.begin >= part.end:
        raise Refused("Working hours begin before they end, on the same day: '24:00' is the end of a day.")
    days = frozenset(WEEK_DAYS.index(day) for day in part.days)
    return WorkingHours(zone=part.zone, days=days, begin=part.begin, end=part.end)


def _reminding(part: RemindingPart, default: Reminding) -> Reminding:
    return Reminding(
        after=_delay(part.after, default.after), escalate_after=_delay(part.escalate_after, default.escalate_after)
    )


def _delay(value: timedelta | Literal["never"] | None, default: timedelta | None) -> timedelta | None:
    if value == "never":
        return None
    return default if value is None else value


def _gate(text: str) -> Step:
    step = gate(text)
    if step is None or step not in DEFAULT_POLICIES:
        known = ", ".join(str(step).rpartition("wait_for_")[2] for step in DEFAULT_POLICIES)
        raise Refused(f"{text[:40]!r} in 'messages.reminders.gates' is no gate that people decide. These are: {known}.")
    return step
