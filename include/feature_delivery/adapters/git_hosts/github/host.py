"""``GitHubHost``: the merge-request side of one repository on GitHub."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from github.Commit import Commit
from github.CommitStatus import CommitStatus
from github.Issue import Issue
from github.PaginatedList import PaginatedList

from feature_delivery.adapters.git_hosts.github import deployments, limits
from feature_delivery.adapters.git_hosts.github.access import entry
from feature_delivery.adapters.git_hosts.github.client import Client
from feature_delivery.adapters.git_hosts.github.edits import was_edited
from feature_delivery.adapters.git_hosts.github.examination import examine_host
from feature_delivery.adapters.git_hosts.github.failures import said
from feature_delivery.adapters.git_hosts.github.mapping import (
    as_request,
    comment_of,
    is_fork,
    login_of,
    requests_of,
    state_of,
    words_of,
)
from feature_delivery.adapters.git_hosts.github.opening import dress, open_pull
from feature_delivery.adapters.markers import carries, is_marked, marked
from feature_delivery.domain.commands import command
from feature_delivery.domain.errors import NotFound, Refused, Unavailable
from feature_delivery.ports.git_host import RequestState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from github.IssueComment import IssueComment
    from github.PullRequest import PullRequest
    from github.PullRequestComment import PullRequestComment
    from github.PullRequestReview import PullRequestReview

    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
    from feature_delivery.domain.project import HostConfig
    from feature_delivery.ports.git_host import DeploymentState, MergeRequest, RequestComment, StatusState

READ, WRITE = "Pull requests: read", "Pull requests: write"
POLL_SECONDS = 1.0

SHIPPED_WHILE_CLOSED = (
    "This feature is in production. GitHub shows the request as closed, not as merged, because it was closed before "
    "its commits reached the target branch."
)


class GitHubHost:
    """Implements ``GitHost`` for one repository. Nothing is kept between calls but the login of the token."""

    def __init__(
        self,
        login: Login,
        *,
        config: HostConfig,
        patience: timedelta = timedelta(seconds=5),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check the Connection; ask nobody.

        Args:
            login: The Connection: a token or a GitHub App.
            config: The repository.
            patience: How long ``close_request`` waits for GitHub to see that a request was merged.
            sleep: Waits for so many seconds.

        Raises:
            Misconfigured: The Connection lacks something.
        """
        self._client = Client(entry(login, config.repository))
        self._config = config
        self._patience = patience
        self._sleep = sleep

    def find_request(self, source: BranchName) -> MergeRequest | None:
        """Return the newest request from ``source``, open ones first, with its reviews; a fork's only if none is ours.

        Raises:
            Error: As the port says.
        """
        with self._client.doing(f"look for the request from {source!r}", right=READ):
            pull = self._find(source)
            return self._with_reviews(pull) if pull is not None else None

    def request(self, number: int) -> MergeRequest:
        """Return one request with its reviews.

        Raises:
            NotFound: There is no such request.
        """
        with self._client.doing(f"read request {number}", right=READ):
            return self._with_reviews(self._client.repository.get_pull(number))

    def changed_requests(self, since: datetime) -> tuple[MergeRequest, ...]:
        """Return every request changed since then, newest change first, without reviews."""
        with self._client.doing("list the changed requests", right=READ):
            return requests_of(self._changed(_second(since)))

    def comments(self, number: int, *, since: datetime | None = None) -> tuple[RequestComment, ...]:
        """Return what people have written on a request since then, oldest first.

        These are comments below the request, comments on its lines, and the words of reviews that neither approve nor
        reject; a review that does has its words with it.

        Raises:
            NotFound: There is no such request.
        """
        with self._client.doing(f"read the comments of request {number}", right=READ):
            pull = self._client.repository.get_pull(number)
            found = self._written(pull, _second(since) if since else datetime.fromtimestamp(0, UTC))
            return tuple(sorted(found, key=lambda one: one.at))

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
        author: str | None = None,  # noqa: ARG002 - it is whose the token is
    ) -> MergeRequest:
        """Find the open request from ``source``, or open one; what a crash left undone on ours is done.

        Raises:
            NotFound: A branch is not there.
            Refused: Both branches are the same, or the request would hold no commit.
        """
        doing = f"open a request for {key}"
        if source == target:
            raise Refused(f"Could not {doing}: {source!r} cannot be merged into itself.")
        pull = self._open(source, doing) or open_pull(
            self._client, source=source, target=target, title=title, body=body, doing=doing
        )
        pull = pull or self._open(source, doing)  # somebody else's, opened in the same moment
        if pull is None:
            raise Unavailable(f"Could not {doing}: GitHub says that there is one but does not list it yet. Try again.")
        with self._client.doing(doing, right=WRITE):
            ours = login_of(pull.user) == self._client.me
        if ours:
            dress(self._client, pull, reviewers=reviewers, labels=(*self._config.labels, *labels))
        return self.request(pull.number)

    def retarget(self, number: int, target: BranchName) -> None:
        """Point the request at ``target`` when it aims elsewhere.

        Raises:
            NotFound: There is no such request, or no such branch.
            Refused: The request is over, or would hold no commit.
        """
        doing = f"point request {number} at {target!r}"
        with self._client.doing(doing, right=WRITE):
            pull = self._client.repository.get_pull(number)
            aim, state = pull.base.ref, state_of(pull)
        if aim == target:
            return
        if state is not RequestState.OPEN:
            raise Refused(f"Could not {doing}: it is {state}. Open a new one.")
        try:
            with self._client.doing(doing, right=WRITE):
                pull.edit(base=target)
        except Refused as error:
            words = said(error)
            if words is not None and (words.mentions("was not found") or words.about("base")):
                raise NotFound(f"Could not {doing}: there is no branch {target!r}. Push it first.") from error
            raise

    def comment(self, number: int, text: str, *, marker: str) -> None:
        """Write our comment known by ``marker``, or replace its text.

        Raises:
            NotFound: There is no such request.
        """
        with self._client.doing(f"comment on request {number}", right=WRITE):
            self._comment(self._client.repository.get_pull(number), text, marker)

    def set_status(self, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
        """Post the status ``name`` on ``commit``, unless it is there: GitHub keeps a thousand per name and no more.

        Raises:
            NotFound: There is no such commit.
        """
        doing = f"post the status {name!r} on {commit[:10]}"
        text, page = limits.shortened(description, limits.STATUS), url if limits.is_page(url) else ""
        try:
            with self._client.doing(doing, right="Commit statuses: write"):
                place = f"{self._client.repository.url}/commits/{commit}"
                known = Commit(self._client.wire, {}, {"sha": commit, "url": place}, completed=True)
                statuses = PaginatedList(CommitStatus, self._client.wire, f"{place}/statuses")  # newest first
                latest = next((one for one in statuses if one.context == name), None)
                told = latest and (latest.state, latest.description or "", latest.target_url or "")
                if told == (state.value, text, page):
                    return
                if page:
                    known.create_status(state.value, page, text, name)
                else:
                    known.create_status(state.value, description=text, context=name)
        except Refused as error:
            if (words := said(error)) is not None and words.mentions("no commit found"):
                raise NotFound(f"Could not {doing}: GitHub has no such commit. Push it first.") from error
            raise

    def close_request(self, number: int, *, state: RequestState) -> None:
        """Show the request as merged (when it shipped) or closed; a merged one stays merged.

        GitHub calls a request merged by itself once its target holds its head. One that was closed before stays
        closed: a comment says that it shipped.

        Raises:
            NotFound: There is no such request.
            Unavailable: GitHub has not seen yet that the target holds the head.
        """
        if state is RequestState.OPEN:
            raise Refused(f"Could not close request {number}: 'open' is no way to be closed. Say merged or closed.")
        with self._client.doing(f"show request {number} as {state}", right=WRITE):
            pull = self._client.repository.get_pull(number)
            if state is RequestState.CLOSED:
                if state_of(pull) is RequestState.OPEN:
                    pull.edit(state="closed")
                return
            pull = self._settled(pull)
            match state_of(pull):
                case RequestState.CLOSED:
                    self._comment(pull, SHIPPED_WHILE_CLOSED, "shipped-while-closed")
                case RequestState.OPEN:
                    raise Unavailable(
                        f"GitHub does not show request {number} as merged: as far as it has looked, {pull.base.ref!r} "
                        f"does not hold {pull.head.sha[:10]}. It is asked again."
                    )

    def record_deployment(
        self, *, key: FeatureKey, commit: CommitSha, environment: str, state: DeploymentState, url: str
    ) -> None:
        """Show on the host that ``commit`` is (being) deployed to ``environment``, or that this is gone.

        Raises:
            NotFound: There is no such commit.
        """
        deployments.record(self._client, key=key, commit=commit, environment=environment, state=state, url=url)

    def examine(self) -> tuple[Finding, ...]:
        """Look at token, rights, repository, protection of the branches and webhook; raises nothing."""
        return tuple(examine_host(self._client, self._config))

    def _find(self, source: BranchName) -> PullRequest | None:
        """Return the request to show for a branch. Inside ``doing``."""
        pulls = self._client.repository.get_pulls
        head = f"{self._client.entry.owner}:{source}"
        found = [
            one for one in pulls(state="all", sort="created", direction="desc", head=head) if one.head.ref == source
        ]
        ours = [one for one in found if not is_fork(one)]
        if not ours:
            # GitHub filters by the owner of the fork, whom we do not know: all that are open, then.
            ours = [one for one in pulls(state="open", sort="created", direction="desc") if one.head.ref == source]
            ours = [one for one in ours if not is_fork(one)] or ours or found
        return next((one for one in ours if one.state == "open"), ours[0] if ours else None)

    def _open(self, source: BranchName, doing: str) -> PullRequest | None:
        with self._client.doing(doing, right=WRITE):
            pull = self._find(source)
            return pull if pull is not None and pull.state == "open" and not is_fork(pull) else None

    def _with_reviews(self, pull: PullRequest) -> MergeRequest:
        request = as_request(pull, words_of(pull.get_reviews()))
        return replace(request, ours=request.author == self._client.me)

    def _changed(self, since: datetime) -> Iterator[PullRequest]:
        for pull in self._client.repository.get_pulls(state="all", sort="updated", direction="desc"):
            if pull.updated_at is not None and pull.updated_at < since:
                return
            yield pull

    def _written(self, pull: PullRequest, since: datetime) -> Iterator[RequestComment]:
        # Asked for as of an issue: there GitHub takes ``since``. It means the last change, which others than the author
        # can make; what counts is when the author wrote it.
        below = Issue(self._client.wire, {}, {"url": pull.issue_url}, completed=True).get_comments(since=since)
        for comment in below:
            if comment.created_at >= since and self._is_of_a_person(comment):
                yield comment_of("comment", comment, comment.created_at, edited=comment.updated_at > comment.created_at)
        for line in pull.get_review_comments(sort="created", direction="asc", since=since):
            if line.created_at >= since and line.user is not None and line.user.type != "Bot":
                yield comment_of("line", line, line.created_at, edited=self._edited(line))
        for review in pull.get_reviews():
            if review.state != "COMMENTED" or not review.body or review.user is None or review.user.type == "Bot":
                continue
            if (at := review.submitted_at) is not None and at >= since:
                yield comment_of("review", review, at, edited=self._edited(review))

    def _edited(self, comment: PullRequestComment | PullRequestReview) -> bool:
        """Say whether a command was changed, by whomever; what is no command is not asked about: it costs a call."""
        return command(comment.body or "") is not None and was_edited(self._client.wire, comment.node_id)

    def _is_of_a_person(self, comment: IssueComment) -> bool:
        if comment.user is None or comment.user.type == "Bot":
            return False
        return not is_marked(comment.body) or comment.user.login != self._client.me

    def _comment(self, pull: PullRequest, text: str, marker: str) -> None:
        """Write or replace. Only what we wrote ourselves is touched: with our rights others' words could be changed."""
        body = marked(text, marker, limit=limits.BODY)
        for comment in pull.get_issue_comments():
            if carries(comment.body, marker) and login_of(comment.user) == self._client.me:
                if comment.body.replace("\r\n", "\n") != body:
                    comment.edit(body)
                return
        pull.create_issue_comment(body)

    def _settled(self, pull: PullRequest) -> PullRequest:
        """Give GitHub the time to see that an open request was merged."""
        left = self._patience.total_seconds()
        while state_of(pull) is RequestState.OPEN and left > 0:
            self._sleep(min(POLL_SECONDS, left))
            left -= POLL_SECONDS
            pull = self._client.repository.get_pull(pull.number)
        return pull


def _second(at: datetime) -> datetime:
    """Return the second that ``at`` is in: GitHub's times know no less, and what changed within it must not be lost."""
    return at.astimezone(UTC).replace(microsecond=0)
