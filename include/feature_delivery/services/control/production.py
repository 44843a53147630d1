"""Production's branch as the Git host shows it: commits that no delivery put there freeze promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    Event,
    FeatureState,
    Project,
    Promotion,
    PromotionState,
    now,
)
from feature_delivery.services.control import turn
from feature_delivery.services.control.gates import rewind_later
from feature_delivery.services.control.history import notify, record

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit

_MOVING = (PromotionState.INTENDED, PromotionState.ROLLING_BACK)
_UNDECIDED = OPEN_PROMOTIONS | {PromotionState.INTENDED}
"""States in which a task of ours may move the branch at any moment."""


def observe_production(unit: Unit, project: ProjectConfig, head: CommitSha) -> str:
    """Take in where production's branch is; returns what that changed, for the log.

    The head was read before this transaction, so one that production had before is an old answer, not a fact.
    """
    row = unit.books.lock_project(project.name)
    if row.production_commit is None:
        row.production_commit = head
        return "production is known now"
    if head == row.production_commit:
        if row.frozen_commit is not None:
            thaw(unit, project, row)
            return "the foreign commit is gone"
        return "production is where it should be"
    promotions = unit.books.promotions(project.name)
    if any(p.state in _MOVING for p in promotions):
        return "production is being moved"
    if any(head in {p.before, p.candidate, p.restored} for p in promotions):
        return "an old answer"
    freeze(unit, project, head)
    return "production is frozen"


def freeze(unit: Unit, project: ProjectConfig, head: CommitSha | None, reason: str = "") -> None:
    """Stop promotions until an operator adopts ``head``, or until it is gone again; says so once per commit."""
    row = unit.books.lock_project(project.name)
    if head is not None and head == row.production_commit:
        return  # adopted while somebody still reported it
    if row.frozen_reason and row.frozen_commit in {head, None}:
        return  # known, or frozen by break glass, which only an adoption ends
    at = head[:10] if head else "a commit"
    text = reason or (
        f"{project.branches.production} holds {at}, which no delivery put there. "
        f"Look at it, then adopt it with 'feature-delivery adopt {head}'."
    )
    row.frozen_reason, row.frozen_commit = text, head
    unit.books.add(Event(project=project.name, feature_id=None, kind="frozen", text=text))
    active = unit.books.features(project.name, [FeatureState.ACTIVE]) or unit.books.features(project.name)
    for feature in active[:1]:  # an errand belongs to a feature: any one's thread will do
        marker = f"frozen:{head}:{now():%Y%m%d%H%M%S}"
        notify(unit, feature, marker, text, to=project.people.with_role(Who.OPERATOR))


def thaw(unit: Unit, project: ProjectConfig, row: Project) -> None:
    """Let promotions go on; whoever holds production and stopped because of the freeze is looked at again."""
    row.frozen_reason, row.frozen_commit = "", None
    turn.grant(unit, project)
    if row.lock_feature_id is not None:
        gate = unit.books.open_gate(unit.books.feature_by_id(row.lock_feature_id))
        if gate is not None:
            gate.ended = False  # its run is not locked here: the finisher looks at it after this transaction


def settle_lost(unit: Unit, project: ProjectConfig, commit: CommitSha) -> None:
    """Decide what becomes of a promotion whose feature lost production by break glass, now that ``commit`` is adopted.

    Its own candidate adopted: it gets production back, and its verdict is still to be given. Anything else adopted:
    people took it back by hand.
    """
    row = unit.books.lock_project(project.name)
    for promotion in unit.books.promotions(project.name, states=_UNDECIDED):
        if row.lock_feature_id == promotion.feature_id:
            continue
        feature = unit.books.feature_by_id(promotion.feature_id)
        attempt = unit.books.attempt(feature, promotion.attempt)
        assert attempt is not None
        if commit == promotion.candidate and row.lock_feature_id is None:
            row.lock_feature_id, row.lock_since = feature.id, now()
            if promotion.state is not PromotionState.ROLLING_BACK:
                promotion.state, attempt.state = PromotionState.UNCERTAIN, AttemptState.PROMOTED
                promotion.moved_at = promotion.moved_at or now()
        elif promotion.state is PromotionState.INTENDED:
            promotion.state = PromotionState.DROPPED
            rewind_later(unit, feature, Step.WAIT_FOR_TURN)
        else:
            promotion.state, promotion.restored, promotion.ended_at = PromotionState.ROLLED_BACK, commit, now()
            attempt.state, attempt.ended_at = AttemptState.ROLLED_BACK, now()
            feature.rejected_commit = attempt.commit
        record(unit, feature, "adopted", f"Production is at {commit[:10]} after its lock was broken.")
        gate = unit.books.open_gate(feature)
        if gate is not None:
            gate.ended = False


def wake_stopped(unit: Unit, project: ProjectConfig) -> None:
    """Let features whose candidate could not be built because of a foreign commit build it now."""
    for feature in unit.books.features(project.name, [FeatureState.ACTIVE]):
        attempt = unit.books.attempt(feature)
        builds = [
            p
            for p in unit.books.permits(feature)
            if p.step is Step.BUILD_CANDIDATE and p.attempt == feature.attempt_number
        ]
        foreign = bool(builds) and builds[-1].state == "failed" and builds[-1].result.get("cause") == "foreign"
        active = attempt is not None and attempt.state is AttemptState.ACTIVE
        if foreign and active and feature.rewind_to is None:
            rewind_later(unit, feature, Step.BUILD_CANDIDATE)


def lost_without_verdict(unit: Unit, project: ProjectConfig, feature_id: int) -> Promotion | None:
    """Return the promotion of a feature that still holds, or may hold, production's branch."""
    found = [p for p in unit.books.promotions(project.name, states=_UNDECIDED) if p.feature_id == feature_id]
    return found[-1] if found else None
