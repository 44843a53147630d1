"""What Gitea says of requests, in the words of ``ports.git_host``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitea.answers import PullRequest
from feature_delivery.adapters.git_hosts.gitea.answers import Review as ReviewAnswer
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import branch_name, commit_sha
from feature_delivery.ports.git_host import MergeRequest, RequestState, Review, ReviewKind

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitea.client import GiteaClient
    from feature_delivery.domain.names import BranchName

_KINDS = {"APPROVED": ReviewKind.APPROVE, "REQUEST_CHANGES": ReviewKind.REJECT}


def is_fork(pull: PullRequest) -> bool:
    """Say whether the source is in another repository, one that has been deleted since too."""
    return pull.head.repo_id != pull.base.repo_id


def state_of(pull: PullRequest) -> RequestState:
    """Return where the request stands; a merged one is ``closed`` there."""
    if pull.merged:
        return RequestState.MERGED
    return RequestState.OPEN if pull.state == "open" else RequestState.CLOSED


def newest_from(source: BranchName, pulls: Iterable[PullRequest], *, fork: bool) -> PullRequest | None:
    """Return the newest request from a branch of that name, in our repository or in a fork."""
    found = [one for one in pulls if one.head.label == source and is_fork(one) is fork]
    return max(found, key=lambda one: one.number, default=None)


def as_request(pull: PullRequest, reviews: tuple[Review, ...] = ()) -> MergeRequest:
    """Return the request as the port has it.

    Raises:
        Refused: Its branches have names that we do not work with, or it has no branch (the AGit workflow).
    """
    if not pull.head.label:
        raise Refused(f"Request {pull.number} was opened without a branch. Push a branch and open it from there.")
    return MergeRequest(
        number=pull.number,
        source=branch_name(pull.head.label),
        target=branch_name(pull.base.label),
        head=commit_sha(pull.head.sha),
        author=pull.user.login if pull.user else "",
        title=pull.title,
        state=state_of(pull),
        url=pull.html_url,
        reviews=reviews,
        fork=is_fork(pull),
    )


def reviews_of(client: GiteaClient, number: int) -> list[ReviewAnswer]:
    """Return every review of a request, and every request for one, oldest first."""
    where = client.in_repository("pulls", number, "reviews")
    found = client.listing(where, ReviewAnswer, doing=f"read the reviews of request {number}")
    return sorted(found, key=lambda one: one.id)


def latest_words(reviews: Iterable[ReviewAnswer]) -> tuple[Review, ...]:
    """Return each person's latest word about each commit; ``reviews`` are the oldest first.

    One that was dismissed is gone, whatever its person said before. An approval ends when its person is asked for a
    review again: Gitea does not count it from then on either. Whether a review is ``official`` or ``stale`` there is
    nothing to us: the project file says who may decide, and each review names its commit.
    """
    latest: dict[tuple[str, str], ReviewAnswer] = {}
    for one in reviews:
        if one.user is None:
            continue
        if one.state == "REQUEST_REVIEW":
            mine = [key for key, said in latest.items() if key[0] == one.user.login and said.state == "APPROVED"]
            for key in mine:
                del latest[key]
        elif one.state in _KINDS and one.commit_id:
            latest[one.user.login, one.commit_id] = one
    return tuple(
        Review(
            person=person,
            kind=_KINDS[one.state],
            commit=commit_sha(commit),
            comment=one.body,
            at=one.submitted_at,
        )
        for (person, commit), one in latest.items()
        if not one.dismissed
    )
