"""A tracker without a server: its issues are in the ledger, and people give them their keys."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from feature_delivery.adapters.local_records import OURSELVES, LocalComment, Place
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.records import now
from feature_delivery.ports.tracker import Issue, IssueState

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.adapters.local_records import LocalIssue, LocalRecords
    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.names import FeatureKey, ProjectName


class LocalTracker:
    """``Tracker`` on local records, and what people do on a tracker's pages."""

    def __init__(self, *, project: ProjectName, records: LocalRecords) -> None:
        """Speak for ``project``; other projects' issues are not seen."""
        self._project = project
        self._records = records

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when there is none."""
        found = self._records.issues(self._project, key=key)
        return self._as_issue(found[0]) if found else None

    def issues(self) -> tuple[Issue, ...]:
        """Return every issue, newest first."""
        return tuple(self._as_issue(issue) for issue in self._records.issues(self._project))

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:  # noqa: ARG002 - the port's
        """Refuse: people give the keys out here."""
        raise Refused("The local tracker does not give out keys. Name one, like SHOP-1.")

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:
        """Find the issue, or create it; one that is there keeps its words."""
        created = self._records.create_issue(
            self._project, key, title=title, description=description, reporter=reporter
        )
        return self._as_issue(created)

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """Write a comment once: the same ``marker`` again changes nothing.

        Raises:
            NotFound: There is no such issue.
        """
        self._comment(key, text, marker=marker, author=OURSELVES)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """Bring the issue to ``state``; being there is done.

        Raises:
            NotFound: There is no such issue.
        """
        self._records.change_issue(self._project, key, state=state)

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        """Give the issue to ``person``, or to nobody; its state is left to ``move``.

        Raises:
            NotFound: There is no such issue.
        """
        return self._as_issue(self._records.change_issue(self._project, key, assignee=person or ""))

    def link(self, key: FeatureKey, *, url: str, title: str, marker: str) -> None:
        """Show a link as a comment, the same one again in its place.

        Raises:
            NotFound: There is no such issue.
        """
        comment = LocalComment(
            place=Place.ISSUE, on=key, marker=f"link:{marker}", author=OURSELVES, text=f"{title}: {url}", at=now()
        )
        self._records.comment(self._project, comment, replace=True)

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        """Return every issue changed since then, newest change first."""
        found = [issue for issue in self._records.issues(self._project) if issue.updated_at >= since]
        return tuple(self._as_issue(issue) for issue in sorted(found, key=lambda one: one.updated_at, reverse=True))

    def examine(self) -> tuple[Finding, ...]:
        """There is nothing that could be wrong: its issues are in the ledger."""
        return ()

    def write(self, key: FeatureKey, text: str, *, author: str) -> None:
        """Write a person's comment."""
        self._comment(key, text, marker=f"by-hand-{uuid.uuid4().hex}", author=author)

    def comments(self, key: FeatureKey) -> tuple[LocalComment, ...]:
        """Return the comments on an issue, oldest first."""
        return self._records.comments(self._project, Place.ISSUE, key)

    def _comment(self, key: FeatureKey, text: str, *, marker: str, author: str) -> None:
        comment = LocalComment(place=Place.ISSUE, on=key, marker=marker, author=author, text=text, at=now())
        self._records.comment(self._project, comment, replace=False)

    def _as_issue(self, issue: LocalIssue) -> Issue:
        return Issue(
            key=issue.key,
            title=issue.title,
            description=issue.description,
            state=issue.state,
            assignee=issue.assignee,
            reporter=issue.reporter,
            url=f"/feature-delivery/projects/{self._project}/issues/{issue.key}",
        )
