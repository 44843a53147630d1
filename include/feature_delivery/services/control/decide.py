"""What a person says at a gate: recorded always, counted when the policy allows, and acted upon at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.names import CommitSha, PersonName
from feature_delivery.domain.people import SIGN_OFFS, Answer, DecisionKind, Voice
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    Attempt,
    AttemptState,
    Decision,
    Feature,
    FeatureState,
    PromotionState,
    now,
)
from feature_delivery.domain.ways import Way
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import attempts, authors, issues, tallies, turn, verdict
from feature_delivery.services.control.asking import ABOUT_CANDIDATE, candidate_of
from feature_delivery.services.control.flags import voices
from feature_delivery.services.control.gates import enter, settle
from feature_delivery.services.control.history import milestone, record, tell_issue

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit

REPEATED_WITHIN = timedelta(minutes=5)
"""Pages and hosts that got no answer send the same again within this time."""

STANDS = frozenset({AttemptState.ACTIVE, AttemptState.PROMOTED, AttemptState.SHIPPED})
"""States of an attempt that nobody has turned down and nothing has taken the place of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """One decision as it comes in.

    Attributes:
        commit: The feature commit the person looked at; a decision about another one is refused. ``None``: whatever
            the feature is at.
        attempt: The number of the attempt they looked at, likewise.
        candidate: What of it they looked at, likewise; empty: there was none. Where sign-offs survive a refresh, an
            older one of the same attempt will do.
        way: By which way it was said.
        address: Where the request came from, as far as the way tells.
        origin: The page there where it can be taken back (``request 12``); empty: it stays said.
    """

    person: PersonName
    gate: Step
    kind: DecisionKind
    comment: str = ""
    commit: CommitSha | None = None
    attempt: int | None = None
    candidate: CommitSha | Literal[""] | None = None
    way: Way = Way.REST
    address: str = ""
    origin: str = ""


def decide(unit: Unit, project: ProjectConfig, run_id: str, say: Say) -> Answer:
    """Record what was said; count it when it may count.

    The same person saying the same again at the same gate of the same attempt changes nothing. A decision that may
    not count is recorded with its reason, and the gate stays open; sent twice by a page or a host that tries again,
    it is recorded once.

    Raises:
        Unavailable: Whether it counts hangs on who is in the groups, which is not known at the moment: nothing is
            recorded, it can be said again.
    """
    feature = enter(unit, project, run_id)
    if (attempt := unit.books.attempt(feature)) is not None:
        authors.note(project.people, attempt)
    if why := unclear(unit.books, project, feature, say):
        raise Unavailable(why)
    if _said_already(unit, project, feature, say):
        return Answer(yes=True, reason=f"{say.person} has said so already.")
    answer = _may(unit, project, feature, say)
    if not answer and _refused_just_now(unit, feature, say, answer):
        return answer
    return _take(unit, project, feature, say, answer)


def roll_back_at_hand(unit: Unit, project: ProjectConfig, run_id: str, say: Say) -> Answer:
    """Take back what was promoted on the word of whoever has the database itself, though nobody of the project.

    They could do anything to it; so their word counts, and is recorded under their own name, as nobody's role.
    """
    feature = enter(unit, project, run_id)
    about = still_about(unit, project, feature, say)
    return _take(unit, project, feature, say, about and _may_give_verdict(unit, feature, say))


def _take(unit: Unit, project: ProjectConfig, feature: Feature, say: Say, answer: Answer) -> Answer:
    keep_record(unit, project, feature, say, answer)
    if answer:
        act(unit, project, feature, say)
    return answer


def refuse(unit: Unit, project: ProjectConfig, run_id: str, say: Say, *, reason: str) -> Feature:
    """Keep what was refused already, by the way it came; returns the feature."""
    feature, answer = enter(unit, project, run_id), Answer(yes=False, reason=reason)
    if not _refused_just_now(unit, feature, say, answer):
        keep_record(unit, project, feature, say, answer)
    return feature


def keep_record(unit: Unit, project: ProjectConfig, feature: Feature, say: Say, answer: Answer) -> None:
    """Write the row of the audit and the line of the history, whether it counts or not."""
    candidate = unit.books.candidate(feature, feature.attempt_number)
    attempt = unit.books.attempt(feature)
    unit.books.add(
        Decision(
            feature_id=feature.id,
            step=say.gate,
            attempt=feature.attempt_number,
            commit=attempt.commit if attempt else None,
            candidate=candidate.commit if candidate else None,
            origin=say.origin,
            person=PersonName(say.person[:80]),
            kind=say.kind,
            accepted=answer.yes,
            way=say.way,
            role=project.people.role_at(say.person, say.gate)[:120],
            address=say.address[:64],
            comment=say.comment[:4000],
            reason=answer.reason,
        )
    )
    tallies.decided(unit.books, project.name, say.gate, say.kind, counted=answer.yes)
    said = f"{say.person}: {say.kind} at {say.gate}" + (f": {say.comment}" if say.comment else "")
    record(
        unit,
        feature,
        "decided" if answer else "refused",
        said if answer else f"{said} ({answer.reason})",
        person=say.person[:80],
        step=say.gate,
    )


