"""Messages on their way: from the outbox to the channels of the project, in order, once, and mended afterwards.

A message is first divided into one errand for each channel: one that is down keeps no other waiting. Errands of one
feature and channel share a lane, so that a thread reads in the order in which things happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.messages import CHAT, MessageKind
from feature_delivery.domain.records import Errand, Feature, OutboxEntry
from feature_delivery.services.control.history import mend_later
from feature_delivery.services.control.messages import about_project, compose

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.messenger import Message
    from feature_delivery.services.control.errands import Claimed
    from feature_delivery.services.control.outside import Control

MENDED = frozenset({MessageKind.QUESTION, MessageKind.REMINDER, MessageKind.ALERT})
"""Messages that say something which may be over one day."""


def divide(control: Control, project: ProjectConfig, run_id: str) -> None:
    """Make an errand for each channel of every message that waits, in the order of the messages."""
    with control.begin() as unit:
        unit.books.lock_project(project.name)
        feature = unit.books.feature_of_run(project.name, run_id)
        if feature is None:
            return
        entries = unit.books.outbox(feature)
        known = {entry.marker for entry in entries}
        for entry in entries:
            if entry.kind is Errand.MESSAGE and entry.sent_at is None:
                _divide(unit, project, entry, known)


def _divide(unit: Unit, project: ProjectConfig, entry: OutboxEntry, known: set[str]) -> None:
    kind = MessageKind(entry.payload.get("kind", MessageKind.NOTE))
    for channel in project.messages.channels(kind):
        if post_marker(channel, entry.marker) not in known:
            post_later(unit, project, channel, entry)


def post_later(unit: Unit, project: ProjectConfig, channel: str, message: OutboxEntry) -> None:
    """Have a message sent to a channel."""
    unit.books.add(
        OutboxEntry(
            project=project.name,
            feature_id=message.feature_id,
            kind=Errand.POST,
            payload=dict(message.payload),
            marker=post_marker(channel, message.marker),
            lane=channel,
        )
    )


def post_marker(channel: str, marker: str) -> str:
    """Return how the errand of a message for a channel is known."""
    return f"{channel}>{marker}"


def post(control: Control, project: ProjectConfig, errand: Claimed) -> None:
    """Send a message to its channel.

    Raises:
        Error: It was not sent, or nobody knows whether.
    """
    channel = errand.marker.partition(">")[0]
    message = _message(control, project, errand)
    control.channel(project, channel).send(message)
    if channel == CHAT and message.kind in MENDED:
        # Whatever happened since it was worked out is looked at once more.
        with control.begin() as unit:
            unit.books.lock_project(project.name)
            mend_later(unit, unit.books.feature_by_id(errand.feature_id), begin=True)


def _message(control: Control, project: ProjectConfig, errand: Claimed) -> Message:
    marker = errand.marker.partition(">")[2]
    if not errand.feature_id:
        return about_project(project.name, errand.payload, marker)
    with control.begin() as unit:
        feature = unit.books.feature_by_id(errand.feature_id)
        return compose(unit.books, project, feature, errand.payload, marker, control.places)


def mend(control: Control, project: ProjectConfig, errand: Claimed) -> None:
    """Make the feature's messages in the chat say what is so now.

    Raises:
        Error: One of them could not be mended.
    """
    with control.begin() as unit:
        found = _to_mend(unit, control, project, unit.books.feature_by_id(errand.feature_id))
    if found:
        chat = control.channel(project, CHAT)
        for message in found:
            chat.update(message)


def _to_mend(unit: Unit, control: Control, project: ProjectConfig, feature: Feature) -> list[Message]:
    found = []
    for sent in unit.books.posts_open(feature, CHAT):
        entry = unit.books.outbox_marked(project.name, post_marker(CHAT, sent.marker))
        if entry is not None:
            found.append(compose(unit.books, project, feature, entry.payload, sent.marker, control.places))
    return found
