"""What the contract of Git hosts asks of a bench; each host has its own in a module beside this one.

A bench says by ``None`` what its host has not: the tests about it then prove only that asking for it does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from feature_delivery.adapters.git_hosts.local import LocalGitHost
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.ports.git_host import DeploymentState, GitHost, ReviewKind, StatusState

Status = tuple[str, StatusState, str, str]
Asked = tuple[list[str], list[str]]
Shown = tuple[CommitSha, DeploymentState, str]


@dataclass(kw_only=True)
class Bench:
    """A host under test, what people do on it, and what can be seen on its pages.

    People are ``bob`` (develops), ``carol`` and ``dave`` (review), ``eve`` (nobody of the project, who may not review);
    the branches ``production``, ``preprod`` and ``feature/SHOP-1-gift`` are there, the feature with commits of its own.

    Attributes:
        us: The login under which we write.
        names_authors: Whether the host lets us say who opened a request.
        push: Put a new commit on a branch; return it.
        delete: Delete a branch.
        ship: Let the target hold the head of a request, as a promotion does, so that it can be shown as merged.
        review: A person's review of the head of now: number, login, kind, comment.
        write: A person's comment: number, login, text.
        edit: Somebody else changes the text of the newest comment: number, text.
        comments: What readers see of a request's comments, oldest first, ours and others'; markers are not seen.
        statuses: The statuses in force on a commit, by name.
        moment: A time after everything so far and before everything to come, by the host's clock; lets time pass.
        dismiss: Take a person's reviews back: number, login.
        merge: Merge in the host's page: number, and ``merge``, ``squash`` or ``rebase``.
        close: Close in the host's page.
        fork: Open a request from a branch of that name in a fork; return its number.
        asked: Logins asked for a review, and labels.
        deployments: What the host shows as the newest deployment of an environment; nothing: ``None``.
        many: How many requests need more than one page of a listing.
        local: The local host, for tests about its own pages.
    """

    host: GitHost
    us: str
    names_authors: bool = False
    push: Callable[[BranchName], CommitSha]
    delete: Callable[[BranchName], object]
    ship: Callable[[int], object]
    review: Callable[[int, str, ReviewKind, str], object]
    write: Callable[[int, str, str], object]
    comments: Callable[[int], list[str]]
    statuses: Callable[[CommitSha], list[Status]]
    moment: Callable[[], datetime]
    edit: Callable[[int, str], object] | None = None
    dismiss: Callable[[int, str], object] | None = None
    merge: Callable[[int, str], object] | None = None
    close: Callable[[int], object] | None = None
    fork: Callable[[BranchName], int] | None = None
    asked: Callable[[int], Asked] | None = None
    deployments: Callable[[str], Shown | None] | None = None
    many: int = 3
    local: LocalGitHost | None = None