def may(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> Answer:
    """Say whether a decision would count now, with the sentence of its refusal; nothing is changed or recorded."""
    if why := unclear(unit.books, project, feature, say):
        return Answer(yes=False, reason=why)
    return _may(unit, project, feature, say)


def unclear(books: Books, project: ProjectConfig, feature: Feature, say: Say) -> str:
    """Return why nobody can say now whether a word counts; empty when it can be said.

    While it is not known who is in the groups, the speaker may be one of them, or have an address by them under which a
    commit was written that means nobody so far. A word that needs no group counts as ever: production may burn.
    """
    policy = project.people.policies.get(say.gate)
    if why := project.unclear(say.person, *(policy.roles if policy is not None else ())):
        return why
    if project.people.known or project.people.solo or say.gate not in SIGN_OFFS or say.kind is not DecisionKind.APPROVE:
        return ""
    attempt = books.attempt(feature)
    if attempt is None or not attempt.strangers or say.person in attempt.authors:
        return ""
    return (
        f"Could not look up whether {say.person} worked on {attempt.commit[:10]}: it has authors whom nobody here is "
        "known to be, and the service that people log in with has not said lately who is in the groups. Say it again "
        "when it answers."
    )


def _refused_just_now(unit: Unit, feature: Feature, say: Say, answer: Answer) -> bool:
    """Say whether this very word was refused moments ago: it is the same request once more."""
    known = [d for d in unit.books.decisions(feature, feature.attempt_number) if d.person == say.person[:80]]
    if not known or known[-1].accepted or known[-1].at < now() - REPEATED_WITHIN:
        return False
    last = known[-1]
    return (last.step, last.kind, last.way, last.comment, last.reason) == (
        say.gate,
        say.kind,
        say.way,
        say.comment[:4000],
        answer.reason,
    )


def _said_already(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> bool:
    """Say whether this is said once more: it counted, and nobody has turned it down since.

    Whether it may count is no question then: what follows from a word (a rejection, a verdict, a promotion) keeps the
    same word from counting once more.
    """
    mine = [
        d
        for d in unit.books.decisions(feature, feature.attempt_number)
        if d.accepted and d.person == say.person and d.step is say.gate
    ]
    if not mine or mine[-1].kind is not say.kind or _moved_on(unit.books, project, feature, say):
        return False
    if say.kind is not DecisionKind.APPROVE:
        return True
    attempt = unit.books.attempt(feature)
    stands = attempt is None or attempt.state in STANDS
    # An approval that a refreshed candidate has voided may be given again.
    counts = Voice(gate=say.gate, person=say.person, kind=say.kind) in voices(unit.books, project, feature)
    return counts and stands and not feature.state.ended_without_shipping


def _may(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> Answer:
    if say.person not in project.people.persons:
        return Answer(yes=False, reason=project.stranger(say.person))
    if not (about := still_about(unit, project, feature, say)):
        return about
    attempt = unit.books.attempt(feature)
    if say.gate in SIGN_OFFS and not (stage := _may_sign(unit, feature, attempt)):
        return stage
    if say.gate is Step.WAIT_FOR_VERDICT and not (verdict_may := _may_give_verdict(unit, feature, say)):
        return verdict_may
    if say.gate is Step.WAIT_FOR_DEMONSTRATION and feature.state is not FeatureState.SHIPPED:
        return Answer(yes=False, reason=f"{feature.key} has not been kept in production: it cannot be shown yet.")
    if say.kind is DecisionKind.REJECT and not say.comment.strip():
        return Answer(yes=False, reason="A rejection needs a comment that tells the developer why.")
    return project.people.may_decide(
        say.person,
        gate=say.gate,
        kind=say.kind,
        authors=project.people.authors_of(attempt),
        voices=voices(unit.books, project, feature),
    )


def still_about(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> Answer:
    """Say whether there is still something to decide, and whether it is what the person looked at."""
    if feature.state.ended_without_shipping or feature.state is FeatureState.DELIVERED:
        return Answer(yes=False, reason=f"{feature.key} was {feature.state}: there is nothing to decide any more.")
    why = _moved_on(unit.books, project, feature, say)
    return Answer(yes=not why, reason=why)


def _moved_on(books: Books, project: ProjectConfig, feature: Feature, say: Say) -> str:
    """Return that the person looked at something else than what they would decide about; empty when they did not."""
    attempt, seen, at = books.attempt(feature), "", ""
    if say.commit is not None and (attempt is None or say.commit != attempt.commit):
        seen, at = say.commit[:10], attempt.commit[:10] if attempt else "no commit yet"
    elif say.attempt is not None and say.attempt != feature.attempt_number:
        seen, at = f"attempt {say.attempt}", f"attempt {feature.attempt_number}"
    elif say.candidate is not None and not _will_do(books, project, feature, say.gate, say.candidate):
        newest = candidate_of(books, feature, say.gate) or "none yet"
        seen, at = f"candidate {say.candidate[:10] or 'none yet'}", f"candidate {newest[:10]}"
    return f"This was said about {seen}, but {feature.key} is at {at}: look again." if seen else ""


def _will_do(books: Books, project: ProjectConfig, feature: Feature, gate: Step, candidate: CommitSha | str) -> bool:
    """Say whether who looked at ``candidate`` may decide about the newest one."""
    if gate not in ABOUT_CANDIDATE or candidate == (candidate_of(books, feature, gate) or ""):
        return True
    if gate not in SIGN_OFFS or not project.choices.sign_offs_survive_refresh or not candidate:
        return False
    built = books.candidates_of(CommitSha(candidate))
    return any(one.feature_id == feature.id and one.attempt == feature.attempt_number for one in built)


def _may_give_verdict(unit: Unit, feature: Feature, say: Say) -> Answer:
    try:
        verdict.may_be_given(unit, feature, keep=say.kind is DecisionKind.KEEP)
    except Refused as error:
        return Answer(yes=False, reason=str(error))
    return Answer(yes=True)


def _may_sign(unit: Unit, feature: Feature, attempt: Attempt | None) -> Answer:
    if attempt is None:
        return Answer(yes=False, reason=f"{feature.key} has no commit yet: there is nothing to sign off.")
    promotion = unit.books.promotion(feature, attempt.number)
    if attempt.state is AttemptState.ACTIVE and (
        promotion is None or promotion.state not in OPEN_PROMOTIONS | {PromotionState.INTENDED}
    ):
        return Answer(yes=True)
    state = str(attempt.state)
    if promotion is not None and promotion.state is not PromotionState.DROPPED:
        state = "being promoted" if promotion.state is PromotionState.INTENDED else "in production"
    return Answer(yes=False, reason=f"Attempt {attempt.number} of {feature.key} is {state}: its sign-offs are closed.")


def act(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> None:
    """Do what follows from a decision that counts."""
    match say.kind:
        case DecisionKind.REJECT:
            attempts.reject(unit, project, feature, f"{say.person} at {say.gate}: {say.comment}", person=say.person)
        case DecisionKind.KEEP:
            verdict.keep(unit, project, feature, say.comment, person=say.person)
        case DecisionKind.ROLL_BACK:
            reason = say.comment or f"{say.person} decided so."
            verdict.roll_back(unit, project, feature, reason, person=say.person)
        case DecisionKind.APPROVE | DecisionKind.OVERRIDE | DecisionKind.FREE_LOCK:
            _approve(unit, project, feature, say)


def _approve(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> None:
    if say.gate is Step.WAIT_FOR_START:
        issues.take(unit, project, feature, say.person)
    settle(unit, project, feature)
    if say.gate in SIGN_OFFS or say.gate is Step.WAIT_FOR_TURN:
        turn.grant(unit, project)
    if say.gate is Step.WAIT_FOR_DEMONSTRATION:
        _delivered(unit, project, feature)


def _delivered(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    if project.people.satisfied(Step.WAIT_FOR_DEMONSTRATION, voices(unit.books, project, feature)):
        feature.state, feature.ended_at = FeatureState.DELIVERED, now()
        text = f"{feature.key} was shown to the client."
        milestone(unit, project, feature, "delivered", text)
        tell_issue(unit, feature, "shown", text, state=IssueState.DONE)


def cancel(unit: Unit, project: ProjectConfig, run_id: str, reason: str, *, person: str) -> None:
    """Give the feature up: its run is stopped, everything of it is torn down.

    Raises:
        Refused: It is in production without a verdict, or it has ended.
    """
    feature = enter(unit, project, run_id)
    if feature.state is not FeatureState.ACTIVE:
        raise Refused(f"{feature.key} is {feature.state}: there is nothing to cancel.")
    promotion = unit.books.promotion(feature)
    if promotion is not None and promotion.state is PromotionState.INTENDED:
        raise Refused(f"{feature.key} is being promoted: let {Step.PROMOTE} end, or clear it when it has stopped.")
    if promotion is not None and promotion.state in OPEN_PROMOTIONS:
        raise Refused(f"{feature.key} is in production and waits for its verdict: roll it back or keep it first.")
    text = f"{person} cancelled it. {reason}".strip()
    attempts.give_up(unit, project, feature, FeatureState.CANCELLED, text, person=person)
