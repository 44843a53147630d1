"""Errands to the outside: claimed in one transaction, run without any, marked in another.

An errand that was run but not marked is run again: every port promises that its marker makes a repeat harmless. What
is refused for good stops no delivery: it is tried again, seldom, and people are told once.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error, Permanent, RateLimited
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import Errand, OutboxEntry, now
from feature_delivery.services.control import errands
from feature_delivery.services.control.errands import Claimed, Outcome
from feature_delivery.services.control.history import SHOW_AFTER, notify, record
from feature_delivery.services.control.sides import side_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control

LEASE = timedelta(minutes=2)
"""Whoever claims an errand has this long; after it another process may run it."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=30)
PERMANENT_PAUSE = timedelta(hours=1)
"""A refusal may be mended by people (a missing right, a wrong channel); it is tried again, seldom."""

SHOW_TRIES = 24
"""So often a showing that is refused is tried again; whatever happens next shows the feature anyway."""

_log = logging.getLogger(__name__)


def drain(control: Control, *, limit: int = 50) -> tuple[int, int]:
    """Run what is due; returns how many errands were run and how many failed."""
    with control.begin() as unit:
        claimed = _claim(unit, limit)
    failed = 0
    waits: dict[tuple[ProjectName, str], RateLimited] = {}
    for errand in claimed:
        # One that asks us to wait is left alone with all its errands.
        side = (errand.project, side_of(errand.kind))
        outcome = Outcome(waits[side]) if side in waits else _run(control, errand)
        if isinstance(outcome.error, RateLimited):
            waits[side] = outcome.error
        failed += outcome.error is not None
        project = _project(control, errand.project)
        with control.begin() as unit:
            _mark(unit, project, errand, outcome)
    return len(claimed) - failed, failed


def _project(control: Control, name: ProjectName) -> ProjectConfig | None:
    try:
        return control.project(name)
    except Error:
        return None  # its file is gone or broken: nobody can be told


def _claim(unit: Unit, limit: int) -> list[Claimed]:
    claimed = []
    for entry in unit.books.outbox_due(now(), limit):
        feature = unit.books.feature_by_id(entry.feature_id)
        if _outdated(entry, unit.books.outbox(feature)):
            entry.sent_at, entry.error = now(), "A newer state was sent instead."
            continue
        entry.tries += 1
        entry.due_at = now() + LEASE
        claimed.append(
            Claimed(
                id=entry.id,
                project=entry.project,
                feature_id=entry.feature_id,
                key=feature.key,
                run_id=feature.run_id,
                kind=entry.kind,
                payload=dict(entry.payload),
                marker=entry.marker,
                tries=entry.tries,
            )
        )
    return claimed


def _outdated(entry: OutboxEntry, others: Sequence[OutboxEntry]) -> bool:
    """Say whether a newer state is on its way or sent: an old one that is late must not overwrite it."""
    if entry.kind not in {Errand.ISSUE_STATE, Errand.REQUEST_STATE}:
        return False
    return any(other.kind is entry.kind and other.id > entry.id for other in others)


def _run(control: Control, errand: Claimed) -> Outcome:
    try:
        outcome = errands.run(control, control.project(errand.project), errand)
    except Error as error:
        outcome = Outcome(error)
    except Exception as error:  # noqa: BLE001 - an errand that fails must keep no other waiting
        _log.exception("Errand %s of %s failed", errand.marker, errand.project)
        return Outcome(error)
    if outcome.error is not None:
        _log.warning("Could not run errand %s of %s: %s", errand.marker, errand.project, outcome.error)
    return outcome


def _mark(unit: Unit, project: ProjectConfig | None, errand: Claimed, outcome: Outcome) -> None:
    unit.books.lock_project(errand.project)
    entry = unit.books.outbox_marked(errand.project, errand.marker)
    if entry is None:
        return
    if outcome.shown is not None:
        entry.payload["shown"] = outcome.shown
    if outcome.error is None:
        _done(entry, errand)
        return
    said = str(outcome.error) if isinstance(outcome.error, Error) else f"An unexpected {type(outcome.error).__name__}."
    told, entry.error = entry.error == said[:2000], said[:2000]
    entry.due_at = now() + _pause(outcome.error, errand.tries)
    if errand.kind is Errand.SHOW and isinstance(outcome.error, Permanent) and errand.tries >= SHOW_TRIES:
        entry.sent_at = now()
    if isinstance(outcome.error, Permanent) and project is not None and not told:
        _tell(unit, project, errand, said)


def _done(entry: OutboxEntry, errand: Claimed) -> None:
    entry.error = ""
    if entry.payload.get("asked") == errand.payload.get("asked"):
        entry.sent_at = now()
        return
    # Something happened while the feature was shown: it is shown once more.
    entry.due_at, entry.tries = now() + SHOW_AFTER, 0


def _tell(unit: Unit, project: ProjectConfig, errand: Claimed, said: str) -> None:
    """Tell people once what the outside refuses; the delivery goes on without it."""
    feature = unit.books.feature_by_id(errand.feature_id)
    record(unit, feature, "trouble", said)
    if errand.kind is not Errand.MESSAGE:
        text = f"{feature.key}: {said} Its delivery goes on; this is tried again."
        notify(unit, feature, f"trouble:{errand.kind}", text, to=project.people.with_role(Who.OPERATOR))


def _pause(error: Exception, tries: int) -> timedelta:
    if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
        return timedelta(seconds=min(error.retry_after_seconds, LONGEST_PAUSE.total_seconds()))
    if isinstance(error, Permanent):
        return PERMANENT_PAUSE
    doubled: timedelta = FIRST_PAUSE * 2 ** min(tries - 1, 12)
    return min(LONGEST_PAUSE, doubled)
