"""What ends a watch: no three samples with a failed request each, but what requests leave no doubt about."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.judging.breach import breached, divergence
from feature_delivery.domain.judging.evidence import Evidence, Usual
from feature_delivery.domain.judging.judge import judge_metric
from feature_delivery.domain.judging.rules import AVAILABILITY, ERRORS, LATENCY, MetricRule
from feature_delivery.domain.judging.series import Series

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STEP = 30.0


def samples(*values: float, requests: float | None = None) -> Series:
    """Return one sample each step; ``requests`` behind each."""
    times = tuple(STEP * (place + 1) for place in range(len(values)))
    return Series(times, values, (requests,) * len(values) if requests is not None else ())


def evidence(
    rule: MetricRule, after: Series, *, before: Series | None = None, covers: float = 1.0, usual: Usual | None = None
) -> Evidence:
    return Evidence(
        rule=rule,
        before=before or Series(),
        after=after,
        counts_from=0.0,
        expected=len(after),
        least_requests=100.0,
        covers=covers,
        usual=usual,
    )


def test_three_samples_with_a_failed_request_each_end_no_small_shops_watch() -> None:
    eight_a_minute = samples(*[0.0] * 4, 0.25, 0.25, 0.25, requests=4)
    assert not breached(evidence(ERRORS, eight_a_minute))
    eight_a_second = samples(*[0.0] * 4, 0.25, 0.25, 0.25, requests=240)
    assert breached(evidence(ERRORS, eight_a_second))


def test_requests_that_neighbours_share_are_no_two_proofs() -> None:
    after = samples(1.0, 1.0, 1.0, requests=1.2)
    assert breached(evidence(ERRORS, after))
    assert not breached(evidence(ERRORS, after, covers=1.5))


def test_every_request_failing_ends_the_watch_of_a_shop_with_two_a_minute() -> None:
    assert [breached(evidence(ERRORS, samples(*[1.0] * n, requests=1), covers=1.5)) for n in range(1, 7)] == [
        *[False] * 4, True, True,
    ]  # fmt: skip


def test_one_request_failing_in_three_ends_it_although_no_three_samples_in_a_row_are_bad() -> None:
    assert breached(evidence(ERRORS, samples(*[0.0, 0.0, 1.0] * 6, requests=3)))
    assert not breached(evidence(ERRORS, samples(*[0.0, 0.0, 1.0] * 2, requests=1)))


def test_the_probe_that_nobody_answers_three_times_ends_it() -> None:
    assert breached(evidence(AVAILABILITY, samples(1.0, 0.0, 0.0, 0.0)))
    assert not breached(evidence(AVAILABILITY, samples(1.0, 0.0, 1.0, 0.0, 0.0)))


def test_slow_requests_that_came_before_as_well_end_no_watch() -> None:
    now_and_then = samples(*[0.1, 0.1, 1.0, 0.1, 0.1, 0.1] * 20, requests=1.0)
    assert not breached(evidence(LATENCY, samples(0.1, 1.0, 1.0, 1.0, requests=1.0), before=now_and_then))
    assert breached(evidence(LATENCY, samples(0.1, *[1.0] * 8, requests=1.0), before=now_and_then))
    assert breached(evidence(LATENCY, samples(0.1, 1.0, 1.0, 1.0), before=samples(*[0.1] * 120)))


def test_a_sample_of_fewer_requests_than_usual_proves_less() -> None:
    before = samples(*[0.1] * 120, requests=40)
    assert breached(evidence(LATENCY, samples(0.5, 0.5, 0.5, requests=40), before=before))
    assert not breached(evidence(LATENCY, samples(0.5, 0.5, 0.5, requests=1), before=before))


def test_a_large_shop_that_is_so_slow_that_most_of_its_customers_go_is_noticed_as_soon() -> None:
    before = samples(*[0.1] * 120, requests=1000)
    assert breached(evidence(LATENCY, samples(0.5, 0.5, 0.5, requests=120), before=before))


def test_a_watch_that_an_earlier_version_planned_knows_nothing_of_the_time_before_and_ends_a_little_later() -> None:
    limit = MetricRule(name="latency", limit=0.3, critical=True)
    for known, wanted in ((Usual(past=0.01), 3), (None, 4)):
        found = (breached(evidence(limit, samples(*[0.5] * n), usual=known, covers=1.5)) for n in range(10))
        assert next(n for n, one in enumerate(found) if one) == wanted


def test_a_latency_of_few_requests_proves_nothing() -> None:
    before = samples(*[0.1, 0.11, 0.09, 0.12] * 30, requests=2)
    slower = samples(*[0.15, 0.16, 0.14] * 6, requests=2)
    found = judge_metric(evidence(LATENCY, slower, before=before), lambda _new, _old: 0.001)
    assert found.outcome == "inconclusive"
    assert "only 36 requests, 100 are needed" in found.reason


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), st.floats(0.001, 0.999))
def test_what_is_taken_for_certain_is_never_likelier_by_chance(counted: tuple[int, int], usual: float) -> None:
    whole, bad = counted
    chance = sum(math.comb(whole, k) * usual**k * (1 - usual) ** (whole - k) for k in range(bad, whole + 1))
    assert chance <= math.exp(-whole * divergence(bad / whole, usual)) * (1 + 1e-9)


@pytest.fixture(scope="module")
def shops() -> Iterator[ModuleType]:
    """Give the benchmark of small shops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        import small_shops  # noqa: PLC0415 - as benchmarks are imported

        yield small_shops


GOOD = [("3 %", 15), ("3 %", 40), ("15 % ten times slower", 2), ("15 % ten times slower", 4)]


@pytest.mark.parametrize(("kind", "per_minute"), GOOD, ids=str)
def test_the_watch_of_a_good_release_goes_on_in_a_small_shop(shops: ModuleType, kind: str, per_minute: int) -> None:
    found = shops.breaches(shops.GOOD[kind], per_minute, times=30)
    assert [one for one in found if one is not None] == []


NOTICED = [("30 % errors", 15, 5), ("100 % errors", 2, 6), ("100 % errors", 40, 3), ("five times slower", 8, 4)]


@pytest.mark.parametrize(("kind", "per_minute", "minutes"), NOTICED, ids=str)
def test_a_bad_release_is_noticed_as_soon_as_enough_requests_tell(
    shops: ModuleType, kind: str, per_minute: int, minutes: float
) -> None:
    found = sorted(one if one is not None else math.inf for one in shops.breaches(shops.BAD[kind], per_minute, times=9))
    assert found[4] <= minutes * 60, found
