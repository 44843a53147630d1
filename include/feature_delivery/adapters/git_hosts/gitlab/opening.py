"""Opening a merge request: looked at before, for GitLab opens also what holds nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.git_hosts.gitlab.answers import Branch, Commit, MergeRequestAnswer, User
from feature_delivery.adapters.git_hosts.gitlab.failures import said
from feature_delivery.adapters.git_hosts.gitlab.limits import TEXT, TITLE, harmless, shortened
from feature_delivery.domain.errors import Conflict, NotFound, Refused

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitlab.client import Client
    from feature_delivery.domain.names import BranchName

_log = logging.getLogger(__name__)

RIGHT = "the role Developer"


def open_request(
    client: Client,
    *,
    source: BranchName,
    target: BranchName,
    title: str,
    body: str,
    reviewers: Iterable[str],
    labels: Iterable[str],
    doing: str,
) -> MergeRequestAnswer | None:
    """Open a merge request; ``None`` when somebody has opened one in the same moment.

    Raises:
        NotFound: A branch is not there.
        Refused: ``source`` has no commit that ``target`` lacks.
    """
    _look_at_branches(client, source, target, doing=doing)
    given: dict[str, Any] = {"title": shortened(title, TITLE), "description": harmless(shortened(body, TEXT))}
    if names := label_list(labels):
        given["labels"] = names  # those that are missing GitLab makes itself
    if ids := [user.id for user in _users(client, reviewers, doing=doing)]:
        given["reviewer_ids"] = ids  # an edition that takes one only takes the first
    try:
        with client.doing(doing, right=RIGHT):
            where = client.project("merge_requests")
            return client.post(where, MergeRequestAnswer, source_branch=source, target_branch=target, **given)
    except (Conflict, Refused) as error:
        words = said(error)
        if words is not None and words.mentions("already exists"):
            return None
        raise


def branch_there(client: Client, name: BranchName, *, doing: str) -> Branch:
    """Return a branch.

    Raises:
        NotFound: It is not there.
    """
    with client.doing(doing, right="the role Reporter"):
        found = client.find(client.project("repository", "branches", name), Branch)
    if found is None:
        raise NotFound(
            f"Could not {doing}: {client.entry.project} on GitLab has no branch {name!r}. Push it first, or let the "
            f"token of {client.entry.connection!r} see it."
        )
    return found


def label_list(names: Iterable[str]) -> str:
    """Return names as GitLab takes them: with commas between, so that none can be within."""
    return ",".join(dict.fromkeys(name.strip()[:TITLE] for name in names if name.strip() and "," not in name))


def user_named(client: Client, login: str) -> User | None:
    """Return an account by its login. Inside ``doing``."""
    found = client.walk("/users", User, username=login)
    return next((one for one in found if one.username.lower() == login.lower()), None)


def _look_at_branches(client: Client, source: BranchName, target: BranchName, *, doing: str) -> None:
    if source == target:
        raise Refused(f"Could not {doing}: {source!r} cannot be merged into itself.")
    head = branch_there(client, source, doing=doing).commit.id
    aim = branch_there(client, target, doing=doing).commit.id
    with client.doing(doing, right="the role Reporter"):
        query = {"refs[]": [head, aim]}
        base = client.find(client.project("repository", "merge_base"), Commit, **query)
    if base is not None and base.id == head:
        raise Refused(f"Could not {doing}: {source!r} has no commit that {target!r} lacks. Push one first.")


def _users(client: Client, logins: Iterable[str], *, doing: str) -> Iterator[User]:
    for login in dict.fromkeys(name for name in logins if name):
        with client.doing(doing, right=RIGHT):
            user = user_named(client, login)
        if user is not None:
            yield user
        else:
            _log.info("%r is nobody on GitLab and is asked for no review", login)
