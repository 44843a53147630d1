"""Permits: the ledger's leave for one step of one attempt to have one effect.

Every task with an effect takes its permit first. The rule of a step looks at nothing but the ledger, so it does not
matter how the task came to run: in its turn, cleared by hand weeks later, or after its gate was marked successful.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.names import environment_name
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import CHECKS, GATES, SETUPS, TEARDOWNS, Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    Environment,
    EnvironmentState,
    Feature,
    FeatureState,
    PermitRecord,
    Promotion,
    PromotionState,
    now,
)
from feature_delivery.domain.work import CandidateWork, EnvironmentWork, PastWork, PromotionWork, Work
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control import flags, start
from feature_delivery.services.control.baseline import executed_in_production
from feature_delivery.services.control.gates import enter

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.runs import TaskRef

DEVELOPMENT_STEPS = frozenset(
    {Step.RESERVE_DEVELOPMENT, Step.PROVISION_DEVELOPMENT, Step.DEPLOY_DEVELOPMENT, *CHECKS, Step.DESTROY_DEVELOPMENT}
)
PREPROD_STEPS = frozenset(
    {
        Step.RESERVE_PREPROD,
        Step.PROVISION_PREPROD,
        Step.DEPLOY_PREPROD,
        Step.TEST_PREPROD,
        Step.REFRESH_CANDIDATE,
        Step.RELEASE_PREPROD,
        Step.DESTROY_PREPROD,
    }
)
PRODUCTION_STEPS = frozenset(
    {
        Step.DEPLOY_PRODUCTION,
        Step.TEST_PRODUCTION,
        Step.OBSERVE_PRODUCTION,
        Step.DEPLOY_ROLLBACK,
        Step.TEST_ROLLBACK,
    }
)
ROLLBACK_STEPS = frozenset(
    {Step.RESTORE_BRANCH, Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK, Step.NOTIFY_ROLLBACK, Step.RELEASE_PREPROD}
)
WRITES = frozenset(
    {
        Step.PROVISION_DEVELOPMENT,
        Step.DEPLOY_DEVELOPMENT,
        Step.DESTROY_DEVELOPMENT,
        Step.PROVISION_PREPROD,
        Step.DEPLOY_PREPROD,
        Step.REFRESH_CANDIDATE,
        Step.RELEASE_PREPROD,
        Step.DESTROY_PREPROD,
        Step.DEPLOY_PRODUCTION,
        Step.DEPLOY_ROLLBACK,
    }
)
"""Steps that change an environment: their permit is worth a new generation."""
DESTRUCTIONS = frozenset({Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD, Step.RELEASE_PREPROD})
"""Steps that remove an environment; one that is gone already, or has passed to another delivery, is done."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the rule of a step may look at."""

    unit: Unit
    project: ProjectConfig
    feature: Feature
    step: Step

    @property
    def promotion(self) -> Promotion | None:
        """The promotion of the current attempt."""
        return self.unit.books.promotion(self.feature, self.feature.attempt_number)

    @property
    def holds_production(self) -> bool:
        """Say whether the feature holds production's lock."""
        row = self.unit.books.project(self.project.name)
        return row is not None and row.lock_feature_id == self.feature.id


def take_permit(unit: Unit, project: ProjectConfig, task: TaskRef) -> Work:
    """Grant the running task its permit, in one transaction with the state that the permit changes.

    Raises:
        Refused: The rule of the step says no; the sentence says what changed and what to do.
        Unavailable: An earlier delivery of the issue still has the environment; it is being torn down.
        Conflict: The feature is under delivery in another run.
        NotFound: No such run or feature.
    """
    step = task.step
    if step is Step.REGISTER_FEATURE:
        unit.runs.lock(task.run)
        unit.books.lock_project(project.name)
        if unit.runs.is_running(task) and unit.books.feature_of_run(project.name, task.run.run_id) is None:
            start.adopt_run(unit, project, task.run)
    feature = enter(unit, project, task.run.run_id)
    if not unit.runs.is_running(task):
        raise Refused(f"{step} of {feature.key} is not running: a permit goes to the running task only.")
    scene = Scene(unit, project, feature, step)
    if why_not := rule(scene):
        raise Refused(f"{step} of {feature.key} has no permit: {why_not}")
    environment = _environment(scene)
    for older in unit.books.permits(feature):
        if older.step is step and older.state == "granted":
            older.state, older.reason = "void", f"A newer try of {step} took over."
    permit = PermitRecord(
        feature_id=feature.id,
        attempt=feature.attempt_number,
        step=step,
        try_number=task.try_number,
        task_instance=task.task_instance,
        generation=environment.generation if environment else 0,
    )
    unit.books.add(permit)
    if step is Step.PROMOTE:
        _intend(scene)
    return _work(scene, permit, environment)


