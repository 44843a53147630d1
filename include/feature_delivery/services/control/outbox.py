"""Errands to the outside: claimed in one transaction, run without any, marked in another.

An errand that was run but not marked is run again: every port promises that its marker makes a repeat harmless. What
is refused for good stops no delivery: it is tried again, ever more seldom, people are told once, and when the delivery
is over it ends some day.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error, Misconfigured, NotFound, Permanent, RateLimited, Unavailable
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.outbox import HEARINGS, OTHERS, POSTS, Errand, OutboxEntry
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import Event, FeatureState, now
from feature_delivery.services.control import brake, errands
from feature_delivery.services.control.errands import Claimed, Outcome
from feature_delivery.services.control.history import SHOW_AFTER, notify, record
from feature_delivery.services.control.posting import hopeless

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control

LEASE = timedelta(minutes=2)
"""Whoever claims an errand has this long; after it another process may run it."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=30)
LONGEST_WAIT = timedelta(hours=2)
"""Hosts that ask us to wait do so for an hour at most, and say it in good faith."""

PERMANENT_PAUSE, LONGEST_PERMANENT_PAUSE = timedelta(hours=1), timedelta(days=1)
"""A refusal may be mended by people (a missing right, a wrong channel); it is tried again, seldom."""

REFUSED_TRIES, REFUSED_FOR = 12, timedelta(days=7)
"""So often, and so long, is tried what the outside refuses about a delivery that is over (its issue is gone)."""

LONGEST_PAUSES = {kind: timedelta(minutes=5) for kind in POSTS} | {kind: timedelta(minutes=1) for kind in HEARINGS}
"""Messages wait in a lane for the one before, and people wait for an answer."""

SHOW_TRIES = 24
"""So often a showing that is refused is tried again; whatever happens next shows the feature anyway."""

POST_TRIES = 24
"""So often, over hours, a message is tried that itself is refused: it must not keep those behind it for ever."""

ALONE_FOR, LATELY = timedelta(days=1), timedelta(hours=1)
"""So long a message is tried that alone does not get through, and within which others have to."""

STATES = frozenset({Errand.ISSUE_STATE, Errand.REQUEST_STATE})
"""Errands of which only the newest counts."""

ISSUE, MESSAGES, HOST = "tracker", "messenger", "host"
_SIDES = {
    Errand.MESSAGE: MESSAGES,
    Errand.MEND: CHAT,
    Errand.HEAR: CHAT,
    Errand.ISSUE_COMMENT: ISSUE,
    Errand.ISSUE_STATE: ISSUE,
    Errand.ISSUE_ASSIGNEE: ISSUE,
}
"""Who is spoken to: one that asks us to wait is left alone with all its errands."""

_log = logging.getLogger(__name__)


def drain(control: Control, *, limit: int = 50, kinds: Iterable[Errand] | None = None) -> tuple[int, int]:
    """Run what is due, of ``kinds`` when named; returns how many errands were run and how many failed."""
    with control.begin() as unit:
        claimed, since = _claim(unit, limit, kinds), time.monotonic()
    failed = done = 0
    waits: dict[tuple[ProjectName, str], Exception] = {}
    doubted: set[tuple[ProjectName, str]] = set()
    for number, errand in enumerate(claimed):
        if time.monotonic() - since > LEASE.total_seconds() / 2:
            _give_back(control, claimed[number:])  # the other side is slow
            break
        side = (errand.project, _side(errand))
        outcome = Outcome(waits[side], tried=False) if side in waits else _run(control, errand)
        if outcome.error is not None and side not in waits and _lies_with_the_side(outcome.error, errand):
            if side in doubted or not _is_doubtful(outcome.error, errand):
                waits[side] = outcome.error
            doubted.add(side)
        failed += outcome.error is not None
        done += outcome.error is None
        project = _project(control, errand.project)
        with control.begin() as unit:
            _mark(unit, project, errand, outcome)
    return done, failed


