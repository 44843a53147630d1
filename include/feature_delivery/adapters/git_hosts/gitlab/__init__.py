"""GitLab, the site and servers of one's own: merge requests, reviews, statuses, deployments, over python-gitlab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitlab.access import git_access

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitlab.host import GitLabHost

__all__ = ["GitLabHost", "git_access"]


def __getattr__(name: str) -> object:
    """Import the host when it is asked for: every task asks for ``git_access``, few need python-gitlab and pydantic."""
    if name == "GitLabHost":
        from feature_delivery.adapters.git_hosts.gitlab.host import GitLabHost  # noqa: PLC0415 - see above

        return GitLabHost
    raise AttributeError(name)
