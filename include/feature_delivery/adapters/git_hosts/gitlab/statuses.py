"""Commit statuses. GitLab keeps them as jobs of a pipeline, which can only go on, and refuses to say a thing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitlab import limits
from feature_delivery.adapters.git_hosts.gitlab.answers import CommitStatus, MergeRequestAnswer
from feature_delivery.adapters.git_hosts.gitlab.failures import Answered, said
from feature_delivery.adapters.git_hosts.gitlab.requests import is_fork, state_of
from feature_delivery.domain.errors import NotFound
from feature_delivery.ports.git_host import RequestState, StatusState

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitlab.client import Client
    from feature_delivery.domain.names import CommitSha

RIGHT = "the role Developer (Maintainer for commits on protected branches)"
_WORDS = {StatusState.PENDING: "pending", StatusState.SUCCESS: "success", StatusState.FAILURE: "failed"}
_GOING = frozenset({"created", "pending", "running", "waiting_for_resource", "preparing", "scheduled", "manual"})


def post(client: Client, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
    """Post the status ``name`` on ``commit``, unless it is there.

    Raises:
        NotFound: There is no such commit, or no branch holds it.
    """
    doing = f"post the status {name!r} on {commit[:10]}"
    name, text = limits.shortened(name, limits.NAME), limits.shortened(description, limits.STATUS)
    page = url if limits.is_page(url) else ""
    try:
        with client.doing(doing, right=RIGHT):
            known = _latest(client, commit, name)
            word = _next_word(known, state, text=text, page=page)
            if word:
                ref = known.ref if known is not None else _branch_of_request(client, commit)
                _send(client, commit, name=name, state=word, description=text, target_url=page, ref=ref)
    except NotFound as error:
        words = said(error)
        if words is not None and words.mentions("commit", "references"):
            raise NotFound(
                f"Could not {doing}: {client.entry.project} on GitLab has no branch with such a commit. Push it first."
            ) from error
        raise


def _latest(client: Client, commit: CommitSha, name: str) -> CommitStatus | None:
    """Return the status of that name in force, ours before that of a job or of another account."""
    where = client.project("repository", "commits", commit, "statuses")
    found = [one for one in client.walk(where, CommitStatus, name=name) if one.name == name]
    ours = [one for one in found if one.author is not None and one.author.id == client.me.id]
    return max(ours, key=lambda one: one.id, default=None)


def _next_word(known: CommitStatus | None, state: StatusState, *, text: str, page: str) -> str:
    """Return the state to post, none when it is there."""
    word = _WORDS[state]
    if known is None:
        return word
    same = (known.description, known.target_url) == (text, page)
    if state is not StatusState.PENDING:
        return "" if same and known.status == word else word
    if known.status == "pending" and not same:
        return "running"  # the one way to another text for what is still pending
    return "" if known.status in _GOING else word


def _send(client: Client, commit: CommitSha, **given: str) -> None:
    try:
        client.post(client.project("statuses", commit), CommitStatus, **{key: one for key, one in given.items() if one})
    except Answered as error:
        # Somebody has said it in the same moment: another try of ours.
        if error.status != 400 or not error.mentions("cannot transition status"):
            raise


def _branch_of_request(client: Client, commit: CommitSha) -> str:
    """Return the branch of the open merge request with this head, which then shows it; none: GitLab chooses."""
    where = client.project("repository", "commits", commit, "merge_requests")
    for one in client.walk(where, MergeRequestAnswer):
        if one.sha == commit and not is_fork(one) and state_of(one) is RequestState.OPEN:
            return one.source_branch
    return ""
