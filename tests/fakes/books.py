"""The ledger's books as plain lists, for thousands of schedules; it keeps the unique rules of the SQL tables.

The same schedules run, fewer of them, over the real books on SQLite: see ``tests/unit/test_invariants.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from feature_delivery.domain.errors import Conflict, NotFound
from feature_delivery.domain.installation import Installation
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName, TreeSha
from feature_delivery.domain.outbox import OutboxEntry, Post, Side
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    UNDER_WAY,
    Alert,
    Attempt,
    Brake,
    CandidateRecord,
    Decision,
    Deployment,
    Environment,
    EnvironmentState,
    Event,
    Feature,
    FeatureState,
    Gate,
    GateState,
    HeardComment,
    KeptLooks,
    Observation,
    PermitRecord,
    Project,
    Promotion,
    PromotionState,
    QueuePlace,
    SuiteResult,
    WebhookDelivery,
    WebhookState,
)

if TYPE_CHECKING:
    from feature_delivery.ports.ledger import Record

R = TypeVar("R")

APPENDED = (Event, OutboxEntry, Deployment, SuiteResult, HeardComment)
"""Kinds whose rows never change once written here: a snapshot keeps only how many there are."""

UNIQUE: dict[type, Callable[[Any], object]] = {
    Feature: lambda r: (r.project, r.key, r.delivery),
    Attempt: lambda r: (r.feature_id, r.number),
    Environment: lambda r: (r.project, r.name) if r.state is not EnvironmentState.DESTROYED else None,
    Gate: lambda r: r.feature_id if r.state is GateState.OPEN else None,
    Promotion: lambda r: r.project if r.state in OPEN_PROMOTIONS else None,
    QueuePlace: lambda r: r.feature_id,
    HeardComment: lambda r: (r.project, r.comment),
    OutboxEntry: lambda r: (r.project, r.marker),
    Post: lambda r: (r.project, r.channel, r.marker),
    Brake: lambda r: r.project if r.released_at is None else None,
    Alert: lambda r: (r.feature_id, r.step) if r.resolved_at is None else None,
}


@dataclass
class FakeBooks:
    rows: dict[type, list[Any]] = field(default_factory=dict)
    markers: set[object] = field(default_factory=set)
    last_id: int = 0
    here: str = "here"
    contested: str = ""
    marks: dict[ProjectName, list[str]] = field(default_factory=dict)

    def of(self, kind: type[R]) -> list[R]:
        return self.rows.setdefault(kind, [])

    def snapshot(self) -> Callable[[], None]:
        """Return what brings everything back to now."""
        kept = {
            kind: (list(rows), [] if kind in APPENDED else [dict(vars(r)) for r in rows])
            for kind, rows in self.rows.items()
        }
        last, markers = self.last_id, set(self.markers)

        def restore() -> None:
            for kind in list(self.rows):
                rows, values = kept.get(kind, ([], []))
                self.rows[kind] = rows
                for row, old in zip(rows, values, strict=False):
                    vars(row).update(old)
            self.last_id, self.markers = last, markers

        return restore

    def check(self) -> None:
        """Refuse to commit what the tables would refuse."""
        for kind, rule in UNIQUE.items():
            if kind is OutboxEntry:
                continue
            rows: list[Any] = self.rows.get(kind, [])
            keys = [key for row in rows if (key := rule(row)) is not None]
            if len(keys) != len(set(keys)):
                raise Conflict(f"{kind.__name__} breaks a unique rule.")

    def instance(self) -> str:
        return "0123456789ab"

    def installation(self) -> Installation:
        return Installation(id=self.instance(), place="here", here=self.here, contested=self.contested)

    def settle(self, instance: str) -> None:
        raise NotImplementedError

    def contest(self, why: str) -> None:
        self.contested = why

    def new_mark(self, project: ProjectName, mark: str) -> Sequence[str]:
        known = self.marks.setdefault(project, [])
        before = list(reversed(known))
        known.append(mark)
        return before

    def mark_left(self, project: ProjectName, mark: str) -> None:
        known = self.marks.get(project, [])
        if mark in known:
            del known[: known.index(mark)]

    def is_our_mark(self, project: ProjectName, mark: str) -> bool:
        return mark in self.marks.get(project, [])

    def brake(self, project: ProjectName) -> Brake | None:
        return next((b for b in self.of(Brake) if b.project == project and b.released_at is None), None)

    def brakes(self, project: ProjectName | None = None, *, limit: int = 100) -> Sequence[Brake]:
        return [b for b in reversed(self.of(Brake)) if project in {None, b.project}][:limit]

    def lock_project(self, name: ProjectName) -> Project:
        found = self.project(name)
        if found is None:
            found = Project(name=name)
            self.of(Project).append(found)
        return found

    def project(self, name: ProjectName) -> Project | None:
        return next((p for p in self.of(Project) if p.name == name), None)

    def add(self, record: Record) -> None:
        self.last_id += 1
        record.id = self.last_id  # type: ignore[union-attr]
        if isinstance(record, OutboxEntry):
            key = UNIQUE[OutboxEntry](record)
            if key in self.markers:
                raise Conflict(f"{record.marker!r} is in the outbox already.")
            self.markers.add(key)
        self.of(type(record)).append(record)
        if type(record) in UNIQUE and type(record) is not OutboxEntry:
            self.check()

    def _newest(self, rows: Iterable[R]) -> R | None:
        found = None
        for row in rows:
            found = row
        return found

    def feature(self, project: ProjectName, key: FeatureKey) -> Feature | None:
        return self._newest(f for f in self.of(Feature) if f.project == project and f.key == key)

    def feature_of_run(self, project: ProjectName, run_id: str) -> Feature | None:
        return self._newest(f for f in self.of(Feature) if f.project == project and f.run_id == run_id)

    def feature_by_id(self, feature_id: int) -> Feature:
        found = next((f for f in self.of(Feature) if f.id == feature_id), None)
        if found is None:
            raise NotFound(f"There is no feature number {feature_id}.")
        return found

    def features_by_id(self, feature_ids: Collection[int]) -> dict[int, Feature]:
        return {f.id: f for f in self.of(Feature) if f.id in feature_ids}

    def features(
        self,
        project: ProjectName | None = None,
        states: Iterable[FeatureState] = (),
        *,
        limit: int | None = None,
        before: int | None = None,
    ) -> Sequence[Feature]:
        wanted = set(states)
        return [
            f
            for f in reversed(self.of(Feature))
            if (project is None or f.project == project) and (not wanted or f.state in wanted)
            if before is None or f.id < before
        ][:limit]

    def newest_features(self, project: ProjectName, keys: Collection[FeatureKey]) -> dict[FeatureKey, Feature]:
        return {key: found for key in keys if (found := self.feature(project, key)) is not None}

    def attempt(self, feature: Feature, number: int | None = None) -> Attempt | None:
        wanted = feature.attempt_number if number is None else number
        return next((a for a in self.of(Attempt) if a.feature_id == feature.id and a.number == wanted), None)

    def attempts(self, feature: Feature) -> Sequence[Attempt]:
        return [a for a in self.of(Attempt) if a.feature_id == feature.id]

    def candidate(self, feature: Feature, attempt: int) -> CandidateRecord | None:
        return self._newest(c for c in self.of(CandidateRecord) if c.feature_id == feature.id and c.attempt == attempt)

    def candidates_of(self, commit: CommitSha) -> Sequence[CandidateRecord]:
        return [c for c in reversed(self.of(CandidateRecord)) if c.commit == commit]

    def environment(self, project: ProjectName, name: str) -> Environment | None:
        return self._newest(e for e in self.of(Environment) if e.project == project and e.name == name)

    def environments_named(self, project: ProjectName, names: Collection[str]) -> dict[str, Environment]:
        return {found.name: found for name in names if (found := self.environment(project, name)) is not None}

    def environments(self, project: ProjectName | None = None, feature: Feature | None = None) -> Sequence[Environment]:
        return [
            e
            for e in self.of(Environment)
            if e.state is not EnvironmentState.DESTROYED
            and (project is None or e.project == project)
            and (feature is None or e.feature_id == feature.id)
        ]

    def deployment(self, environment: Environment) -> Deployment | None:
        return self._newest(d for d in self.of(Deployment) if d.environment_id == environment.id)

    def deployments(self, feature: Feature) -> Sequence[Deployment]:
        return [d for d in self.of(Deployment) if d.feature_id == feature.id]

    def suite_result(self, feature: Feature, attempt: int, step: Step) -> SuiteResult | None:
        return self._newest(
            s for s in self.of(SuiteResult) if s.feature_id == feature.id and s.attempt == attempt and s.step is step
        )

    def suite_results(self, feature: Feature) -> Sequence[SuiteResult]:
        return [s for s in self.of(SuiteResult) if s.feature_id == feature.id]

    def observation(self, feature: Feature, attempt: int, step: Step) -> Observation | None:
        return self._newest(
            o for o in self.of(Observation) if o.feature_id == feature.id and o.attempt == attempt and o.step is step
        )

    def load_in_production(self, project: ProjectName) -> Observation | None:
        for promotion in reversed(self.promotions(project)):
            if promotion.state is PromotionState.KEPT:
                feature = self.feature_by_id(promotion.feature_id)
                found = self.observation(feature, promotion.attempt, Step.TEST_LOAD)
                if found is not None:
                    return found
        return None

    def looks(self, feature: Feature, permit_id: int) -> Sequence[KeptLooks]:
        return [k for k in self.of(KeptLooks) if k.feature_id == feature.id and k.permit_id == permit_id]

    def forget_looks(self, feature: Feature, *, but: int = 0) -> None:
        self.rows[KeptLooks] = [k for k in self.of(KeptLooks) if k.feature_id != feature.id or k.permit_id == but]

    def prune_looks(self, *, before: datetime) -> int:
        known = self.of(KeptLooks)
        self.rows[KeptLooks] = [k for k in known if k.at >= before]
        return len(known) - len(self.rows[KeptLooks])

    def executed_in_production(self, project: ProjectName) -> dict[str, int]:
        found: dict[str, int] = {}
        for promotion in self.promotions(project):
            if promotion.state is not PromotionState.KEPT:
                continue
            feature = self.feature_by_id(promotion.feature_id)
            attempt = self.attempt(feature, promotion.attempt)
            assert attempt is not None
            for result in self.suite_results(feature):
                shipped = result.commit in {promotion.candidate, attempt.commit}
                if result.attempt == promotion.attempt and shipped and not result.red:
                    found[result.suite] = result.executed
        return found

    def gate(self, feature: Feature, step: Step) -> Gate | None:
        return self._newest(g for g in self.of(Gate) if g.feature_id == feature.id and g.step is step)

    def gates(self, feature: Feature) -> Sequence[Gate]:
        return [g for g in self.of(Gate) if g.feature_id == feature.id]

    def open_gate(self, feature: Feature) -> Gate | None:
        return next((g for g in self.of(Gate) if g.feature_id == feature.id and g.state is GateState.OPEN), None)

    def gates_to_end(self) -> Sequence[Gate]:
        return [g for g in self.of(Gate) if not g.ended]

    def gates_past_deadline(self, at: datetime) -> Sequence[Gate]:
        return [g for g in self.open_gates() if g.deadline is not None and g.deadline <= at]

    def open_gates(self, project: ProjectName | None = None) -> Sequence[Gate]:
        found = [g for g in self.of(Gate) if g.state is GateState.OPEN]
        return [g for g in found if project is None or self.feature_by_id(g.feature_id).project == project]

    def gates_to_ask(self, steps: Collection[Step]) -> Sequence[Gate]:
        return [g for g in self.open_gates() if g.requested_at is None and not g.blocked and g.step in steps]

    def open_gates_blocked(self, beginning: str) -> Sequence[Gate]:
        return [g for g in self.open_gates() if g.blocked.startswith(beginning)]

    def said(
        self, project: ProjectName, *, since: datetime | None, limit: int, before: int | None = None
    ) -> Sequence[tuple[Decision, Feature]]:
        found = [
            (d, f)
            for d in reversed(self.of(Decision))
            for f in self.of(Feature)
            if f.id == d.feature_id and f.project == project and (since is None or d.at >= since)
            if before is None or d.id < before
        ]
        return found[:limit]

    def happened(
        self, project: ProjectName, *, since: datetime | None, limit: int, before: int | None = None
    ) -> Sequence[tuple[Event, Feature | None]]:
        known = {feature.id: feature for feature in self.of(Feature)}
        found = [e for e in reversed(self.of(Event)) if e.project == project and (since is None or e.at >= since)]
        found = [e for e in found if before is None or e.id < before]
        return [(e, known.get(e.feature_id or 0)) for e in found[:limit]]

    def decisions(self, feature: Feature, attempt: int | None = None) -> Sequence[Decision]:
        return [
            d for d in self.of(Decision) if d.feature_id == feature.id and (attempt is None or d.attempt == attempt)
        ]

    def heard(self, project: ProjectName, comment: str) -> HeardComment | None:
        return next((h for h in self.of(HeardComment) if h.project == project and h.comment == comment), None)

    def permit(self, permit_id: int) -> PermitRecord | None:
        return next((p for p in self.of(PermitRecord) if p.id == permit_id), None)

    def permits(self, feature: Feature) -> Sequence[PermitRecord]:
        return [p for p in self.of(PermitRecord) if p.feature_id == feature.id]

    def at_work(self, feature_ids: Collection[int], steps: Collection[Step]) -> frozenset[int]:
        found = (p for p in self.of(PermitRecord) if p.state == "granted" and p.step in steps)
        return frozenset(p.feature_id for p in found if p.feature_id in feature_ids)

    def promotion(self, feature: Feature, attempt: int | None = None) -> Promotion | None:
        return self._newest(
            p for p in self.of(Promotion) if p.feature_id == feature.id and (attempt is None or p.attempt == attempt)
        )

    def promotions(
        self,
        project: ProjectName,
        key: FeatureKey | None = None,
        *,
        tree: TreeSha | None = None,
        states: Collection[PromotionState] = (),
    ) -> Sequence[Promotion]:
        found = [p for p in self.of(Promotion) if p.project == project and tree in {None, p.tree}]
        found = [p for p in found if not states or p.state in states]
        return found if key is None else [p for p in found if self.feature_by_id(p.feature_id).key == key]

    def queue(self, project: ProjectName) -> Sequence[QueuePlace]:
        return sorted((q for q in self.of(QueuePlace) if q.project == project), key=lambda q: (q.since, q.id))

    def leave_queue(self, feature: Feature) -> None:
        self.rows[QueuePlace] = [q for q in self.of(QueuePlace) if q.feature_id != feature.id]

    def feature_branches(self, project: ProjectName) -> dict[BranchName, CommitSha]:
        found = {}
        for feature in self.features(project, [FeatureState.ACTIVE]):
            attempt = self.attempt(feature)
            if feature.branch is not None and attempt is not None:
                found[feature.branch] = attempt.commit
        return found

    def webhook(self, project: ProjectName, delivery_id: str) -> WebhookDelivery | None:
        """Return what is kept beside webhooks under this name; real webhooks are not kept here."""
        kept = (w for w in self.of(WebhookDelivery) if w.project == project and w.delivery_id == delivery_id)
        return next(kept, None)

    def webhooks_to_process(self, limit: int = 100) -> Sequence[WebhookDelivery]:
        raise NotImplementedError

    def webhook_by_id(self, project: ProjectName, webhook_id: int) -> WebhookDelivery | None:
        raise NotImplementedError

    def webhooks(
        self, project: ProjectName, *, state: WebhookState | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[WebhookDelivery]:
        raise NotImplementedError

    def webhook_counts(self, project: ProjectName) -> Mapping[WebhookState, int]:
        raise NotImplementedError

    def webhooks_ignored(self, project: ProjectName) -> Mapping[str, int]:
        raise NotImplementedError

    def prune_webhooks(self, *, bodies_before: datetime, rows_before: datetime) -> int:
        raise NotImplementedError

    def tally(
        self,
        project: ProjectName,
        name: str,
        first: str,
        second: str,
        *,
        place: int = 0,
        count: int = 1,
        total: float = 0.0,
    ) -> None:
        """Counts are for those who look from outside: no rule reads them."""

    def outbox_due(self, at: datetime, limit: int = 50, *, besides: Collection[Side] = ()) -> Sequence[OutboxEntry]:
        found = [o for o in self._next_of_its_lane(besides) if o.due_at <= at]
        return sorted(found, key=lambda o: (o.tries, o.due_at, o.id))[:limit]

    def _next_of_its_lane(self, besides: Collection[Side]) -> Sequence[OutboxEntry]:
        first: dict[tuple[str, int, str], int] = {}
        found = []
        for o in self.of(OutboxEntry):
            if o.sent_at is not None:
                continue
            head = first.setdefault((o.project, o.feature_id, o.lane), o.id)
            if o.side not in besides and (not o.lane or head == o.id):
                found.append(o)
        return found

    def outbox_keep(self, numbers: Collection[int], *, before: datetime, until: datetime, said: str) -> None:
        for o in self.of(OutboxEntry):
            if o.id in numbers and o.sent_at is None and o.due_at < before:
                o.due_at, o.error = until, o.error or said

    def outbox_marked(self, project: ProjectName, marker: str) -> OutboxEntry | None:
        return next((o for o in self.of(OutboxEntry) if o.project == project and o.marker == marker), None)

    def outbox_next(self, *, besides: Collection[Side] = ()) -> datetime | None:
        return min((o.due_at for o in self._next_of_its_lane(besides)), default=None)

    def outbox_postpone(self, project: ProjectName, lane: str, until: datetime) -> None:
        for o in self.of(OutboxEntry):
            if (o.project, o.lane) == (project, lane) and o.sent_at is None:
                o.due_at = max(o.due_at, until)

    def posted_between(self, project: ProjectName, channel: str, after: datetime, before: datetime) -> bool:
        mine = [p for p in self.of(Post) if (p.project, p.channel) == (project, channel) and p.place]
        return any(after < p.at <= before for p in mine)

    def outbox(self, feature: Feature) -> Sequence[OutboxEntry]:
        return [o for o in self.of(OutboxEntry) if o.feature_id == feature.id]

    def posts_open(self, feature: Feature, channel: str) -> Sequence[Post]:
        return [p for p in self.of(Post) if p.feature_id == feature.id and p.channel == channel and not p.settled]

    def signed_otherwise(self, project: ProjectName, channel: str, signer: str) -> Sequence[Feature]:
        numbers = {
            p.feature_id
            for p in self.of(Post)
            if (p.project, p.channel, p.settled) == (project, channel, False)
            and p.digest
            and not p.digest.endswith(signer)
        }
        return [feature for feature in self.of(Feature) if feature.id in numbers and feature.state in UNDER_WAY]

    def post(self, project: ProjectName, channel: str, marker: str) -> Post | None:
        wanted = (project, channel, marker)
        return next((p for p in self.of(Post) if (p.project, p.channel, p.marker) == wanted), None)

    def alert(self, alert_id: int) -> Alert | None:
        return next((a for a in self.of(Alert) if a.id == alert_id), None)

    def alerts_open(self, feature: Feature) -> Sequence[Alert]:
        return [a for a in self.of(Alert) if a.feature_id == feature.id and a.resolved_at is None]

    def events(self, feature: Feature) -> Sequence[Event]:
        return [e for e in self.of(Event) if e.feature_id == feature.id]
