"""What GitLab says of merge requests, in the words of ``ports.git_host``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.names import branch_name, commit_sha
from feature_delivery.ports.git_host import MergeRequest, RequestState, Review

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_delivery.adapters.git_hosts.gitlab.answers import MergeRequestAnswer

GHOST = "ghost"
"""Whom GitLab shows in the place of somebody who has left it."""


def is_fork(answer: MergeRequestAnswer) -> bool:
    """Say whether the source branch is in another project; one that was deleted meanwhile was a fork."""
    return answer.source_project_id != answer.target_project_id


def state_of(answer: MergeRequestAnswer) -> RequestState:
    """Return where it stands. One that is being merged (``locked``) is open until it is."""
    match answer.state:
        case "merged":
            return RequestState.MERGED
        case "closed":
            return RequestState.CLOSED
    return RequestState.OPEN


def head_of(answer: MergeRequestAnswer) -> str:
    """Return the head; of one that was merged, what was merged, whatever has been pushed since."""
    if answer.diff_refs is not None and answer.state == "merged":
        return answer.diff_refs.head_sha or answer.sha
    return answer.sha or (answer.diff_refs.head_sha if answer.diff_refs else "")


def as_request(answer: MergeRequestAnswer, reviews: tuple[Review, ...] = ()) -> MergeRequest:
    """Return a merge request.

    Raises:
        Refused: One of its branches has a name that no feature can have.
        Unavailable: It was opened a moment ago, and GitLab has not looked at its branch yet.
    """
    if not head_of(answer):
        raise Unavailable(f"GitLab does not say yet which commit request {answer.iid} is at. It is asked again.")
    return MergeRequest(
        number=answer.iid,
        source=branch_name(answer.source_branch),
        target=branch_name(answer.target_branch),
        head=commit_sha(head_of(answer)),
        author=answer.author.username if answer.author else GHOST,
        title=answer.title,
        state=state_of(answer),
        url=answer.web_url,
        reviews=reviews,
        fork=is_fork(answer),
    )


def requests_of(answers: Iterable[MergeRequestAnswer]) -> tuple[MergeRequest, ...]:
    """Return those whose branches can be a feature's; each once, although pages may overlap."""
    found: dict[int, MergeRequest] = {}
    for answer in answers:
        try:
            found.setdefault(answer.iid, as_request(answer))
        except (Refused, Unavailable):
            continue  # a bot's or a stranger's branch, or none: not one of ours, and no reason to miss the others
    return tuple(found.values())


def best_of(answers: Iterable[MergeRequestAnswer]) -> MergeRequestAnswer | None:
    """Return the one to show for a branch: ours before a fork's, open ones first, then the newest.

    One that is over and never had a commit says nothing.
    """
    return max(
        (one for one in answers if head_of(one) or state_of(one) is RequestState.OPEN),
        key=lambda one: (not is_fork(one), state_of(one) is RequestState.OPEN, one.iid),
        default=None,
    )
