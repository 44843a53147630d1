"""Making an instance of its own of a copied ledger: what it brought along is the other instance's, and over here.

Nothing outside is touched: no environment, no branch, no issue, no message. That is the whole point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, inspect, select, text, update

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    UNDER_WAY,
    AttemptState,
    Brake,
    BrakeKind,
    EnvironmentState,
    FeatureState,
    GateState,
    PromotionState,
    now,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from feature_delivery.adapters.ledger.books import SqlBooks

RELEASE = "feature-delivery brake release"
UNDECIDED = (*OPEN_PROMOTIONS, PromotionState.INTENDED)


def fork(session: Session, books: SqlBooks, instance: str, *, repositories: Mapping[ProjectName, str]) -> list[str]:
    """Give the ledger the id ``instance`` and end here what goes on elsewhere; returns what was done, in sentences.

    Args:
        session: The transaction that ``books`` work in.
        books: The ledger.
        instance: The new id.
        repositories: Of every project file here, where its repository is now: the other instance's.
    """
    old = books.instance()
    because = f"This ledger was forked from instance {old}, which carries it on."
    names = sorted(set(repositories) | set(session.scalars(select(t.project.c.name))))
    counts = {
        "environments forgotten": _environments(session),
        "deliveries ended here": _deliveries(session, because),
        "messages and errands dropped": _outbox(session, because),
        "runs ended": _runs(session, names),
    }
    for name in names:
        _lock(session, books, ProjectName(name), old, repository=repositories.get(ProjectName(name), ""))
    books.settle(instance)
    return [f"{what}: {count}." for what, count in counts.items()] + [f"Projects locked: {', '.join(names) or 'none'}."]


def _environments(session: Session) -> int:
    e = t.environment.c
    gone = {"state": EnvironmentState.DESTROYED, "destroyed_at": now(), "commit": None}
    return _changed(session, update(t.environment).where(e.state != EnvironmentState.DESTROYED).values(**gone))


def _deliveries(session: Session, because: str) -> int:
    at = now()
    over = {"state": FeatureState.ABANDONED, "reason": because, "ended_at": at, "rewind_to": None}
    count = _changed(session, update(t.feature).where(t.feature.c.state.in_(UNDER_WAY)).values(**over))
    gate, permit, attempt, promotion = t.gate.c, t.permit.c, t.attempt.c, t.promotion.c
    for change in (
        update(t.gate).where(gate.state == GateState.OPEN).values(state=GateState.CLOSED, outcome="forked"),
        update(t.gate).where(~gate.ended).values(ended=True),
        update(t.permit).where(permit.state == "granted").values(state="void", reason=because, ended_at=at),
        update(t.attempt)
        .where(attempt.state.in_([AttemptState.ACTIVE, AttemptState.PROMOTED]))
        .values(state=AttemptState.DROPPED, reason=because, ended_at=at),
        update(t.promotion).where(promotion.state.in_(UNDECIDED)).values(state=PromotionState.DROPPED, ended_at=at),
        update(t.alert).where(t.alert.c.resolved_at.is_(None)).values(resolved_at=at, resolution=because),
        update(t.project).values(
            production_commit=None, lock_feature_id=None, lock_since=None, frozen_reason="", frozen_commit=None
        ),
        delete(t.queue_place),
    ):
        session.execute(change)
    return count


def _outbox(session: Session, because: str) -> int:
    o, w = t.outbox.c, t.webhook.c
    dropped = _changed(session, update(t.outbox).where(o.sent_at.is_(None)).values(sent_at=now(), error=because))
    waiting = update(t.webhook).where(w.processed_at.is_(None))
    session.execute(waiting.values(processed_at=now(), ignored="of the instance that this one was forked from"))
    session.execute(update(t.post).where(~t.post.c.settled).values(settled=True))
    return dropped


def _runs(session: Session, projects: list[str]) -> int:
    """End the copied runs by hand: their teardown would tear down what the other instance has."""
    if not projects or not inspect(session.get_bind()).has_table("dag_run"):
        return 0
    dags = {"dags": [f"feature_delivery_{name}" for name in projects], "at": now()}
    tasks = "SELECT id FROM task_instance WHERE dag_id = ANY(:dags)"
    session.execute(text(f"DELETE FROM hitl_detail WHERE ti_id IN ({tasks})"), dags)  # noqa: S608 - written above
    unfinished = "(state IS NULL OR state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed'))"
    ended = "UPDATE task_instance SET state = 'skipped', end_date = :at, trigger_id = NULL"
    session.execute(text(f"{ended} WHERE dag_id = ANY(:dags) AND {unfinished}"), dags)
    runs = "UPDATE dag_run SET state = 'failed', end_date = :at WHERE dag_id = ANY(:dags) AND state IN "
    return _changed(session, text(f"{runs} ('queued', 'running')").bindparams(**dags))


def _lock(session: Session, books: SqlBooks, name: ProjectName, old: str, *, repository: str) -> None:
    books.lock_project(name)
    if (on := books.brake(name)) is not None:
        on.released_at, on.release_reason = now(), "A fork locks the project."
        session.flush()  # one brake must be off before the next one is on
    reason = (
        f"{name} is delivered by instance {old}, which this one was forked from. Name another repository, host, "
        f"tracker and channel in its project file, then release it with '{RELEASE} --project {name}'."
    )
    books.add(Brake(project=name, kind=BrakeKind.FORK, reason=reason, about={"repository": repository}))


def _changed(session: Session, statement: object) -> int:
    return int(session.execute(statement).rowcount)  # type: ignore[call-overload]
