"""Freeze windows: what the wall shows decides, whatever is done to the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.freezes import DAYS, WEEK, Window, always, freeze_at, next_end, window

BERLIN = "Europe/Berlin"
ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago", "UTC")
CLOCKS = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
MOMENTS = st.integers(0, 2 * 366 * 24 * 60).map(lambda m: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=m))


def berlin(text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN), fold=fold).astimezone(UTC)


def until(when: str, at: str, zone: str = BERLIN) -> str | None:
    found = freeze_at([window("Freeze", when, zone)], berlin(at))
    return f"{found.until.astimezone(ZoneInfo(BERLIN)):%Y-%m-%d %H:%M}" if found else None


@pytest.mark.parametrize(
    ("when", "at", "ends"),
    [
        ("Fri 16:00-Mon 08:00", "2026-11-27 15:59", None),
        ("Fri 16:00-Mon 08:00", "2026-11-27 16:00", "2026-11-30 08:00"),
        ("fri 16:00 - mon 08:00", "2026-11-30 07:59", "2026-11-30 08:00"),
        ("Fri 16:00-Mon 08:00", "2026-11-30 08:00", None),
        ("Sun 22:00 - Sun 23:00", "2026-11-29 22:30", "2026-11-29 23:00"),
        ("Mon-Thu 20:00 - 07:00", "2026-11-24 02:00", "2026-11-24 07:00"),
        ("Mon-Thu 20:00 - 07:00", "2026-11-28 02:00", None),
        ("Sat-Mon 00:00 - 24:00", "2026-11-28 09:00", "2026-12-01 00:00"),
        ("Tue, Thu 12:00 - 13:00", "2026-11-26 12:30", "2026-11-26 13:00"),
        ("2026-12-20..2027-01-03", "2026-12-31 23:59", "2027-01-04 00:00"),
        ("2026-12-20 .. 2027-01-03", "2027-01-04 00:00", None),
        ("2026-12-24 12:00 .. 2026-12-27 08:00", "2026-12-24 11:59", None),
        ("2026-12-24 12:00 .. 2026-12-27 08:00", "2026-12-24 12:00", "2026-12-27 08:00"),
    ],
)
def test_a_window_freezes_from_its_beginning_until_just_before_its_end(when: str, at: str, ends: str | None) -> None:
    assert until(when, at) == ends


def test_a_window_keeps_its_own_zone() -> None:
    assert until("Fri 16:00 - Fri 17:00", "2026-11-27 16:30") == "2026-11-27 17:00"
    assert until("Fri 16:00 - Fri 17:00", "2026-11-27 16:30", "America/New_York") is None
    assert until("Fri 16:00 - Fri 17:00", "2026-11-27 22:30", "America/New_York") == "2026-11-27 23:00"


@pytest.mark.parametrize(
    ("when", "frozen", "free"),
    [
        # 2026-03-29 02:00 becomes 03:00: a beginning that the wall never shows is the change itself.
        ("Sun 02:30 - Sun 04:00", ["2026-03-29 03:00", "2026-03-29 03:59"], ["2026-03-29 01:59", "2026-03-29 04:00"]),
        ("Sun 01:00 - Sun 02:30", ["2026-03-29 01:00", "2026-03-29 01:59"], ["2026-03-29 00:59", "2026-03-29 03:00"]),
    ],
)
def test_clocks_put_forward_make_no_hole_and_no_surplus(when: str, frozen: list[str], free: list[str]) -> None:
    assert [at for at in (*frozen, *free) if until(when, at)] == frozen


def test_an_hour_that_comes_twice_is_frozen_both_times() -> None:
    # 2026-10-25 03:00 becomes 02:00.
    windows = [window("Night", "Sun 02:15 - Sun 02:45", BERLIN)]
    first, second = berlin("2026-10-25 02:15"), berlin("2026-10-25 02:44", fold=1)
    assert freeze_at(windows, first - timedelta(seconds=1)) is None
    found = freeze_at(windows, first)
    assert found is not None
    assert found.until == second + timedelta(minutes=1)
    assert freeze_at(windows, second) == found
    assert freeze_at(windows, found.until) is None


def test_windows_that_touch_or_overlap_are_one_freeze() -> None:
    windows = [window("Weekend", "Fri 16:00 - Mon 08:00", BERLIN), window("Fair", "2026-11-30 .. 2026-12-02", BERLIN)]
    found = freeze_at(windows, berlin("2026-11-28 12:00"))
    assert found is not None
    assert (found.name, found.until) == ("Fair", berlin("2026-12-03 00:00"))
    assert (found.ends, found.zone) == ("Thu 2026-12-03 00:00", BERLIN)
    assert found.since == berlin("2026-11-27 16:00")


@pytest.mark.parametrize(
    "when",
    [
        "",
        "always",
        "Fri 16:00",
        "Fri 25:00 - Mon 08:00",
        "Fry 16:00 - Mon 08:00",
        "2026-02-30 .. 2026-03-01",
        "2027-01-03 .. 2026-12-20",
        "2026-12-20 10:00 .. 2026-12-20 10:00",
        "9999-12-01 .. 9999-12-31",
        "Mon 10:00 - 11:00; rm -rf /",
    ],
)
def test_what_is_no_window_is_refused_with_the_way_to_write_one(when: str) -> None:
    with pytest.raises(Refused, match="write 'Fri 16:00 - Mon 08:00'"):
        window("Freeze", when, BERLIN)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "Europe"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Refused, match="no time zone"):
        window("Freeze", "Fri 16:00 - Mon 08:00", zone)


def test_a_calendar_that_leaves_nothing_free_is_recognised() -> None:
    assert always([window("All", "Mon 00:00 - Mon 00:00", BERLIN)])
    assert always([window("Day", "Mon-Sun 08:00 - 20:00", "UTC"), window("Night", "Mon-Sun 20:00 - 08:00", "UTC")])
    assert not always([window("Day", "Mon-Sun 08:00 - 20:00", "UTC"), window("Night", "Mon-Sun 20:00 - 07:59", "UTC")])
    assert not always([window("Long", "2026-01-01 .. 2029-01-01", BERLIN)])
    assert not always([])


def test_the_next_end_is_that_of_the_freeze_that_is_on_or_comes_next() -> None:
    windows = [window("Weekend", "Fri 16:00 - Mon 08:00", BERLIN)]
    assert next_end(windows, berlin("2026-11-28 12:00")) == berlin("2026-11-30 08:00")
    assert next_end(windows, berlin("2026-11-30 08:00")) == berlin("2026-12-07 08:00")
    assert next_end([window("Fair", "2027-06-01 .. 2027-06-02", BERLIN)], berlin("2026-11-30 08:00")) is None
    assert next_end([], berlin("2026-11-30 08:00")) is None


WEEKLY = st.builds(
    lambda a, b, c, d, zone: window("Freeze", f"{a} {b} - {c} {d}", zone),
    st.sampled_from(DAYS),
    CLOCKS,
    st.sampled_from(DAYS),
    CLOCKS,
    st.sampled_from(ZONES),
)


def walls(one: Window, at: datetime) -> bool:
    """Say, by minutes of a week alone, whether the wall's time is inside: the oracle knows nothing of moments."""
    wall = at.astimezone(ZoneInfo(one.zone))
    minute = timedelta(days=wall.weekday(), hours=wall.hour, minutes=wall.minute, seconds=wall.second)
    return any((minute - begins) % WEEK < length for begins, length in one.weekly)


