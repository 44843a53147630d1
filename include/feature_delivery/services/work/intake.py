"""Steps 1 and 3: the issue and the branch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Conflict, NotFound, Permanent, Refused
from feature_delivery.domain.work import BranchReady, Registered
from feature_delivery.ports.tracker import IssueState

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.services.work.job import Job


def register_feature(job: Job) -> Registered:
    """Find the issue, or create it where the tracker lets us choose its key.

    Raises:
        Refused: There is no such issue, and this tracker gives out its keys itself.
    """
    work, tracker = job.work, job.tools.tracker
    title = work.title or _words_of(job) or work.key
    try:
        issue = tracker.find(work.key)
    except Permanent as error:
        # The tracker does not let us in: that is for operators to mend, and no reason not to deliver.
        job.say(f"The issue could not be read: {error}")
        said = f"Its issue could not be read. {error}"
        return Registered(title=title, description=work.description, issue_url="", taken=False, trouble=said)
    if issue is None:
        issue = tracker.create(work.key, title=title, description=work.description, reporter=work.requester)
        job.say(f"Created issue {issue.key}: {issue.title}")
    else:
        job.say(f"Found issue {issue.key} ({issue.state}): {issue.title}")
    return Registered(
        title=issue.title,
        description=issue.description,
        issue_url=issue.url,
        taken=issue.state is IssueState.IN_PROGRESS or issue.assignee is not None,
    )


def _words_of(job: Job) -> str:
    """Return what the branch's name says of the feature: a push is all that many features begin with."""
    prefix = job.tools.project.branches.feature_prefix + job.work.key
    branch = job.work.branch or ""
    words = " ".join(re.split(r"[-_/.]+", branch.removeprefix(prefix).strip("-_/."))) if prefix in branch else ""
    return words[:1].upper() + words[1:]


def create_branch(job: Job) -> BranchReady:
    """Find the feature's branch, or create it from production.

    A branch named by whoever started the feature wins over one found by its name.
    """
    heads = job.heads()
    production = heads[job.tools.project.branches.production]
    branch = _checked(job, job.work.branch) if job.work.branch else _found(job, heads)
    created = False
    if branch is None or branch not in heads:
        branch = branch or job.tools.project.branches.feature(job.work.key, job.work.title)
        created = _create(job, branch, production)
        head = job.heads().get(branch)
        if head is None:
            raise NotFound(f"Branch {branch!r} was deleted while it was looked at. Clear {job.work.step}.")
    else:
        head = heads[branch]
    job.say(f"{'Created' if created else 'Found'} {branch} at {head[:10]}")
    job.repository.fetch(head, production)
    commits = job.repository.ahead(head, production)
    return BranchReady(
        branch=branch,
        head=head,
        production=production,
        created=created,
        ahead=bool(commits),
        authors=tuple(sorted({author for commit in commits for author in commit.authors})),
    )


def _checked(job: Job, branch: BranchName) -> BranchName:
    branches = job.tools.project.branches
    if branch in {branches.production, branches.preprod} or branch.startswith(branches.candidate_prefix):
        raise Refused(
            f"{branch!r} is no branch for a feature: it belongs to the delivery itself. "
            f"Start {job.work.key} again with a branch like '{branches.feature_prefix}{job.work.key}'."
        )
    return branch


def _found(job: Job, heads: dict[BranchName, CommitSha]) -> BranchName | None:
    branches = job.tools.project.branches
    found = sorted(name for name in heads if branches.key_of(name) == job.work.key)
    if len(found) > 1:
        raise Refused(
            f"{job.work.key} has {len(found)} branches: {', '.join(found)}. "
            f"Delete or rename all but one, then clear {job.work.step}."
        )
    return found[0] if found else None


def _create(job: Job, branch: BranchName, production: CommitSha) -> bool:
    """Create the branch at the commit that was asked for, or at production; a branch may not vanish once used."""
    work = job.work
    if work.attempt:
        raise NotFound(f"Branch {branch!r} is not there any more. Push it again, then clear {work.step}.")
    try:
        return job.repository.create_branch(branch, work.commit or production)
    except Conflict as error:
        raise Refused(f"Could not create {branch!r} for {work.key}: {error}") from error
