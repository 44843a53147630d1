"""Requests merged by hand into pre-production: looked into, never trusted, and put right where that is safe.

A delivery builds its own candidate from production and the feature's branch, so nothing of a hand-made merge ships.
But pre-production must not keep it: the next request would show what has not shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.errors import Permanent
from feature_delivery.domain.markdown import plain
from feature_delivery.domain.names import branch_name, commit_sha
from feature_delivery.domain.process import Who
from feature_delivery.ports.repository import MergeConflictError
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.history import notify, record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.repository import Commit, Repository
    from feature_delivery.services.control.outside import Control


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the branches found; ``foreign``: somebody must look at it."""

    text: str
    foreign: bool = False


def put_right(
    control: Control, project: ProjectConfig, run_id: str, payload: Mapping[str, Any], *, marker: str
) -> None:
    """Look at what a merge by hand left behind, put it right, and say so on the request and in the history.

    Args:
        control: How to work.
        project: Whose.
        run_id: The feature's run.
        payload: ``number``, ``head`` and ``source`` of the request.
        marker: How the comment is known.

    Raises:
        Error: The host did not answer, or refused.
    """
    outside = control.outside(project)
    head, source = commit_sha(payload["head"]), branch_name(payload["source"])
    found = look(outside.repository, project, head=head)
    kept = _keep_branch(outside.repository, source, head)
    text = f"Merging by hand ships nothing. {found.text}{kept}"
    outside.host.comment(int(payload["number"]), plain(text, limit=4000), marker=marker)
    with control.begin() as unit:
        feature = enter(unit, project, run_id)
        record(unit, feature, "request", f"Merge request {payload['number']}: {text}")
        if found.foreign:
            to = project.people.with_role(Who.OPERATOR)
            notify(unit, feature, f"preprod:{payload['number']}", f"{feature.key}: {text}", to=to)


def look(repository: Repository, project: ProjectConfig, *, head: CommitSha) -> Found:
    """Level pre-production with production when all it holds besides is a merge, squash or rebase of ``head``."""
    preprod, production = project.branches.preprod, project.branches.production
    heads = repository.heads()
    at, to = heads.get(preprod), heads.get(production)
    if at is None or to is None:
        return Found(f"There is no {preprod if at is None else production} to look at.", foreign=True)
    repository.fetch(at, to, head)
    if repository.is_ancestor(at, to):
        return Found(f"{preprod} holds nothing that {production} has not.")
    if not _is_only(repository, at, to, head):
        return Found(
            f"{preprod} at {at[:10]} holds more than {production} and this request, so it was left as it is. An "
            f"operator should look at it, and put it back to {production}.",
            foreign=True,
        )
    if not repository.level(preprod, expect=at, to=to):
        return Found(f"{preprod} was pushed to meanwhile; it was left as it is.", foreign=True)
    return Found(f"{preprod} was put back to {production} ({to[:10]}); the delivery goes on with the feature's branch.")


def _is_only(repository: Repository, at: CommitSha, production: CommitSha, head: CommitSha) -> bool:
    """Verify parents and tree: a straight line of commits on what production held, with the tree of a true merge."""
    mine = [c for c in repository.ahead(at, production) if not repository.is_ancestor(c.sha, head)]
    if not mine:
        return repository.is_ancestor(at, head)  # moved to the feature's own commits, fast
    before = _below(mine)
    if before is None or not repository.is_ancestor(before, production):
        return False
    try:
        merged = repository.build_candidate(production=before, feature=head, past=(), message="To compare")
    except (MergeConflictError, Permanent):
        return False
    return merged.tree == repository.tree_of(at)


def _below(line: list[Commit]) -> CommitSha | None:
    """Return the commit that a straight line of commits (newest first) stands on; ``None`` when it is not straight."""
    for newer, older in pairwise(line):
        if newer.parents[:1] != (older.sha,):
            return None
    return line[-1].parents[0] if line[-1].parents else None


def _keep_branch(repository: Repository, source: BranchName, head: CommitSha) -> str:
    """Put the feature's branch back where the host deleted it along with the merge: its delivery needs it."""
    if source in repository.heads():
        return ""
    return f" {source} was deleted by it and put back." if repository.create_branch(source, head) else ""
