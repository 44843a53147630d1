"""The issue tracker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import FeatureKey


class IssueState(StrEnum):
    """The states that every tracker's own states are mapped to."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue. ``assignee``: the tracker's login, ``None`` when nobody has taken it."""

    key: FeatureKey
    title: str
    description: str
    state: IssueState
    assignee: str | None
    reporter: str
    url: str


class Issues(Protocol):
    """What tasks ask of a tracker. Every call is safe to repeat and has a time limit.

    Raises, every call: ``Unavailable`` or ``RateLimited`` when asking again may help; ``Misconfigured`` when the token
    is refused; ``Refused`` when a right or a transition of the workflow is missing, naming it.
    """

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when the tracker says that there is none."""

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:
        """Find the issue, or create it.

        Raises:
            Refused: This tracker gives out its keys itself and has no such issue.
        """

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """Write a comment once: the same ``marker`` again changes nothing.

        Raises:
            NotFound: There is no such issue.
        """

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """Bring the issue to ``state`` through the team's own workflow; being there is done.

        Raises:
            NotFound: There is no such issue.
            Refused: The workflow has no way there for us; the sentence names the state and what can be reached.
        """


class Tracker(Issues, Protocol):
    """The issue tracker, as the control plane speaks to it."""

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:
        """Create an issue under the key that the tracker gives it. The one call that repeats what it does.

        Raises:
            Refused: This tracker does not give out keys.
        """

    def link(self, key: FeatureKey, *, url: str, title: str, marker: str) -> None:
        """Show a link (the merge request, an environment) on the issue; the same ``marker`` again replaces it.

        A tracker without links of its own shows it as a comment.

        Raises:
            NotFound: There is no such issue.
        """

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        """Give the issue to the login ``person``, or to nobody; its state is left to ``move``.

        Raises:
            NotFound: There is no such issue, or no such login.
        """

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        """Return every issue of the project changed since then, newest change first; complete, page by page."""

    def examine(self) -> tuple[Finding, ...]:
        """Look whether token, rights and workflow are as deliveries need them, for ``doctor``; raises nothing."""
