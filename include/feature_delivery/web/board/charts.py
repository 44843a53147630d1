"""Pictures as numbers: where bars, lines and labels stand in an SVG; the templates draw them, no script does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_delivery.services.control.journey import Span, Spent

WIDTH = 960
LANE_HEIGHT = 26
AXIS_HEIGHT = 22
LEAST_WIDTH = 2.0
"""A step of seconds beside a wait of days is still to be seen."""

LANES = (Spent.WORK, Spent.PEOPLE, Spent.QUEUE)
_TICKS = tuple(
    timedelta(minutes=minutes)
    for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 20160, 40320, 80640)
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle, in the units of the picture."""

    x: float
    y: float
    width: float
    height: float
    span: Span


@dataclass(frozen=True, slots=True)
class Tick:
    """One mark of an axis."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where the time of a feature went: a lane for work, one for people, one for the queue."""

    width: float
    height: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    began: datetime
    ended: datetime


def timeline(spans: Sequence[Span], *, began: datetime, ended: datetime) -> Timeline:
    """Return the picture of ``spans`` between two moments; ticks count from the beginning, labelled in seconds."""
    whole = max((ended - began).total_seconds(), 1.0)
    scale = WIDTH / whole
    bars = []
    for span in spans:
        left = max(0.0, (span.began - began).total_seconds() * scale)
        width = max(LEAST_WIDTH, (span.ended - span.began).total_seconds() * scale)
        lane = LANES.index(span.spent)
        bars.append(
            Bar(
                round(min(left, WIDTH - LEAST_WIDTH), 1), lane * LANE_HEIGHT + 4, round(width, 1), LANE_HEIGHT - 8, span
            )
        )
    step = next((tick for tick in _TICKS if whole / tick.total_seconds() <= 8), _TICKS[-1]).total_seconds()
    ticks = tuple(
        Tick(round(place * step * scale, 1), str(int(place * step))) for place in range(int(whole / step) + 1)
    )
    height = len(LANES) * LANE_HEIGHT + AXIS_HEIGHT
    return Timeline(WIDTH, height, tuple(bars), ticks, began, ended)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a plot by week; ``parts``: y and height of each part of it, from below."""

    x: float
    width: float
    value: float | None
    label: str
    parts: tuple[tuple[float, float], ...]
    tip: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Columns by week over a scale with a few lines."""

    width: float
    height: float
    left: float
    columns: tuple[Column, ...]
    lines: tuple[Tick, ...]


PLOT_WIDTH, PLOT_HEIGHT = 320, 124
_LEFT, _BELOW, _ABOVE = 46, 20, 8


def plot(
    values: Sequence[float | None],
    *,
    labels: Sequence[str],
    tips: Sequence[str],
    scale: Callable[[float], str],
    parts: Sequence[Sequence[float]] | None = None,
    least: float = 1.0,
    steps: Sequence[float] = (),
) -> Plot:
    """Return a plot of one value a week; ``None`` leaves a gap.

    Args:
        values: By week.
        labels: Under the columns.
        tips: What a reader is told about each column.
        scale: Writes a value of the scale.
        parts: What each column is made of, from below; the value alone by default.
        least: The scale reaches at least so far.
        steps: Distances between lines that read well; powers of ten, halves and fifths of them by default.
    """
    made_of = parts or [[value or 0.0] for value in values]
    top = max([least, *(sum(part) for part in made_of)])
    step = _step(top, steps)
    top = math.ceil(top / step) * step
    room = PLOT_HEIGHT - _BELOW - _ABOVE
    slot = (PLOT_WIDTH - _LEFT) / max(len(values), 1)
    columns = []
    for place, value in enumerate(values):
        reached, pieces = 0.0, []
        for part in made_of[place]:
            pieces.append((round(_ABOVE + room * (1 - (reached + part) / top), 1), round(room * part / top, 1)))
            reached += part
        x, width = round(_LEFT + place * slot + slot * 0.18, 1), round(slot * 0.64, 1)
        columns.append(Column(x, width, value, labels[place], tuple(pieces), tips[place]))
    lines = tuple(
        Tick(round(_ABOVE + room * (1 - number * step / top), 1), scale(number * step))
        for number in range(round(top / step) + 1)
    )
    return Plot(PLOT_WIDTH, PLOT_HEIGHT, _LEFT, tuple(columns), lines)


def _step(top: float, steps: Sequence[float]) -> float:
    """Return a distance that needs two to four lines below ``top``."""
    if steps:
        return next((step for step in steps if top / step <= 4), steps[-1])
    power = 10.0 ** math.floor(math.log10(top))
    return next(step for step in (power / 5, power / 2, power, power * 2, power * 5) if top / step <= 4)


DURATIONS = tuple(
    float(seconds) for seconds in (1, 5, 15, 60, 300, 900, 3600, 7200, 21600, 86400, 2 * 86400, 5 * 86400, 10 * 86400)
) + tuple(float(86400 * days) for days in (20, 50, 100, 200))
"""Distances between lines of a scale of durations, in seconds; their multiples are short to write."""
