"""What people press in the chat: stored at once, then decided like anywhere else, by the same policy.

Whoever presses gets a refusal alone; what counts shows in the message itself. Each press is bound to the attempt, the
commit and the candidate that its message was about.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.errors import Error, Unavailable
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.names import CommitSha, PersonName
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.people import Answer, DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.ways import Way
from feature_delivery.ports.messenger import Chat
from feature_delivery.services.control.decide import Say, decide, refuse

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.messenger import Press
    from feature_delivery.services.control.errands import Claimed
    from feature_delivery.services.control.outside import Control

_log = logging.getLogger(__name__)

COMMENT_LIMIT = 4000


def store(unit: Unit, project: ProjectConfig, press: Press, *, address: str = "") -> bool:
    """Keep a press for ``hear``; ``False``: it is kept already, or is about nothing that we know.

    ``address``: where the chat's request came from.
    """
    marker = f"hear:{hashlib.sha256(press.id.encode()).hexdigest()[:40]}"
    feature = unit.books.feature_of_run(project.name, press.question.run_id)
    if feature is None or unit.books.outbox_marked(project.name, marker) is not None:
        return False
    asked = press.question
    payload = {
        "user": press.user,
        "gate": asked.gate.value,
        "attempt": asked.attempt,
        "commit": asked.commit or "",
        "candidate": asked.candidate or "",
        "kind": press.kind.value,
        "comment": press.comment[:COMMENT_LIMIT],
        "place": press.place,
        "thread": press.thread,
        "address": address,
    }
    unit.books.add(
        OutboxEntry(project=project.name, feature_id=feature.id, kind=Errand.HEAR, payload=payload, marker=marker)
    )
    return True


def hear(control: Control, project: ProjectConfig, errand: Claimed) -> None:
    """Decide what was pressed; tell whoever pressed it when it does not count.

    Raises:
        Error: The chat did not say who it was.
        Unavailable: It may be somebody by a group, and who is in the groups is not known at the moment. It is heard
            later.
    """
    said = errand.payload
    chat = control.channel(project, CHAT)
    assert isinstance(chat, Chat), "only a chat is answered in"
    person = _person(project, chat, str(said["user"]))
    if person is None and (why := project.unclear(str(said["user"]))):
        raise Unavailable(why)
    with control.begin() as unit:
        answer = _answer(unit, project, errand.run_id, person, said)
    if answer.yes:
        return
    try:
        chat.whisper(str(said["user"]), str(said["place"]), str(said["thread"]), answer.reason)
    except Error as error:
        # It is recorded, and nobody waits for it any more when the chat is back.
        _log.warning("Could not tell %s in the chat of %s why it does not count: %s", person, project.name, error)


def _person(project: ProjectConfig, chat: Chat, user: str) -> PersonName | None:
    for name, called in project.messages.mentions.items():
        if called == user and name in project.people.persons:
            return name
    emails = {email.lower() for email in chat.emails_of(user)}
    for name, called in project.messages.mentions.items():
        if called.lower() in emails and name in project.people.persons:
            return name
    # One account is one person: an address that two share is nobody's.
    found = project.people.by_emails(emails)
    return next(iter(found)) if len(found) == 1 else None


def _answer(unit: Unit, project: ProjectConfig, run_id: str, person: PersonName | None, said: dict[str, Any]) -> Answer:
    say = Say(
        person=person or project.outsider(str(said["user"])),
        gate=Step(said["gate"]),
        kind=DecisionKind(said["kind"]),
        comment=str(said["comment"]),
        commit=CommitSha(said["commit"]) if said["commit"] else None,
        attempt=int(said["attempt"]),
        candidate=CommitSha(said["candidate"]) if said["candidate"] else None,
        way=Way.SLACK,
        address=str(said.get("address", "")),
    )
    if person is None:
        reason = f"Nobody of {project.name} has your account here: ask for it under 'messages.mentions' of its file."
        refuse(unit, project, run_id, say, reason=reason)
        return Answer(yes=False, reason=reason)
    return decide(unit, project, run_id, say)
