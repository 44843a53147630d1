"""Deployments and environments on GitLab's pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.git_hosts.gitlab.answers import Deployment, Environment, Ref
from feature_delivery.adapters.git_hosts.gitlab.failures import Answered
from feature_delivery.adapters.git_hosts.gitlab.limits import is_page
from feature_delivery.domain.errors import NotFound
from feature_delivery.ports.git_host import DeploymentState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.adapters.git_hosts.gitlab.client import Client
    from feature_delivery.domain.names import BranchName, CommitSha

RIGHT = "the role Developer (and a place among those allowed to deploy, where the environment is protected)"

_WORDS = {DeploymentState.RUNNING: "running", DeploymentState.DONE: "success", DeploymentState.FAILED: "failed"}
_TIERS = {"production": "production", "preprod": "staging", "development": "development"}


def record(
    client: Client,
    *,
    commit: CommitSha,
    environment: str,
    state: DeploymentState,
    url: str,
    branches: Sequence[BranchName],
) -> None:
    """Show where a deployment stands; saying it again changes nothing.

    Args:
        client: Of the project.
        commit: What is deployed.
        environment: Where to.
        state: How far it is.
        url: Address of the environment.
        branches: The long-lived branches: a deployment is shown with another one, where there is one.

    Raises:
        NotFound: GitLab has no such commit.
    """
    doing = f"record the deployment of {commit[:10]} to {environment!r}"
    with client.doing(doing, right=RIGHT):
        place = _environment(client, environment)
        if state is DeploymentState.GONE:
            if place is not None:
                _stop(client, place)
            return
        latest = _latest(client, environment) if place is not None else None
        word = _WORDS[state]
        if latest is None or latest.sha != commit or not _can_become(latest, word):
            ref = _ref(client, commit, branches, doing=doing)
            place = _with_page(client, place, environment, url)
            given: dict[str, Any] = {"environment": environment, "sha": commit, "ref": ref, "tag": False}
            client.post(client.project("deployments"), Deployment, **given, status=word)
            return
        _with_page(client, place, environment, url)
        if latest.status != word:
            client.put(client.project("deployments", latest.id), Deployment, status=word)


def _environment(client: Client, name: str) -> Environment | None:
    found = client.walk(client.project("environments"), Environment, name=name)
    return next((one for one in found if one.name == name), None)


def _latest(client: Client, environment: str) -> Deployment | None:
    where = client.project("deployments")
    return client.newest(where, Deployment, environment=environment, order_by="id", sort="desc")


def _can_become(latest: Deployment, word: str) -> bool:
    """Say whether GitLab lets this deployment be called so: what has ended never runs again, and jobs own theirs."""
    if latest.status == word:
        return True
    return latest.deployable is None and (word != "running" or latest.status in {"created", "blocked"})


def _ref(client: Client, commit: CommitSha, branches: Sequence[BranchName], *, doing: str) -> str:
    """Return a branch that holds the commit, the feature's own before the long-lived ones."""
    try:
        found = client.all(client.project("repository", "commits", commit, "refs"), Ref, type="branch")
    except Answered as error:
        if error.status != 404:
            raise
        raise NotFound(
            f"Could not {doing}: {client.entry.project} on GitLab has no such commit. Push it first."
        ) from error
    names = [one.name for one in found]
    own = [name for name in names if name not in branches]
    return next(iter(own or names), str(commit))


def _with_page(client: Client, place: Environment | None, name: str, url: str) -> Environment:
    """Return the environment with the address of its page; one that is not there is made."""
    page = {"external_url": url} if is_page(url) else {}
    if place is None:
        tier = _TIERS.get(name.partition("-")[0], "other")
        try:
            return client.post(client.project("environments"), Environment, name=name, tier=tier, **page)
        except Answered as error:
            place = _environment(client, name) if error.mentions("already been taken") else None
            if place is None:
                raise
    if page and place.external_url != url:
        return client.put(client.project("environments", place.id), Environment, **page)
    return place


def _stop(client: Client, place: Environment) -> None:
    latest = _latest(client, place.name)
    if latest is not None and latest.deployable is None and latest.status in {"created", "running", "blocked"}:
        client.put(client.project("deployments", latest.id), Deployment, status="canceled")
    if place.state not in {"stopped", "stopping"}:
        # By force: a job that stops it (``on_stop``) would do what we have done already.
        client.post(client.project("environments", place.id, "stop"), Environment, force=True)
