"""Production's lock and the queue before it: fair, without expiry, freed by its holder or by break glass only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    Feature,
    FeatureState,
    GateState,
    PromotionState,
    QueuePlace,
    now,
)
from feature_delivery.ports.runs import AT_THE_GATE, RunRef
from feature_delivery.services.control.flags import frozen, not_ready, untested
from feature_delivery.services.control.history import record

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit


def ask(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Put the feature into the queue, at the place it had if it was there before, and give out the turn."""
    if unit.books.lock_project(project.name).lock_feature_id == feature.id:
        if may_go(unit.books, project, feature) and frozen(unit.books, project, feature) is None:
            return
        free(unit, project, feature, keep_place=True)  # one that may go needs it
    place = next((p for p in unit.books.queue(project.name) if p.feature_id == feature.id), None)
    if place is None:
        unit.books.add(QueuePlace(project=project.name, feature_id=feature.id))
    else:
        place.waiting = True
    grant(unit, project, asking=feature)


def grant(unit: Unit, project: ProjectConfig, *, asking: Feature | None = None) -> Feature | None:
    """Give production to the first of the queue that may have it, when it is free; return who got it.

    Only a feature that stands at the gate gets it: one that was cleared further back meanwhile, or whose run somebody
    has ended or deleted, would hold it idle. It keeps its place.
    """
    books = unit.books
    row = books.lock_project(project.name)
    if row.lock_feature_id is not None or row.frozen_reason:
        return None
    for place in books.queue(project.name):
        feature = books.feature_by_id(place.feature_id)
        gate = books.open_gate(feature)
        asks = asking is not None and asking.id == feature.id
        here = asks or (gate is not None and gate.step is Step.WAIT_FOR_TURN)
        ready = place.waiting and here and feature.state is FeatureState.ACTIVE and feature.rewind_to is None
        may = ready and may_go(books, project, feature) and frozen(books, project, feature) is None
        if may and _stands_there(unit, feature):
            row.lock_feature_id, row.lock_since = feature.id, now()
            place.waiting = False
            record(unit, feature, "turn", f"{feature.key} holds production.", step=Step.WAIT_FOR_TURN)
            if gate is not None and gate.step is Step.WAIT_FOR_TURN:
                # Its run is not locked by us: the finisher ends the parked task after this transaction.
                gate.state, gate.outcome, gate.resolved_at, gate.ended = GateState.RESOLVED, "turn", now(), False
            return feature
    return None


def _stands_there(unit: Unit, feature: Feature) -> bool:
    """Say whether its run is at the gate. Its row is not locked: the project's lock comes after a run's own."""
    states = unit.runs.states(RunRef(feature.project, feature.run_id))
    return states.get(Step.WAIT_FOR_TURN) in AT_THE_GATE


def may_go(books: Books, project: ProjectConfig, feature: Feature) -> bool:
    """Say whether nothing but production itself is missing for a promotion."""
    candidate = books.candidate(feature, feature.attempt_number)
    return not not_ready(books, project, feature, candidate) and not untested(books, feature, candidate)


def take_back(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Give production back to a feature that lost it by break glass and is rolled back now, when it is free."""
    row = unit.books.lock_project(project.name)
    if row.lock_feature_id is None:
        row.lock_feature_id, row.lock_since = feature.id, now()
        if row.frozen_commit is None:
            row.frozen_reason = ""


def free(unit: Unit, project: ProjectConfig, feature: Feature, *, keep_place: bool = False) -> None:
    """Give production back, if ``feature`` holds it, and to the next in the queue.

    A feature whose promotion waits for its verdict keeps the lock, whoever asks.
    """
    books = unit.books
    row = books.lock_project(project.name)
    if not keep_place:
        books.leave_queue(feature)
    if row.lock_feature_id != feature.id:
        return
    promotion = books.promotion(feature)
    if promotion is not None and promotion.state in OPEN_PROMOTIONS | {PromotionState.INTENDED}:
        return
    row.lock_feature_id, row.lock_since = None, None
    record(unit, feature, "freed", f"{feature.key} gives production free.")
    grant(unit, project)