def note_refusal(unit: Unit, project: ProjectConfig, task: TaskRef, reason: str) -> None:
    """Remember why a running task got no permit, so that the gate it stops before can say so.

    Called in a transaction of its own: the one that refused has been taken back.
    """
    feature = enter(unit, project, task.run.run_id)
    if task.step in GATES or not unit.runs.is_running(task):
        return
    unit.books.add(
        PermitRecord(
            feature_id=feature.id,
            attempt=feature.attempt_number,
            step=task.step,
            try_number=task.try_number,
            task_instance=task.task_instance,
            state="failed",
            reason=reason,
            ended_at=now(),
        )
    )


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
    if step in {Step.NOTIFY_TESTERS, Step.NOTIFY_MANAGER}:
        return ""
    if lacking := flags.missing_sign_offs(books, scene.project, feature, *flags.sign_offs(scene.project)):
        return lacking
    if not scene.holds_production:
        return f"it does not hold production. Clear {Step.WAIT_FOR_TURN} to queue for it."
    row = books.project(scene.project.name)
    if row is not None and row.frozen_reason:
        return f"production is frozen: {row.frozen_reason}"
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
        told = scene.step is Step.NOTIFY_ROLLBACK
        return "" if told else "it is rolled back already; production has moved on."
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


def environment_of(scene: Scene) -> tuple[str, EnvironmentKind]:
    """Return name and kind of the environment a step is about."""
    if scene.step in DEVELOPMENT_STEPS:
        kind = EnvironmentKind.DEVELOPMENT
    elif scene.step in PREPROD_STEPS:
        kind = EnvironmentKind.PREPROD
    else:
        kind = EnvironmentKind.PRODUCTION
    shared = kind is EnvironmentKind.PRODUCTION
    return environment_name(kind, None if shared else scene.feature.key), kind


def _environment(scene: Scene) -> Environment | None:
    """Return the environment of the step, with a new generation when the step writes to it."""
    step, books = scene.step, scene.unit.books
    if step not in DEVELOPMENT_STEPS | PREPROD_STEPS | PRODUCTION_STEPS:
        return None
    name, kind = environment_of(scene)
    found = books.environment(scene.project.name, name)
    gone = found is None or found.state is EnvironmentState.DESTROYED
    if gone and step in DESTRUCTIONS:
        return None
    if found is not None and not gone and kind is not EnvironmentKind.PRODUCTION:
        if found.feature_id != scene.feature.id and step in DESTRUCTIONS:
            return None  # the name has passed to a later delivery of the same issue
        if found.feature_id != scene.feature.id:
            raise Unavailable(
                f"Environment {name} still belongs to an earlier delivery of {scene.feature.key}, which is being torn "
                "down. This is tried again; look at that run's teardown if it lasts."
            )
    if gone:
        found = Environment(
            project=scene.project.name,
            name=name,
            kind=kind,
            feature_id=None if kind is EnvironmentKind.PRODUCTION else scene.feature.id,
            generation=found.generation if found else 0,
        )
        books.add(found)
    assert found is not None
    if step in WRITES:
        found.generation += 1
    return found


def _intend(scene: Scene) -> None:
    """Write the promotion down before the branch moves, so that a crash between is recognised."""
    feature, books = scene.feature, scene.unit.books
    candidate = books.candidate(feature, feature.attempt_number)
    assert candidate is not None
    known = scene.promotion
    if known is not None and known.state in OPEN_PROMOTIONS:
        return
    if known is not None and known.state is PromotionState.INTENDED:
        assert known.candidate == candidate.commit, "nothing builds a candidate while a promotion is intended"
        return
    books.add(
        Promotion(
            project=scene.project.name,
            feature_id=feature.id,
            attempt=feature.attempt_number,
            before=candidate.base,
            candidate=candidate.commit,
            tree=candidate.tree,
        )
    )


