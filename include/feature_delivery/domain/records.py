"""The ledger's records: what happened to features, attempts, environments, production.

Mutable on purpose (a record is a row, and services change rows inside one transaction); values computed from them are
frozen. ``id`` is 0 until the ledger has stored the record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, PersonName, ProjectName, TreeSha
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step


def system_time() -> datetime:
    """Return the time of this machine, with its zone."""
    return datetime.now(UTC)


time_source = system_time
"""Where ``now`` reads the time; deadlines are tested in virtual time."""


def now() -> datetime:
    """Return the time, with its zone."""
    return time_source()


class FeatureState(StrEnum):
    """Where a feature stands as a whole."""

    ACTIVE = "active"
    SHIPPED = "shipped"  # kept in production; teardown and completion may run
    DELIVERED = "delivered"  # demonstrated: over
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"  # its branch or issue is gone

    @property
    def ended_without_shipping(self) -> bool:
        """Say whether the feature was given up."""
        return self in {FeatureState.CANCELLED, FeatureState.ABANDONED}


UNDER_WAY = frozenset({FeatureState.ACTIVE, FeatureState.SHIPPED})
"""People are still asked about these, and heard."""


class AttemptState(StrEnum):
    """Where one commit of a feature stands."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    PROMOTED = "promoted"  # in production, verdict open
    SHIPPED = "shipped"
    ROLLED_BACK = "rolled_back"
    DROPPED = "dropped"  # the feature was given up


@dataclass(eq=False, kw_only=True)
class Project:
    """What the ledger knows of a project: production's known head, the lock, the freeze."""

    name: ProjectName
    production_commit: CommitSha | None = None
    lock_feature_id: int | None = None
    lock_since: datetime | None = None
    frozen_reason: str = ""
    frozen_commit: CommitSha | None = None


@dataclass(eq=False, kw_only=True)
class Feature:
    """One delivery of one issue; ``delivery`` counts deliveries of the same key from 1.

    ``pushers``: everybody of the project who has pushed to its branch, as far as the host told; ``strangers``: logins
    of others who have, in case they turn out to be people of the project.
    """

    project: ProjectName
    key: FeatureKey
    delivery: int
    run_id: str
    title: str
    description: str = ""
    requester: str = ""
    branch: BranchName | None = None
    wanted_commit: CommitSha | None = None
    state: FeatureState = FeatureState.ACTIVE
    attempt_number: int = 0
    issue_url: str = ""
    request_number: int | None = None
    request_url: str = ""
    request_author: str = ""
    pushers: list[PersonName] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    started: bool = False
    branch_seen_gone: datetime | None = None
    branch_head: CommitSha | None = None
    next_commit: CommitSha | None = None
    rejected_commit: CommitSha | None = None
    branch_is_ours: bool = False
    rewind_to: Step | None = None
    run_after: datetime | None = None
    created_at: datetime = field(default_factory=now)
    ended_at: datetime | None = None
    reason: str = ""
    id: int = 0


@dataclass(eq=False, kw_only=True)
class Attempt:
    """One commit of the feature on its way to production.

    ``authors``: everybody known so far who may not sign it off; ``strangers``: addresses and logins of others who
    wrote, pushed or opened it. Who they are is asked anew each time (``People.authors_of``).
    """

    feature_id: int
    number: int
    commit: CommitSha
    authors: list[PersonName] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    state: AttemptState = AttemptState.ACTIVE
    reason: str = ""
    created_at: datetime = field(default_factory=now)
    ended_at: datetime | None = None
    id: int = 0


@dataclass(eq=False, kw_only=True)
class CandidateRecord:
    """One candidate built for an attempt; the newest of an attempt counts."""

    feature_id: int
    attempt: int
    commit: CommitSha
    tree: TreeSha
    base: CommitSha
    feature_commit: CommitSha
    plan_changed: bool = False
    integration_green: bool = False
    created_at: datetime = field(default_factory=now)
    id: int = 0


class EnvironmentState(StrEnum):
    """Life of an environment."""

    RESERVED = "reserved"
    READY = "ready"
    DESTROYED = "destroyed"


@dataclass(eq=False, kw_only=True)
class Environment:
    """One environment; the row is written before anything is created. ``feature_id`` is ``None`` for production.

    ``metrics_path``, ``health_path``: where the commit that runs there says that Prometheus finds both; may be empty.
    """

    project: ProjectName
    name: str
    kind: str
    feature_id: int | None
    state: EnvironmentState = EnvironmentState.RESERVED
    generation: int = 0
    address: str = ""
    metrics_path: str = ""
    health_path: str = ""
    commit: CommitSha | None = None
    created_at: datetime = field(default_factory=now)
    destroyed_at: datetime | None = None
    id: int = 0


