"""The merge-request side of a Git host: requests, reviews, statuses. Branches are ``Repository``'s."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

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
    """One merge request. ``number`` and ``url`` are the host's; ``author`` is the login that opened it."""

    number: int
    source: BranchName
    target: BranchName
    head: CommitSha
    author: str
    title: str
    state: RequestState
    url: str
    reviews: tuple[Review, ...] = ()


class StatusState(StrEnum):
    """A commit status as hosts show it."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


class GitHost(Protocol):
    """Every call is safe to repeat: writes find by natural key first."""

    def find_request(self, source: BranchName) -> MergeRequest | None:
        """Return the newest request from ``source``, open ones first, with its reviews."""

    def open_request(
        self,
        *,
        key: FeatureKey,
        source: BranchName,
        target: BranchName,
        title: str,
        body: str,
        author: str | None = None,
    ) -> MergeRequest:
        """Find the open request from ``source``, or open one."""

    def retarget(self, number: int, target: BranchName) -> None:
        """Point the request at ``target`` when it aims elsewhere."""

    def comment(self, number: int, text: str, *, marker: str) -> None:
        """Write the comment known by ``marker``, or replace its text."""

    def set_status(self, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
        """Post the status ``name`` on ``commit``."""

    def close_request(self, number: int, *, state: RequestState) -> None:
        """Show the request as merged (when it shipped) or closed."""
