"""Hosts and trackers with a server: which adapter a project's file asks for, imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from feature_delivery.bootstrap.connections import login

if TYPE_CHECKING:
    from feature_delivery.adapters.git.address import GitAccess
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.git_host import GitHost
    from feature_delivery.ports.tracker import Tracker

_ADAPTERS = "feature_delivery.adapters"
_HOSTS = {"github": "GitHubHost", "gitlab": "GitLabHost", "gitea": "GiteaHost"}
_TRACKERS = {
    "github": "GitHubTracker",
    "gitlab": "GitLabTracker",
    "gitea": "GiteaTracker",
    "jira": "JiraTracker",
    "redmine": "RedmineTracker",
}


def git_host(project: ProjectConfig) -> GitHost:
    """Return the host that the project's file names; not for ``local``.

    Raises:
        Misconfigured: Its Connection is missing or lacks something.
    """
    kind, entry = project.host.kind, login(project.host.connection)
    made = getattr(import_module(f"{_ADAPTERS}.git_hosts.{kind}"), _HOSTS[kind])
    return cast("GitHost", made(entry, config=project.host))


def git_access(project: ProjectConfig) -> GitAccess:
    """Return how Git gets into the project's repository: by the host's Connection; nothing for ``local``.

    Raises:
        Misconfigured: As ``git_host``.
    """
    from feature_delivery.adapters.git.address import GitAccess  # noqa: PLC0415 - not at DAG parse time

    kind = project.host.kind
    if kind == "local":
        return GitAccess()
    entry = login(project.host.connection)
    found = import_module(f"{_ADAPTERS}.git_hosts.{kind}").git_access(entry, project.host)
    return cast("GitAccess", found)


def tracker(project: ProjectConfig) -> Tracker:
    """Return the tracker that the project's file names; not for ``local``.

    Raises:
        Misconfigured: Its Connection is missing or lacks something.
    """
    kind, entry = project.tracker.kind, login(project.tracker.connection)
    made = getattr(import_module(f"{_ADAPTERS}.trackers.{kind}"), _TRACKERS[kind])
    return cast("Tracker", made(entry, config=project.tracker))
