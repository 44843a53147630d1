"""Reminders, escalation and the daily word about what waits: in working hours, once each."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.messages import MessageKind, Stage, stage
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import Step, Who, row_of
from feature_delivery.domain.records import Feature, Gate, now
from feature_delivery.services.control.asking import able, candidate_of
from feature_delivery.services.control.flags import shown
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.history import notify, record
from feature_delivery.services.control.posting import say_to_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit

LINES_LIMIT = 40


def may_be_due(projects: Mapping[ProjectName, ProjectConfig], gates: Sequence[Gate], at: datetime) -> list[Gate]:
    """Return gates worth a look: a thousand wait, few are due; working time is never longer than time.

    Where nobody works now, nothing is due.
    """
    rules = [
        rule
        for project in projects.values()
        if project.messages.hours.open(at)
        for rule in (project.messages.reminders, *project.messages.gate_reminders.values())
    ]
    delays = [(Stage.REMINDED, rule.after) for rule in rules] + [
        (Stage.ESCALATED, rule.escalate_after) for rule in rules
    ]
    least: dict[int, timedelta] = {}
    for number, delay in delays:
        if delay is not None:
            least[number] = min(delay, least.get(number, delay))
    return [
        gate
        for gate in gates
        if not gate.blocked
        and any(gate.reminders < number and at - gate.opened_at >= delay for number, delay in least.items())
    ]


def remind(unit: Unit, project: ProjectConfig, run_id: str) -> bool:
    """Remind whoever is waited for, or tell managers, when it is time; says whether somebody was told."""
    feature = enter(unit, project, run_id)
    gate = unit.books.open_gate(feature)
    if gate is None or gate.blocked or feature.rewind_to is not None or gate.step not in project.people.policies:
        return False
    if not project.people.known:
        return False  # whom to remind is not known: it stays due
    messages = project.messages
    due = stage(gate.opened_at, now(), reminding=messages.reminding(gate.step), hours=messages.hours)
    if due <= gate.reminders:
        return False
    gate.reminders, gate.reminded_at = due, now()
    waits_for = able(unit.books, project, feature, gate.step)
    escalates = due == Stage.ESCALATED
    since = messages.hours.local(gate.opened_at)
    text = f"{feature.key} {feature.title}".strip()
    text = f"{text} has waited for {', '.join(waits_for)} at {gate.step} since {since:%a %d %b, %H:%M}."
    record(unit, feature, "escalated" if escalates else "reminded", text, step=gate.step)
    notify(
        unit,
        feature,
        f"remind:{gate.id}:{due}",
        text,
        to=project.people.with_role(Who.MANAGER) if escalates else waits_for,
        kind=MessageKind.REMINDER,
        gate=gate.step.value,
        attempt=feature.attempt_number,
        candidate=candidate_of(unit.books, feature, gate.step) or "",
        roles=[] if escalates else sorted(project.people.policies[gate.step].roles),
    )
    return True


def digest(unit: Unit, project: ProjectConfig) -> bool:
    """Say once a day what waits, to every channel; says whether it was said now."""
    messages, at = project.messages, now()
    clock = messages.hours.local(at)
    if messages.digest is None or clock.weekday() not in messages.hours.days or clock.time() < messages.digest:
        return False
    marker = f"digest:{clock:%Y-%m-%d}"
    said = unit.books.outbox_marked(project.name, f"{marker}:{Errand.MESSAGE}") is not None
    if said or not messages.channels(MessageKind.DIGEST):
        return False
    lines = waiting(unit.books, project)
    text = f"{project.title}: {len(lines)} wait{'s' if len(lines) == 1 else ''}." if lines else ""
    shown = [*lines[:LINES_LIMIT], *([f"… and {len(lines) - LINES_LIMIT} more"] if len(lines) > LINES_LIMIT else [])]
    # A day on which nothing waits is kept as well: what comes later today is told by its own message.
    return say_to_all(unit, project, marker, text, kind=MessageKind.DIGEST, lines=shown) and bool(lines)


def waiting(books: Books, project: ProjectConfig) -> list[str]:
    """Return a line for every feature of a project that waits for somebody, those that wait longest first."""
    found: list[tuple[datetime, str]] = []
    for gate in books.open_gates():
        feature = books.feature_by_id(gate.feature_id)
        if feature.project == project.name and gate.step is not Step.WAIT_FOR_TURN:
            found.append((gate.opened_at, _line(books, project, feature, gate)))
    return [line for _since, line in sorted(found)]


def _line(books: Books, project: ProjectConfig, feature: Feature, gate: Gate) -> str:
    waited = now() - gate.opened_at
    hours = int(waited.total_seconds() // 3600)
    long = f"{hours // 24} d {hours % 24} h" if hours >= 24 else f"{hours} h"
    found = shown(books, project, feature, gate)
    named = f"{feature.key} {feature.title}".strip()[:120]
    if found.blocked:
        return f"{named} - stopped before {gate.step}, {long}: {found.blocked[:200]}"
    if gate.step in project.people.policies:
        return f"{named} - {row_of(gate.step).title}, {long}: {', '.join(able(books, project, feature, gate.step))}"
    return f"{named} - {row_of(gate.step).title}, {long}"
