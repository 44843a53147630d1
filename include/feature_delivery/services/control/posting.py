"""Messages on their way: from the outbox to the channels of the project, in order, once, and mended afterwards.

A message is first divided into one errand for each channel: one that is down keeps no other waiting. Errands of one
feature and channel share a lane, so that a thread reads in the order in which things happened.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error, Misconfigured, Permanent, Unavailable
from feature_delivery.domain.messages import CHAT, MessageKind
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.process import GATES, Step
from feature_delivery.domain.records import now
from feature_delivery.services.control.alerts import bounded
from feature_delivery.services.control.history import mend_later
from feature_delivery.services.control.messages import about_project, compose

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.messenger import Message
    from feature_delivery.services.control.errands import Claimed
    from feature_delivery.services.control.outside import Control

MENDED = frozenset({MessageKind.QUESTION, MessageKind.REMINDER, MessageKind.ALERT})
"""Messages that say something which may be over one day."""

LOG_AFTER = timedelta(seconds=2)
"""A task reports a failure before it has logged it."""


def hopeless(error: Exception) -> bool:
    """Say whether it lies with the message: what people can mend, and what is down, is waited for however long."""
    return not isinstance(error, Error) or (isinstance(error, Permanent) and not isinstance(error, Misconfigured))


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
            due_at=now() + (LOG_AFTER if message.payload.get("kind") == MessageKind.ALERT else timedelta(0)),
        )
    )


def announce(
    unit: Unit, project: ProjectConfig, marker: str, text: str, *, to: Iterable[str] = (), lines: Iterable[str] = ()
) -> bool:
    """Tell a project's channels something that everybody has to see, about no feature (a freeze, a broken lock).

    Args:
        unit: The transaction; what is told is told after it.
        project: Whose channels.
        marker: What it is about: the same marker is told once, for ever.
        text: A sentence or two.
        to: Who is meant in particular.
        lines: More of it, one fact a line.

    Returns:
        Whether it is new.
    """
    return say_to_all(unit, project, marker, text, kind=MessageKind.ALERT, to=to, lines=lines)


def say_to_all(
    unit: Unit,
    project: ProjectConfig,
    marker: str,
    text: str,
    *,
    kind: MessageKind,
    to: Iterable[str] = (),
    lines: Iterable[str] = (),
) -> bool:
    """As ``announce``, of any kind; kept without being told where ``text`` is empty."""
    marker = f"{marker}:{Errand.MESSAGE}"
    unit.books.lock_project(project.name)
    if unit.books.outbox_marked(project.name, marker) is not None:
        return False
    payload = {"to": sorted(set(to)), "text": text, "kind": kind.value, "lines": list(lines)}
    said = OutboxEntry(
        project=project.name, feature_id=0, kind=Errand.MESSAGE, payload=payload, marker=marker, sent_at=now()
    )
    unit.books.add(said)
    for channel in project.messages.channels(kind) if text else ():
        post_later(unit, project, channel, said)
    return True


def post_marker(channel: str, marker: str) -> str:
    """Return how the errand of a message for a channel is known."""
    return f"{channel}>{marker}"


def post(control: Control, project: ProjectConfig, errand: Claimed) -> None:
    """Send a message to its channel.

    Raises:
        Error: It was not sent, or nobody knows whether.
    """
    channel = errand.marker.partition(">")[0]
    _look_into_log(control, project, errand)
    message = _message(control, project, errand)
    control.channel(project, channel).send(message)
    if channel == CHAT and message.kind in MENDED and errand.feature_id:
        # Whatever happened since it was worked out is looked at once more.
        with control.begin() as unit:
            unit.books.lock_project(project.name)
            mend_later(unit, unit.books.feature_by_id(errand.feature_id), begin=True)


def _look_into_log(control: Control, project: ProjectConfig, errand: Claimed) -> None:
    """Give an alert the last lines of the task's log, where no report says what failed in particular."""
    if errand.payload.get("kind") != MessageKind.ALERT or "alert" not in errand.payload:
        return
    step, number = Step(errand.payload["step"]), int(errand.payload["alert"])
    with control.begin() as unit:
        alert = unit.books.alert(number)
        known = step in GATES or alert is None or alert.details or alert.resolved_at is not None
    lines = () if known else control.log(project, errand.run_id, step)
    if lines:
        with control.begin() as unit:
            found = unit.books.alert(number)
            if found is not None:
                found.details = bounded(lines)


def _message(control: Control, project: ProjectConfig, errand: Claimed) -> Message:
    marker = errand.marker.partition(">")[2]
    if not errand.feature_id:
        return about_project(project.name, errand.payload, marker)
    with control.begin() as unit:
        feature = unit.books.feature_by_id(errand.feature_id)
        return compose(unit.books, project, feature, errand.payload, marker, control.places)


def sign_anew(unit: Unit, project: ProjectConfig, signer: str) -> int:
    """Have open questions in the chat mended whose buttons were not signed by ``signer``; returns in how many features.

    A process that still knows the secret before may be the one that mends them: they are found once more then.
    """
    unit.books.lock_project(project.name)
    found = unit.books.signed_otherwise(project.name, CHAT, signer)
    for feature in found:
        mend_later(unit, feature, begin=True)
    return len(found)


def mend(control: Control, project: ProjectConfig, errand: Claimed) -> None:
    """Make the feature's messages in the chat say what is so now.

    Raises:
        Error: One of them could not be mended. Unless it lies with the chat, the others were.
    """
    with control.begin() as unit:
        feature = unit.books.feature_by_id(errand.feature_id)
        markers = [sent.marker for sent in unit.books.posts_open(feature, CHAT)]
    chat, first = control.channel(project, CHAT) if markers else None, None
    for marker in markers:
        try:
            message = _as_it_is(control, project, errand.feature_id, marker)
            if chat is not None and message is not None:
                chat.update(message)
        except Exception as error:
            # A chat that fails at one message may do so each time; at two it is down.
            if not hopeless(error) and (first is not None or not isinstance(error, Unavailable)):
                raise
            first = first or error
    if first is not None:
        raise first


def _as_it_is(control: Control, project: ProjectConfig, feature_id: int, marker: str) -> Message | None:
    """Return a feature's message in the chat as it would be sent now; ``None``: it is none of ours."""
    with control.begin() as unit:
        entry = unit.books.outbox_marked(project.name, post_marker(CHAT, marker))
        if entry is None:
            return None
        feature = unit.books.feature_by_id(feature_id)
        return compose(unit.books, project, feature, entry.payload, marker, control.places)
