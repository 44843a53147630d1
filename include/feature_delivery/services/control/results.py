"""Results: what a permitted step found or did, written down in one transaction with everything that follows from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, assert_never

from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    CandidateRecord,
    Deployment,
    Environment,
    EnvironmentState,
    FeatureState,
    PermitRecord,
    Promotion,
    PromotionState,
    SuiteResult,
    now,
)
from feature_delivery.domain.suites import why_too_few
from feature_delivery.domain.work import (
    BaselineTaken,
    BranchesDeleted,
    BranchReady,
    CandidateBuilt,
    Deployed,
    Done,
    EnvironmentReady,
    Failed,
    Moved,
    Observed,
    Registered,
    Result,
    SuiteDone,
)
from feature_delivery.services.control import (
    alerts,
    attempts,
    evidence,
    observations,
    production,
    tallies,
    turn,
)
from feature_delivery.services.control.asking import ask
from feature_delivery.services.control.baseline import executed_in_production
from feature_delivery.services.control.flags import last_failure, missing_sign_offs, production_evidence, sign_offs
from feature_delivery.services.control.gates import enter, rewind_later, settle
from feature_delivery.services.control.history import milestone, notify, record, show_later, tell_issue
from feature_delivery.services.control.scene import Scene, environment_of

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.runs import TaskRef

FACTS = frozenset({Step.PROMOTE, Step.RESTORE_BRANCH})
"""Steps that move production: a move they report has happened, whatever the permit has become since."""

DECIDED_BY_GIT = frozenset({"conflict", "foreign", "stale"})
"""Causes that reject, freeze or rewind: people are told of that, nothing has failed."""


def apply_result(unit: Unit, project: ProjectConfig, task: TaskRef, permit_id: int, result: Result) -> str:
    """Write a result down; the same result of the same permit again changes nothing.

    Returns why the step counts as failed (the task ends with this sentence), empty when it counts as done.

    ``REFRESH_CANDIDATE`` reports several results under one permit and ends with ``Done`` or ``Failed``; a baseline is
    reported before the promotion that ends its permit.

    Raises:
        NotFound: No such permit.
        Refused: The permit belongs to another task, or has ended with another result.
        Conflict: The attempt was superseded meanwhile; the run is being rewound.
    """
    feature = enter(unit, project, task.run.run_id)
    permit = unit.books.permit(permit_id)
    if permit is None or permit.feature_id != feature.id:
        raise NotFound(f"Run {task.run.run_id!r} has no permit {permit_id}.")
    if permit.task_instance != task.task_instance or permit.step is not task.step:
        raise Refused(f"Permit {permit_id} was given to another task than {task.step} of {feature.key}.")
    facts = _plain(_facts(result))
    if _brief(permit.result) == facts and permit.state != "void":
        return permit.reason
    if permit.state in {"done", "failed"}:
        raise Refused(f"Permit {permit_id} for {task.step} of {feature.key} has ended already.")
    if permit.state == "void" and not (task.step in FACTS and isinstance(result, Moved)):
        again = " The run starts over by itself." if feature.state is FeatureState.ACTIVE else ""
        raise Conflict(f"{task.step} of {feature.key} came too late: {permit.reason}{again}")
    permit.result = facts
    problem = _take_in(Scene(unit, project, feature, task.step), permit, result)
    refreshes = task.step is Step.REFRESH_CANDIDATE and not isinstance(result, Done | Failed)
    interim = (refreshes or isinstance(result, BaselineTaken)) and not problem
    if not interim:
        permit.state, permit.reason, permit.ended_at = "failed" if problem else "done", problem, now()
        tallies.step_ended(unit.books, project.name, permit)
        if problem:
            record(unit, feature, "failed", problem, step=task.step)
            if not (isinstance(result, Failed) and result.cause in DECIDED_BY_GIT):
                alerts.failed(unit, project, feature, task.step, problem)
        else:
            alerts.succeeded(unit, feature, task.step)
    show_later(unit, feature)  # most results are no line of the history
    settle(unit, project, feature)
    return problem


def _facts(result: Result) -> dict[str, object]:
    """Return what the permit keeps of a result; measurements are kept as observations, test cases with the suite."""
    if isinstance(result, Observed):
        return observations.as_facts(result)
    return {"kind": result.kind} if isinstance(result, BaselineTaken) else _brief(asdict(result))


def _brief(facts: dict[str, object]) -> dict[str, object]:
    """Return the facts with the digest of their test cases in place of them.

    All of a feature's permits are read at once, under the project's lock, and thousands of cases are megabytes. What
    an older version stored has the cases themselves: it is brought to the same here, and equals the same report.
    """
    cases = facts.get("cases")
    if not isinstance(cases, list | tuple):
        return facts
    return {**facts, "cases": sha256(json.dumps(cases, sort_keys=True).encode()).hexdigest()}


def _plain(facts: dict[str, object]) -> dict[str, object]:
    """Return the facts as JSON keeps them, so that a stored result equals the same result sent again."""
    return {
        k: [_plain(v) if isinstance(v, dict) else v for v in value] if isinstance(value, tuple | list) else value
        for k, value in facts.items()
    }


def _take_in(scene: Scene, permit: PermitRecord, result: Result) -> str:  # noqa: C901 - one arm per kind of result
    """Write the facts down; return why the step counts as failed, or an empty text."""
    unit, feature = scene.unit, scene.feature
    match result:
        case Registered():
            feature.title = feature.title or result.title
            feature.description = feature.description or result.description
            feature.issue_url = result.issue_url
            feature.started = feature.started or result.taken
            _trouble(scene, result.trouble)
        case BranchReady():
            _branch(scene, result)
        case EnvironmentReady():
            _environment_ready(scene, permit, result)
        case Deployed():
            _deployed(scene, permit, result)
        case SuiteDone():
            return _suite(scene, result)
        case CandidateBuilt():
            _built(scene, result)
        case Moved():
            _moved(scene, permit, result)
        case BaselineTaken():
            observations.keep_baseline(scene, result.baseline)
        case Observed():
            observations.keep_judgement(scene, result)
            evidence.load_put(scene, result) if scene.step is Step.TEST_LOAD else evidence.observed(scene, result)
        case BranchesDeleted():
            if result.kept:
                tell_issue(unit, feature, "kept_branches", f"Kept, somebody pushed since: {', '.join(result.kept)}.")
        case Done():
            return _done(scene, permit, result)
        case Failed():
            _failed(scene, permit, result)
            return result.reason
        case _:
            assert_never(result)
    return ""


def _branch(scene: Scene, result: BranchReady) -> None:
    feature = scene.feature
    feature.branch, feature.branch_head = result.branch, result.head
    feature.branch_is_ours = feature.branch_is_ours or result.created
    row = scene.unit.books.lock_project(scene.project.name)
    if row.production_commit is None:
        row.production_commit = result.production
    if result.ahead:
        facts = attempts.BranchFacts(
            head=result.head, listing_has_production=True, ahead=True, emails=frozenset(result.authors)
        )
        attempts.observe_branch(scene.unit, scene.project, feature, facts)


def _built(scene: Scene, result: CandidateBuilt) -> None:
    feature, books = scene.feature, scene.unit.books
    attempt = books.attempt(feature)
    if attempt is None or result.feature != attempt.commit:
        raise Conflict(f"Candidate {result.commit[:10]} was built from another commit than the attempt's.")
    books.add(
        CandidateRecord(
            feature_id=feature.id,
            attempt=feature.attempt_number,
            commit=result.commit,
            tree=result.tree,
            base=result.base,
            feature_commit=result.feature,
            plan_changed=result.plan_changed,
        )
    )


def _written(scene: Scene, permit: PermitRecord) -> Environment:
    """Return the environment that the permit's task has written to.

    Raises:
        Conflict: A newer task has been let to write to it, or it has been destroyed.
    """
    name, _ = environment_of(scene)
    found = scene.unit.books.environment(scene.project.name, name)
    if found is None or permit.generation < found.generation or found.state is EnvironmentState.DESTROYED:
        raise Conflict(f"{name} belongs to a newer task by now; what {scene.step} did there does not count.")
    return found


def _environment_ready(scene: Scene, permit: PermitRecord, result: EnvironmentReady) -> None:
    found = _written(scene, permit)
    found.state, found.address = EnvironmentState.READY, result.address
    if not result.address:
        found.state = EnvironmentState.RESERVED


def _deployed(scene: Scene, permit: PermitRecord, result: Deployed) -> None:
    unit, feature = scene.unit, scene.feature
    found = _written(scene, permit)
    found.state, found.address, found.commit = EnvironmentState.READY, result.address, result.commit
    found.metrics_path, found.health_path = result.metrics_path, result.health_path
    unit.books.add(
        Deployment(
            environment_id=found.id,
            feature_id=feature.id,
            attempt=feature.attempt_number,
            commit=result.commit,
            generation=permit.generation,
            state="done",
            started_at=permit.granted_at,
            ended_at=now(),
        )
    )
    tallies.deployed(unit.books, scene.project.name, found.kind, "done")
    text = f"{result.commit[:10]} runs at {result.address} ({found.name})."
    milestone(unit, scene.project, feature, "deployed", text, step=scene.step)
    if scene.step is Step.DEPLOY_PRODUCTION:
        promotion = _promotion(scene)
        if promotion.state in {PromotionState.MOVED, PromotionState.UNCERTAIN}:
            promotion.state = PromotionState.DEPLOYED


def _suite(scene: Scene, result: SuiteDone) -> str:
    unit, feature = scene.unit, scene.feature
    step = Step.TEST_PREPROD if scene.step is Step.REFRESH_CANDIDATE else scene.step
    known = executed_in_production(unit.books, scene.project.name)
    lost = why_too_few(result.suite, executed=result.executed, in_production=known.get(result.suite))
    red = result.red or (f"{result.failed} tests failed." if result.failed else lost or "")
    unit.books.add(
        SuiteResult(
            feature_id=feature.id,
            attempt=feature.attempt_number,
            step=step,
            suite=result.suite,
            commit=result.commit,
            tests=result.tests,
            executed=result.executed,
            failed=result.failed,
            seconds=result.seconds,
            red=red,
            report={"cases": [asdict(case) for case in result.cases]},
        )
    )
    if step is Step.TEST_PREPROD:
        candidate = unit.books.candidate(feature, feature.attempt_number)
        if candidate is not None and candidate.commit == result.commit:
            candidate.integration_green = not red
    if scene.step is Step.REFRESH_CANDIDATE and red:
        turn.free(unit, scene.project, feature)
    if scene.step is Step.TEST_PRODUCTION and red:
        if "failed_tests" in scene.project.choices.automatic_rollback:
            evidence.roll_back(scene)
        evidence.judge(scene, "fail")
    return red


def _moved(scene: Scene, permit: PermitRecord, result: Moved) -> None:
    unit, feature = scene.unit, scene.feature
    row = unit.books.lock_project(scene.project.name)
    promotion = unit.books.promotion(feature, permit.attempt)
    if promotion is None:
        raise Refused(f"{feature.key} has no promotion to report on.")
    if scene.step is Step.PROMOTE:
        if promotion.state is PromotionState.DROPPED and row.production_commit != result.commit:
            # A killed try came through after its successor had failed: nobody waits for a verdict on it any more.
            production.freeze(unit, scene.project, result.commit)
        elif promotion.state is PromotionState.INTENDED:
            promotion.irreversible = result.irreversible
            promotion.state, promotion.moved_at = PromotionState.MOVED, now()
            attempt = unit.books.attempt(feature)
            assert attempt is not None
            attempt.state = AttemptState.PROMOTED
            row.production_commit = promotion.candidate
            text = f"Production is at {promotion.candidate[:10]}."
            milestone(unit, scene.project, feature, "promoted", text, step=scene.step)
        elif promotion.state in OPEN_PROMOTIONS:
            # An adoption has called it promoted before the step could: only the step knows this.
            promotion.irreversible = promotion.irreversible or result.irreversible
    elif scene.step is Step.RESTORE_BRANCH and promotion.state is PromotionState.ROLLING_BACK:
        promotion.restored = result.commit
        row.production_commit = result.commit
        if row.frozen_commit == result.commit:
            production.thaw(unit, scene.project, row)  # people had brought it there by hand
        record(unit, feature, "restored", f"Production is at {result.commit[:10]} again.", step=scene.step)


def _promotion(scene: Scene) -> Promotion:
    promotion = scene.promotion
    if promotion is None:
        raise Refused(f"{scene.feature.key} has no promotion to report on.")
    return promotion


def _trouble(scene: Scene, said: str) -> None:
    """Tell people what the tracker refused to a step that went on without it."""
    if said:
        record(scene.unit, scene.feature, "trouble", said, step=scene.step)
        to = scene.project.people.with_role(Who.OPERATOR, Who.MANAGER)
        notify(scene.unit, scene.feature, f"trouble:{scene.step}", f"{scene.feature.key}: {said}", to=to)


def _done(scene: Scene, permit: PermitRecord, done: Done) -> str:
    unit, feature, project = scene.unit, scene.feature, scene.project
    named = f"{feature.key} {feature.title}".strip()
    match scene.step:
        case Step.NOTIFY_REVIEWERS:
            # The local host's address is a path: it leads nowhere outside the board.
            where = feature.request_url if "://" in feature.request_url else feature.branch
            text = f"{named}: review {where}."
            ask(unit, project, feature, Step.WAIT_FOR_REVIEW, text, marker="review")
        case Step.NOTIFY_TESTERS:
            text = f"{named}: test it at {_preprod_address(scene)}."
            ask(unit, project, feature, Step.WAIT_FOR_ACCEPTANCE, text, marker="acceptance")
        case Step.NOTIFY_MANAGER:
            text = f"{named}: accepted by testers, confirm it ({_preprod_address(scene)})."
            ask(unit, project, feature, Step.WAIT_FOR_CONFIRMATION, text, marker="confirmation")
        case Step.REFRESH_CANDIDATE:
            _refreshed(scene)
        case Step.NOTIFY_ROLLBACK:
            return _rolled_back(scene)
        case Step.DESTROY_DEVELOPMENT | Step.DESTROY_PREPROD | Step.RELEASE_PREPROD:
            name, _ = environment_of(scene)
            found = unit.books.environment(project.name, name)
            ours = found is not None and found.feature_id == feature.id and permit.generation >= found.generation
            if found is not None and ours and permit.generation > 0:
                found.state, found.destroyed_at, found.commit = EnvironmentState.DESTROYED, now(), None
        case Step.CLOSE_ISSUE:
            if not done.trouble:
                record(unit, feature, "closed", f"The issue of {feature.key} is closed.", step=scene.step)
            _trouble(scene, done.trouble)
        case _:
            pass
    return ""


def _preprod_address(scene: Scene) -> str:
    found = [
        e.address for e in scene.unit.books.environments(feature=scene.feature) if e.kind == "preprod" and e.address
    ]
    return found[0] if found else "its preview"


def _refreshed(scene: Scene) -> None:
    """After a refresh that voids sign-offs, free the lock, keep the place in the queue and ask again."""
    lacking = missing_sign_offs(scene.unit.books, scene.project, scene.feature, *sign_offs(scene.project))
    if lacking:
        turn.free(scene.unit, scene.project, scene.feature, keep_place=True)
        rewind_later(scene.unit, scene.feature, Step.NOTIFY_TESTERS)
        record(scene.unit, scene.feature, "asked_again", f"The candidate was refreshed. {lacking}", step=scene.step)


def _rolled_back(scene: Scene) -> str:
    """End the rollback when production is verified; else keep the lock and call for people."""
    unit, feature, project = scene.unit, scene.feature, scene.project
    promotion = _promotion(scene)
    if promotion.state is PromotionState.ROLLED_BACK:
        return ""
    result = unit.books.suite_result(feature, feature.attempt_number, Step.TEST_ROLLBACK)
    operators = project.people.with_role(Who.OPERATOR, Who.MANAGER)
    if promotion.restored is None or result is None or result.commit != promotion.restored or result.red:
        why = (result.red if result is not None else "") or _why_not_restored(scene)
        text = f"The rollback of {feature.key} is not finished: {why.rstrip('.')}. Production stays locked."
        record(unit, feature, "production_uncertain", text, step=scene.step)
        return text + f" Mend it, then clear {Step.DEPLOY_ROLLBACK}."
    caught = production_evidence(unit.books, feature).outcome == "fail"
    promotion.state, promotion.ended_at = PromotionState.ROLLED_BACK, now()
    _count(scene, promotion, caught=caught)
    alerts.ended(unit, feature, "It was rolled back.")
    turn.free(unit, project, feature)
    notify(
        unit,
        feature,
        "rolled_back",
        f"{feature.key} is rolled back; production runs {promotion.restored[:10]}.",
        to={*operators, *project.people.with_role(Who.DEVELOPER)},
    )
    return ""


def _count(scene: Scene, promotion: Promotion, *, caught: bool) -> None:
    """Write down how long production was on the release, and that the evidence caught what customers would have."""
    moved, restored = promotion.moved_at, promotion.ended_at
    if moved is None or restored is None:
        return
    took = str(restored - moved).partition(".")[0]
    kind = "averted" if caught else "restored_in"
    words = "An incident was averted: the release" if caught else "The release"
    record(scene.unit, scene.feature, kind, f"{words} was taken back {took} after it moved production.")


def _why_not_restored(scene: Scene) -> str:
    """Return what the rollback's own failed step said; the release that is taken back may have failed, too."""
    said = last_failure(scene.unit.books, scene.feature, before=Step.NOTIFY_ROLLBACK).partition("\n")[0]
    return said if said.startswith("rollback.") else "production was not redeployed and verified"


