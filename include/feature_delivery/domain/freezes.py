"""Freeze windows: when a project promotes nothing, by its own calendar and in its own time zone.

A window is written in wall time, and clocks are put forward and back. So a window begins at the first moment whose wall
time has reached its beginning, and ends after the last moment whose wall time has not reached its end: where the wall
shows a time twice or never, a freeze is rather too long than too short.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from feature_delivery.domain.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = timedelta(days=7)
FAR = timedelta(days=366)
"""Windows that hang together for so long end here for whoever asks: nothing is computed for ever."""

_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)"
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d|24:00"
_WEEKLY = re.compile(rf"({_DAY}) ({_CLOCK}) ?- ?({_DAY}) ({_CLOCK})")
_DAILY = re.compile(rf"({_DAY}(?:-{_DAY})?(?:, ?{_DAY}(?:-{_DAY})?)*) ({_CLOCK}) ?- ?({_CLOCK})")
_ONCE = re.compile(rf"(\d{{4}}-\d\d-\d\d)(?: ({_CLOCK}))? ?\.\. ?(\d{{4}}-\d\d-\d\d)(?: ({_CLOCK}))?")
HOW = (
    "write 'Fri 16:00 - Mon 08:00' (every week), 'Mon-Thu 20:00 - 07:00' (on each of these days) or "
    "'2026-12-20 .. 2027-01-03' (once; days in full, or with times)"
)


@dataclass(frozen=True, slots=True)
class Window:
    """One freeze window.

    Attributes:
        name: What people call it.
        when: As it is written in the project file.
        zone: Name of its time zone, like ``Europe/Berlin``.
        weekly: Beginning and length in wall time, from Monday 00:00; empty for a window that comes once.
        once: Its two ends in wall time, without a zone; ``None`` for one that comes every week.
    """

    name: str
    when: str
    zone: str
    weekly: tuple[tuple[timedelta, timedelta], ...] = ()
    once: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Freeze:
    """A freeze that is on: since when, until when (windows that touch are one), and in what zone people read that."""

    name: str
    since: datetime
    until: datetime
    zone: str

    @property
    def ends(self) -> str:
        """Its end in the wall time of the window, for people."""
        return f"{self.until.astimezone(ZoneInfo(self.zone)):%a %Y-%m-%d %H:%M}"


def window(name: str, when: str, zone: str) -> Window:
    """Read a window as a project file writes it.

    Raises:
        Refused: The text, the dates or the zone mean nothing.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refused(f"{zone[:60]!r} is no time zone. Name one like 'Europe/Berlin' or 'UTC'.") from error
    text = " ".join(when.lower().split())
    if found := _WEEKLY.fullmatch(text):
        begins = timedelta(days=DAYS.index(found[1])) + _clock(found[2])
        length = (timedelta(days=DAYS.index(found[3])) + _clock(found[4]) - begins) % WEEK
        return Window(name, when, zone, weekly=((begins, length or WEEK),))
    if found := _DAILY.fullmatch(text):
        length = (_clock(found[3]) - _clock(found[2])) % timedelta(days=1) or timedelta(days=1)
        spans = ((timedelta(days=day) + _clock(found[2]), length) for day in _days(found[1]))
        return Window(name, when, zone, weekly=tuple(spans))
    if found := _ONCE.fullmatch(text):
        return Window(name, when, zone, once=_ends(when, *found.groups()))
    raise Refused(f"{when[:80]!r} is no freeze window: {HOW}.")


def _ends(when: str, first: str, at: str | None, last: str, until: str | None) -> tuple[datetime, datetime]:
    try:
        begins = datetime.combine(date.fromisoformat(first), time()) + _clock(at or "00:00")
        ends = datetime.combine(date.fromisoformat(last), time()) + _clock(until or "24:00")
    except (ValueError, OverflowError) as error:
        raise Refused(f"{when[:80]!r} names a day that there is not: {HOW}.") from error
    if not begins < ends or ends.year > date.max.year - 2:
        raise Refused(f"{when[:80]!r} ends before it begins: {HOW}.")
    return begins, ends


def _clock(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _days(text: str) -> list[int]:
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {(begin + step) % 7 for step in range((end - begin) % 7 + 1)}
    return sorted(found)


def freeze_at(windows: Iterable[Window], at: datetime) -> Freeze | None:
    """Return the freeze that is on at that moment; windows that overlap or touch are one.

    The name is that of the window whose end is the end of all.
    """
    known = tuple(windows)
    since = until = at = at.astimezone(UTC)
    last: Window | None = None
    while until - at < FAR:
        over = [(end, begin, one) for one in known for begin, end in _spans(one, until) if begin <= until < end]
        if not over:
            break
        end, _, last = max(over, key=lambda found: found[0])
        since = min(since, *(begin for _, begin, _ in over))
        until = end
    return Freeze(last.name, since, until, last.zone) if last is not None else None


def next_end(windows: Iterable[Window], at: datetime) -> datetime | None:
    """Return when the freeze ends that is on, or the next one that comes within a week; ``None``: none does."""
    known, at = tuple(windows), at.astimezone(UTC)
    if (found := freeze_at(known, at)) is not None:
        return found.until
    coming = [begin for one in known for begin, _ in (*_spans(one, at), *_spans(one, at + WEEK)) if begin > at]
    nearest = min(coming, default=None)
    if nearest is None or nearest > at + WEEK:
        return None
    begun = freeze_at(known, nearest)
    return begun.until if begun is not None else None


def always(windows: Iterable[Window]) -> bool:
    """Say whether the weekly windows leave no moment of a common week free."""
    known = tuple(one for one in windows if one.weekly)
    a_week = datetime(2026, 1, 5, tzinfo=UTC)  # no clock is changed anywhere in the weeks after it
    found = freeze_at(known, a_week)
    while found is not None and found.until < a_week + 2 * WEEK:
        found = freeze_at(known, found.until)
    return found is not None


def _spans(one: Window, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Give the moments of the window's occurrences around ``at``."""
    zone = ZoneInfo(one.zone)
    if one.once is not None:
        yield _first(one.once[0], zone), _last(one.once[1], zone)
        return
    wall = at.astimezone(zone).replace(tzinfo=None)
    monday = datetime.combine(wall.date() - timedelta(days=wall.weekday()), time())
    for week in (monday - WEEK, monday, monday + WEEK):
        for begins, length in one.weekly:
            yield _first(week + begins, zone), _last(week + begins + length, zone)


def _first(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment at which the wall shows ``wall`` or later."""
    early, late = _readings(wall, zone)
    return early if _shows(early, zone) == wall else _change(early, late, zone)


def _last(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the last moment before which the wall shows something earlier than ``wall``."""
    early, late = _readings(wall, zone)
    return late if _shows(late, zone) == wall else _change(early, late, zone)


def _readings(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    found = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return found[0], found[1]


def _shows(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return when, between the two, the clocks were put forward."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
