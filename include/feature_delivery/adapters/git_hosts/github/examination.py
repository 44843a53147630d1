"""What ``doctor`` says of a repository on GitHub: token, rights, protection of the branches, webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.git_hosts.github.app import tokens
from feature_delivery.adapters.git_hosts.github.protection import obstacles
from feature_delivery.domain.errors import Error
from feature_delivery.domain.finding import Finding

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.github.client import Client
    from feature_delivery.domain.project import HostConfig

HOST_RIGHTS = {
    "contents": "Contents",
    "pull_requests": "Pull requests",
    "statuses": "Commit statuses",
    "deployments": "Deployments",
    "issues": "Issues",
}
"""What an App needs to write, as GitHub's answers and as its pages call it."""

HOST_EVENTS = ("push", "pull_request", "pull_request_review", "issue_comment")
ISSUE_EVENTS = ("issues",)
WEBHOOK_PATH = "/feature-delivery/webhooks/"

_READABLE = {
    "Pull requests": "pulls",
    "Deployments": "deployments",
    "Issues": "issues",
}


def examine_host(client: Client, config: HostConfig) -> Iterator[Finding]:
    """Look at everything that deliveries need of the host; a token that is refused ends it."""
    findings, repository = look_at_repository(client)
    yield from findings
    if repository is None:
        return
    yield look_at_rights(client, repository, HOST_RIGHTS)
    for branch in config.branches or (str(repository.get("default_branch")),):
        yield _guarded(f"branch {branch!r}", partial(_branch, client, str(branch), repository))
    yield look_at_webhook(client, HOST_EVENTS)


def look_at_repository(client: Client) -> tuple[list[Finding], dict[str, Any] | None]:
    """Return what there is to say of token and repository, and the repository when it is there."""
    try:
        with client.doing("look at the token", right="Metadata: read"):
            me = client.me
    except Error as error:
        return [Finding("token", well=False, sentence=str(error))], None
    findings = [Finding("token", well=True, sentence=f"It is the one of {me!r}.")]
    try:
        with client.doing(f"look at {client.entry.full_name}", right="Metadata: read"):
            _, found = client.get(client.repository.url)
            repository = {**found, "owner": dict(found["owner"]), "permissions": dict(found.get("permissions") or {})}
            name = str(found["full_name"])
    except Error as error:
        return [*findings, Finding("repository", well=False, sentence=str(error))], None
    if name.lower() != client.entry.full_name.lower():
        sentence = f"{client.entry.full_name} is {name} by now. Correct 'host.repository' in the project file."
        findings.append(Finding("repository", well=False, sentence=sentence))
    elif found.get("archived") or found.get("disabled"):
        sentence = f"{name} is archived: nothing can be written to it. Unarchive it."
        findings.append(Finding("repository", well=False, sentence=sentence))
    else:
        findings.append(Finding("repository", well=True, sentence=f"{name} is there."))
    return findings, repository


def look_at_rights(client: Client, repository: dict[str, Any], needed: dict[str, str]) -> Finding:
    """Say whether the token may do what deliveries do; of a fine-grained token GitHub tells only what it may read."""
    return _guarded("rights", lambda: _rights(client, repository, needed))


def look_at_webhook(client: Client, needed: Sequence[str]) -> Finding:
    """Say whether pushes and the rest are told to us, and how the last time went."""
    return _guarded("webhook", lambda: _webhook(client, needed))


def _guarded(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Error as error:
        return Finding(what, well=False, sentence=str(error))


def _rights(client: Client, repository: dict[str, Any], needed: dict[str, str]) -> Finding:
    def lacking(what: str, do: str) -> Finding:
        return Finding("rights", well=False, sentence=f"The token of {client.entry.connection!r} {what}. {do}")

    if client.entry.app is not None:
        given = tokens.installation(client.entry).permissions
        missing = [f"{name}: write" for right, name in needed.items() if given.get(right) not in {"write", "admin"}]
        if missing:
            return lacking(f"may not do everything: the App lacks {', '.join(missing)}", "Grant them to the App.")
        return Finding("rights", well=True, sentence="The App may do everything that deliveries do.")
    if not repository["permissions"].get("push"):
        return lacking("may not push", "Give its account the role 'write' on the repository.")
    with client.doing("look at the token's rights", right="Metadata: read"):
        headers, _ = client.get("/user")
        scopes = headers.get("x-oauth-scopes")
    if scopes is not None:
        held = {scope.strip() for scope in str(scopes).split(",")}
        if not held & ({"repo"} if repository.get("private") else {"repo", "public_repo"}):
            return lacking("has not the scope 'repo'", "Make one that has it.")
        return Finding("rights", well=True, sentence="The token has the scope that deliveries need.")
    unread = [name for name, path in _READABLE.items() if not _readable(client, path)]
    if unread:
        return lacking(f"may not read {', '.join(unread)}", "Give it read and write access to these.")
    names = ", ".join(needed.values())
    return Finding(
        "rights",
        well=True,
        sentence=f"It may push. GitHub does not tell more: see that it has read and write for {names}.",
    )


def _readable(client: Client, path: str) -> bool:
    try:
        with client.doing(f"read {path}", right=path):
            client.get(f"{client.repository.url}/{path}", per_page=1)
    except Error:
        return False
    return True


def _branch(client: Client, branch: str, repository: dict[str, Any]) -> Finding:
    what = f"branch {branch!r}"
    found = obstacles(client, branch, admin=bool(repository["permissions"].get("admin")))
    if not found:
        return Finding(what, well=True, sentence="Nothing keeps deliveries from moving it.")
    return Finding(
        what,
        well=False,
        sentence=f"Deliveries cannot move it: it {'; it '.join(found)}. Let {client.me!r} bypass that, or lift it.",
    )


def _webhook(client: Client, needed: Sequence[str]) -> Finding:
    def wrong(sentence: str) -> Finding:
        return Finding("webhook", well=False, sentence=sentence)

    try:
        with client.doing("look at the webhooks", right="Webhooks: read"):
            ours = [one for one in client.repository.get_hooks() if WEBHOOK_PATH in str(one.config.get("url", ""))]
    except Error as error:
        return wrong(f"It cannot be looked at: {error} Or look at Settings, Webhooks yourself.")
    if not ours:
        return wrong(
            f"There is none to an address with {WEBHOOK_PATH!r}: changes are found by housekeeping only. Add one."
        )
    hook = next((one for one in ours if one.active), ours[0])
    if not hook.active:
        return wrong("It is switched off. Tick 'Active' on its page.")
    missing = [event for event in needed if not {event, "*"} & set(hook.events)]
    if missing:
        return wrong(f"It is not sent for {', '.join(missing)}. Tick these events on its page.")
    if not hook.config.get("secret"):
        return wrong("It has no secret, so nothing that it sends is believed. Set the project's webhook secret.")
    with client.doing("look at the webhook's deliveries", right="Webhooks: read"):
        last = next(iter(client.repository.get_hook_deliveries(hook.id)), None)
    if last is not None and not 200 <= (last.status_code or 0) < 300:
        return wrong(
            f"The last delivery ({last.event}) was answered {last.status_code or 'not at all'}. "
            "401 means another secret; look at 'Recent deliveries' on its page."
        )
    return Finding(
        "webhook", well=True, sentence="It is active, and its last delivery arrived." if last else "It is active."
    )
