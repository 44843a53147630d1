"""What a gate's deadline does: each kind of gate has its own outcome."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.people import Expiry, GatePolicy
from feature_delivery.domain.records import Feature, Gate, now
from feature_delivery.services.control import attempts, verdict
from feature_delivery.services.control.flags import production_evidence
from feature_delivery.services.control.gates import enter, run_of
from feature_delivery.services.control.history import notify

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit


GRACE, STEP = timedelta(hours=1), timedelta(minutes=5)
"""So long people have when it is known again who they are, or as long as the gate gives them; put off by such steps."""


def expire(unit: Unit, project: ProjectConfig, run_id: str) -> bool:
    """Apply the deadline of the gate a run waits at, if it has passed; says whether it had."""
    feature = enter(unit, project, run_id)
    gate = unit.books.open_gate(feature)
    policy = project.people.policies.get(gate.step) if gate else None
    if gate is None or policy is None or gate.deadline is None or feature.rewind_to:
        return False
    late = gate.deadline <= now()
    if not (project.people.known or gate.blocked or (late and _burns(unit, feature, policy))):
        _put_off(unit, project, feature, gate, policy)
        return False
    if not late:
        return False
    gate.deadline = now() + policy.timeout if policy.timeout else None
    if gate.blocked:
        # Nobody could decide: the time of the failure is not the deciders' time.
        _prolong(unit, feature, gate)
        return False
    match policy.on_expiry:
        case Expiry.REJECT:
            attempts.reject(unit, project, feature, f"Nobody decided at {gate.step} in time.", person="deadline")
        case Expiry.EVIDENCE:
            _judge(unit, project, feature, gate, policy)
        case Expiry.REMIND:
            gate.reminded_at = now()
            _prolong(unit, feature, gate)
            names = project.people.with_role(*policy.roles)
            notify(
                unit, feature, f"remind:{gate.id}:{now():%Y%m%d%H%M}", f"{feature.key} waits at {gate.step}.", to=names
            )
    return True


def _prolong(unit: Unit, feature: Feature, gate: Gate) -> None:
    if gate.deadline is not None:
        unit.runs.shelve(run_of(feature), until=gate.deadline)


def _burns(unit: Unit, feature: Feature, policy: GatePolicy) -> bool:
    """Say whether production has failed, which waits for no service that tells who people are."""
    return policy.on_expiry is Expiry.EVIDENCE and production_evidence(unit.books, feature).outcome == "fail"


def _put_off(unit: Unit, project: ProjectConfig, feature: Feature, gate: Gate, policy: GatePolicy) -> None:
    """Leave time after it is known again who people are: whoever may decide by a group can say nothing now.

    Whoever may decide by name is told that production is held.
    """
    assert gate.deadline is not None
    grace = min(policy.timeout or GRACE, GRACE)
    if gate.deadline > now() + grace - STEP:
        return
    if policy.on_expiry is Expiry.EVIDENCE and gate.deadline <= now():
        text = f"{feature.key} holds production without a verdict: it is not known who is in the groups that may say."
        notify(unit, feature, f"held:{gate.id}", text, to=project.people.with_role(*policy.roles))
    gate.deadline = now() + grace
    _prolong(unit, feature, gate)


def _judge(unit: Unit, project: ProjectConfig, feature: Feature, gate: Gate, policy: GatePolicy) -> None:
    """Let the evidence decide; without evidence hold production and call for people."""
    evidence = production_evidence(unit.books, feature)
    promotion = unit.books.promotion(feature)
    lost = verdict.not_to_keep_now(unit.books, feature) if evidence.outcome == "pass" else ""
    if evidence.outcome == "pass" and not lost:
        verdict.keep(unit, project, feature, f"Deadline: {evidence.text}", person="deadline")
    elif evidence.outcome == "fail" and promotion is not None and not promotion.irreversible:
        verdict.roll_back(unit, project, feature, f"Deadline: {evidence.text}", person="deadline")
    else:
        _prolong(unit, feature, gate)
        text = f"{feature.key} holds production without a verdict: {lost or evidence.text}"
        notify(
            unit, feature, f"escalate:{gate.id}:{now():%Y%m%d%H%M}", text, to=project.people.with_role(*policy.roles)
        )
