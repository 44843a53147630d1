"""Opening, resolving and ending gates.

A gate is resolved in the ledger first, in the transaction of whatever resolved it. Ending the parked task is tried in
the same transaction when that holds the run's lock; otherwise, or when the task has not parked yet, the gate is left
``ended=False`` for ``finish``, which the web app calls after the commit and housekeeping calls behind it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.process import GATES, ORDER, Step
from feature_delivery.domain.records import (
    AttemptState,
    Feature,
    FeatureState,
    Gate,
    GateState,
    PromotionState,
    now,
)
from feature_delivery.domain.work import GateAnswer
from feature_delivery.ports.runs import ON_ITS_WAY, RunRef, TaskRef
from feature_delivery.services.control import alerts, turn
from feature_delivery.services.control.asking import ask_at_the_gate
from feature_delivery.services.control.flags import RUN_ENDED, Flag, flag, frozen
from feature_delivery.services.control.history import find_request, open_request, record

if TYPE_CHECKING:
    from collections.abc import Collection

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit

ENDED = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})
"""States of tasks that do nothing more by themselves."""

FOR_EVER = timedelta(days=3650)
"""A gate without a deadline shelves its run this long; a decision ends it at any time."""


def run_of(feature: Feature) -> RunRef:
    """Return the run that carries ``feature``."""
    return RunRef(feature.project, feature.run_id)


def enter(unit: Unit, project: ProjectConfig, run_id: str) -> Feature:
    """Lock the run and the project, in this order, and return the feature as it is now.

    Raises:
        NotFound: No such run, or it carries no registered feature.
    """
    if not unit.runs.lock(RunRef(project.name, run_id)):
        raise NotFound(f"Project {project.name!r} has no run {run_id!r}. Look it up with 'feature-delivery status'.")
    unit.books.lock_project(project.name)
    feature = unit.books.feature_of_run(project.name, run_id)
    if feature is None:
        raise NotFound(f"Run {run_id!r} of {project.name!r} carries no feature yet: it has not been registered.")
    return feature


def open_gate(unit: Unit, project: ProjectConfig, task: TaskRef) -> GateAnswer:
    """Answer a task that asks at its gate: go on, skip, or park.

    Raises:
        Refused: The task is not running, as far as the server sees.
    """
    feature = enter(unit, project, task.run.run_id)
    if not unit.runs.is_running(task):
        raise Refused(f"{task.step} of {task.run.run_id} is not running: only the running task may ask at its gate.")
    if task.step is Step.WAIT_FOR_TURN and feature.state is FeatureState.ACTIVE:
        turn.ask(unit, project, feature)
    now_open = unit.books.open_gate(feature)
    found = flag(unit.books, project, feature, task.step)
    if now_open is not None and now_open.step is not task.step:
        if _waits_before(unit, feature, now_open, task.step) and not (found.over or found.outcome):
            # A task marked by hand let the run go on behind the gate it waits at: that one comes first.
            return GateAnswer(waits_for=f"{now_open.step} comes first.", timeout_seconds=FOR_EVER.total_seconds())
        now_open.state, now_open.ended = GateState.CLOSED, True
        now_open = None
    if task.step is Step.WAIT_FOR_VERDICT and not found.outcome:
        _before_verdict(unit, project, feature)
    if found.over:
        if now_open is not None:
            now_open.state, now_open.ended = GateState.CLOSED, True
        unit.runs.unshelve(run_of(feature))
        _come_back(unit, project, feature)
        return GateAnswer(over=True, waits_for=found.waits_for)
    if found.outcome and feature.rewind_to is None:
        gate = now_open or _not_ended(unit, feature, task.step) or _new_gate(unit, project, feature, task.step)
        gate.state, gate.outcome, gate.resolved_at, gate.ended, gate.blocked = (
            GateState.RESOLVED,
            found.outcome,
            now(),
            True,
            "",
        )
        alerts.succeeded(unit, feature, task.step)
        unit.runs.unshelve(run_of(feature))
        _come_back(unit, project, feature)
        return GateAnswer(outcome=found.outcome)
    return _park(unit, project, feature, now_open or _new_gate(unit, project, feature, task.step), found)


def _not_ended(unit: Unit, feature: Feature, step: Step) -> Gate | None:
    """Return the gate that was resolved while its task was running, on its way to ask: it needs no ending."""
    gate = unit.books.gate(feature, step)
    if gate is None or gate.state is not GateState.RESOLVED or gate.ended or gate.attempt != feature.attempt_number:
        return None
    return gate


def _waits_before(unit: Unit, feature: Feature, gate: Gate, step: Step) -> bool:
    parked = unit.runs.states(run_of(feature)).get(gate.step) == "awaiting_input"
    return parked and ORDER[gate.step] < ORDER[step]


def _before_verdict(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Take in what the steps before the verdict could not report themselves: killed ones report nothing."""
    promotion = unit.books.promotion(feature, feature.attempt_number)
    row = unit.books.lock_project(project.name)
    attempt = unit.books.attempt(feature)
    ready = attempt is not None and attempt.state is AttemptState.ACTIVE and turn.may_go(unit.books, project, feature)
    begun = promotion is not None and promotion.state is not PromotionState.DROPPED
    if promotion is not None and promotion.state is PromotionState.MOVED:
        promotion.state = PromotionState.UNCERTAIN
        text = f"{feature.key}: production's branch moved, the deploy has not ended. Decide: roll back or keep."
        record(unit, feature, "production_uncertain", text, step=Step.WAIT_FOR_VERDICT)
        alerts.failed(unit, project, feature, Step.DEPLOY_PRODUCTION, "It was stopped before it said how it ended.")
    elif not begun and ready and (row.frozen_reason or frozen(unit.books, project, feature) is not None):
        feature.rewind_to = feature.rewind_to or Step.WAIT_FOR_TURN  # it waits there until production is thawed


