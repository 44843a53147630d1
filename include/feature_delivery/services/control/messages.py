"""What a message says: worked out from the ledger when it is sent, and again when something has happened since.

So a question that was decided while the chat was down arrives without buttons, and says who decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.masking import masked
from feature_delivery.domain.messages import MessageKind
from feature_delivery.domain.names import CommitSha, FeatureKey, PersonName, ProjectName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.records import AttemptState, Decision, Feature
from feature_delivery.domain.ways import Way
from feature_delivery.ports.messenger import Link, Message, Question
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control.asking import candidate_of
from feature_delivery.services.control.flags import flag, production_evidence, sign_offs

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books

LOOKED_AT: dict[Step, EnvironmentKind] = {
    Step.WAIT_FOR_REVIEW: EnvironmentKind.DEVELOPMENT,
    Step.WAIT_FOR_ACCEPTANCE: EnvironmentKind.PREPROD,
    Step.WAIT_FOR_CONFIRMATION: EnvironmentKind.PREPROD,
    Step.WAIT_FOR_VERDICT: EnvironmentKind.PRODUCTION,
    Step.WAIT_FOR_DEMONSTRATION: EnvironmentKind.PRODUCTION,
}
"""Which environment is looked at before deciding at a gate."""

_SAID = {
    DecisionKind.APPROVE: "approved",
    DecisionKind.REJECT: "rejected it",
    DecisionKind.KEEP: "decided to keep it",
    DecisionKind.ROLL_BACK: "decided to roll it back",
    DecisionKind.OVERRIDE: "overrode the freeze",
    DecisionKind.FREE_LOCK: "freed production's lock",
}
_WAYS = {
    Way.REST: "by REST",
    Way.CLI: "on the command line",
    Way.DIRECT: "on the command line",
    Way.AIRFLOW: "in Airflow",
    Way.REVIEW: "on the merge request",
    Way.COMMENT: "on the merge request",
    Way.BOARD: "on the board",
    Way.SLACK: "in Slack",
    Way.BREAK_GLASS: "by breaking glass",
}
COMMENT_LIMIT = 600


def _nowhere(*_about: object) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where people look; each is empty where nobody has said how we are reached.

    Attributes:
        board: The board's page of a feature.
        task: The page of a step's task in Airflow, by run id.
    """

    board: Callable[[ProjectConfig, FeatureKey], str] = _nowhere
    task: Callable[[ProjectConfig, str, Step], str] = _nowhere


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a question is still open; else what became of it, and when. ``said``: words so far."""

    open: bool
    text: str
    at: datetime | None = None


def about_project(project: ProjectName, payload: Mapping[str, Any], marker: str) -> Message:
    """Return a message about a project as a whole."""
    kind = MessageKind(payload.get("kind", MessageKind.NOTE))
    lines = tuple(str(line) for line in payload.get("lines", ()))
    return Message(marker, project, None, _to(payload), str(payload.get("text", "")), kind=kind, facts=lines, loud=True)


def compose(  # noqa: PLR0917 - what a message is made of
    books: Books, project: ProjectConfig, feature: Feature, payload: Mapping[str, Any], marker: str, places: Places
) -> Message:
    """Return a message about a feature, as of now.

    Args:
        books: The ledger.
        project: Whose feature it is.
        feature: The feature.
        payload: What the outbox keeps of the message.
        marker: Its id.
        places: Where people look.
    """
    kind = MessageKind(payload.get("kind", MessageKind.NOTE))
    board = places.board(project, feature.key)
    links = [Link("Merge request", feature.request_url), Link("Issue", feature.issue_url)]
    message = Message(
        marker,
        project.name,
        feature.key,
        _to(payload),
        str(payload.get("text", "")),
        kind=kind,
        title=feature.title,
        run_id=feature.run_id,
        roles=tuple(Who(role) for role in payload.get("roles", ())),
        home=tuple(link for link in (Link("Board", board), *links) if link.url),
        board=board,
        loud=bool(payload.get("loud", False)),
    )
    match kind:
        case MessageKind.QUESTION | MessageKind.REMINDER:
            return _question(books, project, feature, payload, message)
        case MessageKind.ALERT | MessageKind.RECOVERY:
            return _alert(books, project, feature, payload, message, places)
        case _:
            return message


def _to(payload: Mapping[str, Any]) -> tuple[PersonName, ...]:
    return tuple(PersonName(str(name)) for name in payload.get("to", ()))


def _question(
    books: Books, project: ProjectConfig, feature: Feature, payload: Mapping[str, Any], message: Message
) -> Message:
    gate, number = Step(payload["gate"]), int(payload.get("attempt", 0))
    candidate = str(payload.get("candidate") or "")
    found = standing(books, project, feature, gate=gate, number=number, candidate=candidate)
    attempt = books.attempt(feature, number)
    policy = project.people.policies.get(gate)
    question = Question(
        run_id=feature.run_id,
        gate=gate,
        attempt=number,
        commit=attempt.commit if attempt is not None else None,
        candidate=CommitSha(candidate) if candidate else None,
        kinds=tuple(kind for kind in DecisionKind if kind in policy.kinds) if found.open and policy else (),
    )
    return replace(
        message,
        facts=facts(books, project, feature, gate) if found.open else (),
        links=tuple(_looks(books, project, feature, gate)),
        question=question,
        outcome=found.text,
        at=found.at,
        settled=not found.open,
    )


def standing(
    books: Books, project: ProjectConfig, feature: Feature, *, gate: Step, number: int, candidate: str
) -> Standing:
    """Return how a question stands that was asked about an attempt and a candidate."""
    said = [d for d in books.decisions(feature, number) if d.step is gate and d.accepted and d.withdrawn_at is None]
    words = " ".join(_word(decision) for decision in said)
    at = said[-1].at if said else None
    attempt = books.attempt(feature, number)
    if attempt is not None and attempt.state in {AttemptState.REJECTED, AttemptState.SUPERSEDED}:
        return Standing(
            open=False, text=words or f"Attempt {number} was {attempt.state}. {attempt.reason}".strip(), at=at
        )
    if feature.state.ended_without_shipping:
        return Standing(
            open=False, text=f"The delivery was {feature.state}. {feature.reason}".strip(), at=feature.ended_at
        )
    if number != feature.attempt_number and number:
        return Standing(open=False, text=words or f"Attempt {feature.attempt_number} took its place.", at=at)
    newest = candidate_of(books, feature, gate)
    if candidate and newest != candidate and not words and not project.choices.sign_offs_survive_refresh:
        return Standing(open=False, text="The candidate was built anew: it is asked again.")
    found = flag(books, project, feature, gate)
    if found.outcome or found.over:
        return Standing(open=False, text=words or f"Decided: {found.outcome or 'over'}.".replace("_", " "), at=at)
    return Standing(open=True, text=words, at=at)


def _word(decision: Decision) -> str:
    way = _WAYS[Way(decision.way)]
    comment = f": {decision.comment[:COMMENT_LIMIT]}" if decision.comment.strip() else "."
    return f"{decision.person} {_SAID[decision.kind]} {way}{comment}"


def facts(books: Books, project: ProjectConfig, feature: Feature, gate: Step) -> tuple[str, ...]:
    """Return what people should know before they decide: tests, sign-offs, what is special about it."""
    lines = []
    newest = {one.step: one for one in books.suite_results(feature) if one.attempt == feature.attempt_number}
    for result in newest.values():
        where = result.step.partition(".")[0]
        count = f"{result.executed} tests passed" if not result.red else masked(result.red)
        lines.append(f"{where}, {result.suite}: {count} ({result.seconds:.1f} s)")
    given = [d for d in books.decisions(feature, feature.attempt_number) if d.accepted and d.withdrawn_at is None]
    lines += [_word(d) for d in given if d.kind is DecisionKind.APPROVE and d.step in sign_offs(project)]
    candidate = books.candidate(feature, feature.attempt_number)
    if candidate is not None and candidate.plan_changed:
        lines.append("It changes delivery.yaml: how the shop is installed, started or tested.")
    if gate is Step.WAIT_FOR_VERDICT:
        lines.append(production_evidence(books, feature).text)
        promotion = books.promotion(feature, feature.attempt_number)
        if promotion is not None and promotion.irreversible:
            lines.append("Its migration cannot be taken back: a rollback keeps the data as they are.")
    attempt = books.attempt(feature)
    if attempt is not None:
        lines.append(f"Attempt {attempt.number}, commit {attempt.commit[:10]}")
    return tuple(lines)


def _looks(books: Books, project: ProjectConfig, feature: Feature, gate: Step) -> list[Link]:
    kind = LOOKED_AT.get(gate)
    titles = {
        EnvironmentKind.DEVELOPMENT: "Development",
        EnvironmentKind.PREPROD: "Preview",
        EnvironmentKind.PRODUCTION: "Production",
    }
    places = [*books.environments(feature=feature), books.environment(project.name, EnvironmentKind.PRODUCTION)]
    found = [
        Link(titles[kind], place.address)
        for place in places
        if kind is not None and place is not None and place.kind == kind and place.address
    ]
    return [*found, *(link for link in (Link("Merge request", feature.request_url),) if link.url)]


def _alert(  # noqa: PLR0917 - as ``compose``
    books: Books,
    project: ProjectConfig,
    feature: Feature,
    payload: Mapping[str, Any],
    message: Message,
    places: Places,
) -> Message:
    step = Step(payload["step"])
    task = places.task(project, feature.run_id, step)
    links = (Link("Log of the task", task),) if task else ()
    alert = books.alert(int(payload.get("alert", 0)))
    if alert is None or message.kind is MessageKind.RECOVERY:
        return replace(message, links=links)
    return replace(
        message,
        details=tuple(alert.details),
        links=links,
        outcome=alert.resolution,
        at=alert.resolved_at,
        settled=alert.resolved_at is not None,
    )
