"""The work a permit allows: everything the task needs to know, in one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import CHECKS, Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    Environment,
    PermitRecord,
    Promotion,
    PromotionState,
)
from feature_delivery.domain.work import CandidateWork, EnvironmentWork, PastWork, PromotionWork, Work
from feature_delivery.services.control import marks
from feature_delivery.services.control.baseline import executed_in_production
from feature_delivery.services.control.observations import bad_times, baseline_of, judgement
from feature_delivery.services.control.scene import (
    Scene,
)

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha


def work_of(scene: Scene, permit: PermitRecord, environment: Environment | None) -> Work:
    """Return the work of a permit; ``environment`` is the one that the step is about, if any."""
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
        baseline=baseline_of(scene),
        preprod=judgement(books, scene.feature, Step.TEST_LOAD) if step is Step.OBSERVE_PRODUCTION else None,
        production_address=_production_address(scene) if step is Step.PROMOTE else "",
        bad_times=bad_times(scene) if step is Step.PROMOTE else (),
        done=done_already(step, promotion),
        claim=marks.new_claim(books, scene.project.name) if step in marks.CLAIMED else None,
    )


def _production_address(scene: Scene) -> str:
    found = scene.unit.books.environment(scene.project.name, "production")
    return found.address if found is not None and found.commit is not None else ""


def done_already(step: Step, promotion: Promotion | None) -> bool:
    """Say whether the effect of the step is known to have happened: its task only confirms it."""
    if promotion is None:
        return False
    if step is Step.REFRESH_CANDIDATE:  # once the intent is written, the candidate must stay what it is
        return promotion.state is PromotionState.INTENDED
    if step in {Step.RESTORE_BRANCH, Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK}:
        return promotion.state is PromotionState.ROLLED_BACK
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
