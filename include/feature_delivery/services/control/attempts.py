"""Attempts: a newer commit, a rejection, and what both do to the run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from feature_delivery.domain.names import CommitSha
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import ORDER, Step, Who
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    Attempt,
    AttemptState,
    Feature,
    FeatureState,
    GateState,
    PromotionState,
    now,
)
from feature_delivery.ports.runs import AT_THE_GATE
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import alerts, authors, brake, turn
from feature_delivery.services.control.gates import rewind, rewind_later, run_of, settle
from feature_delivery.services.control.history import milestone, notify, record, send, tell_issue, tell_request

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit


@dataclass(frozen=True, slots=True)
class BranchFacts:
    """What the Git host says of a feature's branch, read before the transaction.

    Attributes:
        head: Where the branch is; ``None``: the listing lacks it.
        listing_has_production: Positive evidence: the same listing held the production branch.
        ahead: The head holds commits that production has not.
        emails: Addresses of everybody who wrote those commits.
        seen_at: When the host was asked.
    """

    head: CommitSha | None
    listing_has_production: bool
    ahead: bool = False
    emails: frozenset[str] = frozenset()
    seen_at: datetime | None = None


def observe_branch(unit: Unit, project: ProjectConfig, feature: Feature, facts: BranchFacts) -> str:
    """Take in where the branch is now; returns what that changed, for the log. The run's lock is held."""
    if feature.state is not FeatureState.ACTIVE:
        return f"{feature.key} is {feature.state}"
    if facts.head is None:
        return _seen_gone(unit, project, feature, facts)
    feature.branch_seen_gone = None
    feature.branch_head = facts.head
    attempt = unit.books.attempt(feature)
    if attempt is not None and attempt.commit == facts.head and attempt.state is not AttemptState.SUPERSEDED:
        feature.next_commit = None
        authors.note(project.people, attempt, _marks(feature, facts), names=feature.pushers)
        return f"{feature.branch} is at the commit of attempt {attempt.number} already"
    promotion = unit.books.promotion(feature, feature.attempt_number)
    if promotion is not None and promotion.state in OPEN_PROMOTIONS | {PromotionState.INTENDED}:
        feature.next_commit = facts.head
        record(unit, feature, "pushed", f"{facts.head[:10]} waits for the verdict on attempt {feature.attempt_number}.")
        return "waits for the verdict"
    if not facts.ahead:
        return _taken_back(unit, project, feature, attempt, facts.head)
    return begin(unit, project, feature, facts)


def begin(unit: Unit, project: ProjectConfig, feature: Feature, facts: BranchFacts) -> str:
    """Begin the next attempt with ``facts.head``: older decisions and permits do not count for it."""
    assert facts.head is not None
    before = unit.books.attempt(feature)
    _retire(unit, feature, before, AttemptState.SUPERSEDED, f"A newer commit, {facts.head[:10]}, was pushed.")
    feature.attempt_number += 1
    feature.next_commit, feature.rejected_commit, feature.rewind_to = None, None, None
    attempt = Attempt(feature_id=feature.id, number=feature.attempt_number, commit=facts.head)
    authors.note(project.people, attempt, _marks(feature, facts), names=feature.pushers)
    unit.books.add(attempt)
    turn.free(unit, project, feature)
    milestone(unit, project, feature, "attempt", f"Attempt {feature.attempt_number} begins with {facts.head[:10]}.")
    gate = unit.books.open_gate(feature)
    states = unit.runs.states(run_of(feature))
    waits = gate is not None and states.get(gate.step) in AT_THE_GATE
    if gate is not None and waits and ORDER[gate.step] <= ORDER[Step.WAIT_FOR_CODE]:
        settle(unit, project, feature)
        return f"attempt {feature.attempt_number} begins"
    if states.get(Step.DEPLOY_DEVELOPMENT, "none") != "none" or states.get(Step.WAIT_FOR_CODE) == "success":
        if before is not None and before.state is AttemptState.SUPERSEDED:
            text = f"{feature.key}: attempt {before.number} is superseded by {facts.head[:10]}; the checks run again."
            tell_request(unit, feature, "superseded", text)
        rewind(unit, feature, Step.DEPLOY_DEVELOPMENT)
    return f"attempt {feature.attempt_number} begins"


def _marks(feature: Feature, facts: BranchFacts) -> set[str]:
    """Return the addresses and logins of everybody who wrote, pushed or opened what the branch holds.

    Whoever pushed to it once: what they brought is below what others pushed later.
    """
    return {*facts.emails, *feature.strangers, feature.request_author}