def _new_gate(unit: Unit, project: ProjectConfig, feature: Feature, step: Step) -> Gate:
    policy = project.people.policies.get(step)
    gate = Gate(
        feature_id=feature.id,
        step=step,
        attempt=feature.attempt_number,
        deadline=now() + policy.timeout if policy and policy.timeout else None,
    )
    unit.books.add(gate)
    return gate


def _park(unit: Unit, project: ProjectConfig, feature: Feature, gate: Gate, found: Flag) -> GateAnswer:
    gate.blocked = found.blocked
    _help_along(unit, project, feature, gate, found)
    until = gate.deadline if gate.deadline and gate.deadline > now() else now() + FOR_EVER
    shelf = found.until or until
    states = unit.runs.states(run_of(feature))
    # Those that the run has: one that began with an older version of the DAG does not have every step of today.
    if all(state in ENDED for step, state in states.items() if ORDER[step] < ORDER[gate.step]):
        # Not when a task marked by hand let the run come here ahead of itself: the rest must still run.
        unit.runs.shelve(run_of(feature), until=shelf)
    waits_for = found.blocked or found.waits_for
    record(unit, feature, "waiting", f"{gate.step} waits: {waits_for}", step=gate.step)
    if found.blocked:
        alerts.stopped(unit, project, feature, gate.step, found.blocked)
    elif feature.rewind_to is None:
        alerts.succeeded(unit, feature, gate.step)
        ask_at_the_gate(unit, project, feature, gate.step)
    if feature.rewind_to is not None:
        # A rewind that was decided while a task was running is done once the run is parked here.
        gate.ended = False
    return GateAnswer(waits_for=waits_for, timeout_seconds=(until - now()).total_seconds())


def _help_along(unit: Unit, project: ProjectConfig, feature: Feature, gate: Gate, found: Flag) -> None:
    """Do what the project wants done at a gate instead of waiting for somebody to do it."""
    if gate.step is not Step.WAIT_FOR_MERGE_REQUEST or found.outcome or found.over or found.blocked:
        return
    if project.choices.open_request:
        open_request(unit, project, feature)
    else:
        find_request(unit, feature)


def settle(unit: Unit, project: ProjectConfig, feature: Feature, *, locked: bool = True) -> bool:
    """Look at the gate the feature waits at, after any fact changed, and resolve it when its flag is up.

    ``locked``: the caller holds the run's lock, so that the parked task may be ended here.
    """
    gate = unit.books.open_gate(feature)
    if gate is None:
        return False
    if gate.step is Step.WAIT_FOR_TURN and feature.state is FeatureState.ACTIVE:
        turn.ask(unit, project, feature)  # its place may have been taken from it since its task asked
    found = flag(unit.books, project, feature, gate.step)
    if gate.blocked.startswith(RUN_ENDED) and not found.over:
        return False  # no task is left to go through: what was said counts when somebody has cleared it, and it asks
    gate.blocked = found.blocked
    if not (found.outcome or found.over):
        _help_along(unit, project, feature, gate, found)
        return False
    resolve(unit, feature, gate, found.outcome or "over", locked=locked)
    if locked and gate.ended:
        _come_back(unit, project, feature)
    return True


def resolve(unit: Unit, feature: Feature, gate: Gate, outcome: str, *, locked: bool) -> None:
    """Write the outcome and wake the run, now or by ``finish``."""
    gate.state, gate.outcome, gate.resolved_at, gate.blocked = GateState.RESOLVED, outcome, now(), ""
    gate.ended = False
    record(unit, feature, "resolved", f"{gate.step}: {outcome}", step=gate.step)
    alerts.succeeded(unit, feature, gate.step)
    if locked:
        end(unit, feature, gate)


