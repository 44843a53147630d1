"""Look at a Gitea or Forgejo server for ``doctor``: what would stop a delivery is found before the first one.

Tokens do not tell their scopes. Request and issue number 0 never exist, so that changing them shows whether we could
(404) or the token lacks the scope (403), and changes nothing.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitea.answers import Branch, Hook, Protection, Repository, Version
from feature_delivery.adapters.git_hosts.gitea.client import path
from feature_delivery.adapters.git_hosts.gitea.merged import SETTING, SETTING_SHOWN
from feature_delivery.domain.errors import Error, NotFound
from feature_delivery.domain.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.adapters.git_hosts.gitea.client import GiteaClient
    from feature_delivery.domain.names import BranchName
    from feature_delivery.domain.project import HostConfig

EVENTS = (
    ("push",),
    ("create",),
    ("delete",),
    ("pull_request",),
    ("pull_request_sync", "pull_request_synchronize", "pull_request"),
    ("pull_request_review_approved", "pull_request_review"),
    ("pull_request_review_rejected", "pull_request_review"),
    ("issue_comment",),
    ("pull_request_comment", "issue_comment"),
    ("issues",),
)
"""Events that a webhook should send, each by the names that versions have for it; the first is the one to tell."""

OUR_PATH = "/webhooks/"


def examine_host(client: GiteaClient, config: HostConfig) -> tuple[Finding, ...]:
    """Return what was found about token, rights, branches, merging and webhook; raises nothing."""
    begin = tuple(_server_and_token(client))
    if not all(one.well for one in begin):
        return begin
    try:
        repository = client.read(client.in_repository(), Repository, doing="read the settings")
        findings = [
            *begin,
            _scope(client, client.in_repository("pulls", 0), "write:repository"),
            _scope(client, client.in_repository("issues", 0), "write:issue"),
            _rights(client, repository),
            *_branches(client, config.branches, repository),
            _manual_merge(client, repository),
            _webhook(client, repository),
        ]
    except Error as error:
        return (*begin, Finding("repository", well=False, sentence=str(error)))
    return tuple(findings)


def examine_issues(client: GiteaClient) -> tuple[Finding, ...]:
    """Return what was found about token and rights for issues; raises nothing."""
    begin = tuple(_server_and_token(client))
    if not all(one.well for one in begin):
        return begin
    try:
        repository = client.read(client.in_repository(), Repository, doing="read the settings")
        scope = _scope(client, client.in_repository("issues", 0), "write:issue")
    except Error as error:
        return (*begin, Finding("repository", well=False, sentence=str(error)))
    there = repository.has_issues
    sentence = f"{client.shown} has issues." if there else f"Issues are switched off in {client.shown}. Switch them on."
    return (*begin, scope, _rights(client, repository), Finding("issues", well=there, sentence=sentence))


def _server_and_token(client: GiteaClient) -> Iterator[Finding]:
    try:
        version = client.read(path("version"), Version, doing="read the server's version").version[:60]
        yield Finding("server", well=True, sentence=f"It is version {version}.")
        yield Finding("token", well=True, sentence=f"The token is that of {client.me!r}.")
    except NotFound:
        sentence = (
            f"There is no Gitea or Forgejo at {client.url}. Write its address, with the sub path, into the Connection "
            f"{client.login.connection!r}."
        )
        yield Finding("server", well=False, sentence=sentence)
    except Error as error:
        yield Finding("token", well=False, sentence=str(error))


def _scope(client: GiteaClient, where: str, scope: str) -> Finding:
    try:
        client.ask("PATCH", where, doing=f"use the scope {scope!r}", body={})
    except NotFound:
        return Finding("scope", well=True, sentence=f"The token has the scope {scope!r}.")
    except Error as error:
        return Finding("scope", well=False, sentence=str(error))
    return Finding("scope", well=True, sentence=f"The token has the scope {scope!r}.")


def _rights(client: GiteaClient, repository: Repository) -> Finding:
    if repository.archived:
        sentence = f"{client.shown} is archived: nothing can be changed. Take it out of the archive."
        return Finding("rights", well=False, sentence=sentence)
    if not repository.permissions.push:
        sentence = f"{client.me!r} may not write to {client.shown}. Make the user a collaborator with write access."
        return Finding("rights", well=False, sentence=sentence)
    kind = "an administrator" if repository.permissions.admin else "a writer"
    return Finding("rights", well=True, sentence=f"{client.me!r} is {kind} of {client.shown}.")


def _branches(client: GiteaClient, branches: tuple[BranchName, ...], repository: Repository) -> Iterator[Finding]:
    rules: list[Protection] = []
    if repository.permissions.admin:
        rules = client.listing(client.in_repository("branch_protections"), Protection, doing="read the protections")
    for name in branches:
        what = f"branch {name}"
        try:
            branch = client.read(client.in_repository("branches", name), Branch, doing=f"read the branch {name!r}")
        except NotFound:
            yield Finding(what, well=False, sentence=f"There is no branch {name!r} in {client.shown}. Push it.")
            continue
        except Error as error:
            yield Finding(what, well=False, sentence=str(error))
            continue
        rule = next((one for one in rules if _applies(one, branch, name)), None)
        hindrance = _hindrance(client, branch, rule)
        sentence = hindrance or f"{client.me!r} may push to {name!r}."
        yield Finding(what, well=not hindrance, sentence=sentence)


def _applies(rule: Protection, branch: Branch, name: BranchName) -> bool:
    effective = branch.effective_branch_protection_name
    named = rule.rule_name or rule.branch_name
    return named == effective if effective else branch.protected and fnmatchcase(name, named)


def _hindrance(client: GiteaClient, branch: Branch, rule: Protection | None) -> str:
    """Return what of a branch's protection would stop us, and what to do; empty: nothing."""
    if not branch.user_can_push:
        return (
            f"{client.me!r} may not push: releases could not move it. Put the user on the push whitelist of "
            "the branch's protection."
        )
    if rule and rule.require_signed_commits:
        return "Its protection asks for signed commits, and ours are not signed. Switch that off for the branch."
    if rule and rule.protected_file_patterns.strip():
        return (
            "Its protection keeps some files from being changed: a feature that changes one cannot be released. "
            "Take the file patterns out of the protection."
        )
    if not branch.user_can_merge:
        return (
            f"{client.me!r} may not merge into it: requests could not be shown as merged. Put the user on the merge "
            "whitelist of the branch's protection."
        )
    return ""