def _retire(unit: Unit, feature: Feature, attempt: Attempt | None, state: AttemptState, reason: str) -> None:
    if attempt is not None and attempt.state is AttemptState.ACTIVE:
        attempt.state, attempt.reason, attempt.ended_at = state, reason, now()
    # What runs before the code is not about a commit: it goes on.
    void_permits(unit, feature, behind=None if state is AttemptState.DROPPED else Step.WAIT_FOR_CODE, reason=reason)


def void_permits(unit: Unit, feature: Feature, *, behind: Step | None, reason: str) -> None:
    """Take back the permits of the steps after ``behind`` that are at work; ``None``: of every step."""
    for permit in unit.books.permits(feature):
        if permit.state == "granted" and (behind is None or ORDER[permit.step] > ORDER[behind]):
            permit.state, permit.reason = "void", reason


def _taken_back(unit: Unit, project: ProjectConfig, feature: Feature, attempt: Attempt | None, head: CommitSha) -> str:
    if attempt is None or attempt.state is not AttemptState.ACTIVE:
        return f"{feature.branch} holds nothing that production has not"
    reason = f"{feature.branch} was moved to {head[:10]}, which holds nothing that production has not."
    _retire(unit, feature, attempt, AttemptState.SUPERSEDED, reason)
    turn.free(unit, project, feature)
    rewind(unit, feature, Step.WAIT_FOR_CODE)
    return reason


def _seen_gone(unit: Unit, project: ProjectConfig, feature: Feature, facts: BranchFacts) -> str:
    """Absence is not deletion: seen twice, far enough apart, in listings that hold production."""
    if feature.branch_head is None or not facts.listing_has_production:
        return "no evidence that the branch was deleted"
    seen = facts.seen_at or now()
    if feature.branch_seen_gone is None:
        feature.branch_seen_gone = seen
        record(unit, feature, "branch_missing", f"{feature.branch} is not on the host; looked at again later.")
        return "missing for the first time"
    if seen - feature.branch_seen_gone < project.choices.abandon_after:
        return "still missing, not for long enough"
    promotion = unit.books.promotion(feature)
    if promotion is not None and promotion.state in OPEN_PROMOTIONS | {PromotionState.INTENDED}:
        return "missing, but production waits for its verdict"
    give_up(unit, project, feature, FeatureState.ABANDONED, f"Its branch {feature.branch} was deleted.")
    return "abandoned"


def reject(
    unit: Unit, project: ProjectConfig, feature: Feature, reason: str, *, person: str, later: bool = False
) -> None:
    """Send the attempt back to its developer: a decision, not an error.

    ``later``: a task of the run is running and asks for this itself; the run is rewound when it parks next.
    """
    attempt = unit.books.attempt(feature)
    assert attempt is not None
    _retire(unit, feature, attempt, AttemptState.REJECTED, reason)
    feature.rejected_commit = attempt.commit
    turn.free(unit, project, feature)
    record(unit, feature, "rejected", reason, person=person)
    text = f"{feature.key}, attempt {attempt.number} ({attempt.commit[:10]}), goes back to its developer. {reason}"
    tell_issue(unit, feature, "rejected", text, state=IssueState.IN_PROGRESS)
    tell_request(unit, feature, "rejected", text)
    notify(unit, feature, "rejected", text, to=attempt.authors or project.people.with_role(Who.DEVELOPER))
    if later:
        rewind_later(unit, feature, Step.WAIT_FOR_CODE)
    else:
        rewind(unit, feature, Step.WAIT_FOR_CODE)


def give_up(
    unit: Unit, project: ProjectConfig, feature: Feature, state: FeatureState, reason: str, *, person: str = ""
) -> None:
    """End the feature without shipping it: the run is stopped, teardown follows.

    ``person``: who said so here. Nobody did where a host shows that branches or issues are gone: when that happens to
    many at once, teardown waits for an operator's word.
    """
    feature.state, feature.reason, feature.ended_at, feature.rewind_to = state, reason, now(), None
    _retire(unit, feature, unit.books.attempt(feature), AttemptState.DROPPED, reason)
    gate = unit.books.open_gate(feature)
    if gate is not None:
        gate.state, gate.outcome, gate.resolved_at, gate.ended = GateState.CLOSED, str(state), now(), True
    turn.free(unit, project, feature)
    alerts.ended(unit, feature, f"The delivery was {state}.")
    milestone(unit, project, feature, str(state), reason, person=person)
    tell_issue(unit, feature, str(state), f"The delivery of {feature.key} has ended: {reason}")
    if feature.request_number is not None:
        send(unit, feature, Errand.REQUEST_STATE, str(state), {"number": feature.request_number, "state": "closed"})
    unit.runs.stop(run_of(feature))
    if not person:
        brake.after_giving_up(unit, project)
