"""When people work: time that counts towards a reminder, and moments at which one may be sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = timedelta(days=1)
WEEK_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """Working hours by the wall clock of ``zone``; the default is always.

    Attributes:
        zone: Name of a time zone (``Europe/Berlin``).
        days: Working days, Monday is 0.
        begin: First moment of a working day.
        end: End of it; midnight stands for the end of the day.
    """

    zone: str = "UTC"
    days: frozenset[int] = frozenset(range(7))
    begin: time = time(0)
    end: time = time(0)

    def local(self, at: datetime) -> datetime:
        """Return a moment by the clock of these people."""
        return at.astimezone(ZoneInfo(self.zone))

    def open(self, at: datetime) -> bool:
        """Say whether people work at this moment."""
        today = self.local(at).date()
        begin, end = self._shift(today)
        return today.weekday() in self.days and begin <= at < end

    def later(self, since: datetime, delay: timedelta) -> datetime:
        """Return when ``delay`` has passed for people who work; never outside their hours.

        Whole days are working days: a day from Friday noon is Monday noon. What is left of it is working time: four
        hours from Friday, an hour before the end, are three hours after Monday's beginning. It is never more than one
        working day: else eighteen hours would be longer than a day where people work eight.
        """
        at = self._next(since)
        days, rest = divmod(delay, DAY)
        for _ in range(days):
            at = self._same_clock_next_day(at)
        begin, end = self._shift(self.local(at).date())
        rest = min(rest, end - begin)
        while True:
            left = self._shift(self.local(at).date())[1] - at
            if rest < left or (rest == left and rest == timedelta(0)):
                return at + rest
            rest, at = rest - left, self._next(at + left)

    def _shift(self, day: date) -> tuple[datetime, datetime]:
        """Return begin and end of a day's work, in a zone of which the difference is real time."""
        zone, utc = ZoneInfo(self.zone), ZoneInfo("UTC")
        last = day + DAY if self.end == time(0) else day
        begin, end = (
            datetime.combine(*one, tzinfo=zone).astimezone(utc) for one in ((day, self.begin), (last, self.end))
        )
        return begin, end

    def _next(self, at: datetime) -> datetime:
        """Return the first working moment from ``at`` on."""
        for day in self._working_days(self.local(at).date()):
            begin, end = self._shift(day)
            if at < end:
                return max(at, begin)
        raise AssertionError("somebody works on some day of a week")

    def _same_clock_next_day(self, at: datetime) -> datetime:
        clock = self.local(at)
        day = next(self._working_days(clock.date() + DAY))
        begin, end = self._shift(day)
        same = datetime.combine(day, clock.timetz()).astimezone(begin.tzinfo)
        return min(max(same, begin), end - timedelta(microseconds=1))

    def _working_days(self, first: date) -> Iterator[date]:
        for ahead in range(8):
            day = first + ahead * DAY
            if day.weekday() in self.days:
                yield day
