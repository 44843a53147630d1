"""Flags: whether a gate is up, and if not, what it waits for. Pure reading; nothing is changed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from feature_delivery.domain.freezes import freeze_at
from feature_delivery.domain.people import DEFAULT_POLICIES, SIGN_OFFS, DecisionKind, Voice
from feature_delivery.domain.process import CHECKS, ORDER, Step, Who
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    Attempt,
    AttemptState,
    CandidateRecord,
    Feature,
    FeatureState,
    Gate,
    PermitRecord,
    PromotionState,
    now,
)
from feature_delivery.domain.ways import Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from feature_delivery.domain.freezes import Freeze
    from feature_delivery.domain.names import CommitSha, PersonName, TreeSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books


RUN_ENDED = "Its run was ended in Airflow"
"""How a gate is blocked whose run somebody has ended (``ended_runs``); by it, that is taken back."""


@dataclass(frozen=True, slots=True)
class Flag:
    """State of a gate.

    Attributes:
        outcome: Not empty: the flag is up, with this value.
        over: The feature has ended; nobody waits here any more.
        blocked: Something failed before this gate: nobody can decide until it is mended; says what.
        waits_for: The sentence for whoever asks.
        until: When it goes on by itself, when that is known.
    """

    outcome: str = ""
    over: bool = False
    blocked: str = ""
    waits_for: str = ""
    until: datetime | None = None


class Said(Protocol):
    """A decision, as far as it is asked whether it counts."""

    @property
    def step(self) -> Step:
        """The gate."""

    @property
    def person(self) -> PersonName:
        """Who said it."""

    @property
    def kind(self) -> DecisionKind:
        """What was said."""

    @property
    def accepted(self) -> bool:
        """Whether it was accepted when it was said."""

    @property
    def candidate(self) -> CommitSha | None:
        """The candidate at that time."""

    @property
    def way(self) -> str:
        """By which way it was said."""


def voices(books: Books, project: ProjectConfig, feature: Feature) -> tuple[Voice, ...]:
    """Return the decisions that count for the current attempt.

    Where sign-offs do not survive a refresh of the candidate, those given on an older candidate are left out.
    """
    candidate = books.candidate(feature, feature.attempt_number)
    attempt = books.attempt(feature)
    said = books.decisions(feature, feature.attempt_number)
    authors = project.people.authors_of(attempt)
    return counted(project, said, authors=authors, candidate=candidate.commit if candidate else None)


def counted(
    project: ProjectConfig, said: Iterable[Said], *, authors: frozenset[PersonName], candidate: CommitSha | None
) -> tuple[Voice, ...]:
    """Return what counts of what was ``said`` about an attempt, whose newest candidate is ``candidate``."""
    barred = () if project.people.solo else authors
    found = []
    for decision in said:
        if not decision.accepted:
            continue
        glass = decision.way == Way.BREAK_GLASS
        approves = decision.step in SIGN_OFFS and decision.kind is DecisionKind.APPROVE
        if approves and decision.person in barred and not glass:
            continue  # who opened the request, or pushed, may become known after the approval
        bound = decision.step in {Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION}
        if bound and not project.choices.sign_offs_survive_refresh and decision.candidate != candidate:
            continue
        found.append(Voice(gate=decision.step, person=decision.person, kind=decision.kind, glass=glass))
    return tuple(found)


def missing_sign_offs(books: Books, project: ProjectConfig, feature: Feature, *gates: Step) -> str:
    """Return which of ``gates`` the attempt has not passed, as a sentence; empty when none."""
    heard = voices(books, project, feature)
    lacking = [gate for gate in gates if not project.people.satisfied(gate, heard)]
    return f"Attempt {feature.attempt_number} lacks the approval of {', '.join(lacking)}." if lacking else ""


def red_checks(books: Books, feature: Feature, attempt: Attempt) -> str:
    """Return why the checks of the attempt do not count as green; empty when they do."""
    for step in sorted(CHECKS, key=ORDER.__getitem__):
        result = books.suite_result(feature, attempt.number, step)
        if result is None or result.commit != attempt.commit:
            failure = last_failure(books, feature, before=Step.WAIT_FOR_MERGE_REQUEST)
            return failure or f"{step} has no result for {attempt.commit[:10]}."
        if result.red:
            return result.red
    return ""


def untested(books: Books, feature: Feature, candidate: CandidateRecord | None) -> str:
    """Return why the candidate does not count as tested in pre-production; empty when it does."""
    if candidate is None:
        return last_failure(books, feature, before=Step.WAIT_FOR_ACCEPTANCE) or "No candidate has been built."
    result = books.suite_result(feature, feature.attempt_number, Step.TEST_PREPROD)
    if candidate.integration_green and result is not None and result.commit == candidate.commit and not result.red:
        return ""
    if result is not None and result.commit == candidate.commit and result.red:
        return result.red
    failure = last_failure(books, feature, before=Step.WAIT_FOR_VERDICT)
    return failure or f"Candidate {candidate.commit[:10]} has not passed integration tests."


def rolled_back_before(books: Books, project: ProjectConfig, tree: TreeSha) -> str:
    """Return that this very content was taken back from production before, as a sentence; empty when it was not.

    Kept once since, it is good again. Whatever the commit is called: the same files do the same.
    """
    decided = books.promotions(project.name, tree=tree, states=_DECIDED)
    if not decided or (newest := decided[-1]).state is PromotionState.KEPT:
        return ""
    key = books.feature_by_id(newest.feature_id).key
    when = f" on {newest.moved_at:%Y-%m-%d}" if newest.moved_at else ""
    return (
        f"Its files are those of {newest.candidate[:10]} ({key}), which went to production{when} and was rolled back. "
        "Push a commit that changes what went wrong."
    )


def not_ready(books: Books, project: ProjectConfig, feature: Feature, candidate: CandidateRecord | None) -> str:
    """Return why the feature may not take its turn in production; empty when it may."""
    bad = rolled_back_before(books, project, candidate.tree) if candidate is not None else ""
    return bad or missing_sign_offs(books, project, feature, *sign_offs(project))


_DECIDED = (PromotionState.KEPT, PromotionState.ROLLING_BACK, PromotionState.ROLLED_BACK)


def last_failure(books: Books, feature: Feature, *, before: Step) -> str:
    """Return what the newest unsuccessful step of the attempt before a gate said; empty when they went well.

    Steps behind the gate say nothing about it: they failed on an earlier way through, and come again.
    """
    newest: dict[Step, str] = {}
    for permit in books.permits(feature):
        if permit.attempt == feature.attempt_number and ORDER[permit.step] < ORDER[before]:
            newest[permit.step] = f"{permit.step}: {permit.reason}" if permit.state == "failed" else ""
    return next((text for _step, text in sorted(newest.items(), key=lambda i: -ORDER[i[0]]) if text), "")


def flag(books: Books, project: ProjectConfig, feature: Feature, gate: Step) -> Flag:
    """Return the state of ``gate`` for ``feature`` as of now."""
    if feature.state.ended_without_shipping:
        return Flag(over=True, waits_for=f"{feature.key} was {feature.state}: {feature.reason}")
    late = {Step.WAIT_FOR_DEMONSTRATION, Step.WAIT_FOR_VERDICT}
    if feature.state is not FeatureState.ACTIVE and gate not in late:
        # Skipped gates would skip the verdict and with it the completion: let the run come to it.
        return Flag(over=True) if gate is Step.WAIT_FOR_REWORK else Flag(outcome="shipped")
    promotion = books.promotion(feature, feature.attempt_number)
    if promotion is not None and promotion.state in OPEN_PROMOTIONS and ORDER[gate] < ORDER[Step.WAIT_FOR_VERDICT]:
        return Flag(outcome="in production")  # a run cleared by hand must come to the verdict
    if gate in DEFAULT_POLICIES and gate not in project.people.policies:
        return Flag(outcome="not asked in this project")
    match gate:
        case Step.WAIT_FOR_START:
            return _start(books, project, feature)
        case Step.WAIT_FOR_CODE:
            return _code(books, feature)
        case Step.WAIT_FOR_VERDICT:
            return _verdict(books, project, feature)
        case Step.WAIT_FOR_REWORK:
            return _rework(books, feature)
        case Step.WAIT_FOR_DEMONSTRATION:
            return _demonstration(books, project, feature)
        case _:
            return _of_attempt(books, project, feature, gate)


def shown(books: Books, project: ProjectConfig, feature: Feature, gate: Gate) -> Flag:
    """Return the state of the open ``gate`` for people: a run that was ended keeps it from what its flag says."""
    if gate.blocked.startswith(RUN_ENDED):
        return Flag(blocked=gate.blocked)
    return flag(books, project, feature, gate.step)


def _start(books: Books, project: ProjectConfig, feature: Feature) -> Flag:
    if failure := last_failure(books, feature, before=Step.WAIT_FOR_START):
        return Flag(blocked=failure)
    if feature.started or not project.choices.start_gate:
        return Flag(outcome="started")
    return Flag(waits_for=f"Somebody to take {feature.key}: assign it, move it to in progress, or approve the start.")


def _code(books: Books, feature: Feature) -> Flag:
    attempt = books.attempt(feature)
    if attempt is not None and attempt.state is AttemptState.ACTIVE:
        return Flag(outcome=f"attempt {attempt.number}: {attempt.commit}")
    if feature.branch is None:
        failure = last_failure(books, feature, before=Step.WAIT_FOR_CODE)
        return Flag(blocked=failure or f"{feature.key} has no branch.")
    what = "A commit that is not the rejected one" if feature.rejected_commit else "The first commit"
    return Flag(waits_for=f"{what} on {feature.branch}.")


def _verdict(books: Books, project: ProjectConfig, feature: Feature) -> Flag:
    promotion = books.promotion(feature, feature.attempt_number)
    if promotion is not None and promotion.state is PromotionState.INTENDED and feature.state is FeatureState.ACTIVE:
        # Whether it has moved the branch only the step itself can say: it ended without a word.
        return Flag(
            blocked=f"The promotion has begun and may have moved production. Clear {Step.PROMOTE} to finish it."
        )
    if promotion is None or promotion.state in {PromotionState.DROPPED, PromotionState.INTENDED}:
        if feature.state is not FeatureState.ACTIVE:
            return Flag(over=True)
        failure = last_failure(books, feature, before=Step.WAIT_FOR_VERDICT)
        return Flag(blocked=failure or "Nothing was promoted.")
    if promotion.state is PromotionState.KEPT:
        return Flag(outcome=DecisionKind.KEEP)
    if promotion.state in {PromotionState.ROLLING_BACK, PromotionState.ROLLED_BACK}:
        return Flag(outcome=DecisionKind.ROLL_BACK)
    who = ", ".join(project.people.with_role(*project.people.policies[Step.WAIT_FOR_VERDICT].roles)) or "nobody"
    evidence = production_evidence(books, feature)
    said = evidence.text
    if promotion.irreversible:
        said = f"Its migration has no way back: a rollback leaves the data as they are. {said}"
    row = books.project(project.name)
    if row is not None and row.frozen_reason:
        return Flag(waits_for=f"{row.frozen_reason} Keep or roll back: {who} may say so. {said}")
    return Flag(waits_for=f"Keep or roll back: {who} may say so. {said}")


def _rework(books: Books, feature: Feature) -> Flag:
    promotion = books.promotion(feature, feature.attempt_number)
    if promotion is not None and promotion.state is PromotionState.ROLLING_BACK:
        failure = last_failure(books, feature, before=Step.WAIT_FOR_REWORK)
        return Flag(blocked=failure or "The rollback is not finished: production stays locked.")
    if promotion is not None and promotion.state in OPEN_PROMOTIONS:
        return Flag(blocked=f"{feature.key} is in production: keep it or roll it back.")
    return Flag(waits_for=f"A new commit on {feature.branch}, or the cancellation of {feature.key}.")


def _demonstration(books: Books, project: ProjectConfig, feature: Feature) -> Flag:
    if feature.state is FeatureState.DELIVERED or project.people.satisfied(
        Step.WAIT_FOR_DEMONSTRATION, voices(books, project, feature)
    ):
        return Flag(outcome="shown")
    if feature.state is FeatureState.ACTIVE:
        # Somebody has marked the verdict's task by hand: the verdict itself can be given as ever.
        promotion = books.promotion(feature)
        there = promotion is not None and promotion.state in OPEN_PROMOTIONS
        to_do = f"{feature.key} is in production: keep it or roll it back."
        return Flag(blocked=to_do if there else f"{feature.key} has not been kept in production.")
    return Flag(waits_for=f"The client to be shown {feature.key}.")


def _of_attempt(books: Books, project: ProjectConfig, feature: Feature, gate: Step) -> Flag:
    attempt = books.attempt(feature)
    if attempt is None or attempt.state is not AttemptState.ACTIVE:
        return Flag(blocked=f"Attempt {feature.attempt_number} is {attempt.state if attempt else 'not there'}.")
    if gate is Step.WAIT_FOR_MERGE_REQUEST:
        if red := red_checks(books, feature, attempt):
            return Flag(blocked=red)
        if feature.request_number is not None:
            return Flag(outcome=f"request {feature.request_number}")
        return Flag(waits_for=f"A merge request from {feature.branch} to {project.branches.preprod}.")
    if gate is not Step.WAIT_FOR_REVIEW and (red := _not_shippable(books, project, feature)):
        return Flag(blocked=red)
    if gate is Step.WAIT_FOR_TURN:
        return _turn(books, project, feature)
    heard = voices(books, project, feature)
    if project.people.satisfied(gate, heard):
        return Flag(outcome=DecisionKind.APPROVE)
    policy = project.people.policies[gate]
    given = {v.person for v in heard if v.gate == gate and v.kind is DecisionKind.APPROVE}
    able = ", ".join(name for name in project.people.with_role(*policy.roles) if name not in given) or "nobody"
    return Flag(waits_for=f"{policy.count - len(given)} approval of: {able}.")


def _not_shippable(books: Books, project: ProjectConfig, feature: Feature) -> str:
    """Return why nobody needs to look at the candidate: it cannot ship, whatever they say."""
    candidate = books.candidate(feature, feature.attempt_number)
    return untested(books, feature, candidate) or (
        rolled_back_before(books, project, candidate.tree) if candidate else ""
    )


def _turn(books: Books, project: ProjectConfig, feature: Feature) -> Flag:
    if lacking := missing_sign_offs(books, project, feature, *sign_offs(project)):
        return Flag(blocked=lacking)
    record = books.project(project.name)
    if record is not None and record.frozen_reason:
        return Flag(waits_for=f"Production is frozen: {record.frozen_reason}")
    if (freeze := frozen(books, project, feature)) is not None:
        return Flag(waits_for=frozen_sentence(project, freeze), until=freeze.until)
    if record is not None and record.lock_feature_id == feature.id:
        return Flag(outcome="turn")
    holder = books.feature_by_id(record.lock_feature_id).key if record and record.lock_feature_id else "nobody"
    return Flag(waits_for=f"Production is held by {holder}.")


def frozen(books: Books, project: ProjectConfig, feature: Feature) -> Freeze | None:
    """Return the freeze of the project's calendar that keeps ``feature`` from production now.

    Not one that somebody has overridden for this attempt since it began; and not once production's branch may have
    moved: a freeze that begins then must not stop it half way.
    """
    freeze = freeze_at(project.freezes, now()) if project.freezes else None
    promotion = books.promotion(feature, feature.attempt_number)
    if freeze is None or (promotion is not None and promotion.state is not PromotionState.DROPPED):
        return None
    overridden = any(
        d.accepted and d.kind is DecisionKind.OVERRIDE and d.step is Step.WAIT_FOR_TURN and d.at >= freeze.since
        for d in books.decisions(feature, feature.attempt_number)
    )
    return None if overridden else freeze


def frozen_sentence(project: ProjectConfig, freeze: Freeze) -> str:
    """Say until when nothing is promoted, and who may break glass."""
    able = ", ".join(project.people.with_role(Who.OPERATOR)) or "nobody"
    return (
        f"{freeze.name} freezes production until {freeze.ends} ({freeze.zone}). May override it, with a reason: {able}."
    )


def sign_offs(project: ProjectConfig) -> tuple[Step, ...]:
    """Return the gates that people must approve before production."""
    return tuple(gate for gate in SIGN_OFFS if gate in project.people.policies)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of production after the promotion: ``outcome`` is pass, fail or no_data."""

    outcome: str
    text: str


