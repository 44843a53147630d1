"""Look at a Redmine for ``doctor``: what would stop a delivery is found before the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.trackers.redmine.answers import RoleBox, Statuses
from feature_delivery.adapters.trackers.redmine.client import path
from feature_delivery.domain.errors import Error
from feature_delivery.domain.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.adapters.trackers.redmine.client import RedmineClient
    from feature_delivery.domain.project import TrackerConfig

NEEDED = {
    "view_issues": "View issues",
    "edit_issues": "Edit issues",
    "add_issue_notes": "Add notes",
}
USEFUL = {
    "add_issues": ("Add issues", "issues cannot be created from Airflow"),
    "edit_own_issue_notes": ("Edit own notes", "a link that changes makes a new note each time"),
}


def examine(client: RedmineClient, config: TrackerConfig) -> tuple[Finding, ...]:
    """Return what was found about key, project, rights and statuses; raises nothing."""
    findings: list[Finding] = []
    try:
        me = client.me
        findings.append(Finding("token", well=True, sentence=f"The API key is that of {me.login!r}."))
        project = client.project
        findings.append(Finding("project", well=True, sentence=f"{me.login!r} sees the project {project.name!r}."))
        findings += _rights(client)
        findings += _statuses(client, config)
        findings += _issue_type(client, config)
    except Error as error:
        findings.append(Finding("tracker", well=False, sentence=str(error)))
        return tuple(findings)
    sentence = "Redmine sends no webhooks: changes of issues are found by looking every few minutes."
    return (*findings, Finding("webhook", well=True, sentence=sentence))


def _rights(client: RedmineClient) -> Iterator[Finding]:
    if client.me.admin:
        sentence = f"{client.me.login!r} is an administrator of Redmine. A member with a role of its own would suffice."
        yield Finding("rights", well=True, sentence=sentence)
        return
    numbers = {role.id for one in client.me.memberships if one.project.id == client.project.id for role in one.roles}
    if not numbers:
        sentence = f"{client.me.login!r} is no member of {client.project.name!r}. Make the user one."
        yield Finding("rights", well=False, sentence=sentence)
        return
    roles = [client.read(path("roles", number), RoleBox, doing="read a role").role for number in sorted(numbers)]
    names = ", ".join(role.name for role in roles)
    may = {permission for role in roles for permission in role.permissions}
    missing = [name for permission, name in NEEDED.items() if permission not in may]
    if missing:
        lacks = ", ".join(repr(name) for name in missing)
        sentence = f"The role {names} of {client.me.login!r} lacks {lacks}. Tick it in the role's permissions."
        yield Finding("rights", well=False, sentence=sentence)
    else:
        sentence = f"{client.me.login!r} is {names}: may see, edit and comment on issues."
        yield Finding("rights", well=True, sentence=sentence)
    for permission, (name, else_) in USEFUL.items():
        if permission not in may:
            sentence = f"Without {name!r} in the role {names}, {else_}."
            yield Finding("rights", well=True, sentence=sentence)


def _statuses(client: RedmineClient, config: TrackerConfig) -> Iterator[Finding]:
    found = client.read(path("issue_statuses"), Statuses, doing="list the statuses").issue_statuses
    names = {status.name.casefold() for status in found}
    there = ", ".join(repr(status.name) for status in found)
    for state, words in config.states.items():
        for word in words:
            if word.casefold() not in names:
                sentence = f"There is no status {word!r}. There are {there}. Correct 'tracker.states.{state}'."
                yield Finding("workflow", well=False, sentence=sentence)
    closed = [status.name for status in found if status.is_closed]
    if not closed:
        sentence = "No status counts as closed: issues cannot be done. Tick 'Issue closed' on one."
        yield Finding("workflow", well=False, sentence=sentence)
    elif (
        not config.states.get("done")
        and len(closed) > 1
        and not {"done", "closed", "resolved"} & {name.casefold() for name in closed}
    ):
        ends = ", ".join(repr(name) for name in closed)
        sentence = f"The statuses {ends} count as closed. Say as 'tracker.states.done' which one means delivered."
        yield Finding("workflow", well=False, sentence=sentence)
    else:
        sentence = f"The statuses are {there}. Which of them our role may set shows only on an issue."
        yield Finding("workflow", well=True, sentence=sentence)


def _issue_type(client: RedmineClient, config: TrackerConfig) -> Iterator[Finding]:
    names = [one.name for one in client.project.trackers]
    if config.issue_type and config.issue_type.casefold() not in {name.casefold() for name in names}:
        there = ", ".join(repr(name) for name in names) or "none"
        sentence = (
            f"The project has no tracker {config.issue_type!r}. It has {there}. Correct 'tracker.issue_type', or "
            "enable it in the project's settings."
        )
        yield Finding("issue type", well=False, sentence=sentence)
