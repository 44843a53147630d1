"""A monitoring in memory: functions of time instead of series."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from feature_delivery.domain.errors import Error


@dataclass
class FakeMeasuring:
    """Implements ``Measuring``: what a query gives is looked up by a word in it.

    ``answers``: per word a function of time; NaN is a sample that is not there. ``broken``: raised by every call.
    """

    answers: dict[str, Callable[[float], float]] = field(default_factory=dict)
    series: Sequence[Mapping[str, str]] = ()
    broken: Error | None = None
    asked: list[str] = field(default_factory=list)

    def values(self, query: str, *, since: float, until: float, step_seconds: float) -> list[tuple[float, float]]:
        self.asked.append(query)
        if self.broken is not None:
            raise self.broken
        answer = next((one for word, one in self.answers.items() if word in query), None)
        if answer is None:
            return []
        count = int((until - since) / step_seconds + 1e-9) + 1
        points = [(since + place * step_seconds, answer(since + place * step_seconds)) for place in range(count)]
        return [point for point in points if math.isfinite(point[1])]

    def known(self, selector: str, *, since: float, until: float) -> Sequence[Mapping[str, str]]:
        self.asked.append(selector)
        if self.broken is not None:
            raise self.broken
        return self.series
