"""Show a request as merged that has shipped by a push of ours.

Gitea does not see that by itself, unless the repository detects merges by hand (``autodetect_manual_merge``). It takes
our word for it when the repository lets people mark requests as merged by hand (``allow_manual_merge``).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitea.answers import Branch, Commit, PullRequest, Repository
from feature_delivery.adapters.git_hosts.gitea.client import said
from feature_delivery.domain.errors import Conflict, Error, Refused

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitea.client import GiteaClient

SETTING = "allow_manual_merge"
SETTING_SHOWN = "Mark pull request as manually merged"


def show_as_merged(client: GiteaClient, pull: PullRequest) -> None:
    """Mark ``pull``, which is not merged there yet; one that was closed is opened again for it.

    Raises:
        Conflict: The target branch does not hold its head: it has not shipped, or somebody has pushed since.
        Refused: The repository or the branch's protection does not let us; the sentence names the setting.
    """
    commit = _merge_commit(client, pull)
    number = pull.number
    if pull.state != "open":
        _set_state(client, number, "open")
    try:
        _mark(client, number, commit, target=pull.base.label)
    except Error:
        if pull.state != "open":
            _set_state(client, number, "closed")
        raise


def _set_state(client: GiteaClient, number: int, state: str) -> None:
    where = client.in_repository("pulls", number)
    doing = f"{'reopen' if state == 'open' else 'close'} request {number}"
    client.ask("PATCH", where, doing=doing, body={"state": state}, needs="write access to pull requests", accept={412})


def _merge_commit(client: GiteaClient, pull: PullRequest) -> str:
    """Return the commit of the target branch that brought the request's head in, the branch's own head if not found."""
    target, head, doing = pull.base.label, pull.head.sha, f"look for request {pull.number} in {pull.base.label!r}"
    at = client.read(client.in_repository("branches", target), Branch, doing=doing).commit.id
    if at == head:
        return at
    if _newest(client, 1, sha=head, without=at, doing=doing):
        raise Conflict(
            f"Could not show request {pull.number} as merged ({client.shown}): {target!r} does not hold its head "
            f"{head[:10]}. It is shown so when {target!r} has been levelled with production; what was pushed after "
            "the release goes into another one."
        )
    since = _newest(client, 50, sha=at, without=head, doing=doing)
    return next((one.sha for one in reversed(since) if head in {parent.sha for parent in one.parents}), at)


def _newest(client: GiteaClient, most: int, *, sha: str, without: str, doing: str) -> list[Commit]:
    """Return the newest commits that ``sha`` has and ``without`` lacks."""
    query = {"sha": sha, "not": without, "stat": "false", "verification": "false", "files": "false"}
    return list(islice(client.walk(client.in_repository("commits"), Commit, doing=doing, query=query), most))


def _mark(client: GiteaClient, number: int, commit: str, *, target: str) -> None:
    answer = _merge(client, number, commit)
    if answer == 405 and not _merged(client, number):
        _switch_on(client, number, target=target)
        answer = _merge(client, number, commit)
    if not _merged(client, number):
        raise Refused(
            f"Could not show request {number} as merged ({client.shown}): the server refuses it ({answer}), although "
            f"{SETTING!r} is on. Look into the protection of {target!r}: our user must be allowed to merge."
        )


def _merge(client: GiteaClient, number: int, commit: str) -> int:
    where = client.in_repository("pulls", number, "merge")
    body = {"Do": "manually-merged", "MergeCommitID": commit}
    doing = f"show request {number} as merged"
    answer = client.ask("POST", where, doing=doing, body=body, needs="write access to the code", accept={405})
    if answer.status_code == 405 and "not allowed to merge" in said(answer):
        raise Refused(
            f"Could not {doing} ({client.shown}): our user {client.me!r} may not merge into its target. "
            "Put the user on the merge whitelist of the branch's protection, or give it write access."
        )
    return answer.status_code


def _merged(client: GiteaClient, number: int) -> bool:
    where = client.in_repository("pulls", number)
    return client.read(where, PullRequest, doing=f"read request {number}").merged


def _switch_on(client: GiteaClient, number: int, *, target: str) -> None:
    """Let the repository's requests be marked as merged by hand, if we may.

    Raises:
        Refused: We may not, or it was on already.
    """
    doing = f"read the settings for request {number}"
    repository = client.read(client.in_repository(), Repository, doing=doing)
    if repository.allow_manual_merge:
        raise Refused(
            f"Could not show request {number} as merged ({client.shown}): the server refuses it, although {SETTING!r} "
            f"is on. Look into the protection of {target!r}: our user must be allowed to merge."
        )
    refusal = Refused(
        f"Could not show request {number} as merged ({client.shown}): the repository does not let requests be marked "
        f"as merged by hand. Switch on '{SETTING_SHOWN}' ({SETTING}) in its settings, or make our user an "
        "administrator of the repository."
    )
    if not repository.permissions.admin:
        raise refusal
    # Older versions look at the settings of requests only when it is said that there are requests.
    body = {"has_pull_requests": True, SETTING: True}
    try:
        client.ask("PATCH", client.in_repository(), doing="switch on merging by hand", body=body)
    except Refused as error:
        raise refusal from error
