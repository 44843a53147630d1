"""One issue's way through its workflow: transitions, and the fields that their screens ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.trackers.jira.answers import Issue, Permissions, Transitions, Values
from feature_delivery.adapters.trackers.jira.client import path
from feature_delivery.adapters.trackers.states import Status, meaning
from feature_delivery.adapters.trackers.workflow import Place, Way
from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.ports.tracker import IssueState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_delivery.adapters.trackers.jira.answers import Status as StatusAnswer
    from feature_delivery.adapters.trackers.jira.answers import Transition
    from feature_delivery.adapters.trackers.jira.client import JiraClient
    from feature_delivery.domain.names import FeatureKey
    from feature_delivery.domain.project import TrackerConfig

MOVE = "Transition issues"
RESOLUTION = "resolution"
FIELDS = "summary,description,status,issuetype,assignee,reporter,updated"

_CATEGORIES = {"indeterminate": IssueState.IN_PROGRESS, "done": IssueState.DONE}
_NEVER_THERE = frozenset({"comment", "worklog", "attachment", "issuelinks"})
"""Fields that ask for something new at each transition."""


def meant(config: TrackerConfig, status: StatusAnswer) -> Status:
    """Return what a status means: by the project file's words, else by its category."""
    return meaning(config, status.name, _CATEGORIES.get(status.category.key, IssueState.OPEN))


class IssueWalker:
    """``Walker`` for one issue."""

    def __init__(self, client: JiraClient, config: TrackerConfig, key: FeatureKey, *, doing: str) -> None:
        """Get ready. ``doing``: what is going on, for sentences."""
        self._client = client
        self._config = config
        self._key = key
        self._doing = doing
        self._fields: dict[str, dict[str, Any]] = {}

    def look(self) -> Place:
        """Return where the issue is, and which transitions we may take; what their screens lack hinders us."""
        where = path("issue", self._key)
        issue = self._client.read(where, Issue, doing=self._doing, query={"fields": FIELDS})
        found = self._client.read(
            f"{where}{path('transitions')}",
            Transitions,
            doing=self._doing,
            query={"expand": "transitions.fields"},
            right=MOVE,
        ).transitions
        if not found:
            self._check_right()
        filled = self._filled_in(found)
        ways = []
        for one in found:
            to = meant(self._config, one.to)
            self._fields[one.id], hindrance = self._screen(one, to, filled)
            ways.append(Way(id=one.id, name=one.name, to=to, hindrance=hindrance))
        return Place(meant(self._config, issue.fields.status), tuple(ways))

    def take(self, way: Way) -> None:
        """Take a transition, with the resolution where its screen has one."""
        body: dict[str, Any] = {"transition": {"id": way.id}}
        if self._fields.get(way.id):
            body["fields"] = self._fields[way.id]
        where = path("issue", self._key, "transitions")
        self._client.tell("POST", where, body, doing=self._doing, right=MOVE)

    def _check_right(self) -> None:
        """See that Jira does not hide every transition because of a right that we lack."""
        query = {"issueKey": self._key, "permissions": "TRANSITION_ISSUES"}
        found = self._client.read(path("mypermissions"), Permissions, doing=self._doing, query=query).permissions
        if "TRANSITION_ISSUES" in found and not found["TRANSITION_ISSUES"].have:
            raise Refused(
                f"Could not {self._doing} in {self._client.shown}: our user lacks the right {MOVE!r}. "
                "Give it in the project's permission scheme or roles."
            )

    def _filled_in(self, transitions: Sequence[Transition]) -> Mapping[str, Any]:
        """Return the values of fields that some screen requires: what an issue has already need not be given again."""
        wanted = {
            name
            for one in transitions
            for name, field in one.fields.items()
            if field.required and not field.has_default and name != RESOLUTION and name not in _NEVER_THERE
        }
        if not wanted:
            return {}
        query = {"fields": ",".join(sorted(wanted))}
        try:
            return self._client.read(path("issue", self._key), Values, doing=self._doing, query=query).fields
        except NotFound:
            return {}

    def _screen(self, one: Transition, to: Status, filled: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the fields to send with a transition, and what keeps us from taking it."""
        fields: dict[str, Any] = {}
        missing = [
            field.name or name
            for name, field in one.fields.items()
            if field.required and not field.has_default and name != RESOLUTION and not filled.get(name)
        ]
        hindrance = ""
        if missing:
            names = ", ".join(repr(name) for name in missing)
            hindrance = f"The transition {one.name!r} to {to.name!r} asks for {names}."
        resolution = one.fields.get(RESOLUTION)
        if resolution is None:
            return fields, hindrance
        wanted = self._config.resolution if to.state is IssueState.DONE else ""
        known = {value.name.casefold(): value.name for value in resolution.allowed if value.name}
        there = ", ".join(repr(name) for name in known.values()) or "none"
        if wanted and (wanted.casefold() in known or not known):
            fields[RESOLUTION] = {"name": known.get(wanted.casefold(), wanted)}
        elif wanted:
            hindrance = (
                f"The transition {one.name!r} knows no resolution {wanted!r}. It has {there}. "
                "Correct 'tracker.resolution' in the project file."
            )
        elif resolution.required and not resolution.has_default:
            hindrance = hindrance or (
                f"The transition {one.name!r} to {to.name!r} asks for a resolution. It has {there}. "
                "Name one as 'tracker.resolution' in the project file."
            )
        return fields, hindrance
