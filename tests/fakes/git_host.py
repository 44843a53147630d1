"""``FakeGitHost``: a Git host in memory that has everything real ones have; it passes the contract of hosts.

Unlike the local one it has people who dismiss reviews, merge by hand and send requests from forks, labels, reviewers
and deployments. ``down`` and ``refuses`` make its calls fail; ``calls`` counts them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from feature_delivery.domain import records
from feature_delivery.domain.errors import Error, NotFound, Refused
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
from feature_delivery.ports.git_host import (
    DeploymentState,
    MergeRequest,
    RequestComment,
    RequestState,
    Review,
    ReviewKind,
    StatusState,
)

US = "delivery-bot"
PEOPLE = frozenset({"bob", "carol", "dave", "dan", "rita", "rob", "tess", "max", "olga"})


@dataclass
class Page:
    """A request as it is on the host."""

    request: MergeRequest
    changed_at: datetime
    body: str = ""
    reviewers: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    thread: list[tuple[str, RequestComment]] = field(default_factory=list)
    """Marker (empty for people's) and comment."""


@dataclass
class FakeGitHost:
    heads: Callable[[], Mapping[BranchName, CommitSha]]
    people: frozenset[str] = PEOPLE
    pages: dict[int, Page] = field(default_factory=dict)
    status: dict[CommitSha, dict[str, tuple[StatusState, str, str]]] = field(default_factory=dict)
    deployed: list[tuple[str, CommitSha, DeploymentState, str]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    down: Error | None = None
    refuses: dict[str, Error] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    # What the control plane asks.

    def find_request(self, source: BranchName) -> MergeRequest | None:
        self._called("find_request")
        found = [page for page in self.pages.values() if page.request.source == source]
        found.sort(key=lambda p: (p.request.fork, p.request.state is not RequestState.OPEN, -p.request.number))
        return self._now(found[0]) if found else None

    def request(self, number: int) -> MergeRequest:
        self._called("request")
        return self._now(self._page(number))

    def changed_requests(self, since: datetime) -> tuple[MergeRequest, ...]:
        self._called("changed_requests")
        found = sorted((p for p in self.pages.values() if p.changed_at >= since), key=lambda p: p.changed_at)
        return tuple(replace(self._now(page), reviews=(), ours=False) for page in reversed(found))

    def comments(self, number: int, *, since: datetime | None = None) -> tuple[RequestComment, ...]:
        self._called("comments")
        thread = self._page(number).thread
        return tuple(c for marker, c in thread if not marker and (since is None or c.at >= since))

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
        author: str | None = None,
    ) -> MergeRequest:
        self._called("open_request")
        if source == target:
            raise Refused(f"Could not open a request for {key}: {source!r} cannot be merged into itself.")
        for branch in (source, target):
            if branch not in self.heads():
                raise NotFound(f"Could not open a request for {key}: there is no branch {branch!r}.")
        known = [p for p in self.pages.values() if p.request.source == source and not p.request.fork]
        page = next((p for p in known if p.request.state is RequestState.OPEN), None)
        if page is None:
            page = self.open(source, target, title=title, by=author or US)
            page.body, page.labels = body, list(labels)
            page.reviewers = [login for login in dict.fromkeys(reviewers) if login in self.people]
        return self._now(page)

    def retarget(self, number: int, target: BranchName) -> None:
        self._called("retarget")
        page = self._page(number)
        if page.request.target != target:
            self._change(page, target=target)

    def comment(self, number: int, text: str, *, marker: str) -> None:
        self._called("comment")
        page = self._page(number)
        at = next((i for i, (known, _) in enumerate(page.thread) if known == marker), None)
        written = RequestComment(id=f"c{next(self.numbers)}", author=US, text=text, at=records.now())
        if at is None:
            page.thread.append((marker, written))
        else:
            page.thread[at] = (marker, replace(page.thread[at][1], text=text))
        page.changed_at = records.now()

    def set_status(self, commit: CommitSha, *, name: str, state: StatusState, description: str, url: str) -> None:
        self._called("set_status")
        assert len(description) <= 140
        self.status.setdefault(commit, {})[name] = (state, description, url)

    def close_request(self, number: int, *, state: RequestState) -> None:
        self._called("close_request")
        if state is RequestState.OPEN:
            raise Refused(f"Could not close request {number}: 'open' is no way. Say merged or closed.")
        page = self._page(number)
        if page.request.state is RequestState.OPEN:
            self._change(page, state=state)

    def record_deployment(
        self, *, key: FeatureKey, commit: CommitSha, environment: str, state: DeploymentState, url: str
    ) -> None:
        del key
        self._called("record_deployment")
        if self.deployed[-1:] != [(environment, commit, state, url)]:
            self.deployed.append((environment, commit, state, url))

    def examine(self) -> tuple[Finding, ...]:
        self._called("examine")
        return (Finding("token", well=True, sentence="It may do what deliveries need."),)

    # What people do on its pages.

    def open(
        self, source: BranchName, target: BranchName, *, title: str = "", by: str = "dan", fork: bool = False
    ) -> Page:
        number = next(self.numbers)
        head = self.heads().get(source, CommitSha("f" * 40))
        made = MergeRequest(
            number=number,
            source=source,
            target=target,
            head=head,
            author=by,
            title=title or f"Request {number}",
            state=RequestState.OPEN,
            url=f"https://git.example/shop/{number}",
            fork=fork,
            ours=by == US,
        )
        page = self.pages[number] = Page(made, changed_at=records.now())
        return page

    def review(self, number: int, person: str, kind: ReviewKind, comment: str = "") -> None:
        page = self._page(number)
        head = self._now(page).head
        word = Review(person=person, kind=kind, commit=head, comment=comment, at=records.now())
        others = tuple(r for r in page.request.reviews if (r.person, r.commit) != (person, head))
        self._change(page, reviews=(*others, word))

    def dismiss(self, number: int, person: str) -> None:
        page = self._page(number)
        self._change(page, reviews=tuple(r for r in page.request.reviews if r.person != person))

    def write(self, number: int, author: str, text: str) -> RequestComment:
        page = self._page(number)
        written = RequestComment(id=f"c{next(self.numbers)}", author=author, text=text, at=records.now())
        page.thread.append(("", written))
        page.changed_at = records.now()
        return written

    def edit(self, number: int, comment: str, text: str) -> None:
        """Change a comment's text: whoever may write to the repository may."""
        page = self._page(number)
        page.thread = [(m, replace(c, text=text, edited=True) if c.id == comment else c) for m, c in page.thread]
        page.changed_at = records.now()

    def end(self, number: int, state: RequestState) -> None:
        self._change(self._page(number), state=state)

    # What can be seen.

    def head(self, number: int) -> CommitSha:
        return self._now(self._page(number)).head

    def texts(self, number: int, *, by: str | None = None) -> list[str]:
        return [c.text for _, c in self._page(number).thread if by is None or c.author == by]

    def shown(self, environment: str) -> tuple[CommitSha, DeploymentState, str] | None:
        found = [row[1:] for row in self.deployed if row[0] == environment]
        return found[-1] if found else None

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.down is not None:
            raise self.down
        if name in self.refuses:
            raise self.refuses[name]

    def _page(self, number: int) -> Page:
        if number not in self.pages:
            raise NotFound(f"There is no request {number} on the fake host.")
        return self.pages[number]

    def _now(self, page: Page) -> MergeRequest:
        if page.request.state is RequestState.OPEN and not page.request.fork:
            head = self.heads().get(page.request.source, page.request.head)
            page.request = replace(page.request, head=head)
        return page.request

    def _change(self, page: Page, **changes: object) -> None:
        self._now(page)
        page.request = replace(page.request, **changes)  # type: ignore[arg-type]
        page.changed_at = records.now()
