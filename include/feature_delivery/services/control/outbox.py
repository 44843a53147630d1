"""Errands to the outside: claimed in one transaction, run without any, marked in another.

Each errand is run in a thread of its own, when others of its side let it (``under_way``), and waits for no other but
the one before it in its lane. One that was run but not marked is run again: every port promises that its marker makes a
repeat harmless. What is refused for good stops no delivery: it is tried again, ever more seldom, people are told once,
and when the delivery is over it ends some day.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import (
    Error,
    Misconfigured,
    NotFound,
    Permanent,
    RateLimited,
    Temporary,
    Unavailable,
)
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.outbox import HEARINGS, LEASE, OUTDATED, POSTS, Errand, OutboxEntry
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import Event, FeatureState, now
from feature_delivery.services.control import brake, errands
from feature_delivery.services.control.errands import Claimed, Outcome
from feature_delivery.services.control.history import SHOW_AFTER, begin_anew, notify, record
from feature_delivery.services.control.posting import hopeless
from feature_delivery.services.control.under_way import LONGEST_RUN, asked_to_wait

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.outbox import Side
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=30)

PERMANENT_PAUSE, LONGEST_PERMANENT_PAUSE = timedelta(hours=1), timedelta(days=1)
"""A refusal may be mended by people (a missing right, a wrong channel); it is tried again, seldom."""

REFUSED_TRIES, REFUSED_FOR = 12, timedelta(days=7)
"""So often, and so long, is tried what the outside refuses about a delivery that is over (its issue is gone)."""

LONGEST_PAUSES = {kind: timedelta(minutes=5) for kind in POSTS} | {
    kind: timedelta(minutes=1) for kind in HEARINGS | {Errand.SHOW}
}
"""Messages wait in a lane for the one before, people for an answer, and for what host and tracker show."""

SHOWN_FOR = timedelta(days=1)
"""So long a showing that is refused is tried again; whatever happens next shows the feature anyway."""

POST_TRIES = 24
"""So often, over hours, a message is tried that itself is refused: it must not keep those behind it for ever."""

ALONE_FOR, LATELY = timedelta(days=1), timedelta(hours=1)
"""So long a message is tried that alone does not get through, and within which others have to."""

STATES = frozenset({Errand.ISSUE_STATE, Errand.REQUEST_STATE})
"""Errands of which only the newest counts."""

LOOK = 20
"""So many due errands are looked at at once; each look leaves out the sides of which one has just begun."""

UNDER_WAY = "It has been under way for a long time: the other side has not answered yet."

GIVEN_UP = (
    f"It has been under way for {LONGEST_RUN // timedelta(minutes=1)} minutes and is waited for no longer: the other "
    "side does not answer. Look whether it does, and at the time-outs in its Connection."
)
PERHAPS_SENT = "The message may have arrived or not: it is not sent again."

_log = logging.getLogger(__name__)


def drain(control: Control, *, for_seconds: float = 30.0) -> tuple[int, int]:
    """Run what is due now, as far as it is over in time; returns how many errands were run and how many failed."""
    own, at, until = control.under_way, now(), time.monotonic() + for_seconds
    done, failed = own.done, own.failed
    while begin(control, at=at) or (own.busy and time.monotonic() < until):
        own.wait(min(0.5, max(0.0, until - time.monotonic())))
    return own.done - done, own.failed - failed


def begin(control: Control, *, at: datetime | None = None) -> int:
    """Begin what is due (``at`` then) and may begin, and wait for none of it; returns how many errands that was."""
    own, begun = control.under_way, 0
    while claimed := _claim(control, at or now()):
        begun += len(claimed)
        for number, errand in enumerate(claimed):
            try:
                own.spawn(partial(_do, control, errand))
            except RuntimeError:  # no more threads: others run it when its lease has ended
                for left in claimed[number:]:
                    own.end(left, failed=True)
                raise
    for errand in own.give_up():
        _keep(control, errand, Outcome(Unavailable(GIVEN_UP), given_up=True))
    return begun


def next_at(control: Control) -> datetime | None:
    """Return when ``begin`` has something to begin, or may have; it may be past."""
    own, at = control.under_way, now()
    due = None
    if own.room() > 0:
        with control.begin() as unit:
            due = unit.books.outbox_next(besides=own.closed(at))
    # What is claimed here is said to be under way now and then.
    soon = [one for one in (due, own.next_change(at)) if one is not None]
    return min(soon, default=None)


def _do(control: Control, errand: Claimed) -> None:
    own = control.under_way
    try:
        outcome = _run(control, errand)
    except BaseException:
        own.end(errand, failed=True)
        raise
    _keep(control, errand, outcome)
    error = outcome.error
    silent = error if error is not None and outcome.rest_at is None and _lies_with_the_side(error, errand) else None
    own.end(errand, failed=error is not None, silent=silent)


def _keep(control: Control, errand: Claimed, outcome: Outcome) -> None:
    try:
        project = _project(control, errand.project)
        with control.begin() as unit:
            _mark(unit, project, errand, outcome)
    except Exception:  # noqa: BLE001 - it is run again when its lease has ended
        _log.exception("Could not mark errand %s of %s", errand.marker, errand.project)


def _lies_with_the_side(error: Exception, errand: Claimed) -> bool:
    """Say whether its side is left alone for a while; a channel for everything but what lies with a message."""
    return isinstance(error, Temporary) or (errand.kind in POSTS and not hopeless(error))


def _project(control: Control, name: ProjectName) -> ProjectConfig | None:
    try:
        return control.project(name)
    except Error:
        return None  # its file is gone or broken: nobody can be told


def _claim(control: Control, at: datetime) -> list[Claimed]:
    """Claim the next errand of each side of which one may begin."""
    own = control.under_way
    with own.claiming:
        mine, hanging = own.numbers(), own.numbers(since=LEASE / 4)
        room, closed = own.room(), own.closed(at)
        claimed: dict[Side, Claimed] = {}
        with control.begin() as unit:
            unit.books.outbox_keep(hanging, before=now() + 3 * LEASE / 4, until=now() + LEASE, said=UNDER_WAY)
            if room > 0 and not brake.held(unit.books):
                due = unit.books.outbox_due(at, LOOK, besides=closed)
                foreign = {name for name in {entry.project for entry in due} if brake.foreign(unit.books, name)}
                for entry in due:
                    if entry.id in mine or entry.side in claimed or len(claimed) >= room:
                        continue  # its own may be due: a row that somebody else was at was not kept
                    if _may_run(unit, entry, foreign):
                        claimed[entry.side] = _claimed(unit, entry)
        for errand in claimed.values():
            own.begin(errand)
    return list(claimed.values())


def _may_run(unit: Unit, entry: OutboxEntry, foreign: Collection[ProjectName]) -> bool:
    if entry.project in foreign:
        entry.due_at = now() + LONGEST_PAUSE
        return False
    if not entry.feature_id or entry.kind not in STATES:
        return True
    others = unit.books.outbox(unit.books.feature_by_id(entry.feature_id))
    if _outdated(entry, others):
        entry.sent_at, entry.error = now(), OUTDATED
    elif _overtakes(entry, others):
        entry.due_at = now() + FIRST_PAUSE
    else:
        return True
    return False


def _claimed(unit: Unit, entry: OutboxEntry) -> Claimed:
    feature = unit.books.feature_by_id(entry.feature_id) if entry.feature_id else None
    entry.tries += 1
    entry.due_at = now() + LEASE
    return Claimed(
        id=entry.id,
        project=entry.project,
        side=entry.side,
        feature_id=entry.feature_id,
        key=feature.key if feature is not None else FeatureKey(""),
        run_id=feature.run_id if feature is not None else "",
        kind=entry.kind,
        payload=dict(entry.payload),
        marker=entry.marker,
        tries=entry.tries,
    )


def _outdated(entry: OutboxEntry, others: Sequence[OutboxEntry]) -> bool:
    """Say whether a newer state is on its way or sent: an old one that is late must not overwrite it."""
    return any(other.kind is entry.kind and other.id > entry.id for other in others)


def _overtakes(entry: OutboxEntry, others: Sequence[OutboxEntry]) -> bool:
    """Say whether an older state may be on its way in another process: sent after this one it would be the last word.

    What is claimed cannot be told from what is tried again soon: neither is waited for longer than a lease, but what
    hangs, until it is given up.
    """
    return any(
        other.kind is entry.kind and other.id < entry.id and other.sent_at is None and other.due_at <= now() + LEASE
        for other in others
    )


def _run(control: Control, errand: Claimed) -> Outcome:
    try:
        outcome = errands.run(control, _file(control, errand.project), errand)
    except Error as error:
        outcome = Outcome(error)
    except Exception as error:  # noqa: BLE001 - an errand that fails must keep no other waiting
        _log.exception("Errand %s of %s failed", errand.marker, errand.project)
        return Outcome(error)
    if outcome.error is not None:
        _log.warning("Could not run errand %s of %s: %s", errand.marker, errand.project, outcome.error)
    return outcome


def _file(control: Control, name: ProjectName) -> ProjectConfig:
    try:
        return control.project(name)
    except NotFound as error:
        raise Misconfigured(str(error)) from error  # its file may come back; no errand is at fault


def _mark(unit: Unit, project: ProjectConfig | None, errand: Claimed, outcome: Outcome) -> None:
    unit.books.lock_project(errand.project)
    entry = unit.books.outbox_marked(errand.project, errand.marker)
    late = entry is not None and (entry.sent_at is not None or entry.tries != errand.tries)
    if entry is None or (late and outcome.error is not None):
        return  # its lease had ended: it was run again, or still is
    if outcome.shown is not None:
        entry.payload["shown"] = outcome.shown
    if outcome.error is not None:
        _failed(unit, project, entry, errand, outcome.error)
    elif outcome.rest_at is None:
        _done(entry, errand)
    if outcome.rest_at is not None:
        entry.due_at = now() + SHOW_AFTER if _asked_meanwhile(entry, errand) else outcome.rest_at
    if outcome.given_up and errand.kind is Errand.POST:
        entry.sent_at = now()
        _tell(unit, project, errand, f"{outcome.error} {PERHAPS_SENT}")


def _failed(unit: Unit, project: ProjectConfig | None, entry: OutboxEntry, errand: Claimed, error: Exception) -> None:
    said = str(error) if isinstance(error, Error) else f"An unexpected {type(error).__name__}."
    told, entry.error = entry.error == said[:2000], said[:2000]
    entry.due_at = now() + _pause(error, errand, again=told)
    if entry.lane and isinstance(error, RateLimited):
        # Whoever asks us to wait is asked by nothing else meanwhile.
        unit.books.outbox_postpone(errand.project, entry.lane, entry.due_at)
    if errand.kind in POSTS | HEARINGS and hopeless(error):
        # Only refusals count: it may have waited for a channel that was down before.
        refused = entry.payload.pop("refused", 0) + 1
        if refused >= POST_TRIES:
            entry.sent_at = now()
        else:
            entry.payload["refused"] = refused
    alone = errand.kind is Errand.POST and isinstance(error, Unavailable) and errand.tries >= POST_TRIES
    if alone and _takes_others(unit, entry):
        entry.sent_at = now()
        _tell(unit, project, errand, f"{said} Others arrive, so this message is given up.")
    refused_long = errand.kind is Errand.SHOW and isinstance(error, Permanent) and entry.created_at <= now() - SHOWN_FOR
    if refused_long and not _asked_meanwhile(entry, errand):
        entry.sent_at = now()
    if isinstance(error, Permanent) and project is not None and not told:
        _tell(unit, project, errand, said)
    if told and _refused(error, errand) and _is_in_vain(unit, entry):
        entry.sent_at = now()
        text = f"{said} It was tried {errand.tries} times and is given up: the delivery is over."
        record(unit, unit.books.feature_by_id(errand.feature_id), "trouble", text)


def _refused(error: Exception, errand: Claimed) -> bool:
    """Say whether a word to host or tracker is refused for what it is; of showings only the newest is ever tried."""
    kept = POSTS | HEARINGS | {Errand.SHOW}
    return errand.kind not in kept and isinstance(error, Permanent) and hopeless(error)


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
    entry.payload.pop("refused", None)
    if _asked_meanwhile(entry, errand):
        begin_anew(entry)
    else:
        entry.sent_at = now()


def _asked_meanwhile(entry: OutboxEntry, errand: Claimed) -> bool:
    return bool(entry.payload.get("asked") != errand.payload.get("asked"))


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
    if (asked := asked_to_wait(error)) is not None:
        return asked
    longest = LONGEST_PAUSES.get(errand.kind)
    if again and _refused(error, errand):
        longer: timedelta = PERMANENT_PAUSE * 2 ** min(errand.tries - 1, 5)
        return min(LONGEST_PERMANENT_PAUSE, longer)
    if isinstance(error, Permanent):
        return PERMANENT_PAUSE if errand.kind is Errand.SHOW else longest or PERMANENT_PAUSE
    doubled: timedelta = FIRST_PAUSE * 2 ** min(errand.tries - 1, 12)
    return min(longest or LONGEST_PAUSE, doubled)