def production_evidence(books: Books, feature: Feature) -> Evidence:
    """Judge production by deploy, integration tests and observation; no data is never a pass."""
    promotion = books.promotion(feature, feature.attempt_number)
    if promotion is None or promotion.state not in OPEN_PROMOTIONS:
        return Evidence("no_data", "Nothing is promoted.")
    if promotion.state in {PromotionState.UNCERTAIN, PromotionState.MOVED}:
        failure = last_failure(books, feature, before=Step.WAIT_FOR_VERDICT)
        return Evidence("fail", failure or "The deploy to production has not succeeded.")
    result = books.suite_result(feature, feature.attempt_number, Step.TEST_PRODUCTION)
    if result is None or result.commit != promotion.candidate:
        return Evidence("no_data", "No integration test has run in production.")
    newest = {p.step: p for p in books.permits(feature) if p.attempt == promotion.attempt}
    if silent := _without_result(newest, Step.TEST_PRODUCTION, kind="suite_done"):
        return Evidence("no_data", silent)
    if result.red:
        return Evidence("fail", result.red)
    outcome, said = "no_data", _without_result(newest, Step.OBSERVE_PRODUCTION, kind="observed")
    if not said and Step.OBSERVE_PRODUCTION in newest:
        found = newest[Step.OBSERVE_PRODUCTION].result
        outcome, said = str(found.get("outcome", "no_data")), " ".join(found.get("evidence", ()))
    return Evidence(outcome, f"{result.executed} integration tests passed. {said}".strip())


def _without_result(newest: Mapping[Step, PermitRecord], step: Step, *, kind: str) -> str:
    """Return why what ``step`` found says nothing about production as it is now; empty when it does, or never ran.

    ``newest``: the newest permit of each step. A step that was cleared and then could not run leaves the result of an
    earlier time behind.
    """
    permit, deployed = newest.get(step), newest.get(Step.DEPLOY_PRODUCTION)
    if permit is None:
        return ""
    if permit.result.get("kind") != kind:
        return f"{step}: {permit.reason}" if permit.reason else f"{step} was begun and has not said how it ended."
    return f"{step} has not run since the last deploy." if deployed is not None and deployed.id > permit.id else ""
