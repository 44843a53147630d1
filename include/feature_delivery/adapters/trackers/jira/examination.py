"""Look at a Jira for ``doctor``: what would stop a delivery is found before the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.trackers.jira.answers import IssueType, Named, Permissions, Project
from feature_delivery.adapters.trackers.jira.client import path
from feature_delivery.adapters.trackers.jira.transitions import meant
from feature_delivery.adapters.trackers.states import goals
from feature_delivery.domain.errors import Error, NotFound, Refused
from feature_delivery.domain.finding import Finding
from feature_delivery.ports.tracker import IssueState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feature_delivery.adapters.trackers.jira.client import JiraClient
    from feature_delivery.domain.project import TrackerConfig

RIGHTS = {
    "BROWSE_PROJECTS": "Browse projects",
    "ADD_COMMENTS": "Add comments",
    "TRANSITION_ISSUES": "Transition issues",
    "EDIT_ISSUES": "Edit issues",
    "ASSIGN_ISSUES": "Assign issues",
    "LINK_ISSUES": "Link issues",
    "CREATE_ISSUES": "Create issues",
}
WEBHOOK = (
    "Only Jira's administrators see its webhooks: look by hand at Settings, System, WebHooks. There should be one to "
    "this package's webhook address of the project, with its secret, for issues created, updated and deleted and for "
    "comments created. Without one, changes are found by looking every few minutes."
)


def examine(client: JiraClient, config: TrackerConfig, project: str) -> tuple[Finding, ...]:
    """Return what was found about token, rights and workflow; raises nothing."""
    begin = list(_looked("token", lambda: _server_and_token(client)))
    if all(one.well for one in begin):
        begin += _looked("project", lambda: _project(client, config, project))
    if not all(one.well for one in begin):
        return tuple(begin)
    return (
        *begin,
        *_looked("rights", lambda: _rights(client, project)),
        *_looked("workflow", lambda: _statuses(client, config, project)),
        *_looked("resolution", lambda: _resolution(client, config)),
        Finding("webhook", well=True, sentence=WEBHOOK),
    )


def _looked(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Error as error:
        yield Finding(what, well=False, sentence=str(error))


def _server_and_token(client: JiraClient) -> Iterator[Finding]:
    kind = "Jira Cloud" if client.cloud else "Jira Data Center"
    me = client.me
    yield Finding("server", well=True, sentence=f"It is {kind}.")
    name = me.shown or me.name or me.account
    yield Finding("token", well=True, sentence=f"The token is that of {name!r} ({me.account or me.name}).")


def _project(client: JiraClient, config: TrackerConfig, project: str) -> Iterator[Finding]:
    try:
        found = client.read(
            path("project", project), Project, doing="find the project", right=RIGHTS["BROWSE_PROJECTS"]
        )
    except NotFound:
        sentence = (
            f"{client.shown} has no project {project!r} that our user may see. Correct 'tracker.project', or give the "
            "user the right 'Browse projects' there."
        )
        yield Finding("project", well=False, sentence=sentence)
        return
    yield Finding("project", well=True, sentence=f"We see the project {found.name!r}.")
    names = [one.name for one in found.issue_types if not one.subtask]
    if config.issue_type and config.issue_type.casefold() not in {name.casefold() for name in names}:
        there = ", ".join(repr(name) for name in names) or "none"
        sentence = f"There is no type of issue {config.issue_type!r}. There are {there}. Correct 'tracker.issue_type'."
        yield Finding("issue type", well=False, sentence=sentence)


def _rights(client: JiraClient, project: str) -> Iterator[Finding]:
    query = {"projectKey": project, "permissions": ",".join(RIGHTS)}
    try:
        found = client.read(path("mypermissions"), Permissions, doing="read our rights", query=query).permissions
    except NotFound:
        # The project is there: it is the question that is not known.
        yield Finding("rights", well=True, sentence="This Jira does not tell what our user may do. Look by hand.")
        return
    missing = [name for key, name in RIGHTS.items() if key not in found or not found[key].have]
    if missing:
        lacks = ", ".join(repr(name) for name in missing)
        sentence = f"Our user lacks {lacks} in {project}. Give it in the project's permission scheme or roles."
        yield Finding("rights", well=False, sentence=sentence)
    else:
        yield Finding("rights", well=True, sentence=f"Our user has every right in {project} that deliveries need.")


def _statuses(client: JiraClient, config: TrackerConfig, project: str) -> Iterator[Finding]:
    where = path("project", project, "statuses")
    types = client.members(where, IssueType, doing="read the workflows")
    wanted = [one for one in types if not one.subtask]
    if config.issue_type:
        wanted = [one for one in wanted if one.name.casefold() == config.issue_type.casefold()] or wanted
    faults: dict[str, None] = {}
    for one in wanted:
        statuses = [meant(config, status) for status in one.statuses]
        for state in IssueState:
            try:
                goals(config, state, statuses, doing=f"move a {one.name} to {state}")
            except Refused as error:
                faults[str(error)] = None
    known = {status.name.casefold() for one in types for status in one.statuses}
    for state_name, words in config.states.items():
        for word in words:
            if word.casefold() not in known:
                sentence = f"No workflow of {project} has a status {word!r}. Correct 'tracker.states.{state_name}'."
                faults[sentence] = None
    for sentence in faults:
        yield Finding("workflow", well=False, sentence=sentence)
    if not faults:
        names = ", ".join(dict.fromkeys(repr(status.name) for one in wanted for status in one.statuses))
        sentence = f"Every state has a status among {names}. Which transitions we may take shows only on an issue."
        yield Finding("workflow", well=True, sentence=sentence)


def _resolution(client: JiraClient, config: TrackerConfig) -> Iterator[Finding]:
    if not config.resolution:
        return
    found = client.members(path("resolution"), Named, doing="list the resolutions")
    if config.resolution.casefold() not in {one.name.casefold() for one in found}:
        there = ", ".join(repr(one.name) for one in found) or "none"
        sentence = f"There is no resolution {config.resolution!r}. There are {there}. Correct 'tracker.resolution'."
        yield Finding("resolution", well=False, sentence=sentence)
