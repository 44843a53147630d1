"""Deployments on GitHub's pages: one per commit and environment, with a status for every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.github.failures import said
from feature_delivery.adapters.git_hosts.github.limits import is_page
from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.ports.git_host import DeploymentState

if TYPE_CHECKING:
    from github.Deployment import Deployment
    from github.DeploymentStatus import DeploymentStatus

    from feature_delivery.adapters.git_hosts.github.client import Client
    from feature_delivery.domain.names import CommitSha, FeatureKey

PRODUCTION = "production"
RIGHT = "Deployments: write"

_STATES = {
    DeploymentState.RUNNING: "in_progress",
    DeploymentState.DONE: "success",
    DeploymentState.FAILED: "failure",
    DeploymentState.GONE: "inactive",
}


def record(
    client: Client, *, key: FeatureKey, commit: CommitSha, environment: str, state: DeploymentState, url: str
) -> None:
    """Show where a deployment stands; saying it again changes nothing.

    Raises:
        NotFound: GitHub has no such commit.
    """
    doing = f"record the deployment of {commit[:10]} to {environment!r}"
    if state is DeploymentState.GONE:
        with client.doing(doing, right=RIGHT):
            # Everything that ever was deployed there is gone with it.
            for one in client.repository.get_deployments(environment=environment):
                _tell(one, state, "")
        return
    try:
        with client.doing(doing, right=RIGHT):
            found = next(iter(client.repository.get_deployments(sha=commit, environment=environment)), None)
            if found is None:
                found = _create(client, key=key, commit=commit, environment=environment)
            _tell(found, state, url if is_page(url) else "")
    except Refused as error:
        if (words := said(error)) is not None and words.mentions("no ref found", "no commit found"):
            raise NotFound(f"Could not {doing}: GitHub has no such commit. Push it first.") from error
        raise


def _create(client: Client, *, key: FeatureKey, commit: CommitSha, environment: str) -> Deployment:
    # No contexts are required: our own statuses on the commit, red or pending, must not stand in the way.
    return client.repository.create_deployment(
        commit,
        auto_merge=False,
        required_contexts=[],
        environment=environment,
        description=str(key),
        transient_environment=environment != PRODUCTION,
        production_environment=environment == PRODUCTION,
    )


def _tell(deployment: Deployment, state: DeploymentState, url: str) -> None:
    word = _STATES[state]
    latest: DeploymentStatus | None = max(deployment.get_statuses(), key=lambda one: one.id, default=None)
    if latest is not None and latest.state == word and (not url or latest.environment_url == url):
        return
    # Not auto_inactive: it would end the deployments of other environments of the same name by itself.
    if url:
        deployment.create_status(word, environment_url=url, auto_inactive=False)
    else:
        deployment.create_status(word, auto_inactive=False)
