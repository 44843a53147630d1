"""A task at its gate, and answers given on Airflow's *Required Actions* page that woke it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import CommitSha, PersonName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Feature
from feature_delivery.domain.ways import Way
from feature_delivery.domain.work import GateAnswer
from feature_delivery.services.control import deadlines
from feature_delivery.services.control.decide import Say, decide, unclear
from feature_delivery.services.control.gates import enter, open_gate

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.runs import TaskRef
    from feature_delivery.web.transaction import WebUnit


def ask(unit: WebUnit, project: ProjectConfig, task: TaskRef, event: Mapping[str, Any] | None) -> GateAnswer:
    """Answer a task at its gate; what it was woken with is taken in first.

    A refused answer is recorded with its reason, and the gate stays open: the question is withdrawn, the task parks
    again and the question is shown anew.

    Raises:
        Refused: The task is not running, as far as the server sees.
    """
    feature = enter(unit, project, task.run.run_id)
    if not unit.runs.is_running(task):
        raise Refused(f"{task.step} of {feature.key} is not running: only the running task may ask at its gate.")
    refusal = _take_in(unit, project, feature, task, event) if event else ""
    unit.runs.withdraw_question(task.task_instance)
    answer = open_gate(unit, project, task)
    gate = unit.books.open_gate(feature)
    if gate is not None:
        gate.requested_at = None
    return replace(answer, waits_for=f"{refusal} {answer.waits_for}".strip()) if refusal else answer


def _take_in(unit: WebUnit, project: ProjectConfig, feature: Feature, task: TaskRef, event: Mapping[str, Any]) -> str:
    """Take in an answer or a time-out; return why an answer does not count, or an empty text."""
    if event.get("error_type") == "timeout" or event.get("timedout"):
        deadlines.expire(unit, project, task.run.run_id)
        return ""
    # Who said what is read from Airflow's own record of the answer, written when they were logged in: a task, or
    # whoever has its token, speaks for nobody.
    said = unit.runs.answer_to(task.task_instance)
    say = understood(unit, feature, task.step, said) if said is not None else None
    if said is None or say is None:
        return "The answer named nobody, or nothing that can be said here."
    say = replace(say, address=str(said["address"]))
    if why := unclear(unit.books, project, feature, say):
        return why  # the question is shown anew: its task must not fail for that
    answer = decide(unit, project, task.run.run_id, say)
    return "" if answer else answer.reason


def understood(unit: WebUnit, feature: Feature, gate: Step, event: Mapping[str, Any]) -> Say | None:
    """Return what was answered at a gate; ``None`` when it is nothing that anybody can say."""
    person, kind = _who(event), _what(event)
    if person is None or kind is None:
        return None
    parameters = event.get("params_input") or {}
    comment = parameters.get("comment") if isinstance(parameters, Mapping) else None
    return Say(
        person=person,
        gate=gate,
        kind=kind,
        comment=str(comment or ""),
        commit=_shown(unit, feature, gate),
        way=Way.AIRFLOW,
    )


def _who(event: Mapping[str, Any]) -> PersonName | None:
    """Return the user's name, which is what every other way knows a user by: ids are numbers with some managers."""
    user = event.get("responded_by_user")
    if not isinstance(user, Mapping):
        return None
    named = str(user.get("name") or user.get("id") or "")
    return PersonName(named[:80]) if named else None


def _what(event: Mapping[str, Any]) -> DecisionKind | None:
    chosen = event.get("chosen_options")
    if not isinstance(chosen, list | tuple) or len(chosen) != 1:
        return None
    return next((kind for kind in DecisionKind if kind == chosen[0]), None)


def _shown(unit: WebUnit, feature: Feature, step: Step) -> CommitSha | None:
    """Return the commit that the question was about: a newer one may have been pushed since it was answered."""
    gate = unit.books.open_gate(feature)
    if gate is None or gate.step is not step or gate.attempt == 0:
        return None
    attempt = unit.books.attempt(feature, gate.attempt)
    return attempt.commit if attempt is not None else None
