"""Reads for the board: columns, not records, because a page shows thousands of rows and changes none."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import func, literal, or_, select, union_all

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.mapping import map_records
from feature_delivery.adapters.ledger.moved import moved
from feature_delivery.domain.records import UNDER_WAY, EnvironmentState, GateState
from feature_delivery.ports.board import (
    AttemptRow,
    BoardFacts,
    DecisionRow,
    FeatureRow,
    FigureFacts,
    GateRow,
    PlaceRow,
    ProjectRow,
    ReleaseRow,
    SpentRow,
    SuiteRow,
    WorkRow,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.orm import Session

    from feature_delivery.domain.names import ProjectName

R = TypeVar("R")

_F = t.feature.c
_FEATURE = (
    _F.id,
    _F.project,
    _F.key,
    _F.delivery,
    _F.run_id,
    _F.title,
    _F.state,
    _F.attempt_number,
    _F.branch,
    _F.issue_url,
    _F.request_number,
    _F.request_url,
    _F.reason,
    _F.created_at,
    _F.ended_at,
)

_LOOKED_AT = 64
"""So many of the newest rows are told apart: numbers are given before their transactions end, in any order."""


class SqlBoardBooks:
    """``BoardBooks`` on a SQLAlchemy session; whoever opened it ends it."""

    def __init__(self, session: Session) -> None:
        """Read inside ``session``."""
        map_records()
        self._session = session

    def revision(self) -> str:
        """Return a text that changes whenever something that the board shows may have changed."""
        # Deployments and results come with events or permits; a webhook or an errand alone changes no card.
        parts = [_tail(table, place) for place, table in enumerate((t.event, t.permit, t.gate, t.decision))]
        return "-".join(f"{newest or 0}.{total or 0}" for _, newest, total in sorted(self._all(union_all(*parts))))

    def facts(self, *, ended_per_project: int) -> BoardFacts:
        """Return the features under delivery, and per project so many that have ended."""
        features = tuple(FeatureRow(*row) for row in self._all(_shown(ended_per_project)))
        ids = [feature.id for feature in features]
        places = [PlaceRow(*row) for row in self._all(_places(ids))]
        return BoardFacts(
            features=features,
            ended={(project, state): number for project, state, number in self._all(_ended())},
            attempts={row.feature_id: AttemptRow(*_with_tuples(row, 3, 4)) for row in self._all(_attempts(ids))},
            candidates=dict(map(tuple, self._all(_candidates(ids)))),
            gates={row.feature_id: GateRow(*row) for row in self._all(_gates(ids))},
            decisions=_grouped(DecisionRow(*row) for row in self._all(_decisions(ids))),
            suites=_grouped(SuiteRow(*row) for row in self._all(_suites(ids))),
            places=_grouped(place for place in places if place.feature_id is not None),
            production={place.project: place for place in places if place.feature_id is None},
            promotions=dict(map(tuple, self._all(_promotions(ids)))),
            work={row.feature_id: WorkRow(*row) for row in self._all(_work(ids))},
            projects=self._projects(),
        )

    def search_ended(self, text: str, projects: Collection[ProjectName], *, limit: int) -> tuple[FeatureRow, ...]:
        """Return features that have ended and whose key or title holds ``text``, newest first."""
        found = or_(_F.key.icontains(text, autoescape=True), _F.title.icontains(text, autoescape=True))
        query = select(*_FEATURE).where(_F.state.not_in(UNDER_WAY), _F.project.in_(list(projects)), found)
        return tuple(FeatureRow(*row) for row in self._all(query.order_by(_F.id.desc()).limit(limit)))

    def figure_facts(self, projects: Collection[ProjectName], *, since: datetime) -> FigureFacts:
        """Return what happened to production since then, and the time that those features spent on their way."""
        releases = tuple(ReleaseRow(*row) for row in self._all(moved(since, projects)))
        ids = sorted({release.feature_id for release in releases})
        return FigureFacts(
            releases=releases,
            waits=tuple(SpentRow(*row) for row in self._all(_spent(t.gate, "opened_at", "resolved_at", ids))),
            work=tuple(SpentRow(*row) for row in self._all(_spent(t.permit, "granted_at", "ended_at", ids))),
        )

    def _projects(self) -> dict[ProjectName, ProjectRow]:
        q, p = t.queue_place.c, t.project.c
        queues: dict[ProjectName, list[int]] = defaultdict(list)
        for project, feature_id in self._all(select(q.project, q.feature_id).where(q.waiting).order_by(q.since, q.id)):
            queues[project].append(feature_id)
        rows = self._all(select(p.name, p.lock_feature_id, p.frozen_reason))
        return {
            row.name: ProjectRow(row.name, row.lock_feature_id, row.frozen_reason, tuple(queues.get(row.name, ())))
            for row in rows
        }

    def _all(self, query: Any) -> list[Any]:
        self._session.flush()
        return list(self._session.execute(query).all())


def _tail(table: Table, place: int) -> Any:
    """Return the newest number and the sum of the newest few: a late commit with a lower number changes the sum."""
    newest = select(table.c.id).order_by(table.c.id.desc()).limit(_LOOKED_AT).subquery()
    return select(literal(place), func.max(newest.c.id), func.sum(newest.c.id))


def _shown(ended_per_project: int) -> Any:
    place = func.row_number().over(partition_by=(_F.project, _F.state.in_(UNDER_WAY)), order_by=_F.id.desc())
    ranked = select(*_FEATURE, place.label("place")).subquery()
    shown = or_(ranked.c.state.in_(UNDER_WAY), ranked.c.place <= ended_per_project)
    return select(*(ranked.c[column.name] for column in _FEATURE)).where(shown).order_by(ranked.c.id.desc())


def _ended() -> Any:
    return select(_F.project, _F.state, func.count()).where(_F.state.not_in(UNDER_WAY)).group_by(_F.project, _F.state)


def _attempts(ids: list[int]) -> Any:
    a = t.attempt.c
    return (
        select(a.feature_id, a.number, a.commit, a.authors, a.strangers, a.state, a.reason, a.created_at, a.ended_at)
        .join(t.feature, (_F.id == a.feature_id) & (_F.attempt_number == a.number))
        .where(a.feature_id.in_(ids))
    )


def _candidates(ids: list[int]) -> Any:
    c = t.candidate.c
    newest = _newest(t.candidate, ids, c.feature_id, c.attempt)
    return (
        select(c.feature_id, c.commit)
        .join(t.feature, (_F.id == c.feature_id) & (_F.attempt_number == c.attempt))
        .where(c.id.in_(newest))
    )


def _gates(ids: list[int]) -> Any:
    g = t.gate.c
    columns = (g.feature_id, g.step, g.blocked, g.opened_at, g.deadline)
    return select(*columns).where(g.state == GateState.OPEN, g.feature_id.in_(ids))


def _decisions(ids: list[int]) -> Any:
    d = t.decision.c
    return (
        select(d.feature_id, d.step, d.person, d.kind, d.accepted, d.candidate, d.way, d.at)
        .join(t.feature, (_F.id == d.feature_id) & (_F.attempt_number == d.attempt))
        .where(d.accepted, d.feature_id.in_(ids))
        .order_by(d.id)
    )


def _suites(ids: list[int]) -> Any:
    s = t.suite_result.c
    newest = _newest(t.suite_result, ids, s.feature_id, s.attempt, s.step)
    return (
        select(s.feature_id, s.step, s.executed, s.failed, s.red)
        .join(t.feature, (_F.id == s.feature_id) & (_F.attempt_number == s.attempt))
        .where(s.id.in_(newest))
        .order_by(s.id)
    )


def _places(ids: list[int]) -> Any:
    e = t.environment.c
    return (
        select(e.project, e.feature_id, e.kind, e.address)
        .where(e.state != EnvironmentState.DESTROYED, e.address != "")
        .where(or_(e.feature_id.is_(None), e.feature_id.in_(ids)))
        .order_by(e.id)
    )


def _promotions(ids: list[int]) -> Any:
    p = t.promotion.c
    return select(p.feature_id, p.state).where(p.id.in_(_newest(t.promotion, ids, p.feature_id)))


def _work(ids: list[int]) -> Any:
    p = t.permit.c
    newest = _newest(t.permit, ids, p.feature_id)
    return select(p.feature_id, p.attempt, p.step, p.state, p.reason, p.granted_at).where(p.id.in_(newest))


def _newest(table: Table, ids: list[int], *of: ColumnElement[Any]) -> Any:
    return select(func.max(table.c.id)).where(table.c.feature_id.in_(ids)).group_by(*of)


def _spent(table: Table, began: str, ended: str, ids: list[int]) -> Any:
    c = table.c
    return (
        select(_F.project, c.feature_id, c.step, c[began], c[ended])
        .join(t.feature, _F.id == c.feature_id)
        .where(c.feature_id.in_(ids), c[ended].is_not(None))
        .order_by(c.id)
    )


def _grouped(rows: Iterable[R]) -> dict[int, tuple[R, ...]]:
    found: dict[int, list[R]] = defaultdict(list)
    for row in rows:
        found[row.feature_id].append(row)  # type: ignore[attr-defined] # every kind that is grouped has it
    return {feature: tuple(each) for feature, each in found.items()}


def _with_tuples(row: Any, *places: int) -> list[Any]:
    values = list(row)
    for place in places:
        values[place] = tuple(values[place])
    return values