def _side(errand: Claimed) -> str:
    if errand.kind is Errand.POST:
        return errand.marker.partition(">")[0]
    return _SIDES.get(errand.kind, HOST)


def _lies_with_the_side(error: Exception, errand: Claimed) -> bool:
    """Say whether no other errand of the same side need be tried now; of a channel all but what lies with a message."""
    return isinstance(error, RateLimited) or (errand.kind in POSTS and not hopeless(error))


def _is_doubtful(error: Exception, errand: Claimed) -> bool:
    """Say whether another one must fail as well before its side counts as down.

    Not every channel can tell what lies with one message: that one, tried first each time, would speak for all.
    """
    return isinstance(error, Unavailable) and errand.tries >= POST_TRIES


def _give_back(control: Control, claimed: Sequence[Claimed]) -> None:
    """Make due again what was claimed and not run; it has had no try."""
    for errand in claimed:
        with control.begin() as unit:
            unit.books.lock_project(errand.project)
            entry = unit.books.outbox_marked(errand.project, errand.marker)
            if entry is not None and entry.sent_at is None and entry.tries == errand.tries:
                entry.tries, entry.due_at = entry.tries - 1, now()


def _project(control: Control, name: ProjectName) -> ProjectConfig | None:
    try:
        return control.project(name)
    except Error:
        return None  # its file is gone or broken: nobody can be told


def _claim(unit: Unit, limit: int, kinds: Iterable[Errand] | None) -> list[Claimed]:
    claimed: list[Claimed] = []
    if brake.held(unit.books):
        return claimed
    due = unit.books.outbox_due(now(), limit, kinds=kinds)
    foreign = {name for name in {entry.project for entry in due} if brake.foreign(unit.books, name)}
    for entry in due:
        if entry.project in foreign:
            entry.due_at = now() + LONGEST_PAUSE
            continue
        feature = unit.books.feature_by_id(entry.feature_id) if entry.feature_id else None
        others = unit.books.outbox(feature) if feature is not None and entry.kind in STATES else ()
        if _outdated(entry, others):
            entry.sent_at, entry.error = now(), "A newer state was sent instead."
            continue
        if _overtakes(entry, others):
            entry.due_at = now() + FIRST_PAUSE
            continue
        entry.tries += 1
        entry.due_at = now() + LEASE
        claimed.append(
            Claimed(
                id=entry.id,
                project=entry.project,
                feature_id=entry.feature_id,
                key=feature.key if feature is not None else FeatureKey(""),
                run_id=feature.run_id if feature is not None else "",
                kind=entry.kind,
                payload=dict(entry.payload),
                marker=entry.marker,
                tries=entry.tries,
            )
        )
    return claimed


def _outdated(entry: OutboxEntry, others: Sequence[OutboxEntry]) -> bool:
    """Say whether a newer state is on its way or sent: an old one that is late must not overwrite it."""
    return any(other.kind is entry.kind and other.id > entry.id for other in others)


def _overtakes(entry: OutboxEntry, others: Sequence[OutboxEntry]) -> bool:
    """Say whether an older state may be on its way in another process: sent after this one it would be the last word.

    What is claimed cannot be told from what is tried again soon: neither is waited for longer than a lease.
    """
    return any(
        other.kind is entry.kind and other.id < entry.id and other.sent_at is None and other.due_at <= now() + LEASE
        for other in others
    )


