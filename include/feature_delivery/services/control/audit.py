"""The audit: who decided what, as what, about which commit, when, by which way, from where."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.records import Decision, Feature
    from feature_delivery.ports.ledger import Books

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet would compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One thing that somebody said. ``number`` never changes; ``run``: the delivery it was said about."""

    number: int
    when: datetime
    project: str
    key: str
    run: str
    attempt: int
    gate: str
    kind: str
    accepted: bool
    who: str
    role: str
    way: str
    address: str
    commit: str
    candidate: str
    comment: str
    reason: str
    withdrawn_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One thing that happened: a start, a cancel, an adoption, a freeze, a destruction … ``number`` never changes."""

    number: int
    when: datetime
    project: str
    key: str
    run: str
    attempt: int
    step: str
    kind: str
    who: str
    text: str


def history(
    books: Books, project: ProjectConfig, *, since: datetime | None, limit: int, before: int | None = None
) -> tuple[EventRow, ...]:
    """Return what happened in a project, the newest first; ``who`` is empty for what we do by ourselves.

    ``before``: only rows with a smaller number: the next page.
    """
    return tuple(
        EventRow(
            number=event.id,
            when=event.at,
            project=event.project,
            key=feature.key if feature is not None else "",
            run=feature.run_id if feature is not None else "",
            attempt=event.attempt,
            step=event.step or "",
            kind=event.kind,
            who=event.person,
            text=event.text,
        )
        for event, feature in books.happened(project.name, since=since, limit=limit, before=before)
    )


def audit(
    books: Books, project: ProjectConfig, *, since: datetime | None, limit: int, before: int | None = None
) -> tuple[AuditRow, ...]:
    """Return what was said in a project, the newest first, refused and withdrawn words included.

    ``before``: only rows with a smaller number: the next page.
    """
    return tuple(_row(*found) for found in books.said(project.name, since=since, limit=limit, before=before))


def _row(said: Decision, feature: Feature) -> AuditRow:
    return AuditRow(
        number=said.id,
        when=said.at,
        project=feature.project,
        key=feature.key,
        run=feature.run_id,
        attempt=said.attempt,
        gate=said.step,
        kind=said.kind,
        accepted=said.accepted,
        who=said.person,
        role=said.role,
        way=said.way,
        address=said.address,
        commit=said.commit or "",
        candidate=said.candidate or "",
        comment=said.comment,
        reason=said.reason,
        withdrawn_at=said.withdrawn_at,
    )


def as_csv(rows: Iterable[Mapping[str, object]], *, kind: type[AuditRow | EventRow] = AuditRow) -> str:
    """Return rows (of ``kind`` by its names) as CSV with a heading; no cell begins like a formula."""
    names = [field.name for field in fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return text.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
