"""Telling people: one line of history now, one errand in the outbox for whoever is outside."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.markdown import plain
from feature_delivery.domain.messages import MessageKind
from feature_delivery.domain.outbox import LEASE, Errand, OutboxEntry
from feature_delivery.domain.records import Event, Feature, now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_delivery.domain.process import Step
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.tracker import IssueState


SHOW_AFTER = timedelta(seconds=1)
"""What happens at once is shown at once: hosts count calls."""


def record(unit: Unit, feature: Feature, kind: str, text: str, *, person: str = "", step: Step | None = None) -> None:
    """Write one line into the feature's history, and have the feature shown anew on host and tracker."""
    unit.books.add(
        Event(
            project=feature.project,
            feature_id=feature.id,
            kind=kind,
            text=text[:2000],
            person=person,
            step=step,
            attempt=feature.attempt_number,
        )
    )
    show_later(unit, feature)


def show_later(unit: Unit, feature: Feature) -> None:
    """Have statuses, status comment, deployments and links brought up to date, soon and once for all that happens.

    One entry per feature is enough: what is shown is read from the ledger when it is shown.
    """
    marker = f"{feature.run_id}:{Errand.SHOW}"
    entry = unit.books.outbox_marked(feature.project, marker)
    if entry is None:
        _add(unit, feature, Errand.SHOW, marker, {"asked": 1, "shown": {}})
    else:
        _ask_again(entry)
    mend_later(unit, feature)


def mend_later(unit: Unit, feature: Feature, *, begin: bool = False) -> None:
    """Have the feature's messages in the chat say what is so now, soon and once for all that happens.

    ``begin``: there is one that may have to; from then on whatever happens is looked at.
    """
    marker = f"{feature.run_id}:{Errand.MEND}"
    entry = unit.books.outbox_marked(feature.project, marker)
    if entry is not None:
        _ask_again(entry)
    elif begin:
        _add(unit, feature, Errand.MEND, marker, {"asked": 1})


def _add(unit: Unit, feature: Feature, kind: Errand, marker: str, payload: dict[str, Any]) -> None:
    unit.books.add(
        OutboxEntry(
            project=feature.project,
            feature_id=feature.id,
            kind=kind,
            payload=payload,
            marker=marker,
            due_at=now() + SHOW_AFTER,
        )
    )


def _ask_again(entry: OutboxEntry) -> None:
    entry.payload["asked"] = int(entry.payload.get("asked", 0)) + 1
    if entry.sent_at is not None:
        begin_anew(entry)
    elif entry.due_at > now() + 2 * LEASE:
        # No claim lasts so long, nor with clocks that differ: what it waits for need not keep this waiting.
        entry.due_at = now() + SHOW_AFTER


def begin_anew(entry: OutboxEntry) -> None:
    """Have an errand run as if it were new: whatever it was asked for before is done."""
    entry.sent_at, entry.tries, entry.created_at = None, 0, now()
    entry.due_at = entry.created_at + SHOW_AFTER


def send(
    unit: Unit, feature: Feature, errand: Errand, marker: str, payload: dict[str, Any], *, per_attempt: bool = True
) -> bool:
    """Put an errand into the outbox; it is run after this transaction, and again until it succeeds.

    The same word with the same marker is said once per attempt, or once at all, however often its task is cleared;
    another word under that marker is told as well. Returns whether this is a new one.
    """
    attempt = str(feature.attempt_number) if per_attempt else "-"
    marker = f"{feature.run_id}:{attempt}:{errand}:{marker}"
    known = [entry for entry in unit.books.outbox(feature) if _base(entry.marker) == marker]
    if any(entry.payload == payload for entry in known):
        return False
    unit.books.add(
        OutboxEntry(
            project=feature.project,
            feature_id=feature.id,
            kind=errand,
            payload=payload,
            marker=f"{marker}#{len(known) + 1}" if known else marker,
        )
    )
    return True


def _base(marker: str) -> str:
    return re.sub(r"#\d+$", "", marker)


def notify(
    unit: Unit,
    feature: Feature,
    marker: str,
    text: str,
    *,
    to: Iterable[str] = (),
    kind: MessageKind = MessageKind.NOTE,
    **about: Any,
) -> None:
    """Send a message to people; ``about``: what of the ledger it is about, see ``messages.compose``."""
    payload = {"to": sorted(set(to)), "text": text, **({"kind": kind.value} if kind is not MessageKind.NOTE else {})}
    send(unit, feature, Errand.MESSAGE, marker, {**payload, **about})


def milestone(
    unit: Unit,
    project: ProjectConfig,
    feature: Feature,
    kind: str,
    text: str,
    *,
    person: str = "",
    step: Step | None = None,
) -> None:
    """Write one line into the history that is worth telling in the project's channels; the board has it as history."""
    record(unit, feature, kind, text, person=person, step=step)
    if project.messages.channels(MessageKind.NOTE):
        told = text if feature.key in text else f"{feature.key}: {text}"
        about = {"to": [], "text": told, "milestone": True}
        send(unit, feature, Errand.MESSAGE, f"milestone:{kind}:{step or ''}", about)


def tell_issue(unit: Unit, feature: Feature, marker: str, text: str, *, state: IssueState | None = None) -> None:
    """Comment on the issue, and move it when ``state`` is given."""
    send(unit, feature, Errand.ISSUE_COMMENT, marker, {"text": text})
    if state is not None:
        send(unit, feature, Errand.ISSUE_STATE, marker, {"state": state.value})


def open_request(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Have the merge request opened, once per attempt: one that somebody closed by hand stays closed."""
    payload = {
        "source": feature.branch,
        "target": project.branches.preprod,
        "title": f"{feature.key} {feature.title}".strip(),
        "text": feature.description,
    }
    send(unit, feature, Errand.OPEN_REQUEST, "open", payload)


def find_request(unit: Unit, feature: Feature) -> None:
    """Have the host asked once per attempt whether there is a request: it may be older than the feature's delivery."""
    if feature.branch is not None:
        send(unit, feature, Errand.FIND_REQUEST, "find", {"source": feature.branch})


def tell_request(
    unit: Unit, feature: Feature, marker: str, text: str, *, number: int | None = None, per_attempt: bool = True
) -> bool:
    """Comment on the merge request, or on ``number``, if there is one; says whether this is a new comment.

    ``text`` may hold anything from outside: no mark in it has an effect.
    """
    number = feature.request_number if number is None else number
    if number is None:
        return False
    payload = {"number": number, "text": plain(text, limit=4000)}
    return send(unit, feature, Errand.REQUEST_COMMENT, marker, payload, per_attempt=per_attempt)
