"""The feature page: everything known of one feature, arranged for reading and deciding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from feature_delivery.domain.names import CommitSha, PersonName, environment_name, run_id
from feature_delivery.domain.outbox import OutboxEntry
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import PROCESS, Row, Step
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import Environment, EnvironmentState, Feature, SuiteResult, WebhookDelivery, now
from feature_delivery.domain.spans import covered_seconds
from feature_delivery.domain.ways import Way
from feature_delivery.ports.ledger import Books
from feature_delivery.services.control import decide, glass, journey
from feature_delivery.services.control.asking import ABOUT_CANDIDATE, candidate_of
from feature_delivery.services.control.board import Tests
from feature_delivery.services.control.flags import voices
from feature_delivery.services.control.gates import run_of
from feature_delivery.services.control.observations import judgement
from feature_delivery.services.control.status import DecisionView, FeatureView, StepView, feature_view
from feature_delivery.web.board import charts
from feature_delivery.web.board.plots import Measured, measured
from feature_delivery.web.board.shown import HostPages, host_pages
from feature_delivery.web.questions import LOOKED_AT
from feature_delivery.web.transaction import WebUnit

NO_CANDIDATE = "none"
"""What a form says where there was no candidate to look at: an empty field is a missing one."""

CASES_SHOWN = 50
WEBHOOKS_LOOKED_AT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One row of the process on this feature's way; ``here``: it stands here."""

    row: Row
    state: str
    here: bool
    seconds: float | None
    since: datetime | None
    tasks: tuple[StepView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Something that may be said at the gate; ``reason``: why this reader may not say it."""

    kind: DecisionKind
    may: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked at the gate the feature waits at, if people decide there.

    Attributes:
        choices: What may be said.
        able: Everybody whose role lets them decide here.
        given: Who has approved already, and ``needed``: how many must.
        place: Where to look before deciding.
        attempt: With commit and candidate, what a decision is about.
        candidate: ``NO_CANDIDATE`` where there should be one; empty where none is looked at.
        needs_comment: One of the choices does.
    """

    gate: Step
    choices: tuple[Choice, ...]
    able: tuple[PersonName, ...]
    given: tuple[PersonName, ...]
    needed: int
    place: Environment | None
    commit: CommitSha | None
    attempt: int
    candidate: str

    @property
    def open(self) -> bool:
        """Say whether the reader may say anything here."""
        return any(choice.may for choice in self.choices)

    @property
    def reason(self) -> str:
        """Why the reader may say nothing; empty when something may be said."""
        return "" if self.open else next((choice.reason for choice in self.choices), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteBlock:
    """One run of a suite; ``broken``: its tests that failed, ``others``: the rest, as far as they are shown.

    A green run of an earlier attempt names none.
    """

    result: SuiteResult
    broken: tuple[Mapping[str, Any], ...]
    others: tuple[Mapping[str, Any], ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentLine:
    """One deploy; ``place``: the kind of its environment."""

    place: str
    attempt: int
    commit: CommitSha
    state: str
    reason: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two commits whose difference is what the feature changes."""

    old: CommitSha
    new: CommitSha


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePage:
    """Everything that the template shows; ``glass``: what the reader may say by breaking glass."""

    project: ProjectConfig
    view: FeatureView
    stations: tuple[Station, ...]
    question: Question | None
    pages: HostPages
    production_commit: CommitSha | None
    shipped_commit: CommitSha | None
    spans: tuple[journey.Span, ...]
    timeline: charts.Timeline
    totals: Mapping[journey.Spent, float]
    suites: tuple[SuiteBlock, ...]
    older_suites: tuple[SuiteBlock, ...]
    measured: tuple[Measured, ...]
    deployments: tuple[DeploymentLine, ...]
    messages: tuple[OutboxEntry, ...]
    webhooks: tuple[WebhookDelivery, ...]
    places: tuple[Environment, ...]
    deliveries: tuple[Feature, ...]
    changes: Comparison | None
    changes_url: str
    tests: Tests | None
    now: datetime
    glass: tuple[DecisionKind, ...] = ()

    @property
    def broken(self) -> tuple[DecisionView, ...]:
        """The broken glass of the current attempt."""
        said = self.view.decisions
        return tuple(d for d in said if d.accepted and d.way == Way.BREAK_GLASS and d.attempt == self.view.attempt)

    @property
    def commit(self) -> str:
        """The commit of the current attempt, which is what a decision is about; empty before the first."""
        return next((a.commit for a in self.view.attempts if a.number == self.view.attempt), "")

    @property
    def lead_seconds(self) -> float:
        """How long the feature has been under way, or was."""
        return ((self.view.ended_at or self.now) - self.view.created_at).total_seconds()


def feature_page(unit: WebUnit, project: ProjectConfig, feature: Feature, *, reader: str) -> FeaturePage:
    """Return the page of a feature as ``reader`` sees it; reads only."""
    books, run, at = unit.books, run_of(feature), now()
    view = feature_view(books, project, feature, tasks=unit.runs.tasks(run), run_state=unit.runs.state(run))
    row = books.project(project.name)
    gates, permits = books.gates(feature), books.permits(feature)
    found = journey.spans(gates, permits, until=at)
    results = _newest_first(books.suite_results(feature))
    production = books.environment(project.name, "production")
    own = tuple(books.environments(feature=feature))
    promotion = books.promotion(feature)
    pages = host_pages(project.host, feature.request_url)
    changes = comparison(books, project, feature)
    places = (*own, production) if production is not None and production.address else own
    ended = view.ended_at or max([feature.created_at, *(span.ended for span in found)])
    question = _question(unit, project, feature, reader, places)
    return FeaturePage(
        project=project,
        view=view,
        stations=stations(view),
        question=question,
        glass=() if question is not None and question.open else _glass(unit, project, feature, reader),
        pages=pages,
        production_commit=row.production_commit if row else None,
        shipped_commit=promotion.candidate if promotion is not None and promotion.state == "kept" else None,
        spans=found,
        timeline=charts.timeline(found, began=feature.created_at, ended=ended),
        totals={spent: journey.total_seconds(found, spent) for spent in charts.LANES},
        # What failed stands first.
        suites=tuple(sorted((_block(one) for one in results if one.attempt == feature.attempt_number), key=_is_green)),
        older_suites=tuple(
            _block(one, whole=bool(one.red)) for one in results if one.attempt != feature.attempt_number
        ),
        measured=_measured(books, feature),
        deployments=_deployments(unit, feature, places),
        messages=tuple(reversed(books.outbox(feature))),
        webhooks=_webhooks(unit, project, feature),
        places=tuple(place for place in places if place.state != EnvironmentState.DESTROYED),
        deliveries=_deliveries(unit, project, feature),
        changes=changes,
        changes_url=pages.changes_at or (pages.compare(changes.old, changes.new) if changes else ""),
        tests=_tests(results, feature),
        now=at,
    )


def _measured(books: Books, feature: Feature) -> tuple[Measured, ...]:
    found = (
        measured("production", judgement(books, feature, Step.OBSERVE_PRODUCTION)),
        measured("preprod", judgement(books, feature, Step.TEST_LOAD)),
    )
    return tuple(one for one in found if one is not None)


def comparison(books: Books, project: ProjectConfig, feature: Feature) -> Comparison | None:
    """Return what to compare to see what the feature changes: its candidate with production before, or its commit."""
    candidate = books.candidate(feature, feature.attempt_number)
    if candidate is not None:
        return Comparison(candidate.base, candidate.commit)
    attempt, row = books.attempt(feature), books.project(project.name)
    if attempt is None or row is None or row.production_commit is None:
        return None
    return Comparison(row.production_commit, attempt.commit)


def _tests(results: Sequence[SuiteResult], feature: Feature) -> Tests | None:
    """Return the newest results of the current attempt, all suites together."""
    newest: dict[Step, SuiteResult] = {}
    for result in results:
        if result.attempt == feature.attempt_number:
            newest.setdefault(result.step, result)
    if not newest:
        return None
    return Tests(
        executed=sum(result.executed for result in newest.values()),
        failed=sum(result.failed for result in newest.values()),
        red=next((result.red for result in newest.values() if result.red), ""),
    )


_WEIGHT = {"failed": 6, "rejected": 5, "running": 4, "waiting": 3, "pending": 2, "done": 1, "skipped": 0}


def stations(view: FeatureView) -> tuple[Station, ...]:
    """Return the process as a line of stations; the feature stands at its gate, or where something runs."""
    steps: dict[str, list[StepView]] = {}
    for step in view.steps:
        steps.setdefault(step.number, []).append(step)
    here = _here(view)
    return tuple(station(row, tuple(steps.get(row.number, ())), here=here) for row in PROCESS)


def _here(view: FeatureView) -> str:
    if view.ended_at is not None:
        return ""
    active = [step for step in view.steps if step.state in {"running", "waiting"}]
    at_gate = [step for step in view.steps if view.gate is not None and step.task == view.gate.step]
    return next((step.number for step in (*at_gate, *active)), "")


def station(row: Row, tasks: tuple[StepView, ...], *, here: str) -> Station:
    """Return one row of the process as its tasks stand; ``here``: the number of the row the feature stands at."""
    states = [task.state for task in tasks]
    if "done" in states and "pending" in states and not {"failed", "rejected", "running", "waiting"} & set(states):
        state = "running"  # between two of its tasks
    else:
        state = max(states, key=lambda one: _WEIGHT.get(one, 2), default="pending")
    # An attempt that goes back repeats some tasks of a row and not others: what lay between them is not the row's time.
    pieces = [(task.started, task.ended) for task in tasks if task.started and task.ended]
    active = [task.started for task in tasks if task.started and task.state in {"running", "waiting"}]
    newest = max((task.started for task in tasks if task.started), default=None)
    over = state in {"done", "failed", "rejected", "skipped"} and pieces
    return Station(
        row=row,
        state=state,
        here=here == row.number,
        seconds=covered_seconds(pieces) if over else None,
        since=min(active, default=newest) if state in {"running", "waiting"} else None,
        tasks=tasks,
    )


_ORDER = (DecisionKind.APPROVE, DecisionKind.KEEP, DecisionKind.REJECT, DecisionKind.ROLL_BACK)
"""What goes on stands before what goes back."""


def _question(
    unit: WebUnit, project: ProjectConfig, feature: Feature, reader: str, places: Sequence[Environment]
) -> Question | None:
    gate = unit.books.open_gate(feature)
    policy = project.people.policies.get(gate.step) if gate is not None else None
    if gate is None or policy is None:
        return None
    attempt = unit.books.attempt(feature)
    heard = voices(unit.books, project, feature)
    given = {v.person for v in heard if v.gate is gate.step and v.kind is DecisionKind.APPROVE}
    return Question(
        gate=gate.step,
        choices=tuple(
            _choice(unit, project, feature, decide.Say(person=PersonName(reader), gate=gate.step, kind=kind))
            for kind in sorted(policy.kinds, key=_ORDER.index)
        ),
        able=project.people.with_role(*policy.roles),
        given=tuple(sorted(given)),
        needed=policy.count,
        place=next((p for p in places if p.kind == LOOKED_AT.get(gate.step) and p.address), None),
        commit=attempt.commit if attempt else None,
        attempt=feature.attempt_number,
        candidate=(candidate_of(unit.books, feature, gate.step) or NO_CANDIDATE)
        if gate.step in ABOUT_CANDIDATE
        else "",
    )


def _choice(unit: WebUnit, project: ProjectConfig, feature: Feature, say: decide.Say) -> Choice:
    if say.person not in project.people.persons:
        reason = project.unclear(say.person) or project.stranger(say.person)
        return Choice(kind=say.kind, may=False, reason=reason)
    # With a comment: that it is missing is said when it is.
    answer = decide.may(unit, project, feature, replace(say, comment="-"))
    return Choice(kind=say.kind, may=bool(answer), reason=answer.reason)


def _glass(unit: WebUnit, project: ProjectConfig, feature: Feature, reader: str) -> tuple[DecisionKind, ...]:
    """Return what ``reader`` may say by breaking glass at the gate the feature waits at."""
    gate = unit.books.open_gate(feature)
    if gate is None:
        return ()
    policy = project.people.policies.get(gate.step)
    kinds = sorted(policy.kinds, key=list(DecisionKind).index) if policy is not None else [DecisionKind.OVERRIDE]
    say = decide.Say(person=PersonName(reader), gate=gate.step, kind=DecisionKind.OVERRIDE, comment="-")
    return tuple(kind for kind in kinds if glass.may_override(unit, project, feature, replace(say, kind=kind)))


def _block(result: SuiteResult, *, whole: bool = True) -> SuiteBlock:
    """Return what is shown of a run; ``whole``: its tests, too, which are megabytes over many attempts."""
    found = result.report.get("cases", ()) if whole else ()
    cases = [case for case in found if isinstance(case, dict)]
    broken = [case for case in cases if case.get("state") in {"failed", "error"}][:CASES_SHOWN]
    others = [case for case in cases if case.get("state") not in {"failed", "error"}][:CASES_SHOWN]
    left_out = result.tests - len(broken) - len(others) if cases else 0
    return SuiteBlock(result=result, broken=tuple(broken), others=tuple(others), left_out=left_out)


def _is_green(block: SuiteBlock) -> bool:
    return not block.result.red


def _newest_first(results: Iterable[SuiteResult]) -> list[SuiteResult]:
    return sorted(results, key=lambda result: -result.id)


def _deployments(unit: WebUnit, feature: Feature, places: Sequence[Environment]) -> tuple[DeploymentLine, ...]:
    names = (environment_name(kind, feature.key) for kind in ("development", "preprod"))
    gone = [unit.books.environment(feature.project, name) for name in names]
    kinds = {place.id: place.kind for place in (*gone, *places) if place is not None}
    return tuple(
        DeploymentLine(
            place=kinds.get(deployment.environment_id, ""),
            attempt=deployment.attempt,
            commit=deployment.commit,
            state=deployment.state,
            reason=deployment.reason,
            started_at=deployment.started_at,
            ended_at=deployment.ended_at,
        )
        for deployment in reversed(unit.books.deployments(feature))
    )


def _webhooks(unit: WebUnit, project: ProjectConfig, feature: Feature) -> tuple[WebhookDelivery, ...]:
    """Return the webhooks of late that were about this feature: its branch, its request, its issue."""

    def about(webhook: WebhookDelivery) -> bool:
        hint = webhook.hint or {}
        issue = hint.get("issue")
        return (
            (feature.branch is not None and hint.get("branch") == feature.branch)
            or (feature.request_number is not None and hint.get("request") == feature.request_number)
            or (bool(issue) and feature.key in {str(issue), project.tracker.key_of(str(issue))})
        )

    found = unit.books.webhooks(project.name, limit=WEBHOOKS_LOOKED_AT)
    return tuple(hook for hook in found if hook.received_at >= feature.created_at and about(hook))


def _deliveries(unit: WebUnit, project: ProjectConfig, feature: Feature) -> tuple[Feature, ...]:
    """Return every delivery of the same issue, newest first; the runs of earlier ones are numbered up to this one."""
    newest = unit.books.feature(project.name, feature.key)
    if newest is None or newest.delivery == 1:
        return ()
    runs = [run_id(feature.key, number) for number in range(newest.delivery, 0, -1)]
    found = [unit.books.feature_of_run(project.name, run) for run in runs[:20]]
    return tuple(one for one in found if one is not None)
