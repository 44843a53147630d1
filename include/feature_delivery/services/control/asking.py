"""Asking people at a gate: one message that says who is meant and what they decide about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.messages import MessageKind
from feature_delivery.domain.people import VERDICTS, DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.services.control.flags import voices
from feature_delivery.services.control.history import notify

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha, PersonName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.records import Feature
    from feature_delivery.ports.ledger import Books, Unit

ASKED_AT_THE_GATE = {
    Step.WAIT_FOR_START: "{named}: who takes it?",
    Step.WAIT_FOR_VERDICT: "{named} runs in production. Keep it, or roll it back?",
    Step.WAIT_FOR_DEMONSTRATION: "{named} has shipped. Say when it was shown to the client.",
}
"""Gates without a step before them that tells people."""

ABOUT_CANDIDATE = frozenset({Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION, Step.WAIT_FOR_VERDICT})
"""Gates at which people look at what would ship, or has; at the others there is none yet, or it does not matter."""


def ask(unit: Unit, project: ProjectConfig, feature: Feature, gate: Step, text: str, *, marker: str = "") -> None:
    """Ask whoever may decide at a gate; once for each commit or candidate they would decide about."""
    policy = project.people.policies.get(gate)
    if policy is None:
        return
    candidate = candidate_of(unit.books, feature, gate)
    notify(
        unit,
        feature,
        marker or f"ask:{gate}",
        text,
        to=able(unit.books, project, feature, gate),
        kind=MessageKind.QUESTION,
        gate=gate.value,
        attempt=feature.attempt_number,
        candidate=candidate or "",
        roles=sorted(policy.roles),
    )


def ask_at_the_gate(unit: Unit, project: ProjectConfig, feature: Feature, gate: Step) -> None:
    """Ask at a gate before which no step has told anybody."""
    text = ASKED_AT_THE_GATE.get(gate)
    if text is not None:
        ask(unit, project, feature, gate, text.format(named=f"{feature.key} {feature.title}".strip()))


def able(books: Books, project: ProjectConfig, feature: Feature, gate: Step) -> tuple[PersonName, ...]:
    """Return everybody whose word may still count at a gate; everybody with the role if that is nobody."""
    policy = project.people.policies[gate]
    authors = project.people.authors_of(books.attempt(feature))
    heard = voices(books, project, feature)
    given = {v.person for v in heard if v.gate is gate}
    kind = DecisionKind.KEEP if policy.kinds == VERDICTS else DecisionKind.APPROVE
    everybody = project.people.with_role(*policy.roles)
    found = tuple(
        person
        for person in everybody
        if person not in given
        and project.people.may_decide(person, gate=gate, kind=kind, authors=authors, voices=heard)
    )
    return found or everybody


def candidate_of(books: Books, feature: Feature, gate: Step) -> CommitSha | None:
    """Return what would ship, where that is what people look at."""
    if gate not in ABOUT_CANDIDATE:
        return None
    candidate = books.candidate(feature, feature.attempt_number)
    return candidate.commit if candidate is not None else None
