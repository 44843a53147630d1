"""Errands to the outside: claimed in one transaction, run without any, marked in another.

An errand that was run but not marked is run again: every port promises that its marker makes a repeat harmless.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_never

from feature_delivery.domain.errors import Error, Permanent, RateLimited
from feature_delivery.domain.names import FeatureKey, ProjectName, branch_name, commit_sha
from feature_delivery.domain.records import Errand, OutboxEntry, now
from feature_delivery.ports.git_host import RequestState, StatusState
from feature_delivery.ports.messenger import Message
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control.requests import observe_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control, Outside

LEASE = timedelta(minutes=2)
"""Whoever claims an errand has this long; after it another process may run it."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=30)
PERMANENT_PAUSE = timedelta(hours=1)
"""A refusal may be mended by people (a missing issue, a wrong channel); it is tried again, seldom."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """One errand, out of its transaction."""

    id: int
    project: ProjectName
    feature_id: int
    key: FeatureKey
    run_id: str
    kind: Errand
    payload: dict[str, Any]
    marker: str
    tries: int


def drain(control: Control, *, limit: int = 50) -> tuple[int, int]:
    """Run what is due; returns how many errands were run and how many failed."""
    with control.begin() as unit:
        claimed = _claim(unit, limit)
    failed = 0
    for errand in claimed:
        error = _run(control, errand)
        failed += error is not None
        with control.begin() as unit:
            _mark(unit, errand, error)
    return len(claimed) - failed, failed


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


def _run(control: Control, errand: Claimed) -> Exception | None:
    try:
        project = control.project(errand.project)
        if errand.kind is Errand.OPEN_REQUEST:
            _open_request(control, project, errand)
        else:
            deliver(control.outside(project), errand)
    except Error as error:
        _log.warning("Could not run errand %s of %s: %s", errand.marker, errand.project, error)
        return error
    except Exception as error:  # noqa: BLE001 - an errand that fails must keep no other waiting
        _log.exception("Errand %s of %s failed", errand.marker, errand.project)
        return error
    return None


def _open_request(control: Control, project: ProjectConfig, errand: Claimed) -> None:
    """Find or open the merge request, and take it in as if the host had told of it."""
    payload = errand.payload
    request = control.outside(project).host.open_request(
        key=errand.key,
        source=branch_name(payload["source"]),
        target=branch_name(payload["target"]),
        title=str(payload["title"]),
        body=str(payload["text"]),
    )
    with control.begin() as unit:
        observe_request(unit, project, errand.run_id, request)


def deliver(outside: Outside, errand: Claimed) -> None:
    """Run one errand; repeating it is safe."""
    payload, text = errand.payload, str(errand.payload.get("text", ""))
    match errand.kind:
        case Errand.MESSAGE:
            to = tuple(payload.get("to", ()))
            outside.messenger.send(Message(id=errand.marker, project=errand.project, key=errand.key, to=to, text=text))
        case Errand.ISSUE_COMMENT:
            outside.tracker.comment(errand.key, text, marker=errand.marker)
        case Errand.ISSUE_STATE:
            outside.tracker.move(errand.key, IssueState(payload["state"]))
        case Errand.REQUEST_COMMENT:
            outside.host.comment(int(payload["number"]), text, marker=errand.marker)
        case Errand.REQUEST_STATE:
            outside.host.close_request(int(payload["number"]), state=RequestState(payload["state"]))
        case Errand.COMMIT_STATUS:
            outside.host.set_status(
                commit_sha(payload["commit"]),
                name=str(payload["name"]),
                state=StatusState(payload["state"]),
                description=str(payload.get("description", "")),
                url=str(payload.get("url", "")),
            )
        case Errand.OPEN_REQUEST:
            raise AssertionError("opening a request changes the ledger: it is no errand to the outside alone")
        case _:
            assert_never(errand.kind)


def _mark(unit: Unit, errand: Claimed, error: Exception | None) -> None:
    feature = unit.books.feature_by_id(errand.feature_id)
    entry = next(e for e in unit.books.outbox(feature) if e.id == errand.id)
    if error is None:
        entry.sent_at, entry.error = now(), ""
        return
    entry.error = (str(error) if isinstance(error, Error) else f"An unexpected {type(error).__name__}.")[:2000]
    entry.due_at = now() + _pause(error, errand.tries)


def _pause(error: Exception, tries: int) -> timedelta:
    if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
        return timedelta(seconds=min(error.retry_after_seconds, LONGEST_PAUSE.total_seconds()))
    if isinstance(error, Permanent):
        return PERMANENT_PAUSE
    doubled: timedelta = FIRST_PAUSE * 2 ** min(tries - 1, 12)
    return min(LONGEST_PAUSE, doubled)
