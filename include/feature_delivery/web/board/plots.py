"""Small plots of what was measured around a release, as numbers for an SVG: before, after, and the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feature_delivery.domain.judging.findings import Finding, Judgement

WIDTH, HEIGHT, MARGIN = 220.0, 40.0, 3.0


@dataclass(frozen=True, slots=True)
class Plot:
    """One metric: lines as ``points`` of an SVG; ``release``: where the release is; ``limit``: its height, if shown.

    ``counted``: where the warm-up ends.
    """

    before: str
    after: str
    release: float
    counted: float
    limit: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One metric with its plot; ``plot`` is ``None`` where next to nothing was measured."""

    finding: Finding
    plot: Plot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One judgement as the page shows it; ``where``: the kind of environment."""

    where: str
    said: Judgement
    rows: tuple[Row, ...]


def measured(where: str, said: Judgement | None) -> Measured | None:
    """Return a judgement as the page shows it."""
    if said is None:
        return None
    return Measured(where=where, said=said, rows=tuple(Row(one, plot(one)) for one in said.findings))


def plot(finding: Finding) -> Plot | None:
    """Return the plot of a metric, both stretches on one scale."""
    before, after = finding.before_values, finding.after_values
    values = [*before, *after]
    if len(values) < 2:
        return None
    lowest, highest = min(0.0, *values), max(values)
    # A limit far above would press the line flat: it is shown where it is near.
    near = finding.limit is not None and finding.limit <= 1.5 * highest
    top = max(highest, finding.limit or 0.0) if near else highest
    span = (top - lowest) or 1.0

    def height(value: float) -> float:
        return round(HEIGHT - MARGIN - (value - lowest) / span * (HEIGHT - 2 * MARGIN), 1)

    step = WIDTH / (len(values) - 1)

    def points(part: Sequence[float], begin: int) -> str:
        return " ".join(f"{round((begin + place) * step, 1)},{height(value)}" for place, value in enumerate(part))

    return Plot(
        before=points(before, 0),
        after=points(after, len(before)),
        release=round(max(0.0, (len(before) - 0.5) * step), 1),
        counted=round(max(0.0, (len(before) + finding.warm_up_values - 0.5) * step), 1),
        limit=height(finding.limit) if near and finding.limit is not None else None,
    )
