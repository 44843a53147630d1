"""How a feature looks from outside: statuses, deployments and links for host and tracker. Pure reading of the ledger.

What is to be seen is worked out anew from the ledger each time; ``showing`` sends what differs from what was sent. So
an event that is missed, or told twice, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.domain.names import environment_name
from feature_delivery.domain.people import SIGN_OFFS, DecisionKind
from feature_delivery.domain.process import CHECKS, ORDER, Step
from feature_delivery.domain.records import (
    Attempt,
    Deployment,
    Environment,
    EnvironmentState,
    Feature,
    PermitRecord,
    PromotionState,
)
from feature_delivery.ports.git_host import DeploymentState, StatusState
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control.flags import shown, voices
from feature_delivery.services.control.observations import judgement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books

DESCRIPTION_LIMIT = 140
"""Characters that every host takes as the description of a status."""

DEPLOYS = {
    EnvironmentKind.DEVELOPMENT: (Step.DEPLOY_DEVELOPMENT,),
    EnvironmentKind.PREPROD: (Step.DEPLOY_PREPROD, Step.REFRESH_CANDIDATE),
    EnvironmentKind.PRODUCTION: (Step.DEPLOY_PRODUCTION, Step.DEPLOY_ROLLBACK),
}
TITLES = {
    EnvironmentKind.DEVELOPMENT: "Development",
    EnvironmentKind.PREPROD: "Pre-production",
    EnvironmentKind.PRODUCTION: "Production",
}
_PREPROD = (Step.BUILD_CANDIDATE, Step.PROVISION_PREPROD, Step.DEPLOY_PREPROD, Step.TEST_PREPROD)


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One status of the feature's head."""

    name: str
    state: StatusState
    description: str


@dataclass(frozen=True, slots=True)
class PlaceLine:
    """One environment in which something of the feature was deployed; ``url`` may be empty."""

    kind: EnvironmentKind
    environment: str
    commit: CommitSha
    state: DeploymentState
    url: str


@dataclass(frozen=True, slots=True)
class LinkLine:
    """One link on the issue; the same ``marker`` again takes its place."""

    marker: str
    title: str
    url: str


def statuses(books: Books, project: ProjectConfig, feature: Feature) -> tuple[StatusLine, ...]:
    """Return the statuses of the current attempt's commit, of every stage that has begun, in the order of the way."""
    attempt = books.attempt(feature)
    if attempt is None:
        return ()
    newest = {p.step: p for p in books.permits(feature) if p.attempt == attempt.number}
    found = [
        *_development(newest),
        *_checks(books, feature, attempt, newest),
        *_signed(books, project, feature, Step.WAIT_FOR_REVIEW),
        *_preprod(books, feature, attempt, newest),
        *_load(books, feature),
        *_signed(books, project, feature, Step.WAIT_FOR_ACCEPTANCE),
        *_signed(books, project, feature, Step.WAIT_FOR_CONFIRMATION),
        *_production(books, feature, attempt),
    ]
    if reason := over(feature):
        red = StatusState.FAILURE
        return tuple(StatusLine(s.name, red, reason) if s.state is StatusState.PENDING else s for s in found)
    return tuple(found)


def over(feature: Feature) -> str:
    """Return why a feature that was given up waits for nothing any more; empty for every other one."""
    return _short(f"The delivery was {feature.state}. {feature.reason}") if feature.state.ended_without_shipping else ""


def _development(newest: dict[Step, PermitRecord]) -> Iterator[StatusLine]:
    deploy = newest.get(Step.DEPLOY_DEVELOPMENT)
    if deploy is not None and deploy.state != "void":
        yield _line("development", deploy, "The commit runs in its development environment.")


def _checks(books: Books, feature: Feature, attempt: Attempt, newest: dict[Step, PermitRecord]) -> Iterator[StatusLine]:
    for step in sorted(CHECKS, key=ORDER.__getitem__):
        permit = newest.get(step)
        if permit is None or permit.state == "void":
            continue
        result = books.suite_result(feature, attempt.number, step)
        tests = f"{result.executed} tests passed." if result is not None else "Passed."
        yield _line(f"checks/{step.rpartition('.')[2]}", permit, tests)


