"""The figures page: plots and tables made from the figures, and the same as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from feature_delivery.domain.names import ProjectName
from feature_delivery.services.control.figures import Dora, Figures, Week
from feature_delivery.web.board import charts
from feature_delivery.web.board.language import NOTHING, Language

DAY = 86400.0


def figures_page(found: Figures, language: Language, weeks: int) -> dict[str, Any]:
    """Return what the template shows of the figures."""
    labels = [language.day(week.begins) if _labelled(place, weeks) else "" for place, week in enumerate(found.weeks)]

    def of(value: Callable[[Dora], float | None], scale: Callable[[float], str], **more: Any) -> charts.Plot:
        values = [value(week.dora) for week in found.weeks]
        tips = [
            f"{language.day(week.begins)}: {NOTHING if one is None else scale(one)}"
            for week, one in zip(found.weeks, values, strict=True)
        ]
        return charts.plot(values, labels=labels, tips=tips, scale=scale, **more)

    longest = max((s.people_seconds + s.queue_seconds + s.work_seconds for s in found.stages), default=0.0)
    return {
        "figures": found,
        "weeks": weeks,
        "lead": of(lambda d: d.lead_time_seconds, language.duration, steps=charts.DURATIONS, least=60.0),
        "frequency": of(
            lambda d: float(d.releases),
            lambda value: f"{value:g}",
            parts=[(float(w.dora.releases - w.dora.failed), float(w.dora.failed)) for w in found.weeks],
            steps=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            least=2.0,
        ),
        "failure": of(lambda d: d.failure_rate, lambda value: f"{value * 100:.0f} %", steps=(0.25,), least=1.0),
        "restore": of(lambda d: d.restore_seconds, language.duration, steps=charts.DURATIONS, least=60.0),
        "longest_stage": max(longest, 1.0),
    }


def _labelled(place: int, weeks: int) -> bool:
    """Say whether a week has its label: they must not run into each other."""
    return place % max(1, weeks // 4) == 0


HEAD = (
    "project",
    "week",
    "releases",
    "kept",
    "rolled_back",
    "averted",
    "lead_time_median_seconds",
    "change_failure_rate",
    "time_to_restore_median_seconds",
)


def csv_rows(found: Mapping[ProjectName, Figures]) -> Iterator[Sequence[object]]:
    """Yield the figures by project and week; names of projects are letters and digits, nothing in it is a formula."""
    yield HEAD
    for project, figures in found.items():
        yield from (_row(project, week) for week in figures.weeks)


def _row(project: ProjectName, week: Week) -> Sequence[object]:
    d = week.dora
    return (
        project,
        week.begins.date().isoformat(),
        d.releases,
        d.kept,
        d.failed,
        d.averted,
        _number(d.lead_time_seconds),
        "" if d.failure_rate is None else f"{d.failure_rate:.4f}",
        _number(d.restore_seconds),
    )


def _number(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f}"
