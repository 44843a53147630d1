"""Showing a feature on host and tracker: what differs from what was shown last is sent, each kind by itself.

A kind that is refused for good (a right is missing) keeps the others from nothing; it is left alone for a while. A side
that does not answer is asked for nothing more. What is left for either reason is tried again some time; whatever
happens meanwhile is shown at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.errors import Error, Permanent, Temporary, Unavailable
from feature_delivery.domain.outbox import TRACKER, Side
from feature_delivery.domain.records import now
from feature_delivery.ports.git_host import DeploymentState, StatusState
from feature_delivery.services.control import face
from feature_delivery.services.control.status_comment import status_comment

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha, FeatureKey
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.services.control.outside import Control, Outside

MARKER = "delivery"
"""How our one comment on a request is known."""

LEFT_ALONE_FOR = timedelta(hours=1)

LINKS_AGAIN_AFTER = timedelta(minutes=5)
"""So long the links wait for a tracker that does not answer."""


@dataclass(frozen=True, slots=True)
class Face:
    """Everything that is to be seen of a feature; ``over``: why nothing of it is pending any more."""

    key: FeatureKey
    commit: CommitSha | None
    request: int | None
    statuses: tuple[face.StatusLine, ...]
    places: tuple[face.PlaceLine, ...]
    links: tuple[face.LinkLine, ...]
    comment: str
    page: str
    over: str


@dataclass(slots=True)
class Showing:
    """One showing under way, to one side.

    Attributes:
        shown: What was sent so far, by kind and name; kept in the ledger between showings.
        hushed: Why nothing is sent now.
        errors: What went wrong.
        left_until: Until when what is refused for good is left alone.
    """

    outside: Outside
    shown: dict[str, dict[str, Any]]
    hushed: Temporary | None = None
    errors: list[Error] = field(default_factory=list)
    left_until: list[datetime] = field(default_factory=list)

    def send(self, kind: str, name: str, value: list[Any], call: Callable[[], None]) -> None:
        """Send one thing unless it was sent like this; what goes wrong is kept, and ends it where the side is down."""
        known = self.shown.setdefault(kind, {})
        if known.get(name) == value or self.temporary is not None or self._leave_alone(kind):
            return
        try:
            if self.hushed is not None:
                raise self.hushed
            call()
        except Error as error:
            self.errors.append(error)
            if isinstance(error, Permanent):
                self.shown.setdefault("refused", {})[kind] = now().isoformat()
                self._leave_alone(kind)
            return
        known[name] = value
        self.shown.get("refused", {}).pop(kind, None)

    @property
    def temporary(self) -> Temporary | None:
        """What says that the side is down, or asks us to wait: whatever is left is sent later."""
        return next((error for error in self.errors if isinstance(error, Temporary)), None)

    def _leave_alone(self, kind: str) -> bool:
        since = self.shown.get("refused", {}).get(kind)
        until = datetime.fromisoformat(since) + LEFT_ALONE_FOR if since is not None else now()
        if until <= now():
            return False
        self.left_until.append(until)
        return True


@dataclass(frozen=True, slots=True)
class Shown:
    """What came of it: what is shown now, and the first thing that went wrong.

    ``rest_at``: when what is left is tried again, if all is shown to the host that it takes.
    """

    shown: dict[str, dict[str, Any]]
    error: Error | None
    rest_at: datetime | None


def show(control: Control, project: ProjectConfig, run_id: str, shown: dict[str, Any]) -> Shown:
    """Bring host and tracker up to date.

    Args:
        control: How to work.
        project: Whose feature.
        run_id: Which feature.
        shown: What earlier showings sent.
    """
    seen = _face(control, project, run_id)
    tracker = Side(project.name, TRACKER)
    silent = Unavailable("The tracker did not answer a moment ago: the issue gets its links when it does.")
    kept = {kind: dict(values) for kind, values in shown.items()}
    on_host = Showing(control.outside(project), kept)
    on_issue = Showing(on_host.outside, kept, silent if control.under_way.hushed(tracker) else None)
    if seen is not None:
        for step in (_statuses, _places, _comment):
            step(on_host, seen)
        _links(on_issue, seen)
    if on_issue.temporary is not None and on_issue.hushed is None:
        control.under_way.hush(tracker, on_issue.temporary)
    temporary = on_host.temporary or on_issue.temporary
    error = temporary or next(iter([*on_host.errors, *on_issue.errors]), None)
    rest = [*on_host.left_until, *on_issue.left_until]
    if on_issue.temporary is not None:
        rest.append(now() + LINKS_AGAIN_AFTER)
    return Shown(kept, error, min(rest, default=None) if on_host.temporary is None else None)


def _face(control: Control, project: ProjectConfig, run_id: str) -> Face | None:
    with control.begin() as unit:
        feature = unit.books.feature_of_run(project.name, run_id)
        if feature is None:
            return None
        attempt = unit.books.attempt(feature)
        statuses, places = (
            face.statuses(unit.books, project, feature),
            face.places(unit.books, project, feature),
        )
        page = control.page(project, run_id)
        return Face(
            key=feature.key,
            commit=attempt.commit if attempt else None,
            request=feature.request_number,
            statuses=statuses,
            places=places,
            links=face.links(feature, places),
            comment=status_comment(unit.books, project, feature, lines=statuses, places=places, page=page),
            page=page,
            over=face.over(feature),
        )


def _statuses(showing: Showing, seen: Face) -> None:
    if seen.commit is None:
        return
    for line in (*seen.statuses, *_left_pending(showing, seen)):
        post = partial(
            showing.outside.host.set_status,
            seen.commit,
            name=line.name,
            state=line.state,
            description=line.description,
            url=seen.page,
        )
        showing.send("statuses", line.name, [seen.commit, line.state.value, line.description, seen.page], post)


def _left_pending(showing: Showing, seen: Face) -> list[face.StatusLine]:
    """Return an end for statuses that would be pending for ever: their stage will not come any more."""
    told = {line.name for line in seen.statuses}
    left = [
        name
        for name, (commit, state, *_) in showing.shown.get("statuses", {}).items()
        if seen.over and name not in told and (commit, state) == (seen.commit, StatusState.PENDING.value)
    ]
    return [face.StatusLine(name, StatusState.FAILURE, seen.over) for name in left]


def _places(showing: Showing, seen: Face) -> None:
    for line in seen.places:
        known = showing.shown.get("places", {}).get(line.environment)
        if line.state is DeploymentState.GONE and known is None:
            continue  # never shown: nothing to take away
        post = partial(
            showing.outside.host.record_deployment,
            key=seen.key,
            commit=line.commit,
            environment=line.environment,
            state=line.state,
            url=line.url,
        )
        showing.send("places", line.environment, [line.commit, line.state.value, line.url], post)


def _comment(showing: Showing, seen: Face) -> None:
    if seen.request is None:
        return
    # The text would be most of what is kept: its digest tells as well whether it differs.
    digest = hashlib.sha256(seen.comment.encode()).hexdigest()
    post = partial(showing.outside.host.comment, seen.request, seen.comment, marker=MARKER)
    showing.send("comment", str(seen.request), [digest], post)


def _links(showing: Showing, seen: Face) -> None:
    for line in seen.links:
        post = partial(showing.outside.tracker.link, seen.key, url=line.url, title=line.title, marker=line.marker)
        showing.send("links", line.marker, [line.title, line.url], post)
