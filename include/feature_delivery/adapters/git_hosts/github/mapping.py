"""Pull requests, reviews and comments as PyGithub shows them, in the words of the port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import CommitSha, branch_name, commit_sha
from feature_delivery.ports.git_host import MergeRequest, RequestComment, RequestState, Review, ReviewKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from github.IssueComment import IssueComment
    from github.NamedUser import NamedUser
    from github.Organization import Organization
    from github.PullRequest import PullRequest
    from github.PullRequestComment import PullRequestComment
    from github.PullRequestReview import PullRequestReview

GHOST = "ghost"
"""Whom GitHub shows in the place of somebody who has left it."""

_KINDS = {"APPROVED": ReviewKind.APPROVE, "CHANGES_REQUESTED": ReviewKind.REJECT}


def login_of(user: NamedUser | Organization | None) -> str:
    """Return a login; somebody who has left is nobody in particular."""
    return user.login if user is not None else GHOST


def is_fork(pull: PullRequest) -> bool:
    """Say whether the source branch is in another repository; one that was deleted meanwhile was a fork."""
    return pull.head.repo is None or pull.head.repo.id != pull.base.repo.id


def state_of(pull: PullRequest) -> RequestState:
    """Return where a pull request stands."""
    if pull.merged_at is not None:
        return RequestState.MERGED
    return RequestState.OPEN if pull.state == "open" else RequestState.CLOSED


def as_request(pull: PullRequest, reviews: tuple[Review, ...] = ()) -> MergeRequest:
    """Return a pull request.

    Raises:
        Refused: One of its branches has a name that no feature can have.
    """
    return MergeRequest(
        number=pull.number,
        source=branch_name(pull.head.ref),
        target=branch_name(pull.base.ref),
        head=commit_sha(pull.head.sha),
        author=login_of(pull.user),
        title=pull.title,
        state=state_of(pull),
        url=pull.html_url,
        reviews=reviews,
        fork=is_fork(pull),
    )


def requests_of(pulls: Iterable[PullRequest]) -> tuple[MergeRequest, ...]:
    """Return those pull requests whose branches can be a feature's; each once, although pages may overlap."""
    found: dict[int, MergeRequest] = {}
    for pull in pulls:
        try:
            found.setdefault(pull.number, as_request(pull))
        except Refused:
            continue  # a bot's or a stranger's branch: not one of ours, and no reason to miss the others
    return tuple(found.values())


def words_of(reviews: Iterable[PullRequestReview]) -> tuple[Review, ...]:
    """Return the latest word of each person about each commit.

    A comment is no word and takes none back. A dismissed review is none either, and whatever its author had said of
    that commit before it does not count again.
    """
    words: dict[tuple[str, CommitSha], Review] = {}
    submitted = [one for one in reviews if one.submitted_at is not None and one.user is not None and one.commit_id]
    for review in sorted(submitted, key=lambda one: (one.submitted_at, one.id)):
        place = (review.user.login, commit_sha(review.commit_id))
        if review.state == "DISMISSED":
            words.pop(place, None)
        elif kind := _KINDS.get(review.state):
            words[place] = Review(
                person=place[0], kind=kind, commit=place[1], comment=review.body or "", at=review.submitted_at
            )
    return tuple(words.values())


def comment_of(
    kind: str, comment: IssueComment | PullRequestComment | PullRequestReview, at: datetime, *, edited: bool
) -> RequestComment:
    """Return a comment; ``kind`` keeps the ids of the three sorts apart, which GitHub counts separately."""
    text = comment.body or ""
    return RequestComment(id=f"{kind}-{comment.id}", author=login_of(comment.user), text=text, at=at, edited=edited)
