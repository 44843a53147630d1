"""What the CLI, the API and the board show of a feature: read only, in plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from feature_delivery.domain.process import GATES, PROCESS, Row, Step
from feature_delivery.domain.records import UNDER_WAY, AttemptState, Feature, FeatureState, Gate, GateState
from feature_delivery.services.control.flags import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTimes:
    """What the orchestrator knows of one task: its state in the orchestrator's words, its newest try."""

    state: str
    started: datetime | None = None
    ended: datetime | None = None
    try_number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One task of the process. ``state``: pending, running, waiting, done, skipped, rejected or failed."""

    number: str
    title: str
    who: str
    task: str
    state: str
    started: datetime | None
    ended: datetime | None
    try_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """The gate a feature waits at."""

    step: str
    attempt: int
    blocked: str
    waits_for: str
    opened_at: datetime
    deadline: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One commit on its way."""

    number: int
    commit: str
    state: str
    reason: str
    authors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateView:
    """What the feature would make of production."""

    commit: str
    tree: str
    base: str
    integration_green: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentView:
    """One environment of the feature that exists."""

    name: str
    kind: str
    state: str
    address: str
    commit: str | None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """What somebody said, and whether it counted."""

    gate: str
    attempt: int
    commit: str | None
    who: str
    kind: str
    accepted: bool
    comment: str
    reason: str
    role: str
    way: str
    address: str
    candidate: str | None
    withdrawn_at: datetime | None
    when: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteView:
    """One run of a suite."""

    step: str
    attempt: int
    suite: str
    commit: str
    tests: int
    executed: int
    failed: int
    seconds: float
    red: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionView:
    """What the feature has done to production."""

    attempt: int
    state: str
    before: str
    candidate: str
    restored: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One line of history."""

    at: datetime
    kind: str
    text: str
    person: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """The merge request."""

    number: int
    url: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLine:
    """A feature in a list."""

    project: str
    key: str
    title: str
    state: str
    run_id: str
    attempt: int
    gate: GateView | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """Everything known of a feature. ``run_state``: of its DAG run, in Airflow's words; ``host``: what kind it has."""

    project: str
    key: str
    delivery: int
    title: str
    description: str
    requester: str
    state: str
    reason: str
    run_id: str
    run_state: str
    host: str
    branch: str | None
    issue_url: str
    request: RequestView | None
    attempt: int
    gate: GateView | None
    steps: tuple[StepView, ...]
    attempts: tuple[AttemptView, ...]
    candidate: CandidateView | None
    promotions: tuple[PromotionView, ...]
    environments: tuple[EnvironmentView, ...]
    decisions: tuple[DecisionView, ...]
    suites: tuple[SuiteView, ...]
    events: tuple[EventView, ...]
    created_at: datetime
    ended_at: datetime | None
    seconds_waited_for_people: float


def feature_line(books: Books, project: ProjectConfig, feature: Feature) -> FeatureLine:
    """Return the feature as one line of a list; what has ended waits nowhere, and costs no query."""
    return FeatureLine(
        project=feature.project,
        key=feature.key,
        title=feature.title,
        state=feature.state,
        run_id=feature.run_id,
        attempt=feature.attempt_number,
        gate=_gate(books, project, feature) if feature.state in UNDER_WAY else None,
        created_at=feature.created_at,
    )


def feature_view(
    books: Books, project: ProjectConfig, feature: Feature, *, tasks: Mapping[Step, TaskTimes], run_state: str
) -> FeatureView:
    """Return everything known of the feature; ``tasks`` and ``run_state`` come from the orchestrator."""
    candidate = books.candidate(feature, feature.attempt_number)
    gates = books.gates(feature)
    return FeatureView(
        project=feature.project,
        key=feature.key,
        delivery=feature.delivery,
        title=feature.title,
        description=feature.description,
        requester=feature.requester,
        state=feature.state,
        reason=feature.reason,
        run_id=feature.run_id,
        run_state=run_state,
        host=project.host.kind,
        branch=feature.branch,
        issue_url=feature.issue_url,
        request=RequestView(number=feature.request_number, url=feature.request_url, author=feature.request_author)
        if feature.request_number is not None
        else None,
        attempt=feature.attempt_number,
        gate=_gate(books, project, feature),
        steps=_steps(books, feature, tasks, gates),
        attempts=tuple(
            AttemptView(number=a.number, commit=a.commit, state=a.state, reason=a.reason, authors=tuple(a.authors))
            for a in books.attempts(feature)
        ),
        candidate=CandidateView(
            commit=candidate.commit,
            tree=candidate.tree,
            base=candidate.base,
            integration_green=candidate.integration_green,
        )
        if candidate
        else None,
        promotions=_promotions(books, feature),
        environments=tuple(
            EnvironmentView(
                name=e.name, kind=e.kind, state=e.state, address=e.address, commit=e.commit, generation=e.generation
            )
            for e in books.environments(feature=feature)
        ),
        decisions=_decisions(books, feature),
        suites=_suites(books, feature),
        events=tuple(
            EventView(at=e.at, kind=e.kind, text=e.text, person=e.person, attempt=e.attempt)
            for e in books.events(feature)
        ),
        created_at=feature.created_at,
        ended_at=feature.ended_at,
        seconds_waited_for_people=_waited(gates),
    )


