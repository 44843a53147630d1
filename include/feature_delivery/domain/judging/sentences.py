"""The judge's sentences: what was found, in figures that people read at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from feature_delivery.domain.judging.rules import MetricRule


class Levels(Protocol):
    """The two levels of a metric."""

    @property
    def level_before(self) -> float:
        """In the baseline."""

    @property
    def level_after(self) -> float:
        """After the warm-up."""


class Compared(Protocol):
    """What the rank test found."""

    @property
    def change(self) -> float:
        """As a share of the level before."""

    @property
    def p_value(self) -> float:
        """Chance of it between equals."""


def amount(value: float, unit: str) -> str:
    """Return a value as people read it: ``2.1 %``, ``340 ms``, ``12.5 orders``."""
    if unit == "ratio":
        return f"{value * 100:.3g} %"
    if unit == "seconds":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    return f"{value:.4g} {unit}".rstrip()


def share(change: float) -> str:
    """Return a change as people read it: ``+25 %``."""
    return f"{change * 100:+.0f} %"


class because:  # noqa: N801 - read as a word: because.worse(...)
    """Reasons, one sentence each."""

    @staticmethod
    def nothing(name: str, expected: int) -> str:
        """Nothing was measured."""
        return f"{_name(name)}: no sample after the warm-up, {expected} were expected."

    @staticmethod
    def few_samples(name: str, found: int, expected: int) -> str:
        """Too little was measured."""
        return f"{_name(name)}: only {found} of {expected} samples are there; that proves nothing."

    @staticmethod
    def few_requests(name: str, found: float, wanted: float) -> str:
        """Too little happened."""
        return f"{_name(name)}: only {found:.0f} requests, {wanted:.0f} are needed to say anything."

    @staticmethod
    def no_baseline(rule: MetricRule, found: int) -> str:
        """There is nothing to compare with."""
        return f"{_name(rule.name)}: {found or 'no'} samples from before the release, so nothing to compare with."

    @staticmethod
    def breach(rule: MetricRule, at: float, limit: float | None) -> str:
        """A critical limit was passed for good."""
        if limit is None:
            return f"{_name(rule.name)}: {amount(at, rule.unit)} is far beyond the bearable."
        what = "passed its critical limit of" if rule.limit is not None else "is far beyond the bearable, which is"
        return f"{_name(rule.name)}: {amount(at, rule.unit)} {what} {amount(limit, rule.unit)}."

    @staticmethod
    def worse(rule: MetricRule, levels: Levels, compared: Compared) -> str:
        """It got worse."""
        by = f" ({share(compared.change)})" if levels.level_before else ""
        return f"{_between(rule, levels)}{by}: worse, and not by chance (p {compared.p_value:.2g})."

    @staticmethod
    def doubtful(rule: MetricRule, levels: Levels, compared: Compared) -> str:
        """It may have got worse."""
        return f"{_between(rule, levels)}: looks worse, and may be chance (p {compared.p_value:.2g})."

    @staticmethod
    def bad_before(rule: MetricRule, levels: Levels) -> str:
        """Both versions are bad."""
        assert rule.limit is not None
        limit = amount(rule.limit, rule.unit)
        return f"{_between(rule, levels)}: past the limit of {limit}, as before: going back would not help."

    @staticmethod
    def over(rule: MetricRule, levels: Levels) -> str:
        """It is past its limit."""
        assert rule.limit is not None
        return f"{_name(rule.name)}: {amount(levels.level_after, rule.unit)}, limit {amount(rule.limit, rule.unit)}."

    @staticmethod
    def fine(rule: MetricRule, levels: Levels) -> str:
        """It is as it was, or within its limit."""
        if not rule.compared:
            return f"{_name(rule.name)}: {amount(levels.level_after, rule.unit)}."
        return f"{_between(rule, levels)}: no worse than before."


def _name(name: str) -> str:
    return name[:1].upper() + name[1:]


def _between(rule: MetricRule, levels: Levels) -> str:
    before, after = amount(levels.level_before, rule.unit), amount(levels.level_after, rule.unit)
    return f"{_name(rule.name)}: {after} after {before}"
