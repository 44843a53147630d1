"""A log is passed on line by line, whatever it is cut into and whoever dies on the way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.platforms.kubernetes.logs import HEARD, SAID_LIMIT, Mark, Reading, Speech, split

TIMES = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(
    lambda gaps: [sum(gaps[: number + 1]) for number in range(len(gaps))]
)


def stamped(times: list[int]) -> list[bytes]:
    """Return lines as the kubelet gives them: some in the same moment, in microseconds and in seconds."""
    return [
        f"2026-11-28T10:00:{at // 4:02d}.{at % 4}00000000Z line {number}\n".encode() for number, at in enumerate(times)
    ]


def served(lines: list[bytes], mark: Mark) -> bytes:
    """Return what the API server answers from a mark on: it knows only whole seconds."""
    return b"".join(line for line in lines if line[:19].decode() >= mark.since[:19])


@given(times=TIMES, cuts=st.lists(st.integers(0, 2000), max_size=4), ends=st.lists(st.integers(0, 2000), max_size=4))
def test_each_line_is_new_exactly_once_whoever_reads_on(times: list[int], cuts: list[int], ends: list[int]) -> None:
    lines, mark = stamped(times), Mark()
    heard = []
    for number, end in enumerate([*ends, 10**6]):
        data = served(lines, Mark.read(str(mark)))[:end]
        reading = Reading(Mark.read(str(mark)))
        places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        for first, last in itertools.pairwise(places):
            heard += [text for text, new in reading.lines(data[first:last]) if new]
        if number == len(ends):
            heard += [text for text, new in reading.lines(b"", last=True) if new]
        mark = reading.mark
    assert heard == [f"line {number}" for number in range(len(times))]
    assert mark.lines == len(times)


def test_a_line_without_an_end_waits_for_it_and_one_that_never_ends_does_not() -> None:
    reading = Reading()
    assert list(reading.lines(b"2026-01-01T00:00:00Z ha")) == []
    assert list(reading.lines(b"lf\n2026-01-01T00:00:01Z rest")) == [("half", True)]
    assert list(reading.lines(b"", last=True)) == [("rest", True)]
    endless = Reading()
    found = [text for piece in range(40) for text, _ in endless.lines(b"x" * 50_000)]
    assert found, f"{len(endless._rest)} bytes are kept"


def test_times_of_any_zone_compare_and_words_without_a_time_belong_to_the_line_before() -> None:
    assert split("2026-03-01T01:00:00.5+01:00 a b")[0] == split("2026-03-01T00:00:00.500000000Z a b")[0]
    assert split("failed to get the log: gone") == ("", "failed to get the log: gone")
    assert split("2026-03-01T01:00:00 no zone")[0] == ""
    reading = Reading()
    list(reading.lines(b"2026-01-01T00:00:00Z a\nno time\n"))
    assert (reading.mark.same, reading.mark.lines) == (2, 2)


@pytest.mark.parametrize("text", ["", "nonsense", "2026 1", "2026-01-01T00:00:00 -1 5", "x" * 5000])
def test_a_mark_that_is_none_is_the_beginning(text: str) -> None:
    assert Mark.of({"metadata": {"annotations": {HEARD: text}}}) == Mark()
    assert Mark.of(None) == Mark.of({"metadata": {}}) == Mark()


def test_people_hear_neither_the_report_nor_what_they_have_heard_nor_more_than_they_read() -> None:
    said: list[str] = []
    speech = Speech(said.append, hush=("begins x", "ended x "))
    speech.hear("old", aloud=False)
    for line in ("new\r", "begins x", "PHRlc3Q+", "ended x 0 1"):
        speech.hear(line)
    assert said == ["new"]
    many = Speech(said.append, said=SAID_LIMIT - 2)
    for number in range(5):
        many.hear(str(number))
    assert said == ["new", "0", "(More lines follow; they are not kept.)"]