def _gate(books: Books, project: ProjectConfig, feature: Feature) -> GateView | None:
    gate = books.open_gate(feature)
    if gate is None:
        return None
    found = shown(books, project, feature, gate)
    return GateView(
        step=gate.step,
        attempt=gate.attempt,
        blocked=gate.blocked,
        waits_for=found.blocked or found.waits_for,
        opened_at=gate.opened_at,
        deadline=gate.deadline,
    )


def _promotions(books: Books, feature: Feature) -> tuple[PromotionView, ...]:
    return tuple(
        PromotionView(attempt=p.attempt, state=p.state, before=p.before, candidate=p.candidate, restored=p.restored)
        for p in books.promotions(feature.project, feature.key)
        if p.feature_id == feature.id
    )


def _decisions(books: Books, feature: Feature) -> tuple[DecisionView, ...]:
    return tuple(
        DecisionView(
            gate=d.step,
            attempt=d.attempt,
            commit=d.commit,
            who=d.person,
            kind=d.kind,
            accepted=d.accepted,
            comment=d.comment,
            reason=d.reason,
            role=d.role,
            way=d.way,
            address=d.address,
            candidate=d.candidate,
            withdrawn_at=d.withdrawn_at,
            when=d.at,
        )
        for d in books.decisions(feature)
    )


def _suites(books: Books, feature: Feature) -> tuple[SuiteView, ...]:
    return tuple(
        SuiteView(
            step=s.step,
            attempt=s.attempt,
            suite=s.suite,
            commit=s.commit,
            tests=s.tests,
            executed=s.executed,
            failed=s.failed,
            seconds=s.seconds,
            red=s.red,
        )
        for s in books.suite_results(feature)
    )


PEOPLE_DECIDE = frozenset(
    {
        Step.WAIT_FOR_START,
        Step.WAIT_FOR_CODE,
        Step.WAIT_FOR_MERGE_REQUEST,
        Step.WAIT_FOR_REVIEW,
        Step.WAIT_FOR_ACCEPTANCE,
        Step.WAIT_FOR_CONFIRMATION,
        Step.WAIT_FOR_VERDICT,
        Step.WAIT_FOR_REWORK,
        Step.WAIT_FOR_DEMONSTRATION,
    }
)
"""Gates where the time is people's; the queue for production is not."""


def _waited(gates: Sequence[Gate]) -> float:
    return sum(
        (gate.resolved_at - gate.opened_at).total_seconds()
        for gate in gates
        if gate.resolved_at is not None and gate.step in PEOPLE_DECIDE
    )


_STATES = {
    "success": "done",
    "failed": "failed",
    "upstream_failed": "pending",
    "skipped": "skipped",
    "removed": "skipped",
    "running": "running",
    "queued": "running",
    "scheduled": "running",
    "restarting": "running",
    "up_for_retry": "running",
    "awaiting_input": "waiting",
    "deferred": "waiting",
    "up_for_reschedule": "waiting",
}


def _steps(
    books: Books, feature: Feature, tasks: Mapping[Step, TaskTimes], gates: Sequence[Gate]
) -> tuple[StepView, ...]:
    rejected = _rejected_steps(books, feature)
    opened = {gate.step: gate for gate in gates}
    return tuple(
        _step(row, step, tasks.get(step, TaskTimes(state="none")), opened.get(step), step in rejected)
        for row in PROCESS
        for step in row.steps
    )


def _step(row: Row, step: Step, times: TaskTimes, gate: Gate | None, rejected: bool) -> StepView:  # noqa: FBT001
    state = _STATES.get(times.state, "pending")
    if rejected and state in {"pending", "skipped"}:
        state = "rejected"
    ended = times.ended
    if step in GATES and gate is not None and gate.state is GateState.RESOLVED and state == "done":
        ended = max(filter(None, (times.ended, gate.resolved_at)), default=None)
    return StepView(
        number=row.number,
        title=row.title,
        who=", ".join(row.who),
        task=step,
        state=state,
        started=times.started,
        ended=ended,
        try_number=times.try_number,
    )


def _rejected_steps(books: Books, feature: Feature) -> frozenset[Step]:
    """Return gates where the current attempt was rejected: the run has been rewound, but this is where it stands."""
    attempt = books.attempt(feature)
    if attempt is None or attempt.state is not AttemptState.REJECTED or feature.state is not FeatureState.ACTIVE:
        return frozenset()
    return frozenset(d.step for d in books.decisions(feature, attempt.number) if d.accepted and d.kind == "reject")
