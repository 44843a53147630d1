"""The issue tracker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

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


class Tracker(Protocol):
    """Every call is safe to repeat."""

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when the tracker says that there is none."""

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:
        """Find the issue, or create it.

        Raises:
            Refused: This tracker gives out its keys itself and has no such issue.
        """

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """Write a comment once: the same ``marker`` again changes nothing."""

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """Bring the issue to ``state``; being there is done."""
