"""Telling people: one line of history now, one errand in the outbox for whoever is outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.records import Errand, Event, Feature, OutboxEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_delivery.domain.process import Step
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.tracker import IssueState


def record(unit: Unit, feature: Feature, kind: str, text: str, *, person: str = "", step: Step | None = None) -> None:
    """Write one line into the feature's history."""
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


def send(unit: Unit, feature: Feature, errand: Errand, marker: str, payload: dict[str, Any]) -> None:
    """Put an errand into the outbox; it is run after this transaction, and again until it succeeds.

    The same word with the same marker is said once per attempt, however often its task is cleared; another word
    under that marker is told as well.
    """
    marker = f"{feature.run_id}:{feature.attempt_number}:{errand}:{marker}"
    known = [entry for entry in unit.books.outbox(feature) if _base(entry.marker) == marker]
    if any(entry.payload == payload for entry in known):
        return
    unit.books.add(
        OutboxEntry(
            project=feature.project,
            feature_id=feature.id,
            kind=errand,
            payload=payload,
            marker=f"{marker}#{len(known) + 1}" if known else marker,
        )
    )


def _base(marker: str) -> str:
    return re.sub(r"#\d+$", "", marker)


def notify(unit: Unit, feature: Feature, marker: str, text: str, *, to: Iterable[str] = ()) -> None:
    """Send a message to people."""
    send(unit, feature, Errand.MESSAGE, marker, {"to": sorted(set(to)), "text": text})


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


def tell_request(unit: Unit, feature: Feature, marker: str, text: str) -> None:
    """Comment on the merge request, if there is one."""
    if feature.request_number is not None:
        send(unit, feature, Errand.REQUEST_COMMENT, marker, {"number": feature.request_number, "text": text})
