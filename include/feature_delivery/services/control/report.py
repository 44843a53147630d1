"""The judge's report for people: as text with small plots, and as a Markdown table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.judging.sentences import amount, share
from feature_delivery.domain.markdown import plain, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.judging.findings import Finding, Judgement, Level

BARS = "▁▂▃▄▅▆▇█"
PLOT_WIDTH = 16
MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "no_data": "∅"}
WORDS = {"keep": "Keep it", "roll_back": "Roll it back", "decide": "Look at it and decide"}
SAYS = {
    "pass": "nothing got worse",
    "fail": "it got worse",
    "inconclusive": "the figures do not tell",
    "no_data": "nothing was measured, which proves nothing",
}


def recommendation(said: Judgement) -> str:
    """Return what to do and why, in a sentence."""
    return f"{WORDS[said.recommendation]}: {SAYS[said.outcome]}. {' '.join(said.reasons)}".strip()


def shown_as_text(said: Judgement) -> str:
    """Return the report as lines of plain text, one per metric, with a plot of blocks: before | after."""
    lines = [recommendation(said)]
    for one in said.findings:
        levels = f"{shown(one.before, one.unit)} → {shown(one.after, one.unit)}"
        parts = (f"{MARKS[one.outcome]} {one.metric}: {levels}", changed(one), plot(one))
        lines.append(" ".join(filter(None, parts)))
    return "\n".join(lines)


def shown_as_markdown(said: Judgement) -> str:
    """Return the report as Markdown: what to do, and a table of the metrics."""
    parts = [f"**Recommendation.** {plain(recommendation(said), limit=1500)}"]
    return "\n\n".join([*parts, judged_table(said)] if said.findings else parts)


def judged_table(said: Judgement) -> str:
    """Return the metrics as a table in Markdown."""
    rows = [
        (
            f"{MARKS[one.outcome]} {plain(one.metric, limit=60)}",
            shown(one.before, one.unit),
            shown(one.after, one.unit),
            changed(one) or "-",
            plot(one) or "-",
        )
        for one in said.findings
    ]
    return table(("Metric", "Before", "After", "Change", "Before, after"), rows)


def shown(level: Level | None, unit: str) -> str:
    """Return a level as people read it."""
    return amount(level.level, unit) if level is not None else "-"


def changed(finding: Finding) -> str:
    """Return the change as people read it; empty when nothing was compared."""
    if finding.change is None or finding.before is None or not finding.before.level:
        return ""
    return share(finding.change)


def plot(finding: Finding) -> str:
    """Return both stretches as blocks on one scale; empty where next to nothing was measured."""
    values = [*finding.before_values, *finding.after_values]
    if len(values) < 2:
        return ""
    lowest, highest = min(values), max(values)
    before, after = (_bars(part, lowest, highest) for part in (finding.before_values, finding.after_values))
    return f"{before}┃{after}"


def _bars(values: Sequence[float], lowest: float, highest: float) -> str:
    width, span = min(PLOT_WIDTH, len(values)), highest - lowest
    bars = []
    for at in range(width):
        part = values[len(values) * at // width : len(values) * (at + 1) // width]
        bars.append(BARS[round((sum(part) / len(part) - lowest) / span * (len(BARS) - 1)) if span else 0])
    return "".join(bars)