def _load(books: Books, feature: Feature) -> Iterator[StatusLine]:
    """Show a load that says something; one that says nothing is no status."""
    said = judgement(books, feature, Step.TEST_LOAD)
    if said is not None and said.outcome in {"pass", "fail"}:
        state = StatusState.FAILURE if said.outcome == "fail" else StatusState.SUCCESS
        yield StatusLine("delivery/load", state, _short(" ".join(said.reasons)))


def _preprod(
    books: Books, feature: Feature, attempt: Attempt, newest: dict[Step, PermitRecord]
) -> Iterator[StatusLine]:
    begun = [newest[step] for step in (*_PREPROD, Step.REFRESH_CANDIDATE) if step in newest]
    begun = [permit for permit in begun if permit.state != "void"]
    if not begun:
        return
    last = max(begun, key=lambda permit: permit.id)
    result = books.suite_result(feature, attempt.number, Step.TEST_PREPROD)
    candidate = books.candidate(feature, attempt.number)
    green = candidate is not None and candidate.integration_green and result is not None
    if last.state == "failed":
        yield _line("preprod", last, "")
    elif last.state == "granted" or not green:
        yield StatusLine("delivery/preprod", StatusState.PENDING, _short(f"{last.step}."))
    elif result is not None:
        yield StatusLine("delivery/preprod", StatusState.SUCCESS, f"{result.executed} integration tests passed.")


def _line(name: str, permit: PermitRecord, done: str) -> StatusLine:
    match permit.state:
        case "granted":
            return StatusLine(f"delivery/{name}", StatusState.PENDING, _short(f"{permit.step} runs."))
        case "failed":
            return StatusLine(f"delivery/{name}", StatusState.FAILURE, _short(permit.reason))
        case _:
            return StatusLine(f"delivery/{name}", StatusState.SUCCESS, _short(done))


def _signed(books: Books, project: ProjectConfig, feature: Feature, gate: Step) -> Iterator[StatusLine]:
    """Tell of a sign-off: who has given it, who has refused it, or who is waited for."""
    if gate not in SIGN_OFFS or gate not in project.people.policies:
        return
    name = f"delivery/{gate.rpartition('wait_for_')[2]}"
    said = [d for d in books.decisions(feature, feature.attempt_number) if d.step is gate and d.accepted]
    refused = [d for d in said if d.kind is DecisionKind.REJECT]
    heard = [v for v in voices(books, project, feature) if v.gate is gate and v.kind is DecisionKind.APPROVE]
    waits = books.open_gate(feature)
    if refused:
        yield StatusLine(name, StatusState.FAILURE, _short(f"{refused[-1].person}: {refused[-1].comment}"))
    elif project.people.satisfied(gate, heard):
        who = ", ".join(dict.fromkeys(v.person for v in heard))
        yield StatusLine(name, StatusState.SUCCESS, _short(f"Approved by {who}."))
    elif waits is not None and waits.step is gate:
        found = shown(books, project, feature, waits)
        yield StatusLine(name, StatusState.PENDING, _short(found.blocked or f"Waits for {found.waits_for}"))


def _production(books: Books, feature: Feature, attempt: Attempt) -> Iterator[StatusLine]:
    promotion = books.promotion(feature, attempt.number)
    gate = books.open_gate(feature)
    if promotion is None or promotion.state is PromotionState.DROPPED:
        if gate is not None and gate.step is Step.WAIT_FOR_TURN:
            yield StatusLine("delivery/production", StatusState.PENDING, "Waits for its turn.")
        return
    match promotion.state:
        case PromotionState.KEPT:
            state, text = StatusState.SUCCESS, f"Kept in production at {promotion.candidate[:10]}."
        case PromotionState.ROLLED_BACK | PromotionState.ROLLING_BACK:
            state, text = StatusState.FAILURE, f"Rolled back. {attempt.reason}"
        case PromotionState.UNCERTAIN:
            state, text = StatusState.FAILURE, "The branch moved, the deploy has failed: decide."
        case PromotionState.DEPLOYED:
            state, text = StatusState.PENDING, f"{promotion.candidate[:10]} runs and waits for its verdict."
        case _:
            state, text = StatusState.PENDING, f"{promotion.candidate[:10]} is being released."
    yield StatusLine("delivery/production", state, _short(text))


