"""Production's branch as the Git host shows it: commits that no delivery put there freeze promotions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    Event,
    Feature,
    FeatureState,
    Gate,
    Project,
    Promotion,
    PromotionState,
    now,
)
from feature_delivery.ports.repository import Held
from feature_delivery.services.control import turn
from feature_delivery.services.control.flags import production_evidence
from feature_delivery.services.control.gates import rewind_later
from feature_delivery.services.control.history import notify, record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit

_MOVING = (PromotionState.INTENDED, PromotionState.ROLLING_BACK)
_UNDECIDED = OPEN_PROMOTIONS | {PromotionState.INTENDED}
"""States in which a task of ours may move the branch at any moment."""


def observe_production(unit: Unit, project: ProjectConfig, head: CommitSha, *, known: CommitSha | None) -> str:
    """Take in where production's branch is; returns what that changed, for the log.

    ``head`` was read before this transaction and after another one, in which the ledger had production at ``known``.
    Only when a delivery has moved it in between is a head that production had before an old answer: a delivery writes
    down where it has moved the branch after it has, so what was asked later and shows an earlier release is a fact.
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
    if known != row.production_commit and any(head in {p.before, p.candidate, p.restored} for p in promotions):
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
    put_back = _put_back(unit, project, row, head) if head is not None else ""
    found = put_back or reason
    text = found or (
        f"{project.branches.production} holds {at}, which no delivery put there. "
        f"Look at it, then adopt it with 'feature-delivery adopt {head}'."
    )
    row.frozen_reason, row.frozen_commit = text, head
    unit.books.add(Event(project=project.name, feature_id=None, kind="frozen", text=text))
    holder = [unit.books.feature_by_id(row.lock_feature_id)] if row.lock_feature_id is not None else []
    for feature in holder:
        record(unit, feature, "frozen", text)
    active = holder or unit.books.features(project.name, [FeatureState.ACTIVE]) or unit.books.features(project.name)
    for feature in active[:1]:  # an errand belongs to a feature: any one's thread will do
        marker = f"frozen:{head}:{now():%Y%m%d%H%M%S}"
        notify(unit, feature, marker, text, to=project.people.with_role(Who.OPERATOR))


def thaw(unit: Unit, project: ProjectConfig, row: Project) -> None:
    """Let promotions go on; whoever holds production and stopped because of the freeze is looked at again."""
    row.frozen_reason, row.frozen_commit = "", None
    wake_stopped(unit, project)
    turn.grant(unit, project)
    if row.lock_feature_id is not None:
        feature = unit.books.feature_by_id(row.lock_feature_id)
        gate = unit.books.open_gate(feature)
        if gate is not None:
            gate.ended = False  # its run is not locked here: the finisher looks at it after this transaction
            if gate.step is Step.WAIT_FOR_VERDICT and project.choices.automatic_verdict:
                _let_evidence_decide(unit, feature, gate)


def _let_evidence_decide(unit: Unit, feature: Feature, gate: Gate) -> None:
    """Have the deadline pass that keeps what has shown itself well: the evidence was judged while nothing could be."""
    promotion = unit.books.promotion(feature)
    deployed = promotion is not None and promotion.state is PromotionState.DEPLOYED
    if deployed and production_evidence(unit.books, feature).outcome == "pass":
        gate.deadline = now()


def _put_back(unit: Unit, project: ProjectConfig, row: Project, head: CommitSha) -> str:
    """Say what production lacks where its branch was put back to an earlier release; empty when ``head`` is none."""
    moved = [p for p in unit.books.promotions(project.name) if p.moved_at is not None]
    since = next(
        (
            moved[index + (head != one.before) :]
            for index, one in reversed(list(enumerate(moved)))
            if head in {one.before, one.candidate, one.restored}
        ),
        None,
    )
    if since is None:
        return ""
    name, should = project.branches.production, row.production_commit
    lacking = [p for p in since if p.state in OPEN_PROMOTIONS | {PromotionState.KEPT}]
    keys = list(dict.fromkeys(unit.books.feature_by_id(p.feature_id).key for p in lacking))
    text = f"{name} was put back to {head[:10]}, an earlier release, by hand and not by a rollback."
    text += f" It lacks {', '.join(keys)}." if keys else ""
    waiting = [p for p in lacking if p.state in OPEN_PROMOTIONS]
    if waiting:
        key = unit.books.feature_by_id(waiting[-1].feature_id).key
        at = f" put {name} at {waiting[-1].before}," if head != waiting[-1].before else ""
        text += f" To roll {key} back,{at} say 'feature-delivery rollback {key}', which goes on from there; or put"
    else:
        text += f" Adopt it with 'feature-delivery adopt {head}', or put"
    return f"{text} {name} at {should} again."


def settle_lost(
    unit: Unit, project: ProjectConfig, commit: CommitSha, held: Mapping[CommitSha, Held]
) -> tuple[str, ...]:
    """Decide what becomes of a promotion whose feature lost production by break glass, now that ``commit`` is adopted.

    Its candidate is still in ``commit``, a fix on top of it or not: it gets production back, and its verdict is still
    to be given. Else people took it back by hand. Whoever had decided to roll it back and has mended by hand what no
    machine could take apart has taken it back, too.

    Args:
        unit: The transaction.
        project: Whose production.
        commit: Where it is.
        held: How much of each candidate in doubt ``commit`` holds.

    Returns:
        A sentence for each.
    """
    row = unit.books.lock_project(project.name)
    said: list[str] = []
    for promotion in in_doubt(unit, project):
        if row.lock_feature_id == promotion.feature_id:
            continue
        feature = unit.books.feature_by_id(promotion.feature_id)
        attempt = unit.books.attempt(feature, promotion.attempt)
        assert attempt is not None
        found, rolling_back = held[promotion.candidate], promotion.state is PromotionState.ROLLING_BACK
        if row.lock_feature_id is None and (found is Held.WHOLE or (found is Held.PART and not rolling_back)):
            row.lock_feature_id, row.lock_since = feature.id, now()
            if not rolling_back:
                promotion.state, attempt.state = PromotionState.UNCERTAIN, AttemptState.PROMOTED
                promotion.moved_at = promotion.moved_at or now()
            text = f"{feature.key} is still in it and holds production again: " + (
                f"its rollback goes on, clear {Step.RESTORE_BRANCH}." if rolling_back else "keep it or roll it back."
            )
        elif promotion.state is PromotionState.INTENDED and found is Held.ABSENT:
            promotion.state = PromotionState.DROPPED
            rewind_later(unit, feature, Step.WAIT_FOR_TURN)
            text = f"{feature.key} is not in it and takes its turn again."
        else:
            promotion.state, promotion.restored, promotion.ended_at = PromotionState.ROLLED_BACK, commit, now()
            promotion.moved_at = promotion.moved_at or now()
            attempt.state, attempt.ended_at = AttemptState.ROLLED_BACK, now()
            feature.rejected_commit = attempt.commit
            text = f"{feature.key} counts as taken back by hand: push a fix, or cancel it."
        record(unit, feature, "adopted", f"Production is at {commit[:10]} after its lock was broken. {text}")
        said.append(text)
        gate = unit.books.open_gate(feature)
        if gate is not None:
            gate.ended = False
    return tuple(said)


def in_doubt(unit: Unit, project: ProjectConfig) -> Sequence[Promotion]:
    """Return the promotions without a verdict: what becomes of them may hang on what a foreign commit holds."""
    return unit.books.promotions(project.name, states=_UNDECIDED)


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
