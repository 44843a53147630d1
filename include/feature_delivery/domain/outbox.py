"""What is told to the outside, written down in the transaction that decided it and run afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.records import now


class Errand(StrEnum):
    """Kinds of outbox entries."""

    MESSAGE = "message"
    ISSUE_COMMENT = "issue_comment"
    ISSUE_STATE = "issue_state"
    ISSUE_ASSIGNEE = "issue_assignee"
    OPEN_REQUEST = "open_request"
    FIND_REQUEST = "find_request"
    REQUEST_COMMENT = "request_comment"
    REQUEST_STATE = "request_state"
    REQUEST_TARGET = "request_target"
    COMMIT_STATUS = "commit_status"
    LEVEL_PREPROD = "level_preprod"
    SHOW = "show"
    POST = "post"  # a message, to one channel
    MEND = "mend"  # messages in the chat that say what is over by now
    HEAR = "hear"  # what somebody pressed in the chat


POSTS = frozenset({Errand.POST, Errand.MEND})
HEARINGS = frozenset({Errand.HEAR})
TRACKER = frozenset({Errand.ISSUE_COMMENT, Errand.ISSUE_STATE, Errand.ISSUE_ASSIGNEE})
HOST = frozenset(Errand) - POSTS - HEARINGS - TRACKER - {Errand.MESSAGE}
_TOGETHER = (HOST, TRACKER, *(frozenset({kind}) for kind in (Errand.MESSAGE, *sorted(POSTS | HEARINGS))))

LEASE = timedelta(minutes=2)
"""Whoever claims an errand has this long, and claims it anew while it runs; after it another process may run it."""

OUTDATED = "A newer state was sent instead."
"""The error of what was not sent, to nobody's loss."""


class Side(NamedTuple):
    """Who is spoken to: errands of one side wait for each other, never for those of another.

    Attributes:
        kinds: The errands that speak to it.
        lane: The channel, of messages.
    """

    project: ProjectName
    kinds: frozenset[Errand]
    lane: str = ""


def side(project: ProjectName, kind: Errand, lane: str) -> Side:
    """Return whom an errand speaks to."""
    return Side(project, next(kinds for kinds in _TOGETHER if kind in kinds), lane)


@dataclass(eq=False, kw_only=True)
class OutboxEntry:
    """Something to say to the outside, told after the transaction that decided it; ``marker`` makes repeats safe.

    Attributes:
        feature_id: 0: it is about the project as a whole.
        created_at: Since when it is to be told; of what is told again and again, since it was last told.
        lane: Entries of a feature with the same lane are run in the order of their numbers, each after the one before
            has succeeded; empty: in any order.
    """

    project: ProjectName
    feature_id: int
    kind: Errand
    payload: dict[str, Any]
    marker: str
    lane: str = ""
    created_at: datetime = field(default_factory=now)
    due_at: datetime = field(default_factory=now)
    sent_at: datetime | None = None
    tries: int = 0
    error: str = ""
    id: int = 0

    @property
    def in_vain(self) -> bool:
        """Say whether it was given up, or was tried and is not sent yet."""
        return self.error not in {"", OUTDATED}

    @property
    def side(self) -> Side:
        """Whom it speaks to."""
        return side(self.project, self.kind, self.lane)


@dataclass(eq=False, kw_only=True)
class Post:
    """One message in a channel, from the moment it is about to be sent.

    Attributes:
        channel: Name of the channel (``slack``, or of a notifier).
        marker: The message's id; unique in the channel.
        place: Where it is there; empty: not known yet, it may or may not have arrived.
        ts: Its id there.
        digest: What it says now, to tell whether it must be mended.
        settled: What it says will not change any more.
    """

    project: ProjectName
    feature_id: int
    channel: str
    marker: str
    place: str = ""
    ts: str = ""
    digest: str = ""
    settled: bool = True
    at: datetime = field(default_factory=now)
    id: int = 0
