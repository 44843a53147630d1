"""What monitoring reads of the ledger: counts and the worst cases, in a fixed number of aggregating queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.domain.names import FeatureKey, ProjectName
    from feature_delivery.domain.outbox import Errand
    from feature_delivery.domain.process import Step
    from feature_delivery.domain.records import EnvironmentState, FeatureState, PromotionState
    from feature_delivery.ports.board import ReleaseRow

WORST = 20
"""So many single features are named per project and kind of trouble: label values stay bounded."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows share their labels; ``labels`` are said where the field is."""

    project: ProjectName
    labels: tuple[str, ...]
    number: int


@dataclass(frozen=True, slots=True)
class FeatureCount:
    """Features by state; all that ever were."""

    project: ProjectName
    state: FeatureState
    number: int


@dataclass(frozen=True, slots=True)
class OpenGate:
    """One of the ``WORST`` longest open gates of its project and step; ``number``: how many are open there in all."""

    project: ProjectName
    step: Step
    number: int
    key: FeatureKey
    run_id: str
    opened_at: datetime
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class Blocked:
    """A gate at which nobody can decide because a step failed; ``step``: the one that failed, else the gate's."""

    project: ProjectName
    key: FeatureKey
    run_id: str
    step: Step
    since: datetime


@dataclass(frozen=True, slots=True)
class AtWork:
    """A feature under way that waits at no gate, with its newest permit; a new one has none yet."""

    project: ProjectName
    key: FeatureKey
    run_id: str
    created_at: datetime
    step: Step | None
    state: str | None
    granted_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProjectState:
    """Production of a project: who holds it since when, whether it is frozen, who queues for it."""

    project: ProjectName
    holder: FeatureKey | None
    holder_run: str | None
    held_since: datetime | None
    frozen: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """Features in a queue, and since when the first of them is there."""

    project: ProjectName
    number: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class EnvironmentCount:
    """Environments that are there."""

    project: ProjectName
    kind: str
    state: EnvironmentState
    number: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Leaked:
    """An environment whose feature has ended (or shipped) since then."""

    project: ProjectName
    key: FeatureKey
    run_id: str
    kind: str
    since: datetime


@dataclass(frozen=True, slots=True)
class OutboxCount:
    """Errands that were not run yet; ``failing``: those that were tried in vain; ``oldest``: since when one waits."""

    project: ProjectName
    kind: Errand
    number: int
    failing: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class OpenPromotion:
    """A promotion whose verdict is open, whose rollback runs, or that ended without a word of where production is.

    ``moved_at``: of the last kind, since when its feature waits. ``failed``: the feature's newest step failed.
    """

    project: ProjectName
    key: FeatureKey
    run_id: str
    state: PromotionState
    moved_at: datetime
    step: Step | None
    failed: bool
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Tally:
    """One count of the ledger that only grows."""

    project: ProjectName
    name: str
    first: str
    second: str
    place: int
    count: int
    total: float


@dataclass(frozen=True, slots=True)
class Look:
    """How far a project's host and tracker have been looked at; ``marks``: as the looks keep it."""

    project: ProjectName
    marks: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFacts:
    """Everything that ``/metrics`` shows of the ledger.

    Attributes:
        promotions: By state; ``moved``: all that ever moved production.
        releases: Promotions of the last four weeks.
    """

    at: datetime
    features: tuple[FeatureCount, ...] = ()
    gates: tuple[OpenGate, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    at_work: tuple[AtWork, ...] = ()
    projects: tuple[ProjectState, ...] = ()
    queues: tuple[Queue, ...] = ()
    environments: tuple[EnvironmentCount, ...] = ()
    leaked: tuple[Leaked, ...] = ()
    webhooks_waiting: tuple[Queue, ...] = ()
    outbox: tuple[OutboxCount, ...] = ()
    promotions: tuple[Count, ...] = ()
    moved: tuple[Count, ...] = ()
    open_promotions: tuple[OpenPromotion, ...] = ()
    releases: tuple[ReleaseRow, ...] = ()
    tallies: tuple[Tally, ...] = ()
    looks: tuple[Look, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One environment that runs a commit, as Prometheus is told of it."""

    project: ProjectName
    kind: str
    key: FeatureKey | None
    commit: str
    address: str
    metrics_path: str
    health_path: str


class MetricBooks(Protocol):
    """Reads for Prometheus: nothing is changed or locked, and nothing costs more because features have ended."""

    def facts(self, at: datetime, *, releases_since: datetime) -> MetricFacts:
        """Return the counts as they are at ``at``; ``releases``: those since then."""

    def targets(self) -> tuple[Target, ...]:
        """Return every environment that runs a commit and can be reached."""
