"""The part of the books about what runs where: candidates, environments, tests, promotions, the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import delete, func, or_, select

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.mapping import RECORDS
from feature_delivery.adapters.ledger.reader import Reader
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    CandidateRecord,
    Deployment,
    Environment,
    EnvironmentState,
    KeptLooks,
    Observation,
    Promotion,
    PromotionState,
    QueuePlace,
    SuiteResult,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, CursorResult

    from feature_delivery.domain.names import CommitSha, FeatureKey, ProjectName, TreeSha
    from feature_delivery.domain.records import Feature

R = TypeVar("R")


class ReleaseBooks(Reader):
    """The reads of ``Books`` that follow a commit."""

    def _of(self, kind: type[R], feature: Feature, *, order: ColumnElement[Any] | None = None) -> list[R]:
        """Return every record of a kind that belongs to a feature, oldest first."""
        columns = RECORDS[kind].c
        return self._rows(
            select(kind).where(columns.feature_id == feature.id).order_by(columns.id if order is None else order)
        )

    def candidate(self, feature: Feature, attempt: int) -> CandidateRecord | None:
        """Return the newest candidate of an attempt."""
        c = t.candidate.c
        query = select(CandidateRecord).where(c.feature_id == feature.id, c.attempt == attempt).order_by(c.id.desc())
        return cast("CandidateRecord | None", self._first(query))

    def candidates_of(self, commit: CommitSha) -> Sequence[CandidateRecord]:
        """Return every record of a candidate commit, newest first."""
        c = t.candidate.c
        return self._rows(select(CandidateRecord).where(c.commit == commit).order_by(c.id.desc()))

    def environment(self, project: ProjectName, name: str) -> Environment | None:
        """Return the newest environment of that name."""
        e = t.environment.c
        query = select(Environment).where(e.project == project, e.name == name).order_by(e.id.desc())
        return cast("Environment | None", self._first(query))

    def environments_named(self, project: ProjectName, names: Collection[str]) -> dict[str, Environment]:
        """Return the newest environment of each name that there is one of; one query, however many."""
        e = t.environment.c
        newest = select(func.max(e.id)).where(e.project == project, e.name.in_(names)).group_by(e.name)
        return {one.name: one for one in self._rows(select(Environment).where(e.id.in_(newest)))}

    def environments(self, project: ProjectName | None = None, feature: Feature | None = None) -> Sequence[Environment]:
        """Return environments that are not destroyed, oldest first."""
        e = t.environment.c
        query = select(Environment).where(e.state != EnvironmentState.DESTROYED).order_by(e.id)
        if project is not None:
            query = query.where(e.project == project)
        if feature is not None:
            query = query.where(e.feature_id == feature.id)
        return self._rows(query)

    def deployment(self, environment: Environment) -> Deployment | None:
        """Return the newest deployment of an environment."""
        d = t.deployment.c
        query = select(Deployment).where(d.environment_id == environment.id).order_by(d.id.desc())
        return cast("Deployment | None", self._first(query))

    def deployments(self, feature: Feature) -> Sequence[Deployment]:
        """Return the deployments of a feature, oldest first."""
        return self._of(Deployment, feature)

    def suite_result(self, feature: Feature, attempt: int, step: Step) -> SuiteResult | None:
        """Return the newest result of a suite's step in an attempt."""
        s = t.suite_result.c
        query = select(SuiteResult).where(s.feature_id == feature.id, s.attempt == attempt, s.step == step)
        return cast("SuiteResult | None", self._first(query.order_by(s.id.desc())))

    def suite_results(self, feature: Feature) -> Sequence[SuiteResult]:
        """Return every suite result of a feature, oldest first."""
        return self._of(SuiteResult, feature)

    def observation(self, feature: Feature, attempt: int, step: Step) -> Observation | None:
        """Return the newest observation of a step in an attempt."""
        o = t.observation.c
        query = select(Observation).where(o.feature_id == feature.id, o.attempt == attempt, o.step == step)
        return cast("Observation | None", self._first(query.order_by(o.id.desc())))

    def load_in_production(self, project: ProjectName) -> Observation | None:
        """Return what the load found of the release that was kept last, before it shipped."""
        o, p = t.observation.c, t.promotion.c
        query = (
            select(Observation)
            .join(t.promotion, (p.feature_id == o.feature_id) & (p.attempt == o.attempt))
            .where(p.project == project, p.state == PromotionState.KEPT, o.step == Step.TEST_LOAD)
            .order_by(p.id.desc(), o.id.desc())
        )
        return cast("Observation | None", self._first(query))

    def looks(self, feature: Feature, permit_id: int) -> Sequence[KeptLooks]:
        """Return the looks that were kept of one watch, in the order in which they came."""
        k = t.looks.c
        query = select(KeptLooks).where(k.feature_id == feature.id, k.permit_id == permit_id)
        return self._rows(query.order_by(k.id))

    def forget_looks(self, feature: Feature, *, but: int = 0) -> None:
        """Forget the looks of a feature's watches, but those of one permit."""
        self._forget_looks(t.looks.c.feature_id == feature.id, t.looks.c.permit_id != but)

    def prune_looks(self, *, before: datetime) -> int:
        """Forget the looks that were kept before then, whosever they are; returns how many rows."""
        return self._forget_looks(t.looks.c.at < before)

    def _forget_looks(self, *which: ColumnElement[bool]) -> int:
        self._session.flush()
        found = self._session.execute(delete(KeptLooks).where(*which).execution_options(synchronize_session="fetch"))
        return cast("CursorResult[Any]", found).rowcount

    def executed_in_production(self, project: ProjectName) -> dict[str, int]:
        """Return, per suite, the tests executed by the last green run on code that was shipped and kept.

        That code is the promoted candidate, and the feature's commit in it for the suites that run before there is
        a candidate. Candidates of the attempt that were replaced by a refresh do not count.
        """
        s, p, a = t.suite_result.c, t.promotion.c, t.attempt.c
        newest = func.row_number().over(partition_by=s.suite, order_by=(p.id.desc(), s.id.desc()))
        runs = (
            select(s.suite, s.executed, newest.label("place"))
            .join_from(t.suite_result, t.promotion, (p.feature_id == s.feature_id) & (p.attempt == s.attempt))
            .join(t.attempt, (a.feature_id == s.feature_id) & (a.number == s.attempt))
            .where(p.project == project, p.state == PromotionState.KEPT, s.red == "")
            .where(or_(s.commit == p.candidate, s.commit == a.commit))
            .subquery()
        )
        self._session.flush()
        found = self._session.execute(select(runs.c.suite, runs.c.executed).where(runs.c.place == 1))
        return dict(found.all())

    def promotion(self, feature: Feature, attempt: int | None = None) -> Promotion | None:
        """Return the newest promotion of a feature, or of one of its attempts."""
        query = select(Promotion).where(t.promotion.c.feature_id == feature.id).order_by(t.promotion.c.id.desc())
        if attempt is not None:
            query = query.where(t.promotion.c.attempt == attempt)
        return cast("Promotion | None", self._first(query))

    def promotions(
        self,
        project: ProjectName,
        key: FeatureKey | None = None,
        *,
        tree: TreeSha | None = None,
        states: Collection[PromotionState] = (),
    ) -> Sequence[Promotion]:
        """Return the promotions of a project, oldest first: of an issue, of a tree, in one of some states."""
        p, f = t.promotion.c, t.feature.c
        query = select(Promotion).where(p.project == project).order_by(p.id)
        if tree is not None:
            query = query.where(p.tree == tree)
        if states:
            query = query.where(p.state.in_(states))
        if key is not None:
            query = query.where(p.feature_id.in_(select(f.id).where(f.project == project, f.key == key)))
        return self._rows(query)

    def queue(self, project: ProjectName) -> Sequence[QueuePlace]:
        """Return the queue for production, first come first; places kept for a feature that does not wait included."""
        q = t.queue_place.c
        return self._rows(select(QueuePlace).where(q.project == project).order_by(q.since, q.id))

    def leave_queue(self, feature: Feature) -> None:
        """Take the feature out of the queue; not being in it is done."""
        self._session.flush()
        self._session.execute(delete(QueuePlace).where(t.queue_place.c.feature_id == feature.id))
