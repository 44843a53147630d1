"""``FakeTracker``: a tracker in memory that gives out its keys and has a workflow; it passes the contract."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime

from feature_delivery.domain import records
from feature_delivery.domain.errors import Error, NotFound, Refused
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import Issue, IssueState

PEOPLE = frozenset({"bob", "mia", "dan", "rita", "tess", "max", "dora"})


@dataclass
class FakeTracker:
    people: frozenset[str] = PEOPLE
    kept: dict[FeatureKey, Issue] = field(default_factory=dict)
    changed: dict[FeatureKey, datetime] = field(default_factory=dict)
    said: dict[FeatureKey, dict[str, str]] = field(default_factory=dict)
    links: dict[FeatureKey, dict[str, tuple[str, str]]] = field(default_factory=dict)
    stuck: set[FeatureKey] = field(default_factory=set)
    """Issues that the workflow does not let us bring to *done*."""
    calls: Counter[str] = field(default_factory=Counter)
    down: Error | None = None
    refuses: dict[str, Error] = field(default_factory=dict)

    def find(self, key: FeatureKey) -> Issue | None:
        self._called("find")
        return self.kept.get(key)

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:
        del title, description, reporter
        self._called("create")
        if key not in self.kept:
            raise Refused(f"Could not create {key}: the fake tracker gives out keys itself. Correct the key.")
        return self.kept[key]

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:
        self._called("create_new")
        number = 1 + max((int(key.rpartition("-")[2]) for key in self.kept), default=0)
        return self.given(FeatureKey(f"SHOP-{number}"), title=title, description=description, reporter=reporter)

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        self._called("comment")
        self._issue(key)
        self.said.setdefault(key, {}).setdefault(marker, text)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        self._called("move")
        issue = self._issue(key)
        if key in self.stuck and state is IssueState.DONE:
            raise Refused(f"Could not bring {key} to {state}: its workflow leads from {issue.state} to nothing else.")
        self._change(key, state=state)

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        self._called("assign")
        self._issue(key)
        if person is not None and person not in self.people:
            raise NotFound(f"Could not give {key} to {person!r}: there is no such login.")
        return self._change(key, assignee=person)

    def link(self, key: FeatureKey, *, url: str, title: str, marker: str) -> None:
        self._called("link")
        self._issue(key)
        self.links.setdefault(key, {})[marker] = (title, url)

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        self._called("changed_issues")
        found = sorted((key for key in self.kept if self.changed[key] >= since), key=lambda key: self.changed[key])
        return tuple(self.kept[key] for key in reversed(found))

    def examine(self) -> tuple[Finding, ...]:
        self._called("examine")
        return (Finding("workflow", well=True, sentence="Issues can be brought to every state."),)

    def given(
        self, key: FeatureKey, *, title: str = "Gift cards", description: str = "Sell them.", reporter: str = "mia"
    ) -> Issue:
        """Have somebody write an issue."""
        self.kept[key] = Issue(
            key, title, description, IssueState.OPEN, None, reporter, f"https://issues.example/{key}"
        )
        self.changed[key] = records.now()
        return self.kept[key]

    def edit(self, key: FeatureKey, **changes: object) -> Issue:
        """Have somebody change an issue in its page."""
        return self._change(key, **changes)

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.down is not None:
            raise self.down
        if name in self.refuses:
            raise self.refuses[name]

    def _issue(self, key: FeatureKey) -> Issue:
        if key not in self.kept:
            raise NotFound(f"The fake tracker has no issue {key}.")
        return self.kept[key]

    def _change(self, key: FeatureKey, **changes: object) -> Issue:
        before = self.kept[key]
        self.kept[key] = replace(before, **changes)  # type: ignore[arg-type]
        if self.kept[key] != before:
            self.changed[key] = records.now()
        return self.kept[key]