def _failed(scene: Scene, permit: PermitRecord, result: Failed) -> None:
    unit, feature, project, step = scene.unit, scene.feature, scene.project, scene.step
    if step in {Step.DEPLOY_DEVELOPMENT, Step.DEPLOY_PREPROD, Step.DEPLOY_PRODUCTION, Step.DEPLOY_ROLLBACK}:
        _deploy_failed(scene, permit, result.reason)
    if result.cause == "foreign":
        production.freeze(unit, project, result.commit, result.reason)
    if step is Step.PROMOTE:
        promotion = scene.promotion
        if promotion is not None and promotion.state is PromotionState.INTENDED:
            promotion.state = PromotionState.DROPPED
    if step in {Step.PROMOTE, Step.REFRESH_CANDIDATE}:
        moved_on = result.cause in {"foreign", "stale"}
        turn.free(unit, project, feature, keep_place=moved_on)
        if moved_on:
            # Nothing is wrong with the feature: it takes its turn again, on production as it will be then.
            rewind_later(unit, feature, Step.WAIT_FOR_TURN)
    if result.cause == "conflict" and feature.state is FeatureState.ACTIVE:
        attempt = unit.books.attempt(feature)
        if attempt is not None and attempt.state is AttemptState.ACTIVE:
            attempts.reject(unit, project, feature, result.reason, person="merge", later=True)


