"""GitHub and GitHub Enterprise Server: pull requests, reviews, statuses, deployments, over PyGithub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.github.access import git_access

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.github.host import GitHubHost

__all__ = ["GitHubHost", "git_access"]


def __getattr__(name: str) -> object:
    """Import the host when it is asked for: every task asks for ``git_access``, few need PyGithub's 0.4 seconds."""
    if name == "GitHubHost":
        from feature_delivery.adapters.git_hosts.github.host import GitHubHost  # noqa: PLC0415 - see above

        return GitHubHost
    raise AttributeError(name)
