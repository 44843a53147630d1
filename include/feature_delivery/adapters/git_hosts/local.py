"""A Git host without a server: a bare repository for the branches, the ledger for requests, reviews and statuses."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from feature_delivery.adapters.local_records import OURSELVES, LocalComment, LocalStatus, Place
from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.records import now
from feature_delivery.ports.git_host import MergeRequest, RequestComment, RequestState, Review, ReviewKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from feature_delivery.adapters.local_records import LocalRecords, LocalRequest
    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName
    from feature_delivery.ports.git_host import DeploymentState, StatusState


class LocalGitHost:
    """``GitHost`` on local records, and what people do on a host's pages.

    A request's head is what the repository says its branch is at; the head of a request whose branch is gone, or
    which is over, is the last one seen.
    """

    def __init__(
        self,
        *,
        project: ProjectName,
        records: LocalRecords,
        heads: Callable[[], Mapping[BranchName, CommitSha]],
    ) -> None:
        """``heads`` reads the branches of the repository at each call (``Repository.heads``)."""
        self._project = project
        self._records = records
        self._heads = heads

    def find_request(self, source: BranchName) -> MergeRequest | None:
        """Return the newest request from ``source``, open ones first, with its reviews."""
        found = self._records.requests(self._project, source=source)
        return self._seen(found[0]) if found else None

    def request(self, number: int) -> MergeRequest:
        """Return one request.

        Raises:
            NotFound: There is no such request.
        """
        return self._seen(self._known(number))

    def requests(self) -> tuple[MergeRequest, ...]:
        """Return every request, open ones first, then newest first."""
        heads = self._heads()
        return tuple(self._seen(request, heads) for request in self._records.requests(self._project))

    def open_request(
        self,
        *,
        key: FeatureKey,
        source: BranchName,
        target: BranchName,
        title: str,
        body: str,
        reviewers: Sequence[str] = (),  # noqa: ARG002 - the control plane tells them itself
        labels: Sequence[str] = (),  # noqa: ARG002 - there are none here
        author: str | None = None,
    ) -> MergeRequest:
        """Find the open request from ``source``, or open one.

        Raises:
            NotFound: One of the branches is not there.
            Refused: The two are the same branch.
        """
        if source == target:
            raise Refused(f"Could not open a request for {key}: {source!r} cannot be merged into itself.")
        heads = self._heads()
        for branch in (source, target):
            if branch not in heads:
                raise NotFound(f"Could not open a request for {key}: there is no branch {branch!r}. Push it first.")
        opened = self._records.open_request(
            self._project,
            source=source,
            target=target,
            head=heads[source],
            title=title,
            body=body,
            author=author or OURSELVES,
        )
        return self._seen(opened, heads)

    def changed_requests(self, since: datetime) -> tuple[MergeRequest, ...]:
        """Return every request changed since then, newest change first, without reviews."""
        found = [one for one in self._records.requests(self._project) if one.updated_at >= since]
        found.sort(key=lambda one: one.updated_at, reverse=True)
        return tuple(replace(self._as_request(one), reviews=(), ours=False) for one in found)

    def retarget(self, number: int, target: BranchName) -> None:
        """Point the request at ``target`` when it aims elsewhere.

        Raises:
            Refused: The request is over.
        """
        request = self._known(number)
        if request.target == target:
            return
        if request.state is not RequestState.OPEN:
            raise Refused(f"Could not point request {number} at {target!r}: it is {request.state}. Open a new one.")
        self._records.change_request(self._project, number, target=target)

    def comment(self, number: int, text: str, *, marker: str) -> None:
        """Write the comment known by ``marker``, or replace its text."""
        self._comment(number, text, marker=marker, author=OURSELVES)

    def set_status(self, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
        """Post the status ``name`` on ``commit``."""
        status = LocalStatus(commit=commit, name=name, state=state, description=description, url=url, at=now())
        self._records.set_status(self._project, status)

    def close_request(self, number: int, *, state: RequestState) -> None:
        """Show the request as merged (when it shipped) or closed; a merged one stays merged."""
        if state is RequestState.OPEN:
            raise Refused(f"Could not close request {number}: 'open' is no way to be closed. Say merged or closed.")
        request = self._known(number)
        if request.state is RequestState.MERGED:
            return
        self._seen(request)
        self._records.change_request(self._project, number, state=state)

    def review(
        self, number: int, *, person: str, kind: ReviewKind, comment: str = "", commit: CommitSha | None = None
    ) -> MergeRequest:
        """Say a person's word about the head of a request.

        Args:
            number: The request.
            person: The reviewer's login.
            kind: Approve or reject.
            comment: Why.
            commit: What the reviewer has looked at; the head of this moment when not said.

        Raises:
            Conflict: Somebody pushed since the reviewer looked.
            Refused: The request is over.
        """
        request = self.request(number)
        if commit is not None and commit != request.head:
            raise Conflict(
                f"Could not review request {number} at {commit[:10]}: its head is {request.head[:10]} by now. "
                "Look at the new commit and review that."
            )
        reviewed = self._records.review(
            self._project, number, person=person, kind=kind, commit=request.head, comment=comment
        )
        return self._as_request(reviewed)

    def write(self, number: int, text: str, *, author: str) -> None:
        """Write a person's comment."""
        self._comment(number, text, marker=f"by-hand-{uuid.uuid4().hex}", author=author)

    def comments(self, number: int, *, since: datetime | None = None) -> tuple[RequestComment, ...]:
        """Return what people have written on a request since then, oldest first."""
        return tuple(
            RequestComment(id=f"{number}:{one.marker}", author=one.author, text=one.text, at=one.at)
            for one in self.thread(number)
            if one.author != OURSELVES and (since is None or one.at >= since)
        )

    def record_deployment(
        self, *, key: FeatureKey, commit: CommitSha, environment: str, state: DeploymentState, url: str
    ) -> None:
        """Nothing to show: the ledger has every deployment, and this host has no pages besides the ledger's."""

    def examine(self) -> tuple[Finding, ...]:
        """There is nothing that could be wrong besides the repository itself, which ``doctor`` looks at."""
        return ()

    def thread(self, number: int) -> tuple[LocalComment, ...]:
        """Return all comments on a request, ours too, oldest first."""
        return self._records.comments(self._project, Place.REQUEST, str(number))

    def statuses(self, commit: CommitSha) -> tuple[LocalStatus, ...]:
        """Return the statuses of a commit, by name."""
        return self._records.statuses(self._project, commit)

    def _comment(self, number: int, text: str, *, marker: str, author: str) -> None:
        comment = LocalComment(place=Place.REQUEST, on=str(number), marker=marker, author=author, text=text, at=now())
        self._records.comment(self._project, comment, replace=True)

    def _known(self, number: int) -> LocalRequest:
        found = self._records.requests(self._project, number=number)
        if not found:
            raise NotFound(f"The local Git host of {self._project} has no request {number}. Correct the number.")
        return found[0]

    def _seen(self, request: LocalRequest, heads: Mapping[BranchName, CommitSha] | None = None) -> MergeRequest:
        """Return the request with its branch's head of now, and remember that one for when the branch is gone."""
        if request.state is RequestState.OPEN:
            head = (self._heads() if heads is None else heads).get(request.source, request.head)
            if head != request.head:
                request = self._records.change_request(self._project, request.number, head=head)
        return self._as_request(request)

    def _as_request(self, request: LocalRequest) -> MergeRequest:
        return MergeRequest(
            number=request.number,
            source=request.source,
            target=request.target,
            head=request.head,
            author=request.author,
            title=request.title,
            state=request.state,
            url=f"/feature-delivery/projects/{self._project}/requests/{request.number}",
            reviews=tuple(
                Review(person=one.person, kind=one.kind, commit=one.commit, comment=one.comment, at=one.at)
                for one in request.reviews
            ),
            ours=request.author == OURSELVES,
        )