def end(unit: Unit, feature: Feature, gate: Gate) -> bool:
    """End the parked task of a resolved gate, or do the rewind that waits for it; needs the run's lock."""
    run = run_of(feature)
    newest = unit.books.gate(feature, gate.step)
    if gate.state is GateState.CLOSED or (newest is not None and newest.id != gate.id):
        gate.ended = True  # what is parked there now asked anew: an older resolution must not end it
        return True
    if feature.rewind_to is not None:
        return _rewind_when_parked(unit, feature, gate)
    if gate.state is GateState.OPEN:
        gate.ended = True
        return True
    if unit.runs.end_gate(run, gate.step):
        gate.ended = True
        unit.runs.unshelve(run)
        return True
    # A task that is gone for good (cleared, marked by hand) asks again by itself or never: nothing to end.
    if unit.runs.states(run).get(gate.step, "none") not in ON_ITS_WAY:
        gate.ended = True
        unit.runs.unshelve(run)
        return True
    return False


def _rewind_when_parked(unit: Unit, feature: Feature, gate: Gate) -> bool:
    assert feature.rewind_to is not None
    if unit.runs.states(run_of(feature)).get(gate.step, "none") in ON_ITS_WAY:
        return False
    if ORDER[gate.step] < ORDER[feature.rewind_to]:
        # Somebody cleared the run further back meanwhile: it comes past the place by itself.
        feature.rewind_to = None
        return end(unit, feature, gate)
    rewind(unit, feature, feature.rewind_to)
    gate.ended = True
    return True


def rewind(unit: Unit, feature: Feature, to: Step) -> None:
    """Clear the run from ``to`` on; the gate it waits at is closed.

    A gate's task that is on its way to parking is let park first: clearing it while it runs would cost a restart.
    Where a step before ``to`` was skipped or failed by hand, the run would not come to ``to``: it goes back further.
    """
    to = _reachable(unit.runs.states(run_of(feature)), to)
    gate = unit.books.open_gate(feature)
    behind = gate is not None and ORDER[gate.step] >= ORDER[to]
    if gate is not None and behind and unit.runs.states(run_of(feature)).get(gate.step) in ON_ITS_WAY:
        feature.rewind_to, gate.ended = to, False
        return
    for known in unit.books.gates(feature):
        if ORDER[known.step] >= ORDER[to]:
            known.ended = True  # a resolution whose task is cleared now must not end the next one that parks
            if known.state is GateState.OPEN:
                # Until now somebody was waited for: after a rollback, for the fix.
                known.state, known.resolved_at = GateState.CLOSED, now()
    feature.rewind_to = None
    unit.runs.rewind(run_of(feature), to=to)
    record(unit, feature, "rewound", f"The run goes back to {to}.", step=to)


def rewind_later(unit: Unit, feature: Feature, to: Step) -> None:
    """Rewind once the run is parked: a task of it is running and asks for this, or its run is not locked here."""
    feature.rewind_to = to
    gate = unit.books.open_gate(feature)
    if gate is not None:
        gate.ended = False


def _reachable(states: dict[Step, str], to: Step) -> Step:
    steps = list(Step)
    while to is not steps[0]:
        before = steps[ORDER[to] - 1]
        broken = {"skipped"} if to in GATES else {"skipped", "failed", "upstream_failed"}
        if states.get(before) not in broken:
            return to
        to = before
    return to


def finish(unit: Unit, project: ProjectConfig, run_id: str) -> bool:
    """End whatever the run still has to end; safe to repeat. ``True``: nothing is left."""
    feature = enter(unit, project, run_id)
    left = [gate for gate in unit.books.gates_to_end() if gate.feature_id == feature.id]
    ended = [end(unit, feature, gate) for gate in left]
    settle(unit, project, feature)
    _come_back(unit, project, feature)
    return all(ended)


def asleep(unit: Unit, projects: Collection[ProjectName]) -> list[RunRef]:
    """Return the runs of ``projects`` that are parked at a gate at which the ledger does not wait.

    Nobody could wake them. It takes hands: a gate that was cleared alone while a later one is parked asks again, and
    is then marked as done. ``finish`` mends it.
    """
    gates = unit.books.open_gates()
    features = unit.books.features_by_id({gate.feature_id for gate in gates})
    waits_at = {run_of(features[gate.feature_id]): gate.step for gate in gates}
    return [run for run, parked in unit.runs.parked(projects).items() if waits_at.get(run) not in parked]


def _come_back(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Open the gate again whose task is parked while the ledger waits nowhere, or for a task that is done by hand.

    That is so after somebody cleared a single task before the gate: it asked in between, and only one gate is open.
    """
    now_open, states = unit.books.open_gate(feature), unit.runs.states(run_of(feature))
    parked = [step for step in GATES if states.get(step) == "awaiting_input"]
    if not parked or (now_open is not None and states.get(now_open.step) not in ENDED):
        return
    if now_open is not None:
        now_open.state, now_open.ended = GateState.CLOSED, True
    # Not shelved: whatever was cleared together with the gate in between may still have to run.
    _new_gate(unit, project, feature, min(parked, key=ORDER.__getitem__))
    settle(unit, project, feature)