def _run(control: Control, errand: Claimed) -> Outcome:
    try:
        project = control.project(errand.project)
    except NotFound as error:
        return Outcome(Misconfigured(str(error)))  # its file may come back; no errand is at fault
    try:
        outcome = errands.run(control, project, errand)
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
    entry.due_at = now() + _pause(outcome.error, errand, again=told)
    if entry.lane and isinstance(outcome.error, RateLimited):
        # Whoever asks us to wait is asked by nothing else meanwhile.
        unit.books.outbox_postpone(errand.project, entry.lane, entry.due_at)
    if errand.kind in POSTS | HEARINGS and hopeless(outcome.error) and errand.tries >= POST_TRIES:
        entry.sent_at = now()
    alone = errand.kind is Errand.POST and outcome.tried and _is_doubtful(outcome.error, errand)
    if alone and _takes_others(unit, entry):
        entry.sent_at = now()
        _tell(unit, project, errand, f"{said} Others arrive, so this message is given up.")
    if errand.kind is Errand.SHOW and isinstance(outcome.error, Permanent) and errand.tries >= SHOW_TRIES:
        entry.sent_at = now()
    if isinstance(outcome.error, Permanent) and project is not None and not told:
        _tell(unit, project, errand, said)
    if told and _refused(outcome.error, errand) and _is_in_vain(unit, entry):
        entry.sent_at = now()
        text = f"{said} It was tried {errand.tries} times and is given up: the delivery is over."
        record(unit, unit.books.feature_by_id(errand.feature_id), "trouble", text)


def _refused(error: Exception, errand: Claimed) -> bool:
    """Say whether a word to host or tracker is refused for what it is; of showings only the newest is ever tried."""
    return errand.kind in OTHERS - {Errand.SHOW} and isinstance(error, Permanent) and hopeless(error)


def _is_in_vain(unit: Unit, entry: OutboxEntry) -> bool:
    if not entry.feature_id or entry.tries < REFUSED_TRIES or entry.created_at > now() - REFUSED_FOR:
        return False
    state = unit.books.feature_by_id(entry.feature_id).state
    return state is FeatureState.DELIVERED or state.ended_without_shipping


def _takes_others(unit: Unit, entry: OutboxEntry) -> bool:
    """Say whether the channel takes other messages, and long has: one that has just come back may still stumble."""
    at, channel, posted = now(), entry.marker.partition(">")[0], unit.books.posted_between
    return (
        entry.created_at <= at - ALONE_FOR
        and posted(entry.project, channel, at - LATELY, at)
        and posted(entry.project, channel, at - ALONE_FOR, at - LATELY)
    )


def _done(entry: OutboxEntry, errand: Claimed) -> None:
    entry.error = ""
    if entry.payload.get("asked") == errand.payload.get("asked"):
        entry.sent_at = now()
        return
    # Something happened while the feature was shown: it is shown once more.
    entry.due_at, entry.tries = now() + SHOW_AFTER, 0


def _tell(unit: Unit, project: ProjectConfig | None, errand: Claimed, said: str) -> None:
    """Tell people once what the outside refuses; the delivery goes on without it."""
    if not errand.feature_id:
        unit.books.add(Event(project=errand.project, feature_id=None, kind="trouble", text=said[:2000]))
        return
    feature = unit.books.feature_by_id(errand.feature_id)
    record(unit, feature, "trouble", said)
    if project is not None and errand.kind is not Errand.MESSAGE and errand.kind not in POSTS | HEARINGS:
        text = f"{feature.key}: {said} Its delivery goes on; this is tried again."
        notify(unit, feature, f"trouble:{errand.kind}", text, to=project.people.with_role(Who.OPERATOR))


def _pause(error: Exception, errand: Claimed, *, again: bool) -> timedelta:
    """Return how long an errand waits. ``again``: it came to the same as the time before."""
    if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
        return timedelta(seconds=min(error.retry_after_seconds, LONGEST_WAIT.total_seconds()))
    longest = LONGEST_PAUSES.get(errand.kind)
    if again and _refused(error, errand):
        longer: timedelta = PERMANENT_PAUSE * 2 ** min(errand.tries - 1, 5)
        return min(LONGEST_PERMANENT_PAUSE, longer)
    if isinstance(error, Permanent):
        return longest or PERMANENT_PAUSE
    doubled: timedelta = FIRST_PAUSE * 2 ** min(errand.tries - 1, 12)
    return min(longest or LONGEST_PAUSE, doubled)
