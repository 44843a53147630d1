"""Working hours: what counts towards a reminder, and when one may be sent."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_delivery.domain.hours import WorkingHours
from feature_delivery.domain.messages import Reminding, Stage, stage

OFFICE = WorkingHours(zone="Europe/Berlin", days=frozenset(range(5)), begin=time(9), end=time(17))
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    """Return a moment by the clock in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("since", "delay", "until"),
    [
        ("2026-01-07 10:00", 4 * HOUR, "2026-01-07 14:00"),
        ("2026-01-07 15:00", 4 * HOUR, "2026-01-08 11:00"),
        ("2026-01-09 16:00", 4 * HOUR, "2026-01-12 12:00"),  # over the weekend
        ("2026-01-09 16:00", 24 * HOUR, "2026-01-12 16:00"),  # a day is a working day
        ("2026-01-10 12:00", 4 * HOUR, "2026-01-12 13:00"),  # asked on a Saturday
        ("2026-01-07 23:00", 24 * HOUR, "2026-01-09 09:00"),
        ("2026-03-27 16:00", 4 * HOUR, "2026-03-30 12:00"),  # the clocks change on the Sunday between
        ("2026-01-07 08:00", timedelta(0), "2026-01-07 09:00"),
    ],
)
def test_a_delay_passes_in_working_time(since: str, delay: timedelta, until: str) -> None:
    assert OFFICE.later(at(since), delay) == at(until)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-01-07 08:59", False),
        ("2026-01-07 09:00", True),
        ("2026-01-07 16:59", True),
        ("2026-01-07 17:00", False),
        ("2026-01-10 12:00", False),
    ],
)
def test_people_work_from_the_first_minute_to_before_the_last(moment: str, is_open: bool) -> None:  # noqa: FBT001
    assert OFFICE.open(at(moment)) is is_open


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe"])
WORKING = st.builds(
    lambda zone, days, hours: WorkingHours(zone, frozenset(days), time(hours[0]), time(hours[1] % 24)),
    ZONES,
    st.sets(st.integers(0, 6), min_size=1),
    st.tuples(st.integers(0, 11), st.integers(13, 24)),
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
DELAYS = st.timedeltas(timedelta(0), timedelta(days=9))


def test_what_is_left_of_a_delay_is_at_most_a_working_day() -> None:
    opened = at("2026-01-07 10:00")
    assert OFFICE.later(opened, timedelta(hours=23)) == OFFICE.later(opened, timedelta(days=1))


@given(WORKING, MOMENTS, DELAYS, DELAYS)
@example(
    WorkingHours("Pacific/Apia", frozenset({5}), time(9), time(13)),
    datetime(2026, 5, 27, 3, 51, 37, 3900, tzinfo=UTC),
    timedelta(days=8, seconds=6060),
    timedelta(days=5, seconds=65537),
)
def test_later_is_in_working_time_never_before_the_delay_and_grows_with_it(
    hours: WorkingHours, since: datetime, one: timedelta, other: timedelta
) -> None:
    least, most = sorted((one, other))
    reached = hours.later(since, least)
    assert hours.open(reached)
    assert reached >= since
    assert hours.later(since, most) >= reached or (most - least) < timedelta(days=1)


@given(MOMENTS, DELAYS)
def test_without_working_hours_all_time_counts(since: datetime, delay: timedelta) -> None:
    assert WorkingHours().later(since, delay) == since + delay
    assert WorkingHours().open(since)


def test_nothing_is_due_before_its_time_nor_outside_hours_and_never_stays_never() -> None:
    opened = at("2026-01-07 10:00")

    def due(text: str, **rule: timedelta | None) -> int:
        return stage(opened, at(text), reminding=Reminding(**rule), hours=OFFICE)

    assert due("2026-01-07 13:59") == Stage.ASKED
    assert due("2026-01-07 14:00") == Stage.REMINDED
    assert due("2026-01-07 20:00") == Stage.ASKED  # at night nobody is told
    assert due("2026-01-08 10:00") == Stage.ESCALATED
    assert due("2026-01-09 10:00", after=None, escalate_after=None) == Stage.ASKED
    assert due("2026-01-09 10:00", escalate_after=None) == Stage.REMINDED
