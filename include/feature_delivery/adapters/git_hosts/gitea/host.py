"""Gitea and Forgejo as a Git host."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitea import threads
from feature_delivery.adapters.git_hosts.gitea.answers import Branch, Comparison, PullRequest, Status
from feature_delivery.adapters.git_hosts.gitea.client import TIMEOUT, GiteaClient
from feature_delivery.adapters.git_hosts.gitea.examination import examine_host
from feature_delivery.adapters.git_hosts.gitea.merged import show_as_merged
from feature_delivery.adapters.git_hosts.gitea.requests import (
    as_request,
    is_fork,
    latest_words,
    newest_from,
    reviews_of,
    state_of,
)
from feature_delivery.domain.errors import Conflict, NotFound, Refused, Unavailable
from feature_delivery.ports.git_host import MergeRequest, RequestComment, RequestState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import httpx

    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
    from feature_delivery.domain.project import HostConfig
    from feature_delivery.ports.git_host import DeploymentState, StatusState

_log = logging.getLogger(__name__)

LONGEST_TITLE = 255
NEEDS_WRITE = "write access to the repository's code and pull requests"


class GiteaHost:
    """``GitHost`` for one repository on a Gitea or Forgejo server."""

    def __init__(self, login: Login, *, config: HostConfig, timeout: httpx.Timeout = TIMEOUT) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: ``url``: where the server is, with its sub path; ``secret``: an access token with the scopes
                ``write:repository``, ``write:issue`` and ``read:user``; ``options``: ``ca_file``.
            config: The repository and the branches that deliveries move.
            timeout: For each request.

        Raises:
            Misconfigured: Address, token or repository is none.
        """
        self._client = GiteaClient(login, config.repository, timeout=timeout)
        self._config = config

    def find_request(self, source: BranchName) -> MergeRequest | None:
        """Return the newest request from ``source``, open ones first, with its reviews.

        The server cannot be asked for a branch's requests, and reading all that were ever closed would take too long
        for a branch that has none: a closed one is found when it is our own and aimed at a branch that deliveries move.
        """
        doing = f"look for a request from {source!r}"
        pulls = self._client.listing(self._at("pulls"), PullRequest, doing=doing, query={"state": "open"})
        found = newest_from(source, pulls, fork=False) or self._closed_from(source, doing)
        found = found or newest_from(source, pulls, fork=True)
        return self._with_reviews(found) if found else None

    def request(self, number: int) -> MergeRequest:
        """Return one request with its reviews.

        Raises:
            NotFound: There is no such request.
        """
        return self._with_reviews(self._pull(number))

    def changed_requests(self, since: datetime) -> tuple[MergeRequest, ...]:
        """Return every request changed since then, newest change first, without reviews; complete, page by page.

        Those whose branches have names that we do not work with are left out.
        """
        query = {"state": "all", "sort": "recentupdate"}
        found: list[PullRequest] = []
        for pull in self._client.walk(self._at("pulls"), PullRequest, doing="list the changed requests", query=query):
            if pull.updated_at < _to_the_second(since):
                break
            found.append(pull)
        return tuple(request for pull in found if (request := _known(pull)))

    def comments(self, number: int, *, since: datetime | None = None) -> tuple[RequestComment, ...]:
        """Return what people have written on a request since then, oldest first: comments, and the words of reviews.

        The server knows time to the second: what was written within that of ``since`` is there. A review's text stays
        as it was submitted, in this listing: what is edited on the page is a copy of it.

        Raises:
            NotFound: There is no such request.
        """
        begin = _to_the_second(since) if since else None
        written = threads.comments(
            self._client, number, what=f"request {number}", since=_timestamp(begin) if begin else None
        )
        said = [
            RequestComment(
                id=str(one.id),
                author=one.user.login,
                text=one.body,
                at=one.created_at,
                edited=one.updated_at > one.created_at,
            )
            for one in written
            if one.user and not threads.is_ours(self._client, one)
        ]
        said += [
            RequestComment(id=f"review-{one.id}", author=one.user.login, text=one.body, at=one.submitted_at)
            for one in reviews_of(self._client, number)
            if one.user and one.body and one.state in {"APPROVED", "REQUEST_CHANGES", "COMMENT"}
        ]
        return tuple(sorted((one for one in said if begin is None or one.at >= begin), key=lambda one: one.at))

    def open_request(
        self,
        *,
        key: FeatureKey,
        source: BranchName,
        target: BranchName,
        title: str,
        body: str,
        reviewers: Sequence[str] = (),
        labels: Sequence[str] = (),
        author: str | None = None,  # noqa: ARG002 - the token's user opens it
    ) -> MergeRequest:
        """Find the open request from ``source``, or open one.

        ``reviewers`` are logins, or ``organisation/team`` for a team of the repository's owner. One that was opened by
        us in a try that was killed is completed.

        Raises:
            NotFound: A branch is not there.
            Refused: Both branches are the same, or the request would hold no commit.
        """
        if source == target:
            raise Refused(f"Could not open a request for {key}: {source!r} cannot be merged into itself.")
        found = self._open_from(source)
        if found is None:
            self._check_branches(key, source=source, target=target)
            found = self._opened(source, target, title=title, body=body, labels=labels)
        if self._client.is_me(found.user):
            self._ask_for_reviews(found, reviewers)
        return self.request(found.number)

    def retarget(self, number: int, target: BranchName) -> None:
        """Point the request at ``target`` when it aims elsewhere.

        Raises:
            Refused: The request is over.
            Conflict: There is one from its branch to ``target`` already.
        """
        pull = self._pull(number)
        if pull.base.label == target:
            return
        if state_of(pull) is not RequestState.OPEN:
            raise Refused(f"Could not point request {number} at {target!r}: it is {state_of(pull)}. Open a new one.")
        self._branch(target, doing=f"point request {number} at {target!r}")
        doing = f"point request {number} at {target!r}"
        changed = self._client.send(
            "PATCH", self._at("pulls", number), {"base": target}, PullRequest, doing=doing, needs=NEEDS_WRITE
        )
        if changed.base.label != target:
            raise Conflict(f"Could not {doing} ({self._client.shown}): it still aims at {changed.base.label!r}.")

    def comment(self, number: int, text: str, *, marker: str) -> None:
        """Write our comment known by ``marker``, or replace its text; the marker is not seen by readers."""
        threads.write(self._client, number, text, marker=marker, what=f"request {number}", replace=True)

    def set_status(self, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
        """Post the status ``name`` on ``commit``, unless the one in force says just that.

        Raises:
            NotFound: There is no such commit.
        """
        # The server cuts white space off; a status would never be found again as it was posted.
        name, description, url = name.strip(), description.strip(), url.strip()
        doing = f"post the status {name!r} on {commit[:10]}"
        listed = self._client.listing(self._at("commits", commit, "statuses"), Status, doing=doing)
        latest = max((one for one in listed if one.context == name), key=lambda one: one.id, default=None)
        if latest and (latest.status, latest.description, latest.target_url) == (state, description, url):
            return
        body = {"context": name, "state": str(state), "description": description, "target_url": url}
        try:
            self._client.ask("POST", self._at("statuses", commit), doing=doing, body=body, needs=NEEDS_WRITE)
        except Unavailable:
            # For a commit that it does not have, the server answers what it answers when it is out of order.
            self._client.ask("GET", self._at("git", "commits", commit), doing=doing)
            raise

    def close_request(self, number: int, *, state: RequestState) -> None:
        """Show the request as merged (when it shipped) or closed; a merged one stays merged.

        Raises:
            Refused: ``state`` is open; or the repository does not let us mark requests as merged by hand.
            Conflict: The request's target branch does not hold its head, so that it has not shipped.
        """
        if state is RequestState.OPEN:
            raise Refused(f"Could not close request {number}: 'open' is no way to be closed. Say merged or closed.")
        pull = self._pull(number)
        if pull.merged:
            return
        if state is RequestState.MERGED:
            show_as_merged(self._client, pull)
        elif pull.state == "open":
            try:
                where, doing = self._at("pulls", number), f"close request {number}"
                self._client.ask("PATCH", where, doing=doing, body={"state": "closed"}, needs=NEEDS_WRITE)
            except Refused:
                if not self._pull(number).merged:
                    raise

    def record_deployment(
        self, *, key: FeatureKey, commit: CommitSha, environment: str, state: DeploymentState, url: str
    ) -> None:
        """Do nothing: neither Gitea nor Forgejo has deployments. Statuses and comments show where a commit runs."""

    def examine(self) -> tuple[Finding, ...]:
        """Look whether token, rights, branch protection and webhook are as deliveries need them; raises nothing."""
        return examine_host(self._client, self._config)

    def _at(self, *parts: str | int) -> str:
        return self._client.in_repository(*parts)

    def _pull(self, number: int) -> PullRequest:
        return self._client.read(self._at("pulls", number), PullRequest, doing=f"read request {number}")

    def _with_reviews(self, pull: PullRequest) -> MergeRequest:
        request = as_request(pull, latest_words(reviews_of(self._client, pull.number)))
        return replace(request, ours=self._client.is_me(pull.user))

    def _open_from(self, source: BranchName) -> PullRequest | None:
        doing = f"look for a request from {source!r}"
        pulls = self._client.listing(self._at("pulls"), PullRequest, doing=doing, query={"state": "open"})
        return newest_from(source, pulls, fork=False)

    def _closed_from(self, source: BranchName, doing: str) -> PullRequest | None:
        """Return the newest closed request of our own from ``source``: asked for cheaply before all are read."""
        if not any(self._ever_opened(source, base, doing) for base in self._config.branches):
            return None
        closed = self._client.walk(self._at("pulls"), PullRequest, doing=doing, query={"state": "closed"})
        # The newest come first when no order is asked for.
        return next((one for one in closed if one.head.label == source and not is_fork(one)), None)

    def _ever_opened(self, source: BranchName, base: BranchName, doing: str) -> bool:
        return self._client.ask("GET", self._at("pulls", base, source), doing=doing, accept={404}).is_success

    def _branch(self, branch: BranchName, *, doing: str) -> Branch:
        try:
            return self._client.read(self._at("branches", branch), Branch, doing=doing)
        except NotFound as error:
            raise NotFound(
                f"Could not {doing} ({self._client.shown}): there is no branch {branch!r}. Push it first."
            ) from error

    def _check_branches(self, key: FeatureKey, *, source: BranchName, target: BranchName) -> None:
        doing = f"open a request for {key}"
        for branch in (source, target):
            self._branch(branch, doing=doing)
        compared = self._client.read(self._at("compare", f"{target}...{source}"), Comparison, doing=doing)
        if not compared.total_commits:
            raise Refused(
                f"Could not {doing} ({self._client.shown}): {source!r} holds no commit that {target!r} lacks. "
                "Push one first."
            )

    def _opened(
        self, source: BranchName, target: BranchName, *, title: str, body: str, labels: Sequence[str]
    ) -> PullRequest:
        names = dict.fromkeys([*labels, *self._config.labels])
        content: Mapping[str, object] = {
            "head": source,
            "base": target,
            "title": title[:LONGEST_TITLE],
            "body": body[: threads.LONGEST_TEXT],
            "labels": [label.id for label in threads.labels_named(self._client, names, create=True).values()],
        }
        doing = f"open a request from {source!r}"
        answer = self._client.ask("POST", self._at("pulls"), doing=doing, body=content, needs=NEEDS_WRITE, accept={409})
        if answer.status_code != 409:
            return self._client.parsed(answer, PullRequest, doing)
        # Somebody was quicker.
        if found := self._open_from(source):
            return found
        raise Conflict(f"Could not {doing} ({self._client.shown}): the server says there is one, but lists none.")

    def _ask_for_reviews(self, pull: PullRequest, reviewers: Sequence[str]) -> None:
        """Ask those who were not asked yet; each alone, for the server stops at the first whom it does not accept."""
        if not reviewers:
            return
        asked = {user.login.casefold() for user in pull.requested_reviewers if user}
        asked |= {f"{self._client.owner}/{team.name}".casefold() for team in pull.requested_reviewers_teams}
        asked |= {one.user.login.casefold() for one in reviews_of(self._client, pull.number) if one.user}
        for reviewer in dict.fromkeys(reviewers):
            if reviewer.casefold() in asked:
                continue
            owner, _, team = reviewer.partition("/")
            if team and owner.casefold() != self._client.owner.casefold():
                continue
            body = {"team_reviewers": [team]} if team else {"reviewers": [reviewer]}
            where = self._at("pulls", pull.number, "requested_reviewers")
            doing = f"ask {reviewer!r} to review request {pull.number}"
            answer = self._client.ask("POST", where, doing=doing, body=body, accept={403, 404, 422})
            if not answer.is_success:
                _log.info("Request %s: %r is not accepted as a reviewer", pull.number, reviewer)


def _known(pull: PullRequest) -> MergeRequest | None:
    try:
        return as_request(pull)
    except Refused:
        return None


def _to_the_second(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=0)


def _timestamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
