"""What the local Git host, the local tracker and the log messenger remember, wherever they run.

The control plane keeps it in SQL; tasks reach it over HTTP. So every value is plain and every call is one round trip
and one transaction. Writes find by natural key first and may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, PersonName, ProjectName
from feature_delivery.ports.git_host import RequestState, ReviewKind, StatusState
from feature_delivery.ports.tracker import IssueState

OURSELVES = "feature-delivery"
"""Who writes comments when no person does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIssue:
    """One issue of the local tracker."""

    project: ProjectName
    key: FeatureKey
    title: str
    description: str
    state: IssueState
    assignee: str | None
    reporter: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalReview:
    """One person's latest word about one commit of a request."""

    person: str
    kind: ReviewKind
    commit: CommitSha
    comment: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """One merge request of the local host. ``head``: the newest commit of ``source`` that was seen."""

    project: ProjectName
    number: int
    source: BranchName
    target: BranchName
    head: CommitSha
    author: str
    title: str
    body: str
    state: RequestState
    created_at: datetime
    updated_at: datetime
    reviews: tuple[LocalReview, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStatus:
    """One status of one commit."""

    commit: CommitSha
    name: str
    state: StatusState
    description: str
    url: str
    at: datetime


class Place(StrEnum):
    """What comments are written on."""

    ISSUE = "issue"
    REQUEST = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalComment:
    """One comment; ``on``: the issue's key or the request's number."""

    place: Place
    on: str
    marker: str
    author: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMessage:
    """One message that was sent to people."""

    id: str
    key: FeatureKey
    to: tuple[PersonName, ...]
    text: str
    at: datetime


class LocalRecords(Protocol):
    """Every call raises ``Unavailable`` when the records cannot be reached."""

    def issues(self, project: ProjectName, *, key: FeatureKey | None = None) -> tuple[LocalIssue, ...]:
        """Return issues, newest first; the one with ``key`` when named."""

    def create_issue(
        self, project: ProjectName, key: FeatureKey, *, title: str, description: str, reporter: str
    ) -> LocalIssue:
        """Find the issue, or create it."""

    def change_issue(
        self, project: ProjectName, key: FeatureKey, *, state: IssueState | None = None, assignee: str | None = None
    ) -> LocalIssue:
        """Change what is named; an empty ``assignee`` gives the issue back.

        Raises:
            NotFound: There is no such issue.
        """

    def requests(
        self, project: ProjectName, *, number: int | None = None, source: BranchName | None = None
    ) -> tuple[LocalRequest, ...]:
        """Return requests with their reviews, open ones first, then newest first; those that fit what is named."""

    def open_request(
        self,
        project: ProjectName,
        *,
        source: BranchName,
        target: BranchName,
        head: CommitSha,
        title: str,
        body: str,
        author: str,
    ) -> LocalRequest:
        """Find the open request from ``source``, or open one."""

    def change_request(
        self,
        project: ProjectName,
        number: int,
        *,
        target: BranchName | None = None,
        head: CommitSha | None = None,
        state: RequestState | None = None,
    ) -> LocalRequest:
        """Change what is named.

        Raises:
            NotFound: There is no such request.
            Conflict: Another request from the same branch is open already.
        """

    def review(
        self, project: ProjectName, number: int, *, person: str, kind: ReviewKind, commit: CommitSha, comment: str
    ) -> LocalRequest:
        """Store a person's word about a commit in the place of the earlier one.

        Raises:
            NotFound: There is no such request.
            Refused: The request is not open any more.
        """

    def comment(self, project: ProjectName, comment: LocalComment, *, replace: bool) -> None:
        """Write a comment; one with this marker stays as it is, or takes the new text with ``replace``.

        Raises:
            NotFound: There is nothing to comment on.
        """

    def comments(self, project: ProjectName, place: Place, on: str) -> tuple[LocalComment, ...]:
        """Return the comments of an issue or a request, oldest first."""

    def set_status(self, project: ProjectName, status: LocalStatus) -> None:
        """Store a status in the place of the one of the same commit and name."""

    def statuses(self, project: ProjectName, commit: CommitSha) -> tuple[LocalStatus, ...]:
        """Return the statuses of a commit, by name."""

    def keep_message(self, project: ProjectName, message: LocalMessage) -> bool:
        """Store a message once; ``False`` when its id is known."""

    def messages(self, project: ProjectName, key: FeatureKey) -> tuple[LocalMessage, ...]:
        """Return the messages of a feature, oldest first."""
