"""One issue's way through the workflow of our role, each step looked at after it was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_delivery.adapters.trackers import workflow
    from feature_delivery.adapters.trackers.redmine.answers import Issue
    from feature_delivery.adapters.trackers.redmine.tracker import RedmineTracker
    from feature_delivery.adapters.trackers.states import Status
    from feature_delivery.domain.names import FeatureKey


class IssueWalker:
    """``Walker`` for one issue."""

    def __init__(self, tracker: RedmineTracker, key: FeatureKey, wanted: tuple[Status, ...], *, doing: str) -> None:
        """Get ready. ``doing``: what is going on, for sentences."""
        self._tracker = tracker
        self._key = key
        self._wanted = wanted
        self._doing = doing
        self._seen: tuple[Issue, workflow.Place] | None = None

    def look(self) -> workflow.Place:
        """Return where the issue is, and what leads on for our role."""
        if self._seen is None:
            self._seen = self._tracker.place(self._key, self._wanted)
        return self._seen[1]

    def take(self, way: workflow.Way) -> None:
        """Set a status, and see that it is set.

        Raises:
            Refused: It was left as it was.
        """
        before, _ = self._seen or self._tracker.place(self._key, self._wanted)
        self._tracker.set_status(before, way, doing=self._doing)
        self._seen = after, _ = self._tracker.place(self._key, self._wanted)
        if after.status.id == before.status.id:
            raise self._tracker.left_as_it_was(before, way, doing=self._doing)
