"""Series of measurements and what makes them comparable: gaps, resets, dependence between neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

LONGEST_BLOCK = 12
FEWEST_FOR_DEPENDENCE = 20
"""So many neighbours a correlation needs to be more than noise."""


@dataclass(frozen=True, slots=True)
class Series:
    """Measurements in the order of time.

    Attributes:
        times: Seconds since the epoch.
        values: One per time; all finite.
        weights: Requests behind each value; empty: all weigh the same.
    """

    times: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    def __len__(self) -> int:
        """Return how many measurements there are."""
        return len(self.values)

    def since(self, moment: float) -> Series:
        """Return what was measured at ``moment`` or later."""
        return self._only([place for place, time in enumerate(self.times) if time >= moment])

    @property
    def requests(self) -> float | None:
        """Requests behind all of it; ``None`` where nobody counts them."""
        return sum(self.weights) if self.weights else None

    @property
    def mean(self) -> float:
        """Mean, by weight; 0 of nothing."""
        if self.weights and (whole := sum(self.weights)) > 0:
            return sum(value * weight for value, weight in zip(self.values, self.weights, strict=True)) / whole
        return fmean(self.values) if self.values else 0.0

    @property
    def median(self) -> float:
        """Median; 0 of nothing."""
        return median(self.values) if self.values else 0.0

    def part(self, begin: int, end: int) -> Series:
        """Return the measurements from one place to before another."""
        return Series(self.times[begin:end], self.values[begin:end], self.weights[begin:end])

    def outside(self, stretches: Sequence[tuple[float, float]], *, covers: float) -> Series:
        """Return the measurements, each of the ``covers`` seconds before its time, that touch none of the stretches."""
        return self._only(
            [
                place
                for place, time in enumerate(self.times)
                if not any(time - covers < end and time > begin for begin, end in stretches)
            ]
        )

    def _only(self, kept: Sequence[int]) -> Series:
        return Series(
            tuple(self.times[place] for place in kept),
            tuple(self.values[place] for place in kept),
            tuple(self.weights[place] for place in kept) if self.weights else (),
        )

    def without(self, place: int) -> Series:
        """Return it without one measurement."""
        return Series(
            self.times[:place] + self.times[place + 1 :],
            self.values[:place] + self.values[place + 1 :],
            self.weights[:place] + self.weights[place + 1 :],
        )


def series(
    points: list[tuple[float, float]], *, requests: dict[float, float] | None = None, least_requests: float = 0.0
) -> Series:
    """Return the measurements that can be used: what is not a number is none, a share of no request neither."""
    kept: list[tuple[float, float, float]] = []
    for time, value in points:
        weight = requests.get(time, math.nan) if requests is not None else 1.0
        if math.isfinite(value) and math.isfinite(weight) and weight > least_requests:
            kept.append((time, value, weight))
    times, values, weights = zip(*kept, strict=True) if kept else ((), (), ())
    return Series(tuple(times), tuple(values), tuple(weights) if requests is not None else ())


def increases(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return by how much a counter grew since the sample before.

    A counter that is smaller than before began anew with its process: what it shows has been counted since.
    """
    found = []
    for (_, before), (time, now) in pairwise(points):
        found.append((time, now - before if now >= before else now))
    return found


def shares(part: list[tuple[float, float]], whole: list[tuple[float, float]], *, least_requests: float = 0.0) -> Series:
    """Return what share ``part`` is of ``whole`` at each time; nothing where the whole is nothing.

    A part that nobody has counted yet has not happened: a label appears with the first event that carries it.
    """
    counted = dict(part)
    requests = {time: value for time, value in whole if math.isfinite(value)}
    points = [
        (time, min(1.0, max(0.0, _number(counted.get(time, 0.0)) / value)))
        for time, value in requests.items()
        if value > 0
    ]
    return series(points, requests=requests, least_requests=least_requests)


def _number(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def dependence(measured: Series) -> float:
    """Return the correlation of neighbours, 0 to 0.9; of too few measurements nothing is known: 0.

    From ranks' cousin, differences to the median cut at three spreads: one outlier must not hide the rest.
    """
    if len(measured) < FEWEST_FOR_DEPENDENCE:
        return 0.0
    middle = measured.median
    spread = median(abs(value - middle) for value in measured.values)
    if spread <= 0:
        spread = fmean(abs(value - middle) for value in measured.values)
    cut = [max(-4.5 * spread, min(4.5 * spread, value - middle)) for value in measured.values]
    mean = fmean(cut)
    centred = [value - mean for value in cut]
    whole = sum(value * value for value in centred)
    if whole <= 0:
        return 0.0
    near = sum(one * other for one, other in pairwise(centred))
    count = len(centred)
    # The estimate is too low in short series; this is the usual first-order correction.
    estimate = near / whole
    return max(0.0, min(0.9, estimate + (1 + 3 * estimate) / count if estimate > 0 else 0.0))


def block_length(correlation: float) -> int:
    """Return how many neighbours with this correlation say as much as one independent measurement."""
    return max(1, min(LONGEST_BLOCK, math.ceil((1 + correlation) / (1 - correlation) - 0.25)))


def blocks(measured: Series, length: int, *, counted: bool = False) -> tuple[float, ...]:
    """Return one value per ``length`` neighbours; a rest of less than half a block is left out.

    Shares of counted requests: their mean by weight. Others: the median, so that one outlier spoils no block.
    """
    if length <= 1:
        return measured.values
    found: list[float] = []
    for begin in range(0, len(measured), length):
        values = measured.values[begin : begin + length]
        if len(values) * 2 < length and found:
            break
        part = Series(measured.times[begin : begin + length], values, measured.weights[begin : begin + length])
        found.append(part.mean if counted else part.median)
    return tuple(found)
