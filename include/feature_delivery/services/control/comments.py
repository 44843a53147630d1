"""Commands that people write as comments on merge requests: each acted upon once, and answered there.

What has been heard is written down in the transaction that acts on it. A command is bound to what its author could
see: one that is older than the attempt, or than the question it answers, is refused. So is one whose comment was
changed after it was written: hosts let whoever may write to a repository change what others said.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from feature_delivery.domain.commands import Command, Verb, command
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.people import DEFAULT_POLICIES, SIGN_OFFS, Answer, DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.process import gate as gate_named
from feature_delivery.domain.records import UNDER_WAY, Feature, HeardComment
from feature_delivery.domain.ways import Way
from feature_delivery.services.control.asking import ABOUT_CANDIDATE
from feature_delivery.services.control.decide import Say, decide, unclear
from feature_delivery.services.control.flags import shown
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.history import record, tell_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.git_host import RequestComment
    from feature_delivery.ports.ledger import Unit

_EDITED = (
    "This comment was changed after it was written, perhaps by somebody else, so /{verb} does not count: "
    "write it again as a new comment."
)


def hear(unit: Unit, project: ProjectConfig, run_id: str, number: int, comments: Sequence[RequestComment]) -> list[str]:
    """Act on the commands among ``comments``, the oldest first; returns a sentence for each that is new.

    Comments of one look are taken in together: they are older than whatever their commands bring about. Left out are
    those by people of whom it is not known at the moment who they are: ``unheard``.
    """
    said = []
    feature = enter(unit, project, run_id)
    for comment, asked in _new(unit, project, feature, comments):
        if _unclear(unit, project, feature, comment, asked):
            continue
        answer, told = _act(unit, project, feature, comment, asked)
        unit.books.add(
            HeardComment(
                project=project.name,
                comment=comment.id,
                feature_id=feature.id,
                request=number,
                author=comment.author[:200],
                verb=asked.verb,
                answer=answer.reason,
            )
        )
        if told:
            tell_request(unit, feature, _marker(project, comment), told, number=number, per_attempt=False)
        said.append(f"{feature.key}: {comment.author} said /{asked.verb}. {answer.reason}".strip())
    return said


def unheard(unit: Unit, project: ProjectConfig, run_id: str, comments: Sequence[RequestComment]) -> str:
    """Return why ``hear`` has left out some of ``comments``; empty when it has not."""
    if project.people.known:
        return ""
    feature = enter(unit, project, run_id)
    left = (_unclear(unit, project, feature, *one) for one in _new(unit, project, feature, comments))
    return next(filter(None, left), "")


def _new(
    unit: Unit, project: ProjectConfig, feature: Feature, comments: Sequence[RequestComment]
) -> Iterator[tuple[RequestComment, Command]]:
    """Yield the commands that were not heard yet, the oldest first, as long as the feature is under way."""
    for comment in sorted(comments, key=lambda one: one.at):
        asked = command(comment.text)
        if asked is not None and unit.books.heard(project.name, comment.id) is None and feature.state in UNDER_WAY:
            yield comment, asked


def _unclear(unit: Unit, project: ProjectConfig, feature: Feature, comment: RequestComment, asked: Command) -> str:
    """Return why nobody can say now whether the command counts; empty when it can be said."""
    person = project.speaker(comment.author)
    if project.people.known or person is None or asked.verb is Verb.STATUS:
        return "" if person is not None else project.unclear(comment.author)
    say = _understood(unit, project, feature, comment, asked, person)
    return unclear(unit.books, project, feature, say) if isinstance(say, Say) else ""


def _marker(project: ProjectConfig, comment: RequestComment) -> str:
    """Return how the answer is known: one for each command, but one only for whoever is nobody here."""
    if project.speaker(comment.author) is None:
        return f"stranger:{hashlib.sha256(comment.author.encode()).hexdigest()[:12]}"
    return f"answer:{comment.id}"


def _act(
    unit: Unit, project: ProjectConfig, feature: Feature, comment: RequestComment, asked: Command
) -> tuple[Answer, str]:
    """Do what is asked; returns whether it counted, and what to say about it: a refusal or the status."""
    person = project.speaker(comment.author)
    answer = Answer(yes=False, reason=project.stranger(comment.author))
    if person is not None and comment.edited:
        answer = Answer(yes=False, reason=_EDITED.format(verb=asked.verb))
    elif asked.verb is Verb.STATUS and person is not None:
        return Answer(yes=True), standing(unit, project, feature)
    elif asked.verb is not Verb.STATUS:
        say = _understood(unit, project, feature, comment, asked, person or project.outsider(comment.author))
        if isinstance(say, Say):
            # It tells the history itself. What counts shows in the status comment: one for each would be noise.
            answer = decide(unit, project, feature.run_id, say)
            return answer, answer.reason
        if person is not None:
            answer = say
    record(unit, feature, "refused", f"{comment.author}: /{asked.verb} ({answer.reason})", person=person or "")
    return answer, answer.reason


def standing(unit: Unit, project: ProjectConfig, feature: Feature) -> str:
    """Return where the feature stands and whom it waits for, in one sentence or two."""
    attempt = unit.books.attempt(feature)
    at = f"attempt {attempt.number} at {attempt.commit[:10]}" if attempt else "no commit yet"
    gate = unit.books.open_gate(feature)
    if gate is None:
        return f"{feature.key} is {feature.state}, {at}; it waits for nobody."
    found = shown(unit.books, project, feature, gate)
    what = f"stopped: {found.blocked}" if found.blocked else f"waits for {found.waits_for}"
    return f"{feature.key} is {feature.state}, {at}. {gate.step} {what}"


def _understood(  # noqa: PLR0917 - the facts of one comment
    unit: Unit, project: ProjectConfig, feature: Feature, comment: RequestComment, asked: Command, person: PersonName
) -> Say | Answer:
    """Return the decision that the command means, or why it means none."""
    gate, rest, named = _gate(unit, feature, asked)
    if gate is None:
        waits = unit.books.open_gate(feature)
        at = f"it waits at {waits.step}, where nobody says that" if waits else "nobody is asked just now"
        return Answer(yes=False, reason=f"/{asked.verb} means nothing for {feature.key} at this moment: {at}.")
    if why := _too_old(unit, project, feature, comment, gate, named=named):
        return Answer(yes=False, reason=why)
    attempt = unit.books.attempt(feature)
    return Say(
        person=person,
        gate=gate,
        kind=_KINDS[asked.verb],
        comment=rest,
        commit=attempt.commit if attempt is not None and gate in SIGN_OFFS else None,
        way=Way.COMMENT,
    )


_KINDS = {
    Verb.APPROVE: DecisionKind.APPROVE,
    Verb.REJECT: DecisionKind.REJECT,
    Verb.ROLL_BACK: DecisionKind.ROLL_BACK,
    Verb.KEEP: DecisionKind.KEEP,
}


def _gate(unit: Unit, feature: Feature, asked: Command) -> tuple[Step | None, str, bool]:
    """Return the gate that is meant, what was said besides, and whether the gate was named; else it is that of now."""
    if asked.verb in {Verb.ROLL_BACK, Verb.KEEP}:
        return Step.WAIT_FOR_VERDICT, asked.rest, True
    first, rest = (*asked.rest.split(maxsplit=1), "", "")[:2]
    named = gate_named(first) if first and asked.verb is Verb.APPROVE else None
    if named is not None and named in DEFAULT_POLICIES:
        return named, rest.strip(), True
    waits = unit.books.open_gate(feature)
    policy = DEFAULT_POLICIES.get(waits.step) if waits is not None else None
    fits = policy is not None and _KINDS[asked.verb] in policy.kinds
    return (waits.step if waits is not None and fits else None), asked.rest, False


def _too_old(
    unit: Unit, project: ProjectConfig, feature: Feature, comment: RequestComment, gate: Step, *, named: bool
) -> str:
    """Return why the comment cannot be about what is decided now; empty when it can."""
    attempt = unit.books.attempt(feature)
    if attempt is not None and gate in SIGN_OFFS and _before(comment, attempt.created_at):
        began = f"attempt {attempt.number} ({attempt.commit[:10]}) began"
        return f"This was said before {began}: look again, and say it anew."
    waits = unit.books.open_gate(feature)
    if not named and waits is not None and _before(comment, waits.opened_at):
        return f"This was said before {gate} was asked: look again, and say it anew."
    candidate = unit.books.candidate(feature, feature.attempt_number)
    bound = gate in ABOUT_CANDIDATE and gate in SIGN_OFFS and not project.choices.sign_offs_survive_refresh
    if bound and candidate is not None and _before(comment, candidate.created_at):
        return f"This was said before candidate {candidate.commit[:10]} was built: look again, and say it anew."
    promotion = unit.books.promotion(feature, feature.attempt_number)
    moved = promotion.moved_at if promotion is not None else None
    if gate is Step.WAIT_FOR_VERDICT and moved is not None and _before(comment, moved):
        return "This was said before production moved: look again, and say it anew."
    return ""


def _before(comment: RequestComment, moment: datetime) -> bool:
    # Hosts count whole seconds.
    return comment.at < moment.replace(microsecond=0)
