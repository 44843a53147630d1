"""What the control plane does by itself: ends gates, applies deadlines, shows questions, looks at the outside.

Each round is called by a background worker of the API server, which makes it prompt, and by housekeeping, which makes
it certain. Rounds read what there is to do first and then work run by run, each in a transaction of its own: one
feature's trouble keeps no other waiting.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from airflow.configuration import conf
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.bootstrap import messengers, settings
from feature_delivery.bootstrap.outside import outside
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.freezes import freeze_at, next_end
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.people import DEFAULT_POLICIES
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import UNDER_WAY, Gate, GateState, now
from feature_delivery.domain.upkeep import ROUND_UNDER_WAY
from feature_delivery.ports.runs import RunRef
from feature_delivery.services.apart import Apart
from feature_delivery.services.control import (
    brake,
    deadlines,
    ended_runs,
    gates,
    outbox,
    posting,
    reconcile,
    reminders,
    turn,
    watches,
    webhooks,
)
from feature_delivery.services.control.flags import RUN_ENDED, flag
from feature_delivery.services.control.messages import Places
from feature_delivery.services.control.outside import Control
from feature_delivery.services.control.start import start_again
from feature_delivery.services.control.under_way import UnderWay
from feature_delivery.web import counting, pruning, queues, task_logs, unsent
from feature_delivery.web.board import pulse
from feature_delivery.web.questions import question
from feature_delivery.web.transaction import OUTBOX, WebUnit, begin, session
from feature_delivery.web.workers import wake

_log = logging.getLogger(__name__)

FINISH_AGAIN_SECONDS = 0.05
OUTBOX_PAUSE_SECONDS = 30.0
ERRANDS_SECONDS = 30.0
"""So long a round of housekeeping waits for errands: what hangs goes on without it."""

LOOKS_SECONDS = 120.0
"""So long a round begins looks at hosts: those that do not answer take the time of what comes after."""

HELD_PAUSE_SECONDS = 30.0
"""So long until it is looked whether an operator has said whose the ledger is."""

PARKED_FOR = timedelta(seconds=10)
"""A question is shown so long after its task parked: the executor's word of it comes up to 5.2 s late."""


FREEZE_LOOK_SECONDS = 300.0
"""So often the calendars are looked at while no window is about to end."""


class Waiting(NamedTuple):
    """A run with something to do, by the key of its gate."""

    run: RunRef
    gate: int


_frozen_until: dict[ProjectName, datetime] = {}
"""When the freeze of a project ends that was on, or coming, when it was last looked at."""

under_way = UnderWay(ended=partial(wake, OUTBOX))

_since: dict[int, float] = {}
"""When the finisher first met a gate, by the gate's id."""


def control(*, besides: str = "") -> Control:
    """Return how use cases work that call the outside between transactions.

    ``besides``: the worker that works so itself, and looks for more without being told.
    """
    return Control(
        begin=partial(begin, besides=besides),
        project=settings.project,
        outside=lambda project: outside(project, session),
        alone=alone,
        page=page,
        channel=lambda project, name: messengers.channel(project, name, session),
        places=Places(board=board_page, task=task_page),
        log=task_logs.last_lines,
        under_way=under_way,
    )


def board_page(project: ProjectConfig, key: FeatureKey) -> str:
    """Return the address of a feature on the board; empty where nobody has said how Airflow is reached."""
    base = _base()
    return f"{base}{settings.URL_PREFIX}/board/{quote(project.name, safe='')}/{quote(key, safe='')}" if base else ""


def task_page(project: ProjectConfig, run_id: str, step: Step) -> str:
    """Return the address of a task, with its log, in Airflow; empty as above."""
    base = page(project, run_id)
    return f"{base}/tasks/{quote(step, safe='')}" if base else ""


def _base() -> str:
    found = str(conf.get("api", "base_url", fallback="")).rstrip("/")
    return found if "://" in found else ""


def page(project: ProjectConfig, run_id: str) -> str:
    """Return the address of a run in Airflow; empty where nobody has said how Airflow is reached."""
    base = _base()
    if not base:
        return ""
    return f"{base}/dags/{quote(project.dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def finish_gates() -> float | None:
    """End the parked tasks of resolved gates, and rewind what waited for its task to park."""
    found = _waiting(SqlBooks.gates_to_end)
    left = [one for one in found if not _per_run(one.run, _finish, besides="finisher")]
    began = {one.gate: _since.get(one.gate, time.monotonic()) for one in left}
    _since.clear()
    _since.update(began)
    if not left:
        return 0.0 if found else None  # what was ended may have given production to another, whose gate is to end now
    age = time.monotonic() - max(began.values())
    # A task parks within moments; one whose worker is gone is looked at now and then.
    return FINISH_AGAIN_SECONDS if age < 15 else 0.5 if age < 120 else 5.0


