"""Break glass: an operator decides instead of those who should, overrides a freeze, or frees production's lock.

It overrides what people say and when they want to be left alone; never what was tested, which tree it was, or what the
ledger permits: nothing here touches suites, candidates or permits. It is loud: the message goes to everybody who
decides, the board shows it, the audit keeps it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.people import Answer, DecisionKind
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.ways import Way
from feature_delivery.services.control import production, turn
from feature_delivery.services.control.decide import Say, act, keep_record, still_about
from feature_delivery.services.control.flags import flag, frozen
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.history import notify, record, tell_request

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.records import Feature
    from feature_delivery.ports.ledger import Unit

TOLD = (Who.MANAGER, Who.OPERATOR)
"""Who is told of every broken glass, besides those whose word was overridden."""


def override(unit: Unit, project: ProjectConfig, run_id: str, say: Say) -> Answer:
    """Decide at the gate the feature waits at in the place of those who may, or let it go in spite of a freeze.

    ``say``: as for any decision; the comment is the reason. Refused or not, it is in the audit.

    Raises:
        Unavailable: Whether they are an operator is not known at the moment.
    """
    _must_be_known(project, say.person)
    feature = enter(unit, project, run_id)
    say = replace(say, way=Way.BREAK_GLASS, kind=_kind(say))
    answer = may_override(unit, project, feature, say)
    keep_record(unit, project, feature, say, answer)
    if answer:
        _shout(unit, project, feature, say)
        act(unit, project, feature, say)
    return answer


def may_override(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> Answer:
    """Say whether glass may be broken here; nothing is changed or recorded."""
    say = replace(say, kind=_kind(say))
    if not (able := _may_break(project, say.person, say.comment)):
        return able
    if not (about := still_about(unit, project, feature, say)):
        return about
    gate = unit.books.open_gate(feature)
    if gate is None or gate.step is not say.gate:
        at = f"it waits at {gate.step}" if gate is not None else "it waits at no gate"
        return _no(f"{feature.key} does not wait at {say.gate}: {at}.")
    if say.gate is not Step.WAIT_FOR_TURN and say.gate not in project.people.policies:
        return _no(f"Nobody decides at {say.gate}: it waits for an event, which no override brings about.")
    if blocked := flag(unit.books, project, feature, gate.step).blocked:
        return _no(f"An override stands for people, not for work or tests. {blocked}")
    if say.gate is Step.WAIT_FOR_TURN:
        if frozen(unit.books, project, feature) is None:
            return _no(f"No freeze window keeps {feature.key} from production: there is nothing to override.")
        return Answer(yes=True)
    kinds = project.people.policies[say.gate].kinds - {DecisionKind.REJECT}
    if say.kind not in kinds:
        return _no(f"{say.kind} is no answer at {say.gate}: say {' or '.join(sorted(kinds))}.")
    return Answer(yes=True)


def _kind(say: Say) -> DecisionKind:
    return DecisionKind.OVERRIDE if say.gate is Step.WAIT_FOR_TURN else say.kind


def _must_be_known(project: ProjectConfig, person: str) -> None:
    if why := project.unclear(person, Who.OPERATOR):
        raise Unavailable(why)


def _may_break(project: ProjectConfig, person: str, reason: str) -> Answer:
    if why := project.unclear(person, Who.OPERATOR):
        return _no(why)
    if person not in project.people.persons:
        return _no(project.stranger(person))
    operators = project.people.with_role(Who.OPERATOR)
    if person not in operators:
        return _no(f"{person} is no operator of {project.name}: {', '.join(operators) or 'nobody'} may break glass.")
    if not reason.strip():
        return _no("Breaking glass needs a reason: everybody is told, and it is kept.")
    return Answer(yes=True)


def _no(reason: str) -> Answer:
    return Answer(yes=False, reason=reason)


def _shout(unit: Unit, project: ProjectConfig, feature: Feature, say: Say) -> None:
    what = {
        DecisionKind.OVERRIDE: "overrode the freeze",
        DecisionKind.FREE_LOCK: "freed production's lock",
    }.get(say.kind, f"overrode {say.gate} ({say.kind.replace('_', ' ')})")
    text = f"BREAK GLASS: {say.person} {what} for {feature.key}. Reason: {say.comment.strip()}"
    policy = project.people.policies.get(say.gate)
    roles = {*TOLD, *(policy.roles if policy is not None else ())}
    record(unit, feature, "broke_glass", text, person=say.person, step=say.gate)
    said = len(unit.books.decisions(feature))
    notify(unit, feature, f"glass:{said}", text, to=project.people.with_role(*roles), loud=True)
    tell_request(unit, feature, f"glass:{said}", text)


def free_lock(unit: Unit, project: ProjectConfig, reason: str, *, person: PersonName, address: str = "") -> Answer:
    """Free production from its holder, whatever its promotion says; the reason of a yes is the holder's key.

    A promotion without a verdict freezes production: nobody may build upon it until an operator has adopted what is
    there, or has rolled it back.

    Raises:
        Unavailable: Whether they are an operator is not known at the moment.
    """
    _must_be_known(project, person)
    row = unit.books.lock_project(project.name)
    if row.lock_feature_id is None:
        able = _may_break(project, person, reason)
        return _no(f"Nobody holds production of {project.name}: there is no lock to break.") if able else able
    holder = unit.books.feature_by_id(row.lock_feature_id)
    say = Say(
        person=person,
        gate=Step.WAIT_FOR_TURN,
        kind=DecisionKind.FREE_LOCK,
        comment=reason,
        way=Way.BREAK_GLASS,
        address=address,
    )
    answer = _may_break(project, person, reason)
    keep_record(unit, project, holder, say, answer)
    if not answer:
        return answer
    row.lock_feature_id, row.lock_since = None, None
    unit.books.leave_queue(holder)
    _shout(unit, project, holder, say)
    record(unit, holder, "lock_broken", f"{person} broke the lock: {reason}", person=person)
    if production.lost_without_verdict(unit, project, holder.id) is not None:
        text = (
            f"{holder.key} lost production's lock without a verdict. Bring production to a good state, "
            "then adopt its commit."
        )
        production.freeze(unit, project, None, text)
    turn.grant(unit, project)
    return Answer(yes=True, reason=holder.key)
