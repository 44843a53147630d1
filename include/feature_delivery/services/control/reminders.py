"""Reminders, escalation and the daily word about what waits: in working hours, once each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.messages import MessageKind, Stage, stage
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import Step, Who, row_of
from feature_delivery.domain.records import now
from feature_delivery.services.control.asking import able, candidate_of
from feature_delivery.services.control.flags import shown
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.history import notify, record
from feature_delivery.services.control.posting import say_to_all

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.records import Feature, Gate
    from feature_delivery.ports.ledger import Books, Unit

LINES_LIMIT = 40


def due(project: ProjectConfig, gates: Iterable[Gate], at: datetime) -> list[Gate]:
    """Return which of a project's open gates somebody is to be told about: a thousand wait, few are due.

    ``remind`` asks again within its transaction. While it is not known who people are, whom to tell is not either: that
    stays due.
    """
    if not project.people.known or not project.messages.hours.open(at):
        return []
    return [
        gate
        for gate in gates
        if not gate.blocked and gate.step in project.people.policies and _stage(project, gate, at) > gate.reminders
    ]


def _stage(project: ProjectConfig, gate: Gate, at: datetime) -> int:
    messages = project.messages
    return stage(gate.opened_at, at, reminding=messages.reminding(gate.step), hours=messages.hours)


def remind(unit: Unit, project: ProjectConfig, run_id: str) -> bool:
    """Remind whoever is waited for, or tell managers, when it is time; says whether somebody was told."""
    feature = enter(unit, project, run_id)
    gate = unit.books.open_gate(feature)
    if gate is None or feature.rewind_to is not None or not due(project, [gate], now()):
        return False
    reached = _stage(project, gate, now())
    gate.reminders, gate.reminded_at = reached, now()
    waits_for = able(unit.books, project, feature, gate.step)
    escalates = reached == Stage.ESCALATED
    since = project.messages.hours.local(gate.opened_at)
    text = f"{feature.key} {feature.title}".strip()
    text = f"{text} has waited for {', '.join(waits_for)} at {gate.step} since {since:%a %d %b, %H:%M}."
    record(unit, feature, "escalated" if escalates else "reminded", text, step=gate.step)
    notify(
        unit,
        feature,
        f"remind:{gate.id}:{reached}",
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
    gates = [gate for gate in books.open_gates(project.name) if gate.step is not Step.WAIT_FOR_TURN]
    features = books.features_by_id({gate.feature_id for gate in gates})
    found = [(gate.opened_at, _line(books, project, features[gate.feature_id], gate)) for gate in gates]
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
