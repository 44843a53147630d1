"""What the board reads of the ledger: plain rows of many features at once, in a fixed number of queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, PersonName, ProjectName
    from feature_delivery.domain.people import DecisionKind
    from feature_delivery.domain.process import Step
    from feature_delivery.domain.records import AttemptState, FeatureState, PromotionState


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One delivery of one issue."""

    id: int
    project: ProjectName
    key: FeatureKey
    delivery: int
    run_id: str
    title: str
    state: FeatureState
    attempt_number: int
    branch: BranchName | None
    issue_url: str
    request_number: int | None
    request_url: str
    reason: str
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """The current attempt of a feature."""

    feature_id: int
    number: int
    commit: CommitSha
    authors: tuple[PersonName, ...]
    strangers: tuple[str, ...]
    state: AttemptState
    reason: str
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class GateRow:
    """The gate a feature waits at."""

    feature_id: int
    step: Step
    blocked: str
    opened_at: datetime
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """What somebody said about the current attempt and what counted."""

    feature_id: int
    step: Step
    person: PersonName
    kind: DecisionKind
    accepted: bool
    candidate: CommitSha | None
    way: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """The newest result of one suite's step on the current attempt."""

    feature_id: int
    step: Step
    executed: int
    failed: int
    red: str


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """An environment that is there; ``feature_id`` is ``None`` for production."""

    project: ProjectName
    feature_id: int | None
    kind: str
    address: str


@dataclass(frozen=True, slots=True)
class WorkRow:
    """The newest permit of a feature: what it is doing, or did last."""

    feature_id: int
    attempt: int
    step: Step
    state: str
    reason: str
    granted_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """How production of a project stands; ``queue``: the features that wait for it, first come first."""

    name: ProjectName
    lock_feature_id: int | None
    frozen_reason: str
    queue: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFacts:
    """Every feature under delivery and the last ones that have ended; what hangs on a feature, by its number.

    ``ended``: how many have ended, per project and state, those that are not in ``features`` included.
    """

    features: tuple[FeatureRow, ...] = ()
    ended: Mapping[tuple[ProjectName, FeatureState], int] = field(default_factory=dict)
    attempts: Mapping[int, AttemptRow] = field(default_factory=dict)
    candidates: Mapping[int, CommitSha] = field(default_factory=dict)
    gates: Mapping[int, GateRow] = field(default_factory=dict)
    decisions: Mapping[int, tuple[DecisionRow, ...]] = field(default_factory=dict)
    suites: Mapping[int, tuple[SuiteRow, ...]] = field(default_factory=dict)
    places: Mapping[int, tuple[PlaceRow, ...]] = field(default_factory=dict)
    production: Mapping[ProjectName, PlaceRow] = field(default_factory=dict)
    promotions: Mapping[int, PromotionState] = field(default_factory=dict)
    work: Mapping[int, WorkRow] = field(default_factory=dict)
    projects: Mapping[ProjectName, ProjectRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One promotion that moved production.

    Attributes:
        first_commit_at: When the feature's first commit was seen.
        noticed: Its tests in production or its watch found it to be bad.
    """

    project: ProjectName
    key: FeatureKey
    feature_id: int
    state: PromotionState
    asked_at: datetime
    first_commit_at: datetime
    moved_at: datetime
    ended_at: datetime | None
    noticed: bool = False


@dataclass(frozen=True, slots=True)
class SpentRow:
    """Time that a feature spent at a gate or in a step."""

    project: ProjectName
    feature_id: int
    step: Step
    began: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class FigureFacts:
    """What the figures are made from: releases, waits at gates that were resolved, steps that ended."""

    releases: tuple[ReleaseRow, ...] = ()
    waits: tuple[SpentRow, ...] = ()
    work: tuple[SpentRow, ...] = ()


class BoardBooks(Protocol):
    """Reads for pages: one transaction, nothing is changed or locked."""

    def revision(self) -> str:
        """Return a text that changes whenever something that the board shows may have changed.

        It costs one query over the ends of a few indexes, however much there is.
        """

    def facts(self, *, ended_per_project: int) -> BoardFacts:
        """Return the features under delivery, and per project so many that have ended, in a fixed number of queries."""

    def search_ended(self, text: str, projects: Collection[ProjectName], *, limit: int) -> tuple[FeatureRow, ...]:
        """Return features that have ended and whose key or title holds ``text``, newest first."""

    def figure_facts(self, projects: Collection[ProjectName], *, since: datetime) -> FigureFacts:
        """Return what happened to production since then, and the time that those features spent on their way."""