def _finish(unit: WebUnit, project: ProjectConfig, run_id: str) -> bool:
    return gates.finish(unit, project, run_id)


def expire_deadlines() -> int:
    """Apply the deadlines that have passed; returns how many."""
    unknown = any(not one.people.known for one in settings.projects().values())
    at = now() + (deadlines.GRACE if unknown else timedelta(0))
    due = _waiting(lambda books: books.gates_past_deadline(at))
    return sum(bool(_per_run(one.run, deadlines.expire)) for one in due)


def tidy_shelf() -> int:
    """Take off the shelf what has something to run, put on it what only waits; returns how many runs moved."""
    known = settings.projects()
    with begin() as unit:
        moved = unit.runs.unshelve_stranded(known)
        waiting = unit.runs.waiting_unshelved(known)
    return moved + _wake_the_sleeping() + sum(bool(_per_run(run, _shelve_again)) for run in waiting)


def _wake_the_sleeping() -> int:
    """Have the ledger wait at the gates at which runs are parked; returns how many it did not."""
    with begin() as unit:
        asleep = gates.asleep(unit, settings.projects())
    for run in asleep:
        _per_run(run, _finish)
    return len(asleep)


def restore_runs() -> int:
    """Make the runs of features under way anew that somebody has deleted; returns how many."""
    restored = 0
    for project in _ours().values():
        with Apart(_log, f"make the deleted runs of {project.name} anew"):
            with begin() as unit:
                under_way = unit.books.features(project.name, UNDER_WAY)
                missing = unit.runs.missing(project.name, [feature.run_id for feature in under_way])
            restored += sum(_restore(project, run_id) for run_id in missing)
    return restored


def _restore(project: ProjectConfig, run_id: str) -> bool:
    with Apart(_log, f"make the run {run_id} of {project.name} anew"), begin() as unit:
        unit.books.lock_project(project.name)
        feature = unit.books.feature_of_run(project.name, run_id)
        if feature is not None and unit.runs.missing(project.name, [run_id]):
            start_again(unit, project, feature)
            return True
    return False


def tell_of_ended_runs() -> int:
    """Tell people of features under way whose runs somebody has ended; returns of how many."""
    told = 0
    for project in _ours().values():
        with Apart(_log, f"look for ended runs of {project.name}"):
            with begin() as unit:
                runs = {feature.id: feature.run_id for feature in unit.books.features(project.name, UNDER_WAY)}
                said = {gate.feature_id for gate in unit.books.open_gates_blocked(RUN_ENDED)}
                which = {*unit.runs.ended(project.name, runs.values()), *(runs[one] for one in said & runs.keys())}
            told += sum(bool(_per_run(RunRef(project.name, run), ended_runs.tell)) for run in sorted(which))
    return told


def end_freezes() -> float | None:
    """Give production to whoever waited for the end of a freeze window; says when the next one ends.

    Whether anything waits is asked only when a window has ended since the last look.
    """
    at, pauses = now(), []
    for project in settings.projects().values():
        if not project.freezes:
            continue
        if freeze_at(project.freezes, at) is None and _frozen_until.pop(project.name, at) <= at:
            _grant(project)
        ends = next_end(project.freezes, at)
        if ends is not None:
            _frozen_until[project.name] = ends
            pauses.append((ends - at).total_seconds())
    # The project files may be changed meanwhile, and clocks may be set.
    return min(max(min(pauses), 0.05), FREEZE_LOOK_SECONDS) if pauses else FREEZE_LOOK_SECONDS


def _grant(project: ProjectConfig) -> bool:
    """Give out the turn, if production is free and somebody waits; each gate is ended by the finisher."""
    with Apart(_log, f"give out the turn in {project.name}"), begin() as unit:
        return turn.grant(unit, project) is not None
    return False


def _shelve_again(unit: WebUnit, project: ProjectConfig, run_id: str) -> bool:
    feature = gates.enter(unit, project, run_id)
    gate, run = unit.books.open_gate(feature), gates.run_of(feature)
    if gate is None or feature.rewind_to is not None or not unit.runs.waits_unshelved(run):
        return False
    until = gate.deadline if gate.deadline is not None and gate.deadline > now() else now() + gates.FOR_EVER
    unit.runs.shelve(run, until=flag(unit.books, project, feature, gate.step).until or until)
    return True


