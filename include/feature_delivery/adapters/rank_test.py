"""The rank test of the judge, by scipy; imported when it is first asked for: it takes longer than most tasks."""

from __future__ import annotations

from collections.abc import Sequence


def mann_whitney(greater: Sequence[float], than: Sequence[float]) -> float:
    """Return the chance of so great a difference between samples of the same kind; ties and small samples included."""
    from scipy.stats import mannwhitneyu

    if len({*greater, *than}) < 2:
        return 1.0  # all the same: the statistic has no spread
    tied = len({*greater, *than}) < len(greater) + len(than)
    method = "exact" if not tied and min(len(greater), len(than)) <= 8 else "asymptotic"
    return float(mannwhitneyu(greater, than, alternative="greater", method=method).pvalue)
