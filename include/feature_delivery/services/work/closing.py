"""The end: branches deleted, issue closed with its release notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error, NotFound, Permanent, Refused
from feature_delivery.domain.work import BranchesDeleted, Done
from feature_delivery.ports.repository import Held
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.levelling import level_with
from feature_delivery.services.work.job import DELIVERS, TAKES_BACK

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.services.work.job import Job

COMMITS_NAMED = 50


def delete_branches(job: Job) -> BranchesDeleted:
    """Delete the branches of the permit: the feature's at the one commit it may be deleted at, our own anywhere.

    A feature's branch that somebody has pushed to since is kept and named.

    Raises:
        Refused: Production does not hold what has shipped: nothing else may.
    """
    branches = job.tools.project.branches
    heads = job.repository.heads()
    _refuse_the_last(job, heads)
    _level_preprod(job, heads)
    ours = {branch: heads[branch] for branch in job.work.own_branches if branch in heads}
    deleted: list[BranchName] = []
    kept: list[BranchName] = []
    for branch, commit in sorted({**job.work.branch_leases, **ours}.items()):
        if branch in {branches.production, branches.preprod}:
            raise Refused(f"{branch!r} is not a feature's branch: it is never deleted.")
        gone = job.repository.delete_branch(branch, expect=commit)
        (deleted if gone else kept).append(branch)
        job.say(f"Deleted {branch}" if gone else f"Kept {branch}: somebody has pushed since {commit[:10]}")
    return BranchesDeleted(deleted=tuple(deleted), kept=tuple(kept))


def _refuse_the_last(job: Job, heads: dict[BranchName, CommitSha]) -> None:
    """Refuse while shipped work may be on no other branch: somebody has put production back by force."""
    branches, promotion = job.tools.project.branches, job.work.promotion
    theirs = [
        branch for branch in {**job.work.branch_leases, **dict.fromkeys(job.work.own_branches)} if branch in heads
    ]
    if promotion is None or promotion.restored is not None or not job.work.branch_leases or not theirs:
        return
    production = heads.get(branches.production)
    if production is not None:
        held = job.repository.held(production, before=promotion.before, candidate=promotion.candidate)
        if held is not Held.ABSENT:
            return  # what was reverted since is in its history
    raise Refused(
        f"Nothing was deleted: {branches.production} is {f'at {production[:10]}' if production else 'not there'} and "
        f"does not hold {promotion.candidate[:10]}, with which {job.work.key} has shipped. Put it back to where it "
        f"holds it, then clear {job.work.step}; if it shall stay as it is, see to {', '.join(sorted(theirs))} by hand."
    )


def _level_preprod(job: Job, heads: dict[BranchName, CommitSha]) -> None:
    """Put the pre-production branch at what has shipped, so that hosts show the request as merged.

    Not before it was kept: a request shown as merged cannot be delivered again after a rollback. Only for the eyes:
    what goes wrong here is said and ships nothing less.
    """
    branches, promotion = job.tools.project.branches, job.work.promotion
    if promotion is None or promotion.restored is not None:
        return
    try:
        if not level_with(job.repository, branches, heads, shipped=promotion.candidate):
            job.say(f"{branches.preprod} was pushed to meanwhile; it is levelled by the next delivery.")
    except Error as error:
        job.say(f"{branches.preprod} was not levelled with {branches.production}: {error}")


def close_issue(job: Job) -> Done:
    """Tell the issue what has shipped, and close it."""
    work, tracker = job.work, job.tools.tracker
    notes = release_notes(job)
    try:
        tracker.comment(work.key, notes, marker=f"shipped:{work.delivery}")
        tracker.move(work.key, IssueState.DONE)
    except NotFound as error:
        job.say(f"There is no issue to close any more: {error}")
        return Done(note="the issue is gone")
    except Permanent as error:
        # It has shipped: what the tracker does not let us do must not make the delivery look failed.
        job.say(f"The issue was not closed: {error}")
        return Done(note="not closed", trouble=f"Its issue was not closed. {error}")
    job.say(notes)
    return Done(note="closed")


def release_notes(job: Job) -> str:
    """Return what shipped, for people."""
    work = job.work
    lines = [f"{work.key} {work.title}".strip() + " is in production."]
    if work.promotion is not None:
        lines.append(f"Production went from {work.promotion.before[:10]} to {work.promotion.candidate[:10]}.")
        lines += [f"* {subject}" for subject in _subjects(job)]
    if work.environment is not None and work.environment.address:
        lines.append(f"See it at {work.environment.address}")
    return "\n".join(lines)


def _subjects(job: Job) -> list[str]:
    promotion = job.needs(job.work.promotion, "a promotion")
    try:
        job.repository.fetch(promotion.candidate, promotion.before)
        commits = job.repository.ahead(promotion.candidate, promotion.before)
    except Error as error:
        # The notes are worth less without the list, closing the issue is not.
        job.say(f"The commits could not be listed: {error}")
        return []
    subjects = [c.subject for c in commits if not c.subject.startswith((f"{DELIVERS} ", f"{TAKES_BACK} "))]
    more = [f"and {len(subjects) - COMMITS_NAMED} more"] if len(subjects) > COMMITS_NAMED else []
    return subjects[:COMMITS_NAMED] + more
