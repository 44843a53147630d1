"""Production: the branch moves, is watched, and moves back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Conflict, Permanent, Refused
from feature_delivery.domain.process import Step
from feature_delivery.domain.work import Done, Failed, Moved, Observed
from feature_delivery.ports.repository import Held, MergeConflictError
from feature_delivery.services.work import observing
from feature_delivery.services.work.environments import commit_for
from feature_delivery.services.work.job import TAKES_BACK, Job

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.domain.watching import WatchPlan


def promote(job: Job) -> Moved | Failed:
    """Move production to the candidate by compare-and-swap; there already is done."""
    work, branches = job.work, job.tools.project.branches
    candidate = job.needs(work.candidate, "a candidate")
    heads = job.heads()
    head = heads[branches.production]
    job.repository.fetch(head, candidate.commit, candidate.base)
    if head == candidate.commit or job.repository.is_ancestor(candidate.commit, head):
        irreversible = _irreversible(job, candidate.commit, moved_already=True)
        job.say(f"{branches.production} holds {candidate.commit[:10]} already.")
    elif work.done:
        raise Conflict(
            f"{branches.production} is at {head[:10]} and does not hold {candidate.commit[:10]} any more, which was "
            f"promoted. Somebody moved it by force: put it back, then clear {work.step}."
        )
    elif head != candidate.base:
        moved = job.production(heads)
        return moved if isinstance(moved, Failed) else _stale(job, head, candidate.base)
    else:
        irreversible = _irreversible(job, candidate.commit, moved_already=False)
        _refuse_other_tree(job)
        if problem := job.report(observing.take_baseline(job)):
            raise Refused(problem)
        try:
            job.repository.promote(branches.production, old=candidate.base, new=candidate.commit)
        except Conflict as error:
            return Failed(reason=f"{error} Clear {Step.WAIT_FOR_TURN}.", cause="stale")
        job.say(f"{branches.production}: {candidate.base[:10]} -> {candidate.commit[:10]}")
    return Moved(commit=candidate.commit, irreversible=irreversible)


def _irreversible(job: Job, commit: CommitSha, *, moved_already: bool) -> bool:
    """Say whether the release has a migration without a way back; asked before anything moves, as it may fail.

    Where production has moved, a file that cannot be read takes nothing back: then nobody knows of a way.
    """
    try:
        migration = job.plan_at(commit).migration
    except Permanent as error:
        if not moved_already:
            raise
        job.say(f"Whether its migration has a way back is not known: {error}")
        return True
    return migration.forward is not None and not migration.reversible


def _refuse_other_tree(job: Job) -> None:
    """See with our own eyes that what is about to ship is what was tested and signed off."""
    candidate = job.needs(job.work.candidate, "a candidate")
    commit = job.repository.commit(candidate.commit)
    if commit.tree != candidate.tree or commit.parents[:1] != (candidate.base,):
        raise Refused(
            f"Candidate {candidate.commit[:10]} holds tree {commit.tree[:10]}, but {candidate.tree[:10]} was tested. "
            f"Nothing was promoted. Clear {Step.BUILD_CANDIDATE}."
        )


def _stale(job: Job, head: CommitSha, base: CommitSha) -> Failed:
    name = job.tools.project.branches.production
    return Failed(
        reason=f"{name} is at {head[:10]}, but the candidate was built on {base[:10]}. Clear {Step.WAIT_FOR_TURN}.",
        cause="stale",
    )


def observe(job: Job) -> Observed:
    """Watch production for as long as the project wants and judge it against the time before; no data is no pass.

    A long watch was made elsewhere, at no cost, and comes with the job.
    """
    if job.watched is not None:
        return observing.conclude(job, *job.watched)
    plan = watch_plan(job)
    if plan is None:
        return Observed(outcome="no_data", evidence=("Production has no address to look at.",))
    job.say(f"Watch production for {plan.until - plan.began:g} seconds")
    return observing.conclude(job, plan, observing.watch(job, plan))


def watch_plan(job: Job) -> WatchPlan | None:
    """Return how production is watched; ``None``: it has no address."""
    address = job.needs(job.work.environment, "an environment").address
    if not address:
        return None
    return observing.plan_watch(job, url=address.rstrip("/") + job.plan_at(commit_for(job)).health.path)


def restore_branch(job: Job) -> Moved | Failed:
    """Add a commit to production that takes the candidate back; done already, by people too, is recognised."""
    branches = job.tools.project.branches
    promotion = job.needs(job.work.promotion, "a promotion")
    head = job.heads()[branches.production]
    job.repository.fetch(head, promotion.candidate, promotion.before)
    restored = promotion.restored or _restored_already(job, head) or _taken_back_by_hand(job, head)
    if restored is None:
        built = _restoration(job, head)
        if isinstance(built, Failed):
            return built
        job.repository.promote(branches.production, old=head, new=built)
        job.say(f"{branches.production}: {head[:10]} -> {built[:10]}, as before {promotion.candidate[:10]}")
        restored = built
    else:
        job.say(f"{branches.production} was restored by {restored[:10]} already.")
    return Moved(commit=restored)


def _restoration(job: Job, head: CommitSha) -> CommitSha | Failed:
    promotion = job.needs(job.work.promotion, "a promotion")
    try:
        return job.repository.build_restoration(
            head=head, before=promotion.before, promoted=promotion.candidate, message=f"{TAKES_BACK} {job.work.key}"
        ).sha
    except MergeConflictError as error:
        name: BranchName = job.tools.project.branches.production
        return Failed(
            reason=f"{name} holds commits made by hand since {promotion.candidate[:10]} that touch the same lines "
            f"({', '.join(error.files[:10])}). Take {job.work.key} back by hand, push, then clear {job.work.step}."
        )


def _taken_back_by_hand(job: Job, head: CommitSha) -> CommitSha | None:
    """Return ``head`` where people have brought production back themselves, by a revert or by force.

    Raises:
        Refused: It was put back by force to what is not the release before: more than this would be taken back.
    """
    name, promotion = job.tools.project.branches.production, job.needs(job.work.promotion, "a promotion")
    held = job.repository.held(head, before=promotion.before, candidate=promotion.candidate)
    if head == promotion.before or held is Held.TAKEN_BACK:
        return head
    if held is Held.ABSENT:
        raise Refused(
            f"{name} is at {head[:10]}, which neither holds {promotion.candidate[:10]} nor is the release before it, "
            f"{promotion.before[:10]}. Somebody moved it by force: put it at {promotion.before}, then clear "
            f"{job.work.step}; or break the lock and adopt what is there."
        )
    return None


def _restored_already(job: Job, head: CommitSha) -> CommitSha | None:
    """Return the restoration that an interrupted try has pushed: building it again gives the very same commit."""
    promotion = job.needs(job.work.promotion, "a promotion")
    if not job.repository.is_ancestor(promotion.candidate, head):
        return None
    for commit in job.repository.ahead(head, promotion.candidate):
        if commit.subject != f"{TAKES_BACK} {job.work.key}" or not commit.parents:
            continue
        try:
            again = _restoration(job, commit.parents[0])
        except Permanent:
            continue
        if again == commit.sha:
            return commit.sha
    return None


def notify(job: Job) -> Done:
    """Nothing to do here: the control plane writes the messages when it takes this result in."""
    job.say("The message goes out by the control plane.")
    return Done()
