"""The ledger's books in SQL: projects, features, attempts, gates, decisions, permits; mail in and out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, cast

from sqlalchemy import and_, case, exists, or_, select, update

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.identity_books import IdentityBooks
from feature_delivery.adapters.ledger.reader import insert_unless_there
from feature_delivery.adapters.ledger.releases import ReleaseBooks
from feature_delivery.adapters.ledger.tally_books import TallyBooks
from feature_delivery.adapters.ledger.webhook_books import WebhookBooks
from feature_delivery.domain.errors import NotFound
from feature_delivery.domain.outbox import OutboxEntry, Post
from feature_delivery.domain.records import (
    UNDER_WAY,
    Alert,
    Attempt,
    Decision,
    Event,
    Feature,
    FeatureState,
    Gate,
    GateState,
    HeardComment,
    PermitRecord,
    Project,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select

    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName
    from feature_delivery.domain.outbox import Errand, Side
    from feature_delivery.domain.process import Step
    from feature_delivery.ports.ledger import Record


def _open_gates() -> Select[Gate]:
    return select(Gate).where(t.gate.c.state == GateState.OPEN).order_by(t.gate.c.id)


def _next_of_its_lane() -> tuple[ColumnElement[bool], ...]:
    """Return what is true of unsent entries with no unsent one before them in their lane, of whatever kind."""
    o, b = t.outbox.c, t.outbox.alias("before").c
    waits = exists().where(
        b.project == o.project, b.feature_id == o.feature_id, b.lane == o.lane, b.sent_at.is_(None), b.id < o.id
    )
    return o.sent_at.is_(None), or_(o.lane == "", ~waits)


SIGNED_AT_ONCE = 100


def _besides(sides: Iterable[Side]) -> Iterator[ColumnElement[bool]]:
    o = t.outbox.c
    projects: dict[tuple[frozenset[Errand], str], set[ProjectName]] = defaultdict(set)
    for side in sides:
        projects[side.kinds, side.lane].add(side.project)
    for (kinds, lane), names in projects.items():
        yield ~and_(o.kind.in_(sorted(kinds)), o.lane == lane, o.project.in_(sorted(names)))


class SqlBooks(ReleaseBooks, WebhookBooks, TallyBooks, IdentityBooks):
    """``Books`` on a SQLAlchemy session.

    Raises, from any method:
        Conflict: A unique rule was broken. The transaction is over, the sentence says which rule.
    """

    def lock_project(self, name: ProjectName) -> Project:
        """Return the project's row, locked until the end of the transaction; created when new.

        Every record that the session has read before is read again: it may be older than the lock.
        """
        query = select(Project).where(t.project.c.name == name).with_for_update()
        project = self._first(query)
        if project is None:
            insert_unless_there(self._session, t.project, name=name, frozen_reason="")
            project = self._first(query)
        self._refresh(besides=project)
        return cast("Project", project)

    def project(self, name: ProjectName) -> Project | None:
        """Return the project's row, not locked."""
        return cast("Project | None", self._first(select(Project).where(t.project.c.name == name)))

    def add(self, record: Record) -> None:
        """Store a new record; its ``id`` is set at once."""
        self._session.add(record)
        self._session.flush()

    def feature(self, project: ProjectName, key: FeatureKey) -> Feature | None:
        """Return the newest delivery of an issue."""
        f = t.feature.c
        query = select(Feature).where(f.project == project, f.key == key).order_by(f.delivery.desc())
        return cast("Feature | None", self._first(query))

    def feature_of_run(self, project: ProjectName, run_id: str) -> Feature | None:
        """Return the feature that a run carries."""
        f = t.feature.c
        return cast("Feature | None", self._first(select(Feature).where(f.project == project, f.run_id == run_id)))

    def feature_by_id(self, feature_id: int) -> Feature:
        """Return a feature that is known to exist."""
        feature = self._first(select(Feature).where(t.feature.c.id == feature_id))
        if feature is None:
            raise NotFound(f"The ledger knows no feature number {feature_id}. Look at `feature-delivery status`.")
        return cast("Feature", feature)

    def features_by_id(self, feature_ids: Collection[int]) -> dict[int, Feature]:
        """Return features by their number; one query, however many."""
        return {one.id: one for one in self._rows(select(Feature).where(t.feature.c.id.in_(feature_ids)))}

    def features(
        self,
        project: ProjectName | None = None,
        states: Iterable[FeatureState] = (),
        *,
        limit: int | None = None,
        before: int | None = None,
    ) -> Sequence[Feature]:
        """Return features, newest first, ``limit`` at most, with a smaller id than ``before``; no state: all."""
        query = select(Feature).order_by(t.feature.c.id.desc())
        if project is not None:
            query = query.where(t.feature.c.project == project)
        if wanted := list(states):
            query = query.where(t.feature.c.state.in_(wanted))
        if before is not None:
            query = query.where(t.feature.c.id < before)
        return self._rows(query.limit(limit))

    def newest_features(self, project: ProjectName, keys: Collection[FeatureKey]) -> dict[FeatureKey, Feature]:
        """Return the newest delivery of each of these issues that has one; one query, however many."""
        f = t.feature.c
        query = select(Feature).where(f.project == project, f.key.in_(keys)).order_by(f.delivery)
        return {one.key: one for one in self._rows(query)}

    def attempt(self, feature: Feature, number: int | None = None) -> Attempt | None:
        """Return an attempt, the current one by default."""
        wanted = feature.attempt_number if number is None else number
        query = select(Attempt).where(t.attempt.c.feature_id == feature.id, t.attempt.c.number == wanted)
        return cast("Attempt | None", self._first(query))

    def attempts(self, feature: Feature) -> Sequence[Attempt]:
        """Return the attempts of a feature, oldest first."""
        return self._of(Attempt, feature, order=t.attempt.c.number)

    def gate(self, feature: Feature, step: Step) -> Gate | None:
        """Return the newest record of a gate."""
        g = t.gate.c
        query = select(Gate).where(g.feature_id == feature.id, g.step == step).order_by(g.id.desc())
        return cast("Gate | None", self._first(query))

    def gates(self, feature: Feature) -> Sequence[Gate]:
        """Return every gate record of a feature, oldest first."""
        return self._of(Gate, feature)

    def open_gate(self, feature: Feature) -> Gate | None:
        """Return the gate the feature waits at, if any."""
        g = t.gate.c
        return cast(
            "Gate | None", self._first(select(Gate).where(g.feature_id == feature.id, g.state == GateState.OPEN))
        )

    def gates_to_end(self) -> Sequence[Gate]:
        """Return gates of which something is left to end: a parked task, or a rewind that waits for the parking."""
        g = t.gate.c
        return self._rows(select(Gate).where(~g.ended).order_by(g.id))

    def gates_past_deadline(self, at: datetime) -> Sequence[Gate]:
        """Return open gates whose deadline has passed."""
        g = t.gate.c
        return self._rows(select(Gate).where(g.state == GateState.OPEN, g.deadline <= at).order_by(g.deadline, g.id))

    def open_gates(self, project: ProjectName | None = None) -> Sequence[Gate]:
        """Return the open gates, of a project or of all."""
        if project is None:
            return self._rows(_open_gates())
        f = t.feature.c
        return self._rows(_open_gates().join(t.feature, f.id == t.gate.c.feature_id).where(f.project == project))

    def gates_to_ask(self, steps: Collection[Step]) -> Sequence[Gate]:
        """Return the open gates of ``steps`` that nothing keeps from a decision and that nobody was asked about yet."""
        g = t.gate.c
        return self._rows(_open_gates().where(g.requested_at.is_(None), g.blocked == "", g.step.in_(steps)))

    def open_gates_blocked(self, beginning: str) -> Sequence[Gate]:
        """Return the open gates before which something failed, where what failed begins so."""
        return self._rows(_open_gates().where(t.gate.c.blocked.startswith(beginning, autoescape=True)))

    def said(
        self, project: ProjectName, *, since: datetime | None, limit: int, before: int | None = None
    ) -> Sequence[tuple[Decision, Feature]]:
        """Return the decisions of a project with their features, the newest first, refused ones included."""
        query = select(Decision, Feature).join(Feature, t.feature.c.id == t.decision.c.feature_id)
        query = query.where(t.feature.c.project == project).order_by(t.decision.c.id.desc()).limit(limit)
        if since is not None:
            query = query.where(t.decision.c.at >= since)
        if before is not None:
            query = query.where(t.decision.c.id < before)
        return [(row[0], row[1]) for row in self._session.execute(query)]

    def happened(
        self, project: ProjectName, *, since: datetime | None, limit: int, before: int | None = None
    ) -> Sequence[tuple[Event, Feature | None]]:
        """Return what has happened in a project, the newest first, each with the feature it is about."""
        query = select(Event, Feature).outerjoin(Feature, t.feature.c.id == t.event.c.feature_id)
        query = query.where(t.event.c.project == project).order_by(t.event.c.id.desc()).limit(limit)
        if since is not None:
            query = query.where(t.event.c.at >= since)
        if before is not None:
            query = query.where(t.event.c.id < before)
        return [(row[0], row[1]) for row in self._session.execute(query)]

    def decisions(self, feature: Feature, attempt: int | None = None) -> Sequence[Decision]:
        """Return decisions, oldest first, refused ones included; of one attempt when named."""
        query = select(Decision).where(t.decision.c.feature_id == feature.id).order_by(t.decision.c.id)
        return self._rows(query if attempt is None else query.where(t.decision.c.attempt == attempt))

    def heard(self, project: ProjectName, comment: str) -> HeardComment | None:
        """Return the command that a comment gave, by the host's id of the comment."""
        h = t.heard.c
        query = select(HeardComment).where(h.project == project, h.comment == comment)
        return cast("HeardComment | None", self._first(query))

    def permit(self, permit_id: int) -> PermitRecord | None:
        """Return a permit by its number."""
        return cast("PermitRecord | None", self._first(select(PermitRecord).where(t.permit.c.id == permit_id)))

    def permits(self, feature: Feature) -> Sequence[PermitRecord]:
        """Return every permit of a feature, oldest first."""
        return self._of(PermitRecord, feature)

    def at_work(self, feature_ids: Collection[int], steps: Collection[Step]) -> frozenset[int]:
        """Return which of the features have a permit for one of the steps that has not ended; one query."""
        p = t.permit.c
        query = select(p.feature_id).where(p.feature_id.in_(feature_ids), p.state == "granted", p.step.in_(steps))
        self._session.flush()
        return frozenset(self._session.scalars(query))

    def feature_branches(self, project: ProjectName) -> dict[BranchName, CommitSha]:
        """Return the branch and current commit of every active feature that has both.

        The current commit is the one of the current attempt: a branch without an attempt holds nothing of its own.
        """
        f, a = t.feature.c, t.attempt.c
        query = (
            select(f.branch, a.commit)
            .join_from(t.feature, t.attempt, (a.feature_id == f.id) & (a.number == f.attempt_number))
            .where(f.project == project, f.state == FeatureState.ACTIVE, f.branch.is_not(None))
            .order_by(f.id)
        )
        self._session.flush()
        return dict(self._session.execute(query).all())

    def outbox_due(self, at: datetime, limit: int = 50, *, besides: Collection[Side] = ()) -> Sequence[OutboxEntry]:
        """Return unsent entries that are due, those tried least first, then the longest due, but of ``besides``."""
        o = t.outbox.c
        query = select(OutboxEntry).where(o.due_at <= at, *_besides(besides), *_next_of_its_lane())
        query = query.order_by(o.tries, o.due_at, o.id).limit(limit)
        return self._rows(query.with_for_update(skip_locked=True, of=t.outbox))

    def outbox_keep(self, numbers: Collection[int], *, before: datetime, until: datetime, said: str) -> None:
        """Make these entries due ``until`` that are due ``before``; ``said`` is the error of those that have none."""
        if numbers:
            o = t.outbox.c
            error = case((o.error == "", said), else_=o.error)
            self._session.flush()
            # Not those that somebody is at just now, who may wait for another of them.
            which = (o.id.in_(numbers), o.sent_at.is_(None), o.due_at < before)
            free = select(o.id).where(*which).with_for_update(skip_locked=True)
            self._session.execute(update(OutboxEntry).where(o.id.in_(free)).values(due_at=until, error=error))

    def outbox_marked(self, project: ProjectName, marker: str) -> OutboxEntry | None:
        """Return the entry of a marker as it is now, locked until the end of the transaction."""
        o = t.outbox.c
        query = select(OutboxEntry).where(o.project == project, o.marker == marker).with_for_update()
        return cast("OutboxEntry | None", self._first(query))

    def outbox_next(self, *, besides: Collection[Side] = ()) -> datetime | None:
        """Return when the next entry that waits for none before it is due, but of ``besides``; it may be past."""
        o = t.outbox.c
        query = select(o.due_at).where(*_besides(besides), *_next_of_its_lane()).order_by(o.due_at).limit(1)
        return cast("datetime | None", self._first(query))

    def outbox_postpone(self, project: ProjectName, lane: str, until: datetime) -> None:
        """Make nothing of a project's lane due before ``until``."""
        o = t.outbox.c
        which = (o.project == project, o.lane == lane, o.sent_at.is_(None), o.due_at < until)
        # Not those that another process is at just now: it has its own answer.
        mine = select(o.id).where(*which).with_for_update(skip_locked=True)
        self._session.execute(update(OutboxEntry).where(o.id.in_(mine)).values(due_at=until))

    def posted_between(self, project: ProjectName, channel: str, after: datetime, before: datetime) -> bool:
        """Say whether a message is in a channel that was about to be sent after ``after``, up to ``before``."""
        p = t.post.c
        which = (p.project == project, p.channel == channel, p.place != "", p.at > after, p.at <= before)
        return self._first(select(Post).where(*which).limit(1)) is not None

    def outbox(self, feature: Feature) -> Sequence[OutboxEntry]:
        """Return every entry of a feature, oldest first."""
        return self._of(OutboxEntry, feature)

    def posts_open(self, feature: Feature, channel: str) -> Sequence[Post]:
        """Return messages of a feature in a channel that say something which may be over one day, oldest first."""
        p = t.post.c
        query = select(Post).where(p.feature_id == feature.id, p.channel == channel, ~p.settled).order_by(p.id)
        return self._rows(query)

    def signed_otherwise(self, project: ProjectName, channel: str, signer: str) -> Sequence[Feature]:
        """Return features under way with open messages in a channel that ``signer`` has not signed; not all at once."""
        p = t.post.c
        which = (p.project == project, p.channel == channel, ~p.settled, p.digest != "", ~p.digest.endswith(signer))
        f = t.feature.c
        query = select(Feature).where(f.id.in_(select(p.feature_id).where(*which)), f.state.in_(UNDER_WAY))
        return self._rows(query.order_by(f.id).limit(SIGNED_AT_ONCE))

    def post(self, project: ProjectName, channel: str, marker: str) -> Post | None:
        """Return a message in a channel."""
        p = t.post.c
        query = select(Post).where(p.project == project, p.channel == channel, p.marker == marker)
        return cast("Post | None", self._first(query))

    def alert(self, alert_id: int) -> Alert | None:
        """Return an alert by its number."""
        return cast("Alert | None", self._first(select(Alert).where(t.alert.c.id == alert_id)))

    def alerts_open(self, feature: Feature) -> Sequence[Alert]:
        """Return the alerts of a feature that are open, oldest first."""
        a = t.alert.c
        return self._rows(select(Alert).where(a.feature_id == feature.id, a.resolved_at.is_(None)).order_by(a.id))

    def events(self, feature: Feature) -> Sequence[Event]:
        """Return a feature's history, oldest first."""
        return self._of(Event, feature)
