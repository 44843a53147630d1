"""The merge-request side of a Git host: requests, reviews, statuses. Branches are ``Repository``'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey


class RequestState(StrEnum):
    """Where a merge request stands on its host."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


class ReviewKind(StrEnum):
    """What a review says of the commit it names."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Review:
    """One person's latest word about one commit; ``person`` is the host's login."""

    person: str
    kind: ReviewKind
    commit: CommitSha
    comment: str
    at: datetime


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """One merge request.

    Attributes:
        number: The host's.
        head: Commit of the source branch; the last one known when the branch is gone.
        author: Login that opened it.
        url: Its page.
        reviews: The latest word of each person about each commit; one that was dismissed or taken back is not there.
        fork: Its source branch is in another repository: it is refused.
        ours: We opened it, so that its author is nobody; not told by listings.
    """

    number: int
    source: BranchName
    target: BranchName
    head: CommitSha
    author: str
    title: str
    state: RequestState
    url: str
    reviews: tuple[Review, ...] = ()
    fork: bool = False
    ours: bool = False


@dataclass(frozen=True, slots=True)
class RequestComment:
    """One comment of a person on a merge request.

    Attributes:
        id: The host's, unique in the repository.
        text: As it is now.
        at: When it was written.
        edited: It was changed since, or may have been: its author need not have said what it says now, since hosts let
            others who may write to the repository change it.
    """

    id: str
    author: str
    text: str
    at: datetime
    edited: bool = False


class StatusState(StrEnum):
    """A commit status as hosts show it."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


class DeploymentState(StrEnum):
    """Where a deployment stands, as hosts show it; ``GONE``: its environment is no more."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    GONE = "gone"


class GitHost(Protocol):
    """Every call is safe to repeat: writes find by natural key first. Every call has a time limit.

    Raises, every call: ``Unavailable`` or ``RateLimited`` when asking again may help; ``Misconfigured`` when the token
    is refused; ``Refused`` when it lacks a right, naming the right; ``NotFound`` for what is not there.
    """

    def find_request(self, source: BranchName) -> MergeRequest | None:
        """Return the newest request from ``source``, open ones first, with its reviews.

        A request from a branch of that name in a fork is returned only where there is none of our own.
        """

    def request(self, number: int) -> MergeRequest:
        """Return one request with its reviews.

        Raises:
            NotFound: There is no such request.
        """

    def changed_requests(self, since: datetime) -> tuple[MergeRequest, ...]:
        """Return every request changed since then, newest change first, without reviews; complete, page by page."""

    def comments(self, number: int, *, since: datetime | None = None) -> tuple[RequestComment, ...]:
        """Return what people have written on a request since then, oldest first; what we wrote is left out.

        Raises:
            NotFound: There is no such request.
        """

    def open_request(
        self,
        *,
        key: FeatureKey,
        source: BranchName,
        target: BranchName,
        title: str,
        body: str,
        reviewers: Sequence[str] = (),
        labels: Sequence[str] = (),
        author: str | None = None,
    ) -> MergeRequest:
        """Find the open request from ``source``, or open one.

        Args:
            key: The feature.
            source: Its branch.
            target: The branch that requests aim at.
            title: One line.
            body: Markdown.
            reviewers: Logins that are asked for a review; one whom the host does not accept is left out.
            labels: Names; one that is missing is created where the host lets us.
            author: Who opens it, on a host that lets us say so (the local one).

        Raises:
            NotFound: A branch is not there.
            Refused: Both branches are the same, or the request would hold no commit.
        """

    def retarget(self, number: int, target: BranchName) -> None:
        """Point the request at ``target`` when it aims elsewhere."""

    def comment(self, number: int, text: str, *, marker: str) -> None:
        """Write our comment known by ``marker``, or replace its text; the marker is not seen by readers."""

    def set_status(self, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
        """Post the status ``name`` on ``commit``."""

    def close_request(self, number: int, *, state: RequestState) -> None:
        """Show the request as merged (when it shipped) or closed.

        Hosts that see by themselves that the target branch holds the request's head are given the time to.
        """

    def record_deployment(
        self, *, key: FeatureKey, commit: CommitSha, environment: str, state: DeploymentState, url: str
    ) -> None:
        """Show on the host that ``commit`` is (being) deployed to ``environment``; a host that cannot does nothing."""

    def examine(self) -> tuple[Finding, ...]:
        """Look whether token, rights, branch protection and webhook are as deliveries need them, for ``doctor``.

        Raises nothing: what goes wrong is a finding.
        """