def _deploy_failed(scene: Scene, permit: PermitRecord, reason: str) -> None:
    unit, feature, project = scene.unit, scene.feature, scene.project
    name, _ = environment_of(scene)
    found = unit.books.environment(project.name, name)
    if found is not None:
        unit.books.add(
            Deployment(
                environment_id=found.id,
                feature_id=feature.id,
                attempt=feature.attempt_number,
                commit=_wanted(scene),
                generation=permit.generation,
                state="failed",
                reason=reason,
                started_at=permit.granted_at,
                ended_at=now(),
            )
        )
        tallies.deployed(unit.books, project.name, found.kind, "failed")
    if scene.step is Step.DEPLOY_PRODUCTION:
        promotion = _promotion(scene)
        if promotion.state not in {PromotionState.MOVED, PromotionState.DEPLOYED, PromotionState.UNCERTAIN}:
            return  # the verdict was given while it was deployed: that stands
        promotion.state = PromotionState.UNCERTAIN
        text = f"{feature.key}: production's branch moved, the deploy failed. Decide: roll back or keep. {reason}"
        record(unit, feature, "production_uncertain", text, step=scene.step)


def _wanted(scene: Scene) -> CommitSha:
    feature, books = scene.feature, scene.unit.books
    promotion = scene.promotion
    if scene.step is Step.DEPLOY_ROLLBACK and promotion is not None and promotion.restored is not None:
        return promotion.restored
    if scene.step is Step.DEPLOY_DEVELOPMENT:
        attempt = books.attempt(feature)
        assert attempt is not None
        return attempt.commit
    candidate = books.candidate(feature, feature.attempt_number)
    assert candidate is not None
    return candidate.commit
