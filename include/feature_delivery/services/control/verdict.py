"""The verdict on production: keep or roll back, and what either does to promotion, lock and feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import ORDER, Step, Who
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    Feature,
    FeatureState,
    Promotion,
    PromotionState,
    now,
)
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import alerts, turn
from feature_delivery.services.control.gates import ENDED, rewind, run_of, settle
from feature_delivery.services.control.history import milestone, notify, record, send, tell_issue, tell_request

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit


def may_be_given(unit: Unit, feature: Feature, *, keep: bool) -> Promotion:
    """Return the promotion that waits for its verdict.

    Raises:
        Refused: There is none, or it cannot be kept because nothing of it runs in production yet, or because the
            branch may have lost it.
    """
    promotion = unit.books.promotion(feature, feature.attempt_number)
    if promotion is None or promotion.state not in OPEN_PROMOTIONS - {PromotionState.ROLLING_BACK}:
        raise Refused(f"{feature.key} has nothing in production that waits for a verdict: it is {where(feature)}.")
    if keep and promotion.state is PromotionState.MOVED:
        raise Refused(f"{feature.key} is not deployed to production yet: wait for {Step.DEPLOY_PRODUCTION}.")
    if keep and (why := not_to_keep_now(unit.books, feature)):
        raise Refused(why)
    return promotion


def not_to_keep_now(books: Books, feature: Feature) -> str:
    """Return why nobody can say that it is kept: production's branch may not hold it; empty when it may be kept.

    What is kept loses its branches: they must not have been the last that held it.
    """
    row = books.project(feature.project)
    if row is None or (row.frozen_commit is None and row.lock_feature_id == feature.id):
        return ""
    return (
        f"{feature.key} cannot be kept while nobody has said whether production still holds it; it can be rolled back. "
        f"{row.frozen_reason}"
    ).strip()


def where(feature: Feature) -> str:
    """Return the state of a feature for a sentence."""
    return str(feature.state) if feature.state is not FeatureState.ACTIVE else f"at attempt {feature.attempt_number}"


def keep(unit: Unit, project: ProjectConfig, feature: Feature, reason: str, *, person: str) -> None:
    """Keep what was promoted: the feature has shipped, production is free for the next."""
    promotion = may_be_given(unit, feature, keep=True)
    promotion.state, promotion.ended_at = PromotionState.KEPT, now()
    attempt = unit.books.attempt(feature)
    assert attempt is not None
    attempt.state, attempt.ended_at = AttemptState.SHIPPED, now()
    feature.state = FeatureState.SHIPPED
    alerts.ended(unit, feature, "It was kept in production.")
    turn.free(unit, project, feature)
    milestone(unit, project, feature, "kept", reason or "Kept in production.", person=person)
    if feature.request_number is not None:
        payload = {"number": feature.request_number, "state": "merged", "shipped": promotion.candidate}
        send(unit, feature, Errand.REQUEST_STATE, "shipped", payload)
    if feature.next_commit is not None:
        text = f"{feature.next_commit[:10]} was pushed after {feature.key} was promoted; it has not shipped."
        tell_issue(unit, feature, "left_over", text)
    _carry_on(unit, project, feature)


def roll_back(unit: Unit, project: ProjectConfig, feature: Feature, reason: str, *, person: str) -> None:
    """Take back what was promoted; the lock stays until production is verified again."""
    promotion = may_be_given(unit, feature, keep=False)
    promotion.state = PromotionState.ROLLING_BACK
    attempt = unit.books.attempt(feature)
    assert attempt is not None
    attempt.state, attempt.reason, attempt.ended_at = AttemptState.ROLLED_BACK, reason, now()
    feature.rejected_commit = attempt.commit
    record(unit, feature, "roll_back", reason or "Rolled back.", person=person)
    text = f"{feature.key} is rolled back from production. {reason}".strip()
    tell_issue(unit, feature, "rolled_back", text, state=IssueState.OPEN)
    tell_request(unit, feature, "rolled_back", text)
    notify(unit, feature, "rolling_back", text, to=project.people.with_role(Who.MANAGER, Who.OPERATOR))
    turn.take_back(unit, project, feature)
    _carry_on(unit, project, feature)


def _carry_on(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Wake the run at its verdict gate; one that was marked past it by hand comes back to act on the verdict."""
    unit.runs.end_watch(run_of(feature))  # whoever has decided does not wait for figures
    unit.books.forget_looks(feature)
    gate = unit.books.open_gate(feature)
    past = unit.runs.states(run_of(feature)).get(Step.WAIT_FOR_VERDICT) in ENDED
    if past and (gate is None or ORDER[gate.step] > ORDER[Step.WAIT_FOR_VERDICT]):
        rewind(unit, feature, Step.WAIT_FOR_VERDICT)
    else:
        settle(unit, project, feature)