@dataclass(eq=False, kw_only=True)
class Deployment:
    """One deploy of one commit to one environment."""

    environment_id: int
    feature_id: int | None
    attempt: int
    commit: CommitSha
    generation: int
    state: str = "running"  # running, done, failed
    reason: str = ""
    started_at: datetime = field(default_factory=now)
    ended_at: datetime | None = None
    id: int = 0


@dataclass(eq=False, kw_only=True)
class SuiteResult:
    """One run of a suite; ``red`` is the sentence that says why it is red, empty when green."""

    feature_id: int
    attempt: int
    step: Step
    suite: str
    commit: CommitSha
    tests: int
    executed: int
    failed: int
    seconds: float
    red: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    at: datetime = field(default_factory=now)
    id: int = 0


@dataclass(eq=False, kw_only=True)
class Observation:
    """What was measured at a step, and how it was judged.

    Attributes:
        step: ``promote``: production before; ``observe``: after; ``load_test``: the load in pre-production.
        outcome: Of the judgement; empty where nothing was judged.
        report: ``judgement`` and ``measured``, as ``domain.judging`` and ``domain.watching`` have them.
    """

    feature_id: int
    attempt: int
    step: Step
    commit: CommitSha
    outcome: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    at: datetime = field(default_factory=now)
    id: int = 0


@dataclass(eq=False, kw_only=True)
class KeptLooks:
    """Looks of the probe at production, kept until they are judged: the process that looks may end at any time.

    Attributes:
        permit_id: Of the watch.
        looks: Each as moment (seconds since the epoch), status (``None``: nothing answered) and seconds it took.
    """

    feature_id: int
    permit_id: int
    looks: list[tuple[float, int | None, float]] = field(default_factory=list)
    at: datetime = field(default_factory=now)
    id: int = 0


class GateState(StrEnum):
    """Life of a gate, for one attempt."""

    OPEN = "open"
    RESOLVED = "resolved"
    CLOSED = "closed"  # the run was rewound or ended before anybody decided


@dataclass(eq=False, kw_only=True)
class Gate:
    """One gate of one feature.

    ``ended``: the parked task has been ended after the resolution. ``reminders``: a stage, see ``domain.messages``.
    ``resolved_at``: when it no longer waited, by its outcome or because its run went back or ended.
    """

    feature_id: int
    step: Step
    attempt: int = 0
    state: GateState = GateState.OPEN
    outcome: str = ""
    blocked: str = ""
    opened_at: datetime = field(default_factory=now)
    deadline: datetime | None = None
    resolved_at: datetime | None = None
    ended: bool = True
    requested_at: datetime | None = None
    reminded_at: datetime | None = None
    reminders: int = 0
    id: int = 0


@dataclass(eq=False, kw_only=True)
class Decision:
    """What one person said at a gate, whether it counted, and why not.

    Attributes:
        way: By which way it was said: a word of ``domain.ways``.
        role: As what the person spoke.
        address: Where the request came from, as far as the way tells; a Git host does not.
        origin: The page where it was said and can be taken back, and by whom there (``request 12 by rita-codes``; no
            login where an earlier version wrote it); empty: it stays said.
        withdrawn_at: When it was found taken back there; it is not accepted since.
    """

    feature_id: int
    step: Step
    attempt: int
    commit: CommitSha | None
    person: PersonName
    kind: DecisionKind
    accepted: bool
    way: str
    role: str = ""
    address: str = ""
    comment: str = ""
    reason: str = ""
    candidate: CommitSha | None = None
    origin: str = ""
    withdrawn_at: datetime | None = None
    at: datetime = field(default_factory=now)
    id: int = 0


@dataclass(eq=False, kw_only=True)
class HeardComment:
    """One command that somebody wrote as a comment on a merge request: acted upon once, whatever comes of it.

    ``comment``: the host's id of it, unique in the project.
    """

    project: ProjectName
    comment: str
    feature_id: int
    request: int
    author: str
    verb: str
    answer: str = ""
    at: datetime = field(default_factory=now)
    id: int = 0


@dataclass(eq=False, kw_only=True)
class PermitRecord:
    """The ledger's leave for one step of one attempt to have one effect."""

    feature_id: int
    attempt: int
    step: Step
    try_number: int
    task_instance: str
    generation: int = 0
    state: str = "granted"  # granted, done, failed, void
    work: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    granted_at: datetime = field(default_factory=now)
    ended_at: datetime | None = None
    id: int = 0


