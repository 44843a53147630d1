"""Reads for monitoring: aggregates and the worst cases, all by the database, none of it row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, case, func, or_, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import aliased

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.mapping import map_records
from feature_delivery.adapters.ledger.moved import moved
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import ORDER, Step
from feature_delivery.domain.records import (
    LISTING_HOST,
    LISTING_MARKS,
    OPEN_PROMOTIONS,
    UNDER_WAY,
    EnvironmentState,
    FeatureState,
    GateState,
    PromotionState,
)
from feature_delivery.ports.board import ReleaseRow
from feature_delivery.ports.metrics import (
    WORST,
    AtWork,
    Blocked,
    Count,
    EnvironmentCount,
    FeatureCount,
    Leaked,
    Look,
    MetricFacts,
    OpenGate,
    OpenPromotion,
    OutboxCount,
    ProjectState,
    Queue,
    Tally,
    Target,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

AT_WORK_AT_MOST = 5000

_F, _G, _P, _E = t.feature.c, t.gate.c, t.permit.c, t.environment.c


class SqlMetricBooks:
    """``MetricBooks`` on a SQLAlchemy session; whoever opened it ends it."""

    def __init__(self, session: Session) -> None:
        """Read inside ``session``."""
        map_records()
        self._session = session

    def facts(self, at: datetime, *, releases_since: datetime) -> MetricFacts:
        """Return the counts as they are."""
        promotions = self._all(_promotions())
        return MetricFacts(
            at=at,
            features=tuple(FeatureCount(*row) for row in self._all(_features())),
            gates=tuple(OpenGate(*row) for row in self._all(_gates())),
            blocked=tuple(Blocked(*row) for row in self._all(_blocked())),
            at_work=tuple(AtWork(*row) for row in self._all(_at_work())),
            projects=tuple(ProjectState(*row) for row in self._all(_projects())),
            queues=tuple(Queue(*row) for row in self._all(_queues())),
            environments=tuple(EnvironmentCount(*row) for row in self._all(_environments())),
            leaked=tuple(Leaked(*row) for row in self._all(_leaked())),
            webhooks_waiting=tuple(Queue(*row) for row in self._all(_webhooks_waiting())),
            outbox=tuple(OutboxCount(*row) for row in self._all(_outbox())),
            promotions=tuple(Count(row.project, (row.state,), row.number) for row in promotions),
            moved=_moved(promotions),
            open_promotions=tuple(OpenPromotion(*row) for row in self._all(_open_promotions())),
            releases=tuple(ReleaseRow(*row) for row in self._all(moved(releases_since))),
            tallies=tuple(Tally(*row) for row in self._all(select(t.tally))),
            looks=tuple(Look(ProjectName(row.project), bytes(row.body)) for row in self._all(_marks())),
        )

    def targets(self) -> tuple[Target, ...]:
        """Return every environment that runs a commit and can be reached."""
        query = (
            select(_E.project, _E.kind, _F.key, _E.commit, _E.address, _E.metrics_path, _E.health_path)
            .outerjoin(t.feature, _F.id == _E.feature_id)
            .where(_E.state == EnvironmentState.READY, _E.commit.is_not(None), _E.address != "")
            .order_by(_E.id)
        )
        return tuple(Target(*row) for row in self._all(query))

    def _all(self, query: Any) -> list[Any]:
        return list(self._session.execute(query).all())


def _features() -> Any:
    return select(_F.project, _F.state, func.count()).group_by(_F.project, _F.state)


def _gates() -> Any:
    same = (_F.project, _G.step)
    place = func.row_number().over(partition_by=same, order_by=_G.opened_at)
    number = func.count().over(partition_by=same)
    ranked = (
        select(
            _F.project,
            _G.step,
            number.label("number"),
            _F.key,
            _F.run_id,
            _G.opened_at,
            _G.deadline,
            place.label("place"),
        )
        .join(t.feature, _F.id == _G.feature_id)
        .where(_G.state == GateState.OPEN)
        .subquery()
    )
    r = ranked.c
    shown = (r.project, r.step, r.number, r.key, r.run_id, r.opened_at, r.deadline)
    return select(*shown).where(r.place <= WORST).order_by(r.project, r.step, r.place)


def _newest_permit(feature_id: Any) -> Any:
    newest = t.permit.alias("newest")
    return (
        select(func.max(newest.c.id))
        .where(newest.c.feature_id == feature_id)
        .correlate(t.feature, t.promotion)
        .scalar_subquery()
    )


def _blocked() -> Any:
    """Return the query for the worst blocked gates of each project; permits are looked at for those few only."""
    place = func.row_number().over(partition_by=_F.project, order_by=_G.opened_at)
    gates = (
        select(_F.project, _F.key, _F.run_id, _F.id, _F.attempt_number, _G.step, _G.opened_at, place.label("place"))
        .join(t.feature, _F.id == _G.feature_id)
        .where(_G.state == GateState.OPEN, _G.blocked != "")
        .subquery()
    )
    g = gates.c
    step = func.coalesce(_of_what_blocks(gates, "step"), g.step, type_=_P.step.type)
    since = func.coalesce(_of_what_blocks(gates, "ended_at"), g.opened_at, type_=_F.created_at.type)
    # Not by a join: the database would expect thousands of gates, and read every permit there is for them.
    return select(g.project, g.key, g.run_id, step, since).where(g.place <= WORST).order_by(g.project, g.place)


def _of_what_blocks(gates: Any, column: str) -> Any:
    """Return a column of the permit that ``flags.last_failure`` tells of: of the last step before the gate that failed.

    None of an older attempt, and none that was mended since: its step has a newer permit.
    """
    g, tried, known = gates.c, t.permit.alias("tried"), t.permit.alias("known").c
    newest = (
        select(func.max(known.id))
        .where(known.feature_id == g.id, known.attempt == g.attempt_number)
        .group_by(known.step)
        .correlate(gates)
    )
    return (
        select(tried.c[column])
        .where(tried.c.feature_id == g.id, tried.c.id.in_(newest))
        .where(tried.c.state == "failed", _order(tried.c.step) < _order(g.step))
        .order_by(_order(tried.c.step).desc())
        .limit(1)
        .correlate(gates)
        .scalar_subquery()
    )


def _order(step: Any) -> Any:
    return case({one.value: place for one, place in ORDER.items()}, value=step)


def _at_work() -> Any:
    gate = select(_G.id).where(_G.feature_id == _F.id, _G.state == GateState.OPEN).exists()
    return (
        select(_F.project, _F.key, _F.run_id, _F.created_at, _P.step, _P.state, _P.granted_at, _P.ended_at)
        .select_from(t.feature)
        .outerjoin(t.permit, _P.id == _newest_permit(_F.id))
        .where(_F.state.in_(UNDER_WAY), ~gate)
        .order_by(_F.id)
        .limit(AT_WORK_AT_MOST)
    )


def _projects() -> Any:
    p = t.project.c
    return (
        select(p.name, _F.key, _F.run_id, p.lock_since, p.frozen_reason != "")
        .outerjoin(t.feature, _F.id == p.lock_feature_id)
        .order_by(p.name)
    )


def _queues() -> Any:
    q = t.queue_place.c
    return select(q.project, func.count(), func.min(q.since)).where(q.waiting).group_by(q.project)


def _environments() -> Any:
    return (
        select(_E.project, _E.kind, _E.state, func.count(), func.min(_E.created_at))
        .where(_E.state != EnvironmentState.DESTROYED)
        .group_by(_E.project, _E.kind, _E.state)
    )


def _leaked() -> Any:
    kept = (
        select(func.max(t.promotion.c.ended_at))
        .where(t.promotion.c.feature_id == _F.id, t.promotion.c.state == PromotionState.KEPT)
        .correlate(t.feature)
        .scalar_subquery()
    )
    since = func.coalesce(_F.ended_at, kept, type_=_F.created_at.type)
    return (
        select(_F.project, _F.key, _F.run_id, _E.kind, since)
        .join(t.feature, _F.id == _E.feature_id)
        .where(_E.state != EnvironmentState.DESTROYED, _F.state != FeatureState.ACTIVE, since.is_not(None))
        .order_by(since)
        .limit(5 * WORST)
    )


def _webhooks_waiting() -> Any:
    w = t.webhook.c
    oldest = func.min(w.received_at)
    return select(w.project, func.count(), oldest).where(w.processed_at.is_(None)).group_by(w.project)


def _outbox() -> Any:
    o = t.outbox.c
    failing = func.sum(sql_cast(and_(o.error != "", o.tries > 1), Integer))
    return (
        select(o.project, o.kind, func.count(), failing, func.min(o.created_at))
        .where(o.sent_at.is_(None))
        .group_by(o.project, o.kind)
    )


def _promotions() -> Any:
    p = t.promotion.c
    return select(p.project, p.state, func.count().label("number"), func.count(p.moved_at).label("moved")).group_by(
        p.project, p.state
    )


def _moved(promotions: list[Any]) -> tuple[Count, ...]:
    found: dict[ProjectName, int] = {}
    for row in promotions:
        found[row.project] = found.get(row.project, 0) + row.moved
    return tuple(Count(project, (), number) for project, number in found.items())


def _open_promotions() -> Any:
    p, gate = t.promotion.c, aliased(t.gate)
    g = gate.c
    at_verdict = and_(g.feature_id == _F.id, g.state == GateState.OPEN, g.step == Step.WAIT_FOR_VERDICT)
    since = func.coalesce(p.moved_at, g.opened_at)
    moved = and_(p.state.in_(sorted(OPEN_PROMOTIONS)), p.moved_at.is_not(None))
    unknown = and_(p.state == PromotionState.INTENDED, g.id.is_not(None))  # its task ended without a word
    return (
        select(_F.project, _F.key, _F.run_id, p.state, since, _P.step, _P.state == "failed", _P.ended_at)
        .select_from(t.promotion)
        .join(t.feature, _F.id == p.feature_id)
        .outerjoin(t.permit, _P.id == _newest_permit(_F.id))
        .outerjoin(gate, at_verdict)
        .where(or_(moved, unknown))
        .order_by(p.id)
    )


def _marks() -> Any:
    w = t.webhook.c
    names = select(t.project.c.name)
    return select(w.project, w.body).where(w.project.in_(names), w.delivery_id == LISTING_MARKS, w.host == LISTING_HOST)