def process_webhooks() -> float | None:
    """Process stored webhooks."""
    done, left = webhooks.process(control())
    return 5.0 if left else 0.0 if done else None


def begin_errands() -> float | None:
    """Begin what may begin of the outbox; each errand says when it has ended."""
    working = control(besides=OUTBOX)
    outbox.begin(working)
    due = outbox.next_at(working)
    # A claimed errand of another process is due again when its lease ends.
    wait = (due - now()).total_seconds() if due is not None else OUTBOX_PAUSE_SECONDS
    return min(max(wait, 0.05), OUTBOX_PAUSE_SECONDS)


def must_not_be_held() -> None:
    """Stop a round where the ledger may be a copy.

    Raises:
        Unavailable: It may be one.
    """
    with session() as opened:
        brake.must_not_be_held(SqlBooks(opened, new_instance=settings.new_instance()))


def _ours() -> dict[ProjectName, ProjectConfig]:
    """Return the projects but those that a fork has taken over from another instance."""
    with session() as opened:
        books = SqlBooks(opened)
        return {name: one for name, one in settings.projects().items() if not brake.foreign(books, name)}


def _unless_held(work: Callable[[], float | None]) -> float | None:
    """Do a background worker's work, or look again later where the ledger may be a copy."""
    try:
        must_not_be_held()
    except Unavailable as held:
        _log.warning("%s", held)
        return HELD_PAUSE_SECONDS
    return work()


def reconcile_all(*, until: float = math.inf) -> list[str]:
    """Look at the branches, requests and issues of every project whose time has come; returns what changed.

    ``until``: no look is begun after it, by the monotonic clock; the order is another one each time, so that those
    whose hosts do not answer keep no other waiting for ever.
    """
    found: list[str] = []
    working, projects = control(), list(_ours().values())
    random.shuffle(projects)
    for project in projects:
        if time.monotonic() >= until:
            _log.warning("The round's time for looking at hosts is over; what is left is looked at in the next one.")
            break
        with Apart(_log, f"reconcile {project.name}") as trouble:
            with begin() as unit:
                due = reconcile.due(unit, project)
            found += reconcile.reconcile(working, project) if due else []
        if trouble.sentence:
            found.append(f"{project.name}: {trouble.sentence}")
    return found


def ask_people() -> float | None:
    """Show open gates that people decide on Airflow's *Required Actions* page, once it is safe to answer there."""
    left = 0
    for one in _waiting(lambda books: books.gates_to_ask(DEFAULT_POLICIES)):
        left += _per_run(one.run, _ask) is False
    return 3.0 if left else None


def _ask(unit: WebUnit, project: ProjectConfig, run_id: str) -> bool:
    feature = gates.enter(unit, project, run_id)
    gate = unit.books.open_gate(feature)
    policy = project.people.policies.get(gate.step) if gate is not None else None
    if gate is None or policy is None or gate.requested_at is not None or gate.blocked or gate.state != GateState.OPEN:
        return True
    run = RunRef(project.name, run_id)
    if not unit.runs.ask_people(
        run, gate.step, question(unit.books, project, feature, gate), parked_before=now() - PARKED_FOR
    ):
        # Still on its way to parking, or parked a moment ago; a task that is gone will ask anew itself.
        return unit.runs.states(run).get(gate.step) not in {"awaiting_input", "running", "queued", "scheduled"}
    gate.requested_at = now()
    return True


def housekeeping() -> dict[str, int]:
    """Do every round once, unless an API server is at it; returns how much each had to do.

    Whoever asks gives up long before a slow host does, and asks again: rounds must not pile up.

    Raises:
        Unavailable: The ledger may be a copy.
    """
    must_not_be_held()
    with _the_only_round() as alone_at_it:
        return _rounds() if alone_at_it else {ROUND_UNDER_WAY: 1}


def _rounds() -> dict[str, int]:
    before = len(_waiting(SqlBooks.gates_to_end))
    finish_gates()
    counts = {"gates_finished": before - len(_waiting(SqlBooks.gates_to_end))}
    counts["deadlines_expired"] = expire_deadlines()
    known = settings.projects().values()
    counts["turns_given"] = sum(_grant(one) for one in known if one.freezes and not freeze_at(one.freezes, now()))
    counts["runs_restored"], counts["ended_runs_told"] = restore_runs(), tell_of_ended_runs()
    counts["runs_moved"] = tidy_shelf()
    until = time.monotonic() + LOOKS_SECONDS
    counts["webhooks_processed"], counts["webhooks_left"] = webhooks.process(control(), until=until)
    with begin() as unit:
        counts["webhooks_pruned"] = webhooks.prune(unit)
        counts["looks_pruned"] = watches.prune(unit)
    counts["rows_pruned"] = pruning.prune()
    counts["reconciled"] = len(reconcile_all(until=until))
    ask_people()
    counts["people_told"] = remind_people()
    counts["signed_anew"] = sign_anew()
    counts["errands_run"], counts["errands_failed"] = outbox.drain(control(), for_seconds=ERRANDS_SECONDS)
    return counts