def plain(one: Window, at: datetime) -> bool:
    """Say whether no clock is changed within a day of the moment."""
    zone = ZoneInfo(one.zone)
    return len({(at + timedelta(hours=h)).astimezone(zone).utcoffset() for h in range(-26, 27)}) == 1


@given(WEEKLY, MOMENTS)
def test_whatever_the_wall_shows_inside_is_frozen(one: Window, at: datetime) -> None:
    frozen = freeze_at([one], at)
    assert not walls(one, at) or frozen is not None
    if plain(one, at):
        assert (frozen is not None) is walls(one, at)


@given(WEEKLY, MOMENTS)
def test_a_freeze_holds_from_its_beginning_to_its_end_and_not_a_moment_longer(one: Window, at: datetime) -> None:
    found = freeze_at([one], at)
    if found is None:
        return
    assert found.since <= at < found.until
    for part in range(8):
        between = at + (found.until - at) * part / 8
        inside = freeze_at([one], between)
        assert inside is not None
        assert inside.until >= found.until
    if found.until - at < timedelta(days=366):
        assert freeze_at([one], found.until) is None
        assert next_end([one], at) == found.until


@given(WEEKLY, WEEKLY, MOMENTS)
def test_two_windows_freeze_whenever_one_of_them_does(one: Window, other: Window, at: datetime) -> None:
    both = freeze_at([one, other], at)
    each = [found for found in (freeze_at([one], at), freeze_at([other], at)) if found is not None]
    assert (both is not None) is bool(each)
    assert both is None or both.until >= max(found.until for found in each)