def _work(scene: Scene, permit: PermitRecord, environment: Environment | None) -> Work:
    feature, books, step = scene.feature, scene.unit.books, scene.step
    attempt = books.attempt(feature)
    candidate = books.candidate(feature, feature.attempt_number)
    promotion = scene.promotion
    row = books.project(scene.project.name)
    past = _past(scene)
    verdict = ""
    if step is Step.DECIDE_ROLLBACK and promotion is not None:
        verdict = DecisionKind.KEEP if promotion.state is PromotionState.KEPT else DecisionKind.ROLL_BACK
    return Work(
        permit=permit.id,
        project=feature.project,
        step=step,
        key=feature.key,
        delivery=feature.delivery,
        title=feature.title,
        description=feature.description,
        requester=feature.requester,
        branch=feature.branch,
        attempt=feature.attempt_number,
        commit=attempt.commit if attempt else feature.wanted_commit,
        issue_url=feature.issue_url,
        request_number=feature.request_number,
        other_branches=_other_branches(scene) if step in {Step.BUILD_CANDIDATE, Step.REFRESH_CANDIDATE} else {},
        production_commit=row.production_commit if row else None,
        candidate=CandidateWork(
            commit=candidate.commit,
            tree=candidate.tree,
            base=candidate.base,
            feature=candidate.feature_commit,
            integration_green=candidate.integration_green,
        )
        if candidate
        else None,
        environment=EnvironmentWork(
            instance=books.instance(),
            name=environment.name,
            kind=environment.kind,
            generation=environment.generation,
            address=environment.address,
            shared=environment.feature_id is None,
        )
        if environment
        else None,
        promotion=PromotionWork(before=promotion.before, candidate=promotion.candidate, restored=promotion.restored)
        if promotion
        else None,
        past=past,
        executed_in_production=executed_in_production(books, scene.project.name) if _tests(step) else {},
        branch_leases=_leases(scene) if step is Step.DELETE_BRANCHES else {},
        own_branches=_own_branches(scene) if step is Step.DELETE_BRANCHES else (),
        verdict=verdict,
        done=_done_already(step, promotion),
    )


def _done_already(step: Step, promotion: Promotion | None) -> bool:
    if promotion is None:
        return False
    if step is Step.REFRESH_CANDIDATE:  # once the intent is written, the candidate must stay what it is
        return promotion.state is PromotionState.INTENDED
    return step is Step.PROMOTE and promotion.state in OPEN_PROMOTIONS


def _tests(step: Step) -> bool:
    return step in CHECKS or step in {
        Step.TEST_PREPROD,
        Step.TEST_PRODUCTION,
        Step.TEST_ROLLBACK,
        Step.REFRESH_CANDIDATE,
    }


def _past(scene: Scene) -> tuple[PastWork, ...]:
    """Return the rolled back promotions of this feature, of earlier deliveries of the issue too.

    Once a promotion of it was kept, production holds what it should: what was taken back before is over.
    """
    found: list[PastWork] = []
    for promotion in scene.unit.books.promotions(scene.project.name, scene.feature.key):
        if promotion.state is PromotionState.KEPT:
            found.clear()
        elif promotion.restored is not None:
            found.append(PastWork(before=promotion.before, candidate=promotion.candidate, restored=promotion.restored))
    return tuple(found)


def _other_branches(scene: Scene) -> dict[BranchName, CommitSha]:
    branches = scene.unit.books.feature_branches(scene.project.name)
    return {name: commit for name, commit in branches.items() if name != scene.feature.branch}


def _succeeded(scene: Scene) -> bool:
    """Say whether the issue is under delivery again: its branches are the newer delivery's then."""
    newest = scene.unit.books.feature(scene.project.name, scene.feature.key)
    return newest is not None and newest.id != scene.feature.id


def _own_branches(scene: Scene) -> tuple[BranchName, ...]:
    """Return the branches that are ours alone: they go whatever they hold.

    A build that was killed, or was late, has put a commit on the candidate's branch that the ledger never heard of.
    """
    return () if _succeeded(scene) else (scene.project.branches.candidate(scene.feature.key),)


def _leases(scene: Scene) -> dict[BranchName, CommitSha]:
    """Return the branches teardown may delete, each at the one commit it may be deleted at."""
    feature, books = scene.feature, scene.unit.books
    leases: dict[BranchName, CommitSha] = {}
    attempt = books.attempt(feature)
    if feature.branch is None or _succeeded(scene):
        return leases
    if attempt is not None and attempt.state is AttemptState.SHIPPED:
        leases[feature.branch] = attempt.commit
    elif attempt is None and feature.branch_is_ours and feature.branch_head is not None:
        leases[feature.branch] = feature.branch_head
    return leases
