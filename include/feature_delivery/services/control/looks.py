"""Looks at merge requests and issues: everywhere by two listings of what changed, or where a webhook points.

A listing tells which requests changed; only those that belong to a feature are then read with reviews and comments.
How far we have looked is kept in the ledger, and what could not be read is looked at again, so that nothing is lost
while a host is down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from feature_delivery.domain.errors import Error, NotFound, RateLimited, Refused, Temporary
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, feature_key
from feature_delivery.domain.records import UNDER_WAY, FeatureState, now
from feature_delivery.services.control.comments import hear, unheard
from feature_delivery.services.control.issues import observe_issue
from feature_delivery.services.control.kept import MARKS, recall
from feature_delivery.services.control.requests import observe_request

if TYPE_CHECKING:
    from feature_delivery.domain.hints import Hint
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.git_host import MergeRequest
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control, Outside

T = TypeVar("T")

_MOMENTS = ("looked_at", "requests", "issues", "host_waits_until", "tracker_waits_until")

PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
"""How long a side is left alone that asks to wait and does not say how long, and at most: its clock may be wrong."""

HOST, TRACKER = "host", "tracker"
_WAITS = {HOST: "The Git host is not asked before", TRACKER: "The tracker is not asked before"}

OVERLAP = timedelta(minutes=5)
"""The host's clock may be behind ours: what changed shortly before the last look is looked at once more."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger believed of a feature before the host was asked."""

    run_id: str
    key: FeatureKey
    state: FeatureState
    branch: BranchName | None
    head: CommitSha | None
    unsettled: bool
    request: int | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Marks:
    """How far we have looked.

    Attributes:
        looked_at: When we last looked everywhere.
        requests: Changes of requests before this are known.
        issues: Changes of issues before this are known.
        again: Requests that could not be read or taken in, with the time from which on their comments are new.
        host_waits_until: The Git host asked not to be asked before.
        tracker_waits_until: So did the tracker.
    """

    looked_at: datetime | None = None
    requests: datetime | None = None
    issues: datetime | None = None
    again: Mapping[int, datetime] = field(default_factory=dict)
    host_waits_until: datetime | None = None
    tracker_waits_until: datetime | None = None

    def waited(self) -> bool:
        """Say whether a side asked to wait and the time is over: what we were told meanwhile was not looked at."""
        return any(until is not None and until <= now() for until in (self.host_waits_until, self.tracker_waits_until))

    def dump(self) -> bytes:
        """Return them as they are kept."""
        moments = {name: getattr(self, name) for name in _MOMENTS}
        kept: dict[str, Any] = {name: at.isoformat() for name, at in moments.items() if at is not None}
        return json.dumps({**kept, "again": {str(n): at.isoformat() for n, at in self.again.items()}}).encode()

    @classmethod
    def load(cls, body: bytes) -> Marks:
        """Return marks that were kept."""
        kept = json.loads(body)
        moments = {n: datetime.fromisoformat(kept[n]) for n in _MOMENTS if n in kept}
        return cls(**moments, again={int(n): datetime.fromisoformat(at) for n, at in kept.get("again", {}).items()})


def marks(unit: Unit, project: ProjectName) -> Marks:
    """Return how far we have looked."""
    body = recall(unit, project, MARKS)
    return Marks.load(body) if body is not None else Marks()


