"""``GitLabHost``: the merge-request side of one project on GitLab."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitlab import deployments, notes, opening, statuses
from feature_delivery.adapters.git_hosts.gitlab.access import entry
from feature_delivery.adapters.git_hosts.gitlab.answers import Commit, MergeRequestAnswer, Note
from feature_delivery.adapters.git_hosts.gitlab.client import Client
from feature_delivery.adapters.git_hosts.gitlab.examination import examine_host
from feature_delivery.adapters.git_hosts.gitlab.requests import (
    as_request,
    best_of,
    head_of,
    is_fork,
    requests_of,
    state_of,
)
from feature_delivery.adapters.git_hosts.gitlab.reviews import reviews_of
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.ports.git_host import RequestComment, RequestState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
    from feature_delivery.domain.project import HostConfig
    from feature_delivery.ports.git_host import DeploymentState, MergeRequest, StatusState

READ, WRITE = "the role Reporter", "the role Developer"
POLL_SECONDS = 1.0

SHIPPED_WHILE_CLOSED = (
    "This feature is in production. GitLab shows the merge request as closed, not as merged, because it was closed "
    "before its commits reached the target branch."
)


class GitLabHost:
    """Implements ``GitHost`` for one project. Nothing is kept between calls but whose the token is."""

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
            login: The Connection: address, token.
            config: The project.
            patience: How long ``close_request`` waits for GitLab to see that a merge request was merged.
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
        found = self._best(source, doing=f"look for the request from {source!r}")
        return self.request(found.iid) if found is not None else None

    def request(self, number: int) -> MergeRequest:
        """Return one request with its reviews.

        Raises:
            NotFound: There is no such request.
        """
        answer = self._read(number, doing=f"read request {number}", right=READ)
        with self._client.doing(f"read the reviews of request {number}", right=READ):
            request = as_request(answer, reviews_of(self._client, number))
            return replace(request, ours=request.author == self._client.me.username)

    def changed_requests(self, since: datetime) -> tuple[MergeRequest, ...]:
        """Return every request changed since then, newest change first, without reviews."""
        earliest = _millisecond(since)
        with self._client.doing("list the changed requests", right=READ):
            found = self._client.walk(
                self._client.project("merge_requests"),
                MergeRequestAnswer,
                scope="all",
                state="all",
                order_by="updated_at",
                sort="desc",
                updated_after=earliest.isoformat(timespec="milliseconds"),
            )
            return requests_of(one for one in found if one.updated_at >= earliest)

    def comments(self, number: int, *, since: datetime | None = None) -> tuple[RequestComment, ...]:
        """Return what people have written on a request since then, oldest first, on its lines too.

        What GitLab takes as an order (``/approve``, ``/close``) it carries out itself and keeps no word of. A note
        counts as edited also when its thread was resolved before we read it: GitLab only tells when it changed.

        Raises:
            NotFound: There is no such request.
        """
        earliest = _millisecond(since) if since else datetime.fromtimestamp(0, UTC)
        with self._client.doing(f"read the comments of request {number}", right=READ):
            newest_first = self._client.walk(
                self._client.project("merge_requests", number, "notes"),
                Note,
                sort="desc",
                order_by="created_at",
                activity_filter="only_comments",
            )
            found = {
                note.id: RequestComment(
                    id=str(note.id),
                    author=note.author.username,
                    text=note.body,
                    at=note.created_at,
                    edited=note.updated_at > note.created_at,
                )
                for note in takewhile(lambda one: one.created_at >= earliest, newest_first)
                if notes.is_of_a_person(self._client, note) and note.author is not None
            }
            return tuple(sorted(found.values(), key=lambda one: (one.at, int(one.id))))

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
        """Find the open request from ``source``, or open one, with reviewers and labels in the same call.

        Raises:
            NotFound: A branch is not there.
            Refused: Both branches are the same, or the request would hold no commit.
        """
        doing = f"open a request for {key}"
        found = self._open(source, doing=doing) or opening.open_request(
            self._client,
            source=source,
            target=target,
            title=title,
            body=body,
            reviewers=reviewers,
            labels=(*self._config.labels, *labels),
            doing=doing,
        )
        found = found or self._open(source, doing=doing)  # somebody else's, opened in the same moment
        if found is None:
            raise Unavailable(f"Could not {doing}: GitLab says that there is one but does not list it yet. Try again.")
        return self.request(found.iid)

    def retarget(self, number: int, target: BranchName) -> None:
        """Point the request at ``target`` when it aims elsewhere.

        Raises:
            NotFound: There is no such request, or no such branch.
            Refused: The request is over.
        """
        doing = f"point request {number} at {target!r}"
        answer = self._read(number, doing=doing, right=WRITE)
        if answer.target_branch == target:
            return
        if state_of(answer) is not RequestState.OPEN:
            raise Refused(f"Could not {doing}: it is {state_of(answer)}. Open a new one.")
        opening.branch_there(self._client, target, doing=doing)
        with self._client.doing(doing, right=WRITE):
            where = self._client.project("merge_requests", number)
            self._client.put(where, MergeRequestAnswer, target_branch=target)

    def comment(self, number: int, text: str, *, marker: str) -> None:
        """Write our comment known by ``marker``, or replace its text.

        Raises:
            NotFound: There is no such request.
        """
        with self._client.doing(f"comment on request {number}", right="the role Reporter"):
            where = self._client.project("merge_requests", number, "notes")
            notes.write(self._client, where, text, marker=marker, replace=True)

    def set_status(self, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
        """Post the status ``name`` on ``commit``, unless it is there.

        Raises:
            NotFound: There is no such commit, or no branch holds it.
        """
        statuses.post(self._client, commit, name=name, state=state, description=description, url=url)

    def close_request(self, number: int, *, state: RequestState) -> None:
        """Show the request as merged (when it shipped) or closed; a merged one stays merged.

        GitLab calls a request merged by itself once a push to its target brings its head. One that was closed before
        stays closed: a comment says that it shipped.

        Raises:
            NotFound: There is no such request.
            Unavailable: GitLab has not seen yet that the target holds the head.
        """
        if state is RequestState.OPEN:
            raise Refused(f"Could not close request {number}: 'open' is no way to be closed. Say merged or closed.")
        doing = f"show request {number} as {state}"
        answer = self._read(number, doing=doing, right=WRITE)
        if state is RequestState.CLOSED:
            if state_of(answer) is RequestState.OPEN:
                with self._client.doing(doing, right=WRITE):
                    where = self._client.project("merge_requests", number)
                    self._client.put(where, MergeRequestAnswer, state_event="close")
            return
        answer = self._settled(answer, doing=doing)
        match state_of(answer):
            case RequestState.CLOSED:
                self.comment(number, SHIPPED_WHILE_CLOSED, marker="shipped-while-closed")
            case RequestState.OPEN:
                raise Unavailable(self._not_merged(answer, doing=doing))

    def record_deployment(
        self, *, key: FeatureKey, commit: CommitSha, environment: str, state: DeploymentState, url: str
    ) -> None:
        """Show on GitLab that ``commit`` is (being) deployed to ``environment``, or that this is gone.

        Raises:
            NotFound: There is no such commit.
        """
        del key  # GitLab links deployments to merge requests by their commits
        deployments.record(
            self._client,
            commit=commit,
            environment=environment,
            state=state,
            url=url,
            branches=self._config.branches,
        )

    def examine(self) -> tuple[Finding, ...]:
        """Look at token, project, role, protection of the branches, approvals and webhook; raises nothing."""
        return tuple(examine_host(self._client, self._config))

    def _read(self, number: int, *, doing: str, right: str) -> MergeRequestAnswer:
        with self._client.doing(doing, right=right):
            return self._client.get(self._client.project("merge_requests", number), MergeRequestAnswer)

    def _best(self, source: BranchName, *, doing: str) -> MergeRequestAnswer | None:
        with self._client.doing(doing, right=READ):
            where = self._client.project("merge_requests")
            found = self._client.walk(where, MergeRequestAnswer, scope="all", state="all", source_branch=source)
            return best_of(one for one in found if one.source_branch == source)

    def _open(self, source: BranchName, *, doing: str) -> MergeRequestAnswer | None:
        found = self._best(source, doing=doing)
        ours = found is not None and not is_fork(found) and state_of(found) is RequestState.OPEN
        return found if ours else None

    def _settled(self, answer: MergeRequestAnswer, *, doing: str) -> MergeRequestAnswer:
        """Give GitLab the time to see that an open request was merged."""
        left = self._patience.total_seconds()
        while state_of(answer) is RequestState.OPEN and left > 0:
            self._sleep(min(POLL_SECONDS, left))
            left -= POLL_SECONDS
            answer = self._read(answer.iid, doing=doing, right=WRITE)
        return answer

    def _not_merged(self, answer: MergeRequestAnswer, *, doing: str) -> str:
        """Return the sentence that says why GitLab does not call it merged."""
        head, target = head_of(answer), answer.target_branch
        with self._client.doing(doing, right=READ):
            base = self._client.find(
                self._client.project("repository", "merge_base"), Commit, **{"refs[]": [head, target]}
            )
        if base is not None and base.id == head:
            return (
                f"GitLab does not show request {answer.iid} as merged yet, although {target!r} holds {head[:10]}. "
                "It is asked again."
            )
        return (
            f"GitLab does not show request {answer.iid} as merged: {target!r} does not hold {head[:10]}. "
            "It is asked again."
        )


def _millisecond(at: datetime) -> datetime:
    """Return the millisecond that ``at`` is in: GitLab shows no less, and what changed within it must not be lost."""
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)
