"""The rule of each step: why it may not have its effect now, by nothing but the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.process import GATES, SETUPS, TEARDOWNS, Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    CandidateRecord,
    EnvironmentState,
    FeatureState,
    Promotion,
    PromotionState,
)
from feature_delivery.services.control import flags
from feature_delivery.services.control.scene import (
    ROLLBACK_STEPS,
    Scene,
    environment_of,
)

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha


def rule(scene: Scene) -> str:
    """Return why the step may not have its effect now; empty when it may."""
    feature, step = scene.feature, scene.step
    if step in GATES:
        return "a gate needs none."
    if step in TEARDOWNS:
        return (
            ""
            if feature.state is not FeatureState.ACTIVE
            else (
                f"{feature.key} is still under delivery, nothing of it is torn down. "
                f"Cancel it first with 'feature-delivery cancel {feature.key}'."
            )
        )
    if step is Step.CLOSE_ISSUE:
        return (
            ""
            if feature.state in {FeatureState.SHIPPED, FeatureState.DELIVERED}
            else (f"{feature.key} has not been kept in production.")
        )
    if step is Step.DECIDE_ROLLBACK:
        return _rule_of_verdict(scene)
    if step in SETUPS and not _rule_of_environment(scene):
        return ""  # it is there: a setup that fails would keep its teardown from running
    if feature.state is not FeatureState.ACTIVE:
        return f"{feature.key} is {feature.state}; nothing is left to do for it. Start it again for a new delivery."
    if step in {
        Step.REGISTER_FEATURE,
        Step.CREATE_BRANCH,
        Step.RESERVE_DEVELOPMENT,
        Step.PROVISION_DEVELOPMENT,
    }:
        return _rule_of_environment(scene) if step is Step.PROVISION_DEVELOPMENT else ""
    return _rule_of_attempt(scene)


def _rule_of_verdict(scene: Scene) -> str:
    promotion = scene.promotion
    decided = {PromotionState.KEPT, PromotionState.ROLLING_BACK, PromotionState.ROLLED_BACK}
    if promotion is None or promotion.state not in decided:
        return f"nobody has decided. Keep or roll back {scene.feature.key} first."
    return ""


def _rule_of_environment(scene: Scene) -> str:
    name, _ = environment_of(scene)
    found = scene.unit.books.environment(scene.project.name, name)
    if found is None or found.state is EnvironmentState.DESTROYED or found.feature_id != scene.feature.id:
        return f"environment {name} is not reserved for it. Clear the reserve task of the same group and what follows."
    if scene.step in {Step.DEPLOY_DEVELOPMENT, Step.DEPLOY_PREPROD} and found.state is EnvironmentState.RESERVED:
        return f"environment {name} is not provisioned. Clear the reserve task of the same group and what follows."
    return ""


def _rule_of_attempt(scene: Scene) -> str:
    feature, books, step = scene.feature, scene.unit.books, scene.step
    attempt = books.attempt(feature)
    if attempt is None:
        return f"nothing has been pushed to {feature.branch} yet."
    if step in ROLLBACK_STEPS:
        return _rule_of_rollback(scene)
    promotion = scene.promotion
    if step in {Step.DEPLOY_PRODUCTION, Step.TEST_PRODUCTION, Step.OBSERVE_PRODUCTION}:
        return _rule_of_production(scene, promotion)
    if step is Step.PROMOTE and promotion is not None and promotion.state in OPEN_PROMOTIONS:
        return ""  # it has moved: the task confirms what is there already
    if attempt.state is not AttemptState.ACTIVE:
        reason = f" ({attempt.reason})" if attempt.reason else ""
        return f"attempt {attempt.number} is {attempt.state}{reason}. Push a new commit to {feature.branch}."
    if promotion is not None and promotion.state in OPEN_PROMOTIONS:
        return "its candidate is in production and waits for the verdict."
    begun = promotion is not None and promotion.state is PromotionState.INTENDED
    if begun and step not in {Step.REFRESH_CANDIDATE, Step.PROMOTE}:
        return f"its promotion has begun and may have moved production. Clear {Step.PROMOTE} to finish it."
    match step:
        case Step.DEPLOY_DEVELOPMENT:
            return _rule_of_environment(scene)
        case Step.CHECK_SYNTAX | Step.CHECK_UNIT | Step.CHECK_FUNCTIONAL:
            return _deployed(scene, attempt.commit)
        case Step.NOTIFY_REVIEWERS:
            return flags.red_checks(books, feature, attempt)
        case Step.BUILD_CANDIDATE:
            return flags.red_checks(books, feature, attempt) or flags.missing_sign_offs(
                books, scene.project, feature, *(g for g in flags.sign_offs(scene.project) if g is Step.WAIT_FOR_REVIEW)
            )
        case _:
            return _rule_of_candidate(scene)


def _rule_of_candidate(scene: Scene) -> str:
    feature, books, step = scene.feature, scene.unit.books, scene.step
    candidate = books.candidate(feature, feature.attempt_number)
    if step in {Step.RESERVE_PREPROD, Step.PROVISION_PREPROD}:
        if candidate is None:
            return "no candidate has been built for it."
        return _rule_of_environment(scene) if step is Step.PROVISION_PREPROD else ""
    if candidate is None:
        return "no candidate has been built for it."
    if step is Step.DEPLOY_PREPROD:
        return _rule_of_environment(scene)
    if step is Step.TEST_PREPROD:
        return _deployed(scene, candidate.commit)
    # A refresh that was killed left a new candidate that nothing has tested yet: it goes on there itself.
    if step is not Step.REFRESH_CANDIDATE and (red := flags.untested(books, feature, candidate)):
        return red
    if step is Step.TEST_LOAD:
        return _deployed(scene, candidate.commit)
    if step in {Step.NOTIFY_TESTERS, Step.NOTIFY_MANAGER}:
        return ""
    return _rule_of_turn(scene, candidate)


def _rule_of_turn(scene: Scene, candidate: CandidateRecord) -> str:
    feature, books = scene.feature, scene.unit.books
    if not_ready := flags.not_ready(books, scene.project, feature, candidate):
        return not_ready
    if not scene.holds_production:
        return f"it does not hold production. Clear {Step.WAIT_FOR_TURN} to queue for it."
    row = books.project(scene.project.name)
    if row is not None and row.frozen_reason:
        return f"production is frozen: {row.frozen_reason}"
    if (freeze := flags.frozen(books, scene.project, feature)) is not None:
        return flags.frozen_sentence(scene.project, freeze)
    return ""


def _rule_of_production(scene: Scene, promotion: Promotion | None) -> str:
    if promotion is None or promotion.state not in OPEN_PROMOTIONS - {PromotionState.ROLLING_BACK}:
        return "production's branch is not at its candidate, or the verdict has been given."
    if not scene.holds_production:
        return "it does not hold production any more."
    if scene.step is not Step.DEPLOY_PRODUCTION:
        return _deployed(scene, promotion.candidate)
    return ""


def _rule_of_rollback(scene: Scene) -> str:
    promotion = scene.promotion
    if promotion is None or promotion.state not in {PromotionState.ROLLING_BACK, PromotionState.ROLLED_BACK}:
        return "nobody has decided to roll it back."
    if scene.step is Step.RELEASE_PREPROD:
        return ""
    if promotion.state is PromotionState.ROLLED_BACK:
        return ""  # rolled back directly, or cleared by hand since: the steps only confirm it
    if not scene.holds_production:
        return f"it does not hold production. Clear {Step.RESTORE_BRANCH} when production is free."
    if scene.step is Step.DEPLOY_ROLLBACK and promotion.restored is None:
        return f"production's branch has not been restored. Clear {Step.RESTORE_BRANCH}."
    if scene.step is Step.TEST_ROLLBACK and promotion.restored is not None:
        return _deployed(scene, promotion.restored)
    return ""


def _deployed(scene: Scene, commit: CommitSha) -> str:
    name, _ = environment_of(scene)
    found = scene.unit.books.environment(scene.project.name, name)
    ours = found is not None and found.feature_id in {None, scene.feature.id}
    if found is None or not ours or found.commit != commit:
        at = found.commit[:10] if found and found.commit else "nothing"
        return f"{name} runs {at}, not {commit[:10]}. Clear its deploy."
    return ""