@dataclass(slots=True)
class Looking:
    """One look at the requests and issues of a project. ``features``: the newest delivery of each key."""

    control: Control
    project: ProjectConfig
    outside: Outside
    features: Mapping[FeatureKey, Known]
    marks: Marks
    done: list[str] = field(default_factory=list)
    trouble: list[Error] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)
    _later: dict[int, datetime] = field(default_factory=dict)
    _waits: dict[str, datetime] = field(init=False)

    def __post_init__(self) -> None:
        """Remember who asked to wait."""
        waits = {HOST: self.marks.host_waits_until, TRACKER: self.marks.tracker_waits_until}
        self._waits = {side: until for side, until in waits.items() if until is not None and until > now()}

    def everywhere(self) -> Marks:
        """Look at every request and issue that changed since the last look; returns how far we have looked now.

        Who asks to wait is not asked anything more, and what is left of it is looked at again.
        """
        asked_at = now()
        listed = self._try(HOST, "merge requests", partial(self._changed, self._since(self.marks.requests)))
        wanted = {**(listed or {}), **self.marks.again}
        again = {
            number: since
            for number, since in wanted.items()
            if not self._guarded(HOST, f"merge request {number}", partial(self.at_request, number, since=since))
        }
        again |= self._later
        issues = self._try(TRACKER, "issues", partial(self._changed_issues, self._since(self.marks.issues)))
        return replace(
            self.marks,
            looked_at=asked_at,
            host_waits_until=self._waits.get(HOST),
            tracker_waits_until=self._waits.get(TRACKER),
            requests=asked_at if listed is not None else self.marks.requests,
            issues=asked_at if issues is not None else self.marks.issues,
            again=again,
        )

    def waiting(self) -> Marks:
        """Return the marks with who asks to wait and what has to; how far we have looked is as it was.

        A wait that is over stays until there was a look everywhere: that one is due at once.
        """
        host = self._waits.get(HOST, self.marks.host_waits_until)
        tracker = self._waits.get(TRACKER, self.marks.tracker_waits_until)
        again = {**self._later, **self.marks.again}
        return replace(self.marks, host_waits_until=host, tracker_waits_until=tracker, again=again)

    def at(self, hints: Sequence[Hint], moved: Mapping[BranchName, object]) -> None:
        """Look where webhooks point, and at the requests of branches that moved; each place once.

        What a side that asks to wait keeps us from, the look everywhere at the end of its wait finds.
        """
        since = self._since(self.marks.requests)
        numbers = {hint.request for hint in hints if hint.request is not None and self._concerns_hint(hint)}
        numbers |= {one.request for one in self._listening() if one.request is not None and one.branch in moved}
        for number in sorted(numbers):
            self._guarded(HOST, f"merge request {number}", partial(self.at_request, number, since=since))
        for key in dict.fromkeys(_key(self.project, hint.issue) for hint in hints if hint.issue):
            if key is not None and key in self.features:
                self._guarded(TRACKER, key, partial(self.at_issue, key))

    def at_request(self, number: int, *, since: datetime) -> None:
        """Read one request with reviews and comments, and take it in.

        What cannot be taken in, as it is not known at the moment who is in the groups, is looked at again with the
        next look everywhere: that may take long, and whoever told us of it has done their part.

        Raises:
            Error: The host did not answer, or refused.
        """
        if number in self._seen:
            return
        asked_at = now()
        request = self.outside.host.request(number)
        known = self._of(request)
        if known is None:
            self._seen.add(number)
            return
        comments = () if request.fork else self.outside.host.comments(number, since=since)
        with self.control.begin() as unit:
            waits = observe_request(unit, self.project, known.run_id, request, seen_at=asked_at)
        if comments:
            with self.control.begin() as unit:
                self.done += hear(unit, self.project, known.run_id, number, comments)
                waits = waits or unheard(unit, self.project, known.run_id, comments)
        self._seen.add(number)
        if waits:
            self._later[number] = since
            self.done.append(f"merge request {number}: {waits}")

    def at_issue(self, key: FeatureKey) -> None:
        """Read one issue and take it in.

        Raises:
            Error: The tracker did not answer, or refused.
        """
        issue = self.outside.tracker.find(key)
        with self.control.begin() as unit:
            if changed := observe_issue(unit, self.project, self.features[key].run_id, issue):
                self.done.append(changed)

    def _changed(self, since: datetime) -> dict[int, datetime]:
        """Return the requests that changed and belong to a feature."""
        if not any(self._listening()):
            return {}
        changed = self.outside.host.changed_requests(since)
        return {request.number: since for request in changed if self._of(request) is not None}

    def _changed_issues(self, since: datetime) -> bool:
        if not any(one.state is FeatureState.ACTIVE for one in self.features.values()):
            return True
        for issue in self.outside.tracker.changed_issues(since):
            known = self.features.get(issue.key)
            if known is not None and known.state is FeatureState.ACTIVE:
                with self.control.begin() as unit:
                    if changed := observe_issue(unit, self.project, known.run_id, issue):
                        self.done.append(changed)
        return True

    def _since(self, mark: datetime | None) -> datetime:
        """Return from when on changes are new: without a mark, from when the oldest delivery of now began."""
        oldest = min((one.since for one in self._listening()), default=now())
        return (mark or oldest) - OVERLAP

    def _listening(self) -> list[Known]:
        return [one for one in self.features.values() if one.state in UNDER_WAY]

    def _of(self, request: MergeRequest) -> Known | None:
        """Return the feature of a request: by its branch, or by its key where it comes from a fork."""
        listening = self._listening()
        for one in listening:
            if one.branch == request.source or one.request == request.number:
                return one
        key = _key(self.project, self.project.branches.key_of(request.source) or "") if request.fork else None
        return next((one for one in listening if one.key == key), None)

    def _concerns_hint(self, hint: Hint) -> bool:
        """Say whether a request is worth a call: it may be a feature's, as far as the hint tells."""
        if hint.branch is None:
            return True
        key = self.project.branches.key_of(hint.branch)
        return any(
            one.branch == hint.branch or one.request == hint.request or one.key == key for one in self._listening()
        )

    def _guarded(self, side: str, what: str, look: Callable[[], None]) -> bool:
        """Look; says whether it is done with. One feature's trouble keeps no other waiting."""

        def known() -> bool:
            with suppress(NotFound):  # it is gone: nothing to look at any more
                look()
            return True

        return self._try(side, what, known) is not None

    def _try(self, side: str, what: str, look: Callable[[], T]) -> T | None:
        """Return what a look gives; ``None`` where it failed, or where the side asked to wait."""
        if (until := self._waits.get(side)) is not None:
            if not any(line.startswith(_WAITS[side]) for line in self.done):
                self.done.append(f"{_WAITS[side]} {until:%H:%M:%S} UTC.")
            return None
        try:
            return look()
        except Error as error:
            if isinstance(error, RateLimited):
                asked = error.retry_after_seconds
                pause = timedelta(seconds=asked) if asked is not None else PAUSE
                self._waits[side] = now() + min(pause, LONGEST_PAUSE)
            self.trouble.append(error)
            self.done.append(f"{what}: {error}")
            return None

    def worth_another_try(self) -> Temporary | None:
        """Return what went wrong and may be well soon; whoever asks us to wait is not asked again soon."""
        found = (one for one in self.trouble if isinstance(one, Temporary) and not isinstance(one, RateLimited))
        return next(found, None)


def _key(project: ProjectConfig, issue: str) -> FeatureKey | None:
    try:
        return feature_key(project.tracker.key_of(issue))
    except Refused:
        return None