def remind_people() -> int:
    """Remind whoever is waited for, tell managers what waits too long, say daily what waits; returns how many words."""
    known, at = _ours(), now()

    def due(books: SqlBooks) -> Iterator[Gate]:
        for project in known.values():
            yield from reminders.due(project, books.open_gates(project.name), at)

    waiting = _waiting(due)
    told = sum(bool(_per_run(one.run, reminders.remind)) for one in waiting)
    for project in known.values():
        with Apart(_log, f"say what waits in {project.name}"), begin() as unit:
            told += reminders.digest(unit, project)
    return told


def sign_anew() -> int:
    """Have buttons signed anew that were signed with a secret that is not the first any more; in how many features."""
    signed = 0
    for project in _ours().values():
        if project.messages.kind == CHAT:
            with Apart(_log, f"have the buttons of {project.name} signed anew"):
                signer = messengers.interactions(project).signer
                with begin() as unit:
                    signed += posting.sign_anew(unit, project, signer)
    return signed


def works() -> dict[str, Callable[[], float | None]]:
    """Return what the background workers of an API server do."""
    effects: dict[str, Callable[[], float | None]] = {
        "finisher": finish_gates,
        "asker": ask_people,
        "webhooks": process_webhooks,
        OUTBOX: begin_errands,
        "shelf": _tidy_after_hands,
        "freezes": end_freezes,
    }
    looks: dict[str, Callable[[], float | None]] = {}
    if queues.is_celery():
        effects[unsent.WORKER] = unsent.unsent.look
        looks[queues.WORKER] = queues.queues.look
    guarded = {name: partial(_unless_held, work) for name, work in effects.items()}
    return {**guarded, **looks, counting.WORKER: counting.flush, pulse.WORKER: pulse.pulse.beat}


def _tidy_after_hands() -> float | None:
    """Somebody changed something in Airflow's pages: what they cleared must run, what is parked must be waited for."""
    with begin() as unit:
        unit.runs.unshelve_stranded(settings.projects())
    _wake_the_sleeping()
    return None


def _waiting(which: Callable[[SqlBooks], Iterable[Gate]]) -> list[Waiting]:
    with session() as opened:
        books = SqlBooks(opened)
        found = list(which(books))
        features = books.features_by_id({gate.feature_id for gate in found})
        return [Waiting(gates.run_of(features[gate.feature_id]), gate.id) for gate in found]


def _per_run(run: RunRef, work: Callable[[WebUnit, ProjectConfig, str], bool], *, besides: str = "") -> bool | None:
    """Do something for one run in a transaction of its own; ``None`` when it could not be done.

    ``besides``: the worker that does this, and is not to be woken by it.
    """
    with Apart(_log, f"do the background work on {run.run_id} of {run.project}"):
        project = settings.project(run.project)
        with begin(besides=besides) as unit:
            return work(unit, project, run.run_id)
    return None


@contextmanager
def _the_only_round() -> Iterator[bool]:
    """Hold the round of all API servers; ``False``: another one is under way.

    By a lock that ends with its transaction: it outlives no process, and no pool in between can lose it.
    """
    with session() as opened:
        _bounded(opened)
        key = func.hashtext("feature-delivery: a round of housekeeping")
        yield bool(opened.scalar(select(func.pg_try_advisory_xact_lock(key))))


def _bounded(opened: Session) -> None:
    """Let the database end the transaction of a machine that is gone without a word, and with it what it locked."""
    for setting in ("tcp_keepalives_idle = 30", "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3"):
        opened.execute(text(f"SET LOCAL {setting}"))
    opened.execute(text("SET LOCAL idle_in_transaction_session_timeout = '30min'"))


@contextmanager
def alone(project: ProjectName) -> Iterator[None]:
    """Hold a project's look at its host: an older listing taken in after a newer one would rewind to an old commit.

    By a lock of its own, so that nothing else waits for it.
    """
    key = select(func.pg_advisory_xact_lock(func.hashtext(f"feature-delivery:{project}")))
    with session() as opened:
        _bounded(opened)
        opened.execute(text("SET LOCAL lock_timeout = '60s'"))
        opened.execute(key)
        yield
