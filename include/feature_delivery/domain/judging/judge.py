"""The judge: limits, and the comparison with the time before the release.

A metric is worse when three things come together: a rank test says that it is no chance (neighbouring samples put
together first, for they say the same), most samples are worse than most before (effect size of Vargha and Delaney),
and the change is more than the project tolerates. Any one of them alone is noise, or nothing anybody would notice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import TYPE_CHECKING

from feature_delivery.domain.judging.breach import breached, critical_limit
from feature_delivery.domain.judging.evidence import FEWEST_BEFORE, Evidence, level, sustained
from feature_delivery.domain.judging.findings import Finding, Judgement, Level, Outcome
from feature_delivery.domain.judging.sentences import because
from feature_delivery.domain.judging.series import Series, block_length, blocks, dependence

if TYPE_CHECKING:
    from feature_delivery.domain.judging.rules import MetricRule

RankTest = Callable[[Sequence[float], Sequence[float]], float]
"""Chance that the first sample is as much greater as it is than the second when both are alike."""

SIGNIFICANT = 0.01
LARGE_EFFECT = 0.71
FEWEST_SAMPLES = 5
FEWEST_BLOCKS = 4
SHARE_NEEDED = 0.6
"""Of the samples there could be, so many must be there: who was away did not see."""
FEW_FOR_AN_OUTLIER = 15
"""Among fewer samples one that lifts the level past its limit may be more than an outlier."""
OWN_FACTOR = 1.3
"""A little more than production has shown by itself in the baseline: that has not seen everything."""
FAILING_SHARE = 0.25
PLOTTED = 60


def judge(evidence: Sequence[Evidence], rank_test: RankTest, *, source: str = "", seconds: float = 0.0) -> Judgement:
    """Return what all metrics together say."""
    findings = tuple(judge_metric(one, rank_test) for one in evidence)
    outcome, reasons = _together(findings)
    recommendation = {"pass": "keep", "fail": "roll_back"}.get(outcome, "decide")
    return Judgement(
        outcome=outcome,
        recommendation=recommendation,  # type: ignore[arg-type]  # one of the three by construction
        reasons=reasons,
        findings=findings,
        source=source,
        seconds=seconds,
    )


def _together(findings: Sequence[Finding]) -> tuple[Outcome, tuple[str, ...]]:
    judged = [finding for finding in findings if finding.weight > 0]
    if not judged or all(finding.outcome == "no_data" for finding in judged):
        said = tuple(finding.reason for finding in findings)
        return "no_data", said or ("Nothing was measured.",)
    whole = sum(finding.weight for finding in judged)
    failing = [finding for finding in judged if finding.outcome == "fail"]
    unclear = [finding for finding in judged if finding.outcome in {"inconclusive", "no_data"}]
    heavy = sum(finding.weight for finding in failing) >= FAILING_SHARE * whole
    if heavy or any(finding.critical for finding in failing):
        return "fail", tuple(finding.reason for finding in failing)
    if any(finding.critical and finding.outcome == "no_data" for finding in judged):
        return "no_data", tuple(finding.reason for finding in unclear)
    if failing or unclear:
        return "inconclusive", tuple(finding.reason for finding in (*failing, *unclear))
    return "pass", tuple(finding.reason for finding in judged)


def judge_metric(evidence: Evidence, rank_test: RankTest) -> Finding:
    """Return what one metric says."""
    rule, after = evidence.rule, evidence.after.since(evidence.counts_from)
    found = _Case(evidence=evidence, after=after)
    if not len(after):
        return found.finding("no_data", evidence.trouble or because.nothing(rule.name, evidence.expected))
    if evidence.breach or breached(evidence):
        limit = critical_limit(rule, evidence.before)
        return found.finding("fail", because.breach(rule, level(rule, after), limit), breach=True)
    compared = found.compare(rank_test) if rule.compared and len(evidence.before) >= FEWEST_BEFORE else None
    few = _too_few(evidence, after)
    over = rule.passes_limit(sustained(rule, after))
    over_before = len(evidence.before) >= FEWEST_SAMPLES and rule.passes_limit(level(rule, evidence.before))
    if compared is not None and compared.worse and not few:
        return found.finding("fail", because.worse(rule, found, compared), compared)
    if over and over_before:
        return found.finding("inconclusive", because.bad_before(rule, found), compared)
    if over and not few:
        return found.finding("fail", because.over(rule, found), compared)
    if few:
        return found.finding("inconclusive", few, compared)
    if len(after) < FEW_FOR_AN_OUTLIER and rule.passes_limit(level(rule, after)):
        return found.finding("inconclusive", because.over(rule, found), compared)
    if rule.compared and compared is None:
        return found.finding("inconclusive", because.no_baseline(rule, len(evidence.before)))
    if compared is not None and compared.doubtful:
        return found.finding("inconclusive", because.doubtful(rule, found, compared), compared)
    return found.finding("pass", because.fine(rule, found), compared)


def _too_few(evidence: Evidence, after: Series) -> str:
    name = evidence.rule.name
    if len(after) < FEWEST_SAMPLES or len(after) < SHARE_NEEDED * evidence.expected:
        return because.few_samples(name, len(after), evidence.expected)
    requests = after.requests
    if requests is not None and requests < evidence.least_requests:
        return because.few_requests(name, requests, evidence.least_requests)
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """After against before; ``shift`` in the metric's unit, positive is up.

    ``doubtful``: it looks worse than tolerated, and it may be chance.
    """

    shift: float
    change: float
    p_value: float
    effect: float
    independent: int
    worse: bool
    doubtful: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One metric on trial."""

    evidence: Evidence
    after: Series

    @property
    def rule(self) -> MetricRule:
        return self.evidence.rule

    @property
    def level_before(self) -> float:
        return level(self.rule, self.evidence.before)

    @property
    def level_after(self) -> float:
        return level(self.rule, self.after)

    def compare(self, rank_test: RankTest) -> Comparison | None:
        before, after, sign = self.evidence.before, self.after, self.rule.direction.worse
        wanted = block_length(dependence(before))
        length = min(wanted, max(1, len(after) // FEWEST_BLOCKS))
        if self.rule.counted:
            length = max(length, self._length_for_counts())
        old, new = (blocks(one, length, counted=self.rule.counted) for one in (before, after))
        if len(new) < FEWEST_BLOCKS or len(old) < FEWEST_BLOCKS:
            return None
        p_value = rank_test([value * sign for value in new], [value * sign for value in old])
        if wanted > length:
            p_value = weakened(p_value, wanted / length)
        shift = self.level_after - self.level_before if self.rule.counted else _shift(new, old)
        effect = _effect(new, old, sign)
        bound = max(self.rule.tolerance * abs(self.level_before), self.rule.least_change)
        beyond = shift * sign > bound
        beyond_its_own = shift * sign > OWN_FACTOR * own_variation(self.rule, before, len(after))
        certain = p_value < SIGNIFICANT and effect >= LARGE_EFFECT and beyond_its_own
        return Comparison(
            shift=shift,
            change=shift / abs(self.level_before) if self.level_before else 0.0,
            p_value=p_value,
            effect=effect,
            independent=len(new),
            worse=beyond and certain,
            doubtful=beyond and not certain and not self._by_one_sample(bound),
        )

    def _by_one_sample(self, bound: float) -> bool:
        """Say whether all that looks worse is one sample."""
        shift = sustained(self.rule, self.after) - self.level_before
        return shift * self.rule.direction.worse <= bound

    def _length_for_counts(self) -> int:
        """Return how many samples hold enough requests for a share of them to say anything."""
        each = (self.after.requests or 0.0) / len(self.after)
        wanted = round(0.8 / max(self.rule.least_change, 0.004) / each) if each else 1
        return max(1, min(wanted, len(self.after) // FEWEST_BLOCKS))

    def finding(
        self, outcome: Outcome, reason: str, compared: Comparison | None = None, *, breach: bool = False
    ) -> Finding:
        before, after = self.evidence.before, self.after
        shown = thinned(self.evidence.after.values)
        skipped = len(self.evidence.after) - len(after)
        return Finding(
            metric=self.rule.name,
            unit=self.rule.unit,
            outcome=outcome,
            reason=reason,
            critical=self.rule.critical,
            weight=self.rule.weight,
            limit=self.rule.limit,
            before=_level_of(self.rule, before, self.evidence.expected_before or len(before)) if len(before) else None,
            after=_level_of(self.rule, after, self.evidence.expected) if len(after) else None,
            change=compared.change if compared else None,
            p_value=compared.p_value if compared else None,
            effect=compared.effect if compared else None,
            independent=compared.independent if compared else 0,
            breach=breach,
            before_values=thinned(before.values),
            after_values=shown,
            warm_up_values=round(skipped * len(shown) / len(self.evidence.after)) if len(self.evidence.after) else 0,
        )


def _level_of(rule: MetricRule, measured: Series, expected: int) -> Level:
    return Level(
        samples=len(measured),
        expected=max(expected, len(measured)),
        level=level(rule, measured),
        requests=measured.requests,
    )


def thinned(values: Sequence[float]) -> tuple[float, ...]:
    """Return at most some dozens of values that look the same in a plot: of each stretch the median."""
    length = -(-len(values) // PLOTTED) or 1
    return tuple(float(f"{median(values[at : at + length]):.6g}") for at in range(0, len(values), length))


def own_variation(rule: MetricRule, before: Series, count: int) -> float:
    """Return how much worse than on the whole the baseline itself was in its worst stretch of ``count`` measurements.

    A production that wavers as much by itself, with the hours or with its neighbours on the machine, proves nothing
    against a release, however certain the rank test is: that one asks whether the two stretches differ, not why.
    """
    if len(before) < 2 * count:
        return 0.0
    whole, stride = level(rule, before), max(1, count // 4)
    return max(
        (level(rule, before.part(begin, begin + count)) - whole) * rule.direction.worse
        for begin in range(0, len(before) - count + 1, stride)
    )


def weakened(p_value: float, too_many: float) -> float:
    """Return the chance when there are ``too_many`` times as many measurements as say something of their own.

    The window has no room for longer blocks; the statistic's spread is then underestimated by the root of that.
    """
    z = NormalDist().inv_cdf(min(max(p_value, 1e-15), 1 - 1e-15))
    return NormalDist().cdf(z / math.sqrt(too_many))


def _shift(new: Sequence[float], old: Sequence[float]) -> float:
    """Return by how much the one is higher than the other: the median over all pairs, after Hodges and Lehmann."""
    return median(one - other for one in new for other in old)


def _effect(new: Sequence[float], old: Sequence[float], sign: int) -> float:
    """Return the share of pairs in which the new one is worse, ties as halves: the effect size A of Vargha-Delaney."""
    wins = sum(1.0 if (one - other) * sign > 0 else 0.5 if one == other else 0.0 for one in new for other in old)
    return wins / (len(new) * len(old))
