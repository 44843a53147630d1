"""Candidates: production plus the feature, built for review and built again when production has moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.work import CandidateBuilt, Done, Failed
from feature_delivery.ports.repository import MergeConflictError, PastDelivery
from feature_delivery.services.work.environments import deploy_commit
from feature_delivery.services.work.job import DELIVERS, DELIVERY_FILE, Job
from feature_delivery.services.work.suites import run_suite_on

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha


def build_candidate(job: Job) -> CandidateBuilt | Failed:
    """Merge the reviewed commit into production and publish the result; the same input gives the same commit."""
    heads = job.heads()
    production = job.production(heads)
    if isinstance(production, Failed):
        return production
    return _build(job, heads, production)


def refresh_candidate(job: Job) -> Done | Failed:
    """Bring the candidate up to production's head, deploy it to pre-production and test it again, where needed.

    Production's lock is held, so nothing moves meanwhile. A try that was interrupted goes on where it stood.
    """
    if job.work.done:
        job.say("The promotion has begun: the candidate stays what it is.")
        return Done(note="the promotion has begun")
    heads = job.heads()
    production = job.production(heads)
    if isinstance(production, Failed):
        return production
    known = job.needs(job.work.candidate, "a candidate")
    commit = known.commit
    if known.base == production:
        if known.integration_green:
            job.say(f"Production is where it was: {commit[:10]} ships as it was tested.")
            return Done(note="production has not moved")
        job.say(f"{commit[:10]} was rebuilt and not tested to the end.")
    else:
        job.say(f"Production has moved from {known.base[:10]} to {production[:10]}: build the candidate again.")
        built = _build(job, heads, production)
        if isinstance(built, Failed):
            return built
        counted(job.report(built))
        commit = built.commit
    job.platform.provision(job.environment())
    counted(job.report(deploy_commit(job, commit)))
    counted(job.report(run_suite_on(job, commit)))
    return Done(note=f"refreshed on {production[:10]}")


def counted(problem: str) -> None:
    """Stop the step when an interim result does not count.

    Raises:
        Refused: Always with the sentence the control plane gave.
    """
    if problem:
        raise Refused(problem)


def _build(job: Job, heads: dict[BranchName, CommitSha], production: CommitSha) -> CandidateBuilt | Failed:
    work, repository, branches = job.work, job.repository, job.tools.project.branches
    feature = job.needs(work.commit, "a commit")
    repository.fetch(production, feature)
    _refuse_stacked(job, heads, feature, production)
    try:
        candidate = repository.build_candidate(
            production=production,
            feature=feature,
            past=tuple(PastDelivery(before=p.before, candidate=p.candidate, restored=p.restored) for p in work.past),
            message=f"{DELIVERS} {work.key}: {' '.join(work.title.split())}".removesuffix(": "),
        )
    except MergeConflictError as error:
        return Failed(reason=_conflict(job, error, production), cause="conflict")
    changed = repository.read_file(production, DELIVERY_FILE) != repository.read_file(candidate.commit, DELIVERY_FILE)
    if changed:
        job.plan_at(candidate.commit)
        job.say(f"{DELIVERY_FILE} changes with this feature: look at it in the review.")
    branch = branches.candidate(work.key)
    repository.publish_candidate(branch, candidate.commit, over=heads.get(branch))
    job.say(f"Candidate {candidate.commit[:10]} = {production[:10]} + {feature[:10]}")
    return CandidateBuilt(
        commit=candidate.commit,
        tree=candidate.tree,
        base=candidate.base,
        feature=candidate.feature,
        plan_changed=changed,
    )


def _refuse_stacked(job: Job, heads: dict[BranchName, CommitSha], feature: CommitSha, production: CommitSha) -> None:
    """Refuse a feature that stands on another one: it would ship it without its tests and sign-offs.

    Asked of the commits that the ledger knows and of those that the host has now: either may hold what is shared.
    """
    others = job.work.other_branches
    if not others:
        return
    job.repository.fetch()
    for known in (others, {name: heads[name] for name in others if name in heads}):
        there = {name: sha for name, sha in known.items() if _is_here(job, sha)}
        below = job.repository.stacked_on(job.branch, head=feature, production=production, others=there)
        if below is not None:
            raise Refused(
                f"{job.branch} stands on {below}, which has not shipped. Ship or drop that one first, "
                f"or rebase onto {job.tools.project.branches.production} and push."
            )


def _is_here(job: Job, commit: CommitSha) -> bool:
    """Say whether the host still has a commit: one that was pushed over may be gone, and is below nobody then."""
    try:
        job.repository.fetch(commit)
    except NotFound:
        return False
    return True


def _conflict(job: Job, error: MergeConflictError, production: CommitSha) -> str:
    files = ", ".join(error.files[:10]) + (f" and {len(error.files) - 10} more" if len(error.files) > 10 else "")
    name = job.tools.project.branches.production
    return (
        f"{job.branch} does not merge with {name} at {production[:10]}: conflict in {files}. "
        f"Merge {name} into {job.branch}, or rebase onto it, and push."
    )