class PromotionState(StrEnum):
    """Life of a promotion, from the intent that is written before the branch moves."""

    INTENDED = "intended"
    MOVED = "moved"
    UNCERTAIN = "uncertain"  # the branch moved, the deploy failed
    DEPLOYED = "deployed"
    KEPT = "kept"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    DROPPED = "dropped"  # the branch never moved


OPEN_PROMOTIONS = frozenset(
    {PromotionState.MOVED, PromotionState.UNCERTAIN, PromotionState.DEPLOYED, PromotionState.ROLLING_BACK}
)


@dataclass(eq=False, kw_only=True)
class Promotion:
    """One move of production: ``before`` -> ``candidate``, and perhaps back by ``restored``."""

    project: ProjectName
    feature_id: int
    attempt: int
    before: CommitSha
    candidate: CommitSha
    tree: TreeSha
    state: PromotionState = PromotionState.INTENDED
    restored: CommitSha | None = None
    irreversible: bool = False
    intended_at: datetime = field(default_factory=now)
    moved_at: datetime | None = None
    ended_at: datetime | None = None
    id: int = 0


@dataclass(eq=False, kw_only=True)
class QueuePlace:
    """A feature's place in the queue for production; kept when sign-offs are asked for again."""

    project: ProjectName
    feature_id: int
    since: datetime = field(default_factory=now)
    waiting: bool = True
    id: int = 0


@dataclass(eq=False, kw_only=True)
class WebhookDelivery:
    """One webhook as it came in: stored before it is looked into, processed once.

    Attributes:
        host: The dialect's name.
        headers: By their names in lower case, without secrets.
        hint: Where to look, as ``services.control.webhooks`` writes it; ``None``: everywhere.
        ignored: Why it is not for us; empty: it is.
    """

    project: ProjectName
    delivery_id: str
    host: str
    event: str
    body: bytes
    headers: dict[str, Any] = field(default_factory=dict)
    hint: dict[str, Any] | None = None
    ignored: str = ""
    received_at: datetime = field(default_factory=now)
    processed_at: datetime | None = None
    result: str = ""
    tries: int = 0
    id: int = 0


class WebhookState(StrEnum):
    """Where a webhook stands."""

    WAITING = "waiting"
    PROCESSED = "processed"
    IGNORED = "ignored"


LISTING_HOST = "ls-remote"
"""``host`` of the rows in which we keep what we have seen ourselves: nobody sent them."""

LISTING_MARKS = "marks"
"""Delivery id of the one that says how far we have looked."""


@dataclass(eq=False, kw_only=True)
class Alert:
    """One failure of a feature's step, told once; open until the step has succeeded, or the feature has ended.

    ``details``: what failed in particular, bounded and without secrets.
    """

    project: ProjectName
    feature_id: int
    attempt: int
    step: Step
    text: str
    details: list[str] = field(default_factory=list)
    opened_at: datetime = field(default_factory=now)
    resolved_at: datetime | None = None
    resolution: str = ""
    id: int = 0


@dataclass(eq=False, kw_only=True)
class Event:
    """One line of a feature's history, for people."""

    project: ProjectName
    feature_id: int | None
    kind: str
    text: str
    person: str = ""
    step: Step | None = None
    attempt: int = 0
    at: datetime = field(default_factory=now)
    id: int = 0


class BrakeKind(StrEnum):
    """Why a project's brake is on."""

    DESTRUCTIONS = "destructions"  # more were to be destroyed at once than the project file allows
    HAND = "hand"  # an operator pulled it
    FORK = "fork"  # the ledger is a copy: its project is another instance's


@dataclass(eq=False, kw_only=True)
class Brake:
    """One time that a project was stopped, until an operator released it; at most one is on.

    Attributes:
        project: Whose.
        kind: Why: of a fork nothing at all is done, else nothing is destroyed.
        reason: The sentence for people.
        about: Environments that were to be destroyed, with the number of their row; of a fork, ``repository``.
        person: Who pulled it; empty: it went on by itself.
        released_by: Who released it.
        release_reason: Why.
    """

    project: ProjectName
    kind: BrakeKind
    reason: str
    about: dict[str, Any] = field(default_factory=dict)
    person: str = ""
    set_at: datetime = field(default_factory=now)
    released_at: datetime | None = None
    released_by: str = ""
    release_reason: str = ""
    id: int = 0
