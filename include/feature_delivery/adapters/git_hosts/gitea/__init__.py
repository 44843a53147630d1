"""Gitea and Forgejo: requests, reviews, statuses over HTTP. Both servers speak the same API, version 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitea.access import git_access

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitea.host import GiteaHost

__all__ = ["GiteaHost", "git_access"]


def __getattr__(name: str) -> object:
    """Import the host when it is asked for: every task asks for ``git_access``, few need HTTP and pydantic."""
    if name == "GiteaHost":
        from feature_delivery.adapters.git_hosts.gitea.host import GiteaHost  # noqa: PLC0415 - see above

        return GiteaHost
    raise AttributeError(name)