def _manual_merge(client: GiteaClient, repository: Repository) -> Finding:
    what = "merged requests"
    if not repository.has_pull_requests:
        return Finding(what, well=False, sentence=f"Requests are switched off in {client.shown}. Switch them on.")
    if repository.allow_manual_merge:
        return Finding(what, well=True, sentence=f"Requests can be shown as merged ({SETTING} is on).")
    if repository.permissions.admin:
        sentence = f"Requests can be shown as merged: {SETTING} is switched on at the first release where it is off."
        return Finding(what, well=True, sentence=sentence)
    advice = f"Switch on '{SETTING_SHOWN}' in the repository's settings"
    if repository.allow_manual_merge is None:
        sentence = f"This server does not tell whether requests can be shown as merged. {advice}, if it is off."
        return Finding(what, well=True, sentence=sentence)
    return Finding(what, well=False, sentence=f"Shipped requests could not be shown as merged. {advice}.")


def _webhook(client: GiteaClient, repository: Repository) -> Finding:
    if not repository.permissions.admin:
        sentence = f"Only administrators of {client.shown} see its webhooks. Look at them by hand."
        return Finding("webhook", well=True, sentence=sentence)
    hooks = client.listing(client.in_repository("hooks"), Hook, doing="read the webhooks")
    ours = [hook for hook in hooks if OUR_PATH in hook.config.get("url", "")]
    if not ours:
        sentence = "There is no webhook to Airflow: news is found by looking every few minutes. Add one to be told."
        return Finding("webhook", well=False, sentence=sentence)
    faults = [_fault(hook) for hook in ours]
    if "" in faults:
        return Finding("webhook", well=True, sentence="The webhook is active and sends the events that are needed.")
    return Finding("webhook", well=False, sentence=faults[0])


def _fault(hook: Hook) -> str:
    """Return what is wrong with a webhook of ours, and what to do; empty: nothing."""
    if not hook.active:
        return f"Webhook {hook.id} is not active. Switch it on."
    missing = [names[0] for names in EVENTS if not {*names, "*"} & set(hook.events)]
    if missing:
        return f"Webhook {hook.id} does not send {', '.join(missing)}. Tick these events in its settings."
    if hook.config.get("content_type", "json") != "json":
        return f"Webhook {hook.id} does not send JSON. Choose 'application/json' in its settings."
    if hook.branch_filter not in {"", "*", "**"}:
        return f"Webhook {hook.id} is only for some branches. Empty its branch filter."
    return ""