def places(books: Books, project: ProjectConfig, feature: Feature) -> tuple[PlaceLine, ...]:
    """Return where commits of the feature run, ran last, or are being deployed."""
    deployments = books.deployments(feature)
    permits = books.permits(feature)
    found = []
    for kind in DEPLOYS:
        name = environment_name(kind, None if kind is EnvironmentKind.PRODUCTION else feature.key)
        environment = books.environment(project.name, name)
        if environment is None or environment.feature_id not in {feature.id, None}:
            continue
        line = _place(books, feature, kind, environment, deployments, permits)
        if line is not None:
            found.append(line)
    return tuple(found)


def _place(  # noqa: PLR0917 - what was read once for all kinds
    books: Books,
    feature: Feature,
    kind: EnvironmentKind,
    environment: Environment,
    deployments: Sequence[Deployment],
    permits: Sequence[PermitRecord],
) -> PlaceLine | None:
    last = next((d for d in reversed(deployments) if d.environment_id == environment.id), None)
    newest_try = next((p for p in reversed(permits) if p.step in DEPLOYS[kind]), None)
    url = environment.address
    if environment.state is EnvironmentState.DESTROYED:
        return PlaceLine(kind, environment.name, last.commit, DeploymentState.GONE, url) if last else None
    # A permit whose task was killed stays granted: once another deploy has been let, it says nothing any more.
    if newest_try is not None and newest_try.state == "granted" and newest_try.attempt == feature.attempt_number:
        commit = _deploying(books, feature, newest_try.step)
        if commit is not None:
            return PlaceLine(kind, environment.name, commit, DeploymentState.RUNNING, url)
    newest = books.deployment(environment)
    if last is None or (newest is not None and newest.feature_id != feature.id):
        return None  # production runs another feature by now
    state = DeploymentState.DONE if last.state == "done" else DeploymentState.FAILED
    return PlaceLine(kind, environment.name, last.commit, state, url)


def _deploying(books: Books, feature: Feature, step: Step) -> CommitSha | None:
    if step is Step.DEPLOY_DEVELOPMENT:
        attempt = books.attempt(feature)
        return attempt.commit if attempt else None
    promotion = books.promotion(feature, feature.attempt_number)
    if step is Step.DEPLOY_ROLLBACK:
        return promotion.restored if promotion else None
    if step is Step.DEPLOY_PRODUCTION and promotion is not None and promotion.state is PromotionState.KEPT:
        return None  # kept although its deploy was killed: nothing deploys it any more
    candidate = books.candidate(feature, feature.attempt_number)
    return candidate.commit if candidate else None


def links(feature: Feature, shown: Sequence[PlaceLine]) -> tuple[LinkLine, ...]:
    """Return the links on the issue: the merge request, and the feature's environments that people can open."""
    found = []
    if feature.request_number is not None and feature.request_url:
        found.append(LinkLine("request", f"Merge request {feature.request_number}", feature.request_url))
    for place in shown:
        if not place.url or place.state in {DeploymentState.RUNNING, DeploymentState.FAILED}:
            continue
        gone = " (removed)" if place.state is DeploymentState.GONE else ""
        found.append(LinkLine(str(place.kind), f"{TITLES[place.kind]} environment{gone}", place.url))
    return tuple(found)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= DESCRIPTION_LIMIT else words[: DESCRIPTION_LIMIT - 1].rstrip() + "…"
