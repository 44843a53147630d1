"""The overview: which cards a reader sees, in which columns, by what the address says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from feature_delivery.domain.freezes import freeze_at
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import UNDER_WAY, FeatureState, now
from feature_delivery.services.control.board import Card, Pace, Stage
from feature_delivery.services.control.flags import frozen_sentence

SHOWN_PER_COLUMN = 25
"""Cards of a column at first; the rest is one click away: a page of a thousand cards helps nobody."""

QUERY_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every card there is, as of one revision.

    Attributes:
        ended: How many features have ended, per project and state.
        brakes: Projects whose brake is on, with its number and the reason.
        held: Why nothing at all is done here; empty when all is well.
    """

    revision: str
    projects: Mapping[ProjectName, ProjectConfig]
    cards: tuple[Card, ...]
    ended: Mapping[tuple[ProjectName, FeatureState], int]
    read_at: float
    brakes: Mapping[ProjectName, tuple[int, str]] = field(default_factory=dict)
    held: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the address of the overview says.

    Attributes:
        project: Only this one; all when empty.
        person: Only what waits for this person; everybody when empty.
        text: Words that must be in key, title or people.
        whole: The column that is shown to its end.
    """

    project: str = ""
    person: str = ""
    text: str = ""
    whole: str = ""

    @property
    def active(self) -> bool:
        """Say whether anything is filtered out."""
        return bool(self.project or self.person or self.text)

    def address(self, **changes: str) -> str:
        """Return the query of the same view with ``changes``; empty parts are left out."""
        parts = {"project": self.project, "person": self.person, "q": self.text, "all": self.whole, **changes}
        query = urlencode({name: value for name, value in parts.items() if value})
        return f"?{query}" if query else "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnView:
    """One column: its cards that are shown, and how many there are."""

    stage: Stage
    cards: tuple[Card, ...]
    total: int
    folded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A project whose brake is on, by its number; ``mine``: the reader may release it."""

    project: ProjectName
    title: str
    brake: int
    reason: str
    mine: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole board as one reader sees it.

    Attributes:
        mine: How many features wait for the reader, whatever is filtered.
        glass: Features under way for which somebody broke glass.
        freezes: Titles of projects that promote nothing just now, each with the sentence that says until when.
        stops: Projects whose brake is on.
        held: Why nothing at all is done here; empty when all is well.
        outdated: Titles of projects whose file is wrong now, so that they count as they were, each with the fault.
        stuck: Titles of projects in which nothing can be signed off, each with the reason.
    """

    filters: Filters
    columns: tuple[ColumnView, ...]
    projects: tuple[ProjectConfig, ...]
    people: tuple[str, ...]
    mine: int
    under_way: int
    revision: str
    glass: tuple[Card, ...] = ()
    freezes: tuple[tuple[str, str], ...] = ()
    stops: tuple[Stop, ...] = ()
    held: str = ""
    outdated: tuple[tuple[str, str], ...] = ()
    stuck: tuple[tuple[str, str], ...] = ()


_LATEST_FIRST = frozenset({Stage.DELIVERED, Stage.STOPPED})


def overview(
    snapshot: Snapshot,
    *,
    filters: Filters,
    visible: Collection[ProjectName],
    reader: str,
    found: Iterable[Card] = (),
) -> Overview:
    """Return what ``reader`` sees.

    Args:
        snapshot: Every card.
        filters: What the reader asked for.
        visible: The projects that the reader may see.
        reader: Name of the reader.
        found: Ended features, older than those of the snapshot, that a search for the text has found.
    """
    seen = [card for card in snapshot.cards if card.project in visible]
    in_project = [card for card in seen if filters.project in {"", card.project}]
    known = {(card.project, card.key, card.delivery) for card in in_project}
    older = [card for card in found if (card.project, card.key, card.delivery) not in known]
    matching = [
        card
        for card in (*in_project, *older)
        if (not filters.person or card.waits_for(filters.person)) and card.matches(filters.text)
    ]
    projects = tuple(project for name, project in snapshot.projects.items() if name in visible)
    names = {name for project in projects if filters.project in {"", project.name} for name in project.people.persons}
    return Overview(
        filters=filters,
        columns=tuple(_column(stage, matching, snapshot, filters, visible) for stage in Stage),
        projects=projects,
        people=tuple(sorted(names)),
        mine=sum(card.waits_for(reader) for card in in_project),
        under_way=sum(card.state in UNDER_WAY for card in in_project),
        revision=snapshot.revision,
        glass=tuple(card for card in in_project if card.glass),
        freezes=tuple(
            (project.title, frozen_sentence(project, freeze))
            for project in projects
            if filters.project in {"", project.name} and (freeze := freeze_at(project.freezes, now())) is not None
        ),
    )


def _column(
    stage: Stage,
    matching: Sequence[Card],
    snapshot: Snapshot,
    filters: Filters,
    visible: Collection[ProjectName],
) -> ColumnView:
    held = sorted((card for card in matching if card.stage is stage), key=_order(stage))
    total = len(held)
    if stage in _LATEST_FIRST and not filters.person and not filters.text:
        unread = sum(card.state not in UNDER_WAY for card in held)
        total += _ended(snapshot, stage, filters, visible) - unread
    shown = held if filters.whole == stage else held[:SHOWN_PER_COLUMN]
    return ColumnView(stage=stage, cards=tuple(shown), total=total, folded=len(held) - len(shown))


def _ended(snapshot: Snapshot, stage: Stage, filters: Filters, visible: Collection[ProjectName]) -> int:
    return sum(
        number
        for (project, state), number in snapshot.ended.items()
        if project in visible
        and filters.project in {"", project}
        and (state is FeatureState.DELIVERED) == (stage is Stage.DELIVERED)
    )


def _order(stage: Stage) -> Callable[[Card], tuple[str | bool, float]]:
    if stage is Stage.QUEUE:
        return lambda card: (card.project, card.place or 1e6 + card.since.timestamp())
    if stage in _LATEST_FIRST:
        # Those that wait for somebody first, then the last ones.
        return lambda card: (card.pace is Pace.OVER, -card.since.timestamp())
    return lambda card: (card.pace is Pace.WORK, card.since.timestamp())
