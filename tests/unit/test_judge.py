"""The judge in recorded situations: what each of them is, and what must be said about it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.judging.breach import breached
from feature_delivery.domain.judging.evidence import Evidence
from feature_delivery.domain.judging.findings import Judgement
from feature_delivery.domain.judging.judge import judge
from feature_delivery.domain.judging.rules import ERRORS, LATENCY, Direction, MetricRule
from feature_delivery.domain.judging.series import Series, block_length, blocks, dependence, increases, series, shares

STEP, BEFORE, AFTER, SKIPPED = 30.0, 120, 20, 60.0
DEPLOYED = BEFORE * STEP
REQUESTS = 600.0


def times(first: int, count: int) -> list[float]:
    return [(first + place + 1) * STEP for place in range(count)]


def noisy(level: float, count: int, seed: int, *, memory: float = 0.5, noise: float = 0.06) -> list[float]:
    """Return measurements around a level whose neighbours resemble each other."""
    rng, state, found = random.Random(seed), 0.0, []
    for _ in range(count):
        state = memory * state + rng.gauss(0, noise) * (1 - memory**2) ** 0.5
        found.append(level * (1 + state))
    return found


class Situation:
    """A shop before and after a release; every test changes what is special about it."""

    def __init__(self) -> None:
        self.latency_before = noisy(0.1, BEFORE, 1)
        self.latency_after = noisy(0.1, AFTER, 2)
        self.errors_before = [0.002 * REQUESTS] * BEFORE
        self.errors_after = [0.002 * REQUESTS] * AFTER
        self.requests_before = [REQUESTS] * BEFORE
        self.requests_after = [REQUESTS] * AFTER
        self.missing: set[int] = set()  # steps after the release of which nothing is known
        self.trouble = ""
        self.more: list[Evidence] = []

    def evidence(self) -> list[Evidence]:
        def pairs(first: int, values: list[float], missing: set[int] | None = None) -> list[tuple[float, float]]:
            lost = missing or set()
            return [
                (at, value)
                for place, (at, value) in enumerate(zip(times(first, len(values)), values, strict=True))
                if place not in lost
            ]

        old = shares(pairs(0, self.errors_before), pairs(0, self.requests_before))
        new = shares(pairs(BEFORE, self.errors_after, self.missing), pairs(BEFORE, self.requests_after, self.missing))
        common: dict[str, Any] = {
            "counts_from": DEPLOYED + SKIPPED + STEP / 2,
            "expected": AFTER - 2,
            "expected_before": BEFORE,
            "least_requests": 100.0,
            "trouble": self.trouble,
        }
        return [
            Evidence(rule=ERRORS, before=old, after=new, **common),
            Evidence(
                rule=LATENCY,
                before=series(pairs(0, self.latency_before)),
                after=series(pairs(BEFORE, self.latency_after, self.missing)),
                **common,
            ),
            *self.more,
        ]

    def judge(self) -> Judgement:
        return judge(self.evidence(), mann_whitney)


@pytest.fixture
def shop() -> Situation:
    return Situation()


def test_an_equal_release_passes(shop: Situation) -> None:
    said = shop.judge()
    assert (said.outcome, said.recommendation) == ("pass", "keep")
    assert all("no worse than before" in reason for reason in said.reasons)


def test_a_release_that_is_a_quarter_slower_fails_and_says_by_how_much(shop: Situation) -> None:
    shop.latency_after = noisy(0.125, AFTER, 3)
    said = shop.judge()
    assert (said.outcome, said.recommendation) == ("fail", "roll_back")
    finding = said.findings[1]
    assert finding.change == pytest.approx(0.25, abs=0.06)
    assert "worse, and not by chance" in said.reasons[0]


def test_a_faster_release_passes(shop: Situation) -> None:
    shop.latency_after = noisy(0.06, AFTER, 3)
    assert shop.judge().outcome == "pass"


def test_two_points_more_errors_fail(shop: Situation) -> None:
    shop.errors_after = [0.022 * REQUESTS + (place % 3) for place in range(AFTER)]
    said = shop.judge()
    assert said.outcome == "fail"
    assert said.findings[0].outcome == "fail"
    assert said.findings[1].outcome == "pass"


def test_errors_that_vanish_pass(shop: Situation) -> None:
    shop.errors_after = [0.0] * AFTER
    assert shop.judge().outcome == "pass"


def test_no_traffic_is_no_data_and_never_a_pass(shop: Situation) -> None:
    shop.requests_after, shop.errors_after = [0.0] * AFTER, [0.0] * AFTER
    shop.missing = set()
    shop.latency_after = [float("nan")] * AFTER
    said = shop.judge()
    assert (said.outcome, said.recommendation) == ("no_data", "decide")


def test_a_trickle_of_traffic_proves_nothing(shop: Situation) -> None:
    shop.requests_after, shop.errors_after = [2.0] * AFTER, [0.0] * AFTER
    said = shop.judge()
    assert said.outcome == "inconclusive"
    assert "only 36 requests, 100 are needed" in said.reasons[0]


def test_one_outlier_is_no_regression(shop: Situation) -> None:
    shop.latency_after[9] = 4.0
    shop.errors_after[9] = 0.6 * REQUESTS
    assert shop.judge().outcome == "pass"


def test_the_spike_of_the_deploy_is_not_counted(shop: Situation) -> None:
    shop.latency_after[:2] = [2.0, 1.0]
    shop.errors_after[:2] = [0.5 * REQUESTS, 0.3 * REQUESTS]
    said = shop.judge()
    assert said.outcome == "pass"
    assert said.findings[0].warm_up_values == 2, "the plot shows it all the same"


def test_both_versions_equally_bad_is_no_reason_to_roll_back(shop: Situation) -> None:
    shop.errors_before = [0.09 * REQUESTS + place % 5 for place in range(BEFORE)]
    shop.errors_after = [0.09 * REQUESTS + place % 5 for place in range(AFTER)]
    said = shop.judge()
    assert (said.outcome, said.recommendation) == ("inconclusive", "decide")
    assert "going back would not help" in said.reasons[0]
    assert not said.breach


def test_a_bad_version_that_got_much_worse_fails_all_the_same(shop: Situation) -> None:
    shop.errors_before = [0.09 * REQUESTS + place % 5 for place in range(BEFORE)]
    shop.errors_after = [0.3 * REQUESTS + place % 5 for place in range(AFTER)]
    assert shop.judge().outcome == "fail"


def test_a_counter_that_began_anew_shows_no_drop_and_no_jump() -> None:
    counted = [(0.0, 100.0), (1.0, 160.0), (2.0, 30.0), (3.0, 95.0)]
    assert increases(counted) == [(1.0, 60.0), (2.0, 30.0), (3.0, 65.0)]


def test_a_counter_reset_by_the_deploy_passes(shop: Situation) -> None:
    counter, at, total = [], 0.0, 10_000.0
    for place in range(BEFORE + AFTER + 1):
        counter.append((at, total))
        at, total = at + STEP, (0.0 if place == BEFORE else total) + REQUESTS
    grown = [value for _, value in increases(counter)]
    shop.requests_before, shop.requests_after = grown[:BEFORE], grown[BEFORE:]
    assert min(grown) >= 0
    assert shop.judge().outcome == "pass"


def test_a_prometheus_restarted_in_the_window_leaves_a_gap_that_is_bearable(shop: Situation) -> None:
    shop.missing = {7, 8, 9}
    said = shop.judge()
    assert said.outcome == "pass"
    assert said.findings[1].after is not None
    assert (said.findings[1].after.samples, said.findings[1].after.expected) == (15, 18)


def test_a_prometheus_that_was_away_for_most_of_the_window_proves_nothing(shop: Situation) -> None:
    shop.missing = set(range(4, AFTER - 3))
    said = shop.judge()
    assert said.outcome == "inconclusive"
    assert "of 18 samples are there" in said.reasons[0]


def test_a_prometheus_that_is_lost_is_never_a_pass_and_says_why(shop: Situation) -> None:
    shop.missing, shop.trouble = set(range(AFTER)), "Prometheus did not answer. Is it up?"
    said = shop.judge()
    assert said.outcome == "no_data"
    assert "Is it up?" in said.reasons[0]


def test_flapping_fails_although_most_samples_are_good(shop: Situation) -> None:
    shop.errors_after = [0.4 * REQUESTS if place % 3 == 0 else 1.0 for place in range(AFTER)]
    said = shop.judge()
    assert said.outcome == "fail"
    assert said.breach


def test_three_samples_past_a_critical_limit_end_the_watch(shop: Situation) -> None:
    shop.errors_after[10:13] = [0.3 * REQUESTS] * 3
    errors = shop.evidence()[0]
    until = [
        replace(errors, after=Series(errors.after.times[:n], errors.after.values[:n], errors.after.weights[:n]))
        for n in (11, 12, 13)
    ]
    assert [breached(one) for one in until] == [False, False, True]


def test_a_latency_without_a_limit_is_critical_at_three_times_the_level_before(shop: Situation) -> None:
    shop.latency_after = [0.1] * 5 + [0.5] * 15
    said = shop.judge()
    assert said.outcome == "fail"
    assert said.findings[1].breach


def test_what_is_as_bad_in_the_warm_up_ends_nothing(shop: Situation) -> None:
    shop.errors_after[:2] = [REQUESTS, REQUESTS]
    assert not any(breached(one) for one in shop.evidence())


def test_without_a_baseline_nothing_is_compared_and_nothing_passes(shop: Situation) -> None:
    shop.errors_before, shop.requests_before, shop.latency_before = [], [], []
    said = shop.judge()
    assert said.outcome == "inconclusive"
    assert "nothing to compare with" in said.reasons[0]


def test_without_a_baseline_a_limit_fails_all_the_same(shop: Situation) -> None:
    shop.errors_before, shop.requests_before, shop.latency_before = [], [], []
    shop.errors_after = [0.2 * REQUESTS] * AFTER
    assert shop.judge().outcome == "fail"


def test_one_light_metric_that_got_worse_asks_people(shop: Situation) -> None:
    shop.more = [light(0.2, weight=0.5)]
    said = shop.judge()
    assert said.outcome == "inconclusive"
    assert "Basket" in said.reasons[0]


def test_a_heavy_metric_that_got_worse_fails(shop: Situation) -> None:
    shop.more = [light(0.2, weight=4.0)]
    assert shop.judge().outcome == "fail"


def test_a_metric_of_no_weight_is_only_shown(shop: Situation) -> None:
    shop.more = [light(0.2, weight=0.0)]
    said = shop.judge()
    assert said.outcome == "pass"
    assert said.findings[2].outcome == "fail"


def test_a_business_metric_that_fell_is_worse_where_higher_is_better(shop: Situation) -> None:
    shop.more = [light(-0.3, weight=4.0, direction=Direction.HIGHER)]
    assert shop.judge().outcome == "fail"
    shop.more = [light(0.3, weight=4.0, direction=Direction.HIGHER)]
    assert shop.judge().outcome == "pass"


def light(change: float, *, weight: float, direction: Direction = Direction.LOWER) -> Evidence:
    rule = MetricRule(name="basket", weight=weight, direction=direction)
    return Evidence(
        rule=rule,
        before=series(list(zip(times(0, BEFORE), noisy(50.0, BEFORE, 8), strict=True))),
        after=series(list(zip(times(BEFORE, AFTER), noisy(50.0 * (1 + change), AFTER, 9), strict=True))),
        counts_from=DEPLOYED + SKIPPED,
        expected=AFTER - 2,
    )


def test_a_small_change_is_tolerated_however_certain_it_is(shop: Situation) -> None:
    shop.latency_before = noisy(0.1, BEFORE, 1, noise=0.005)
    shop.latency_after = noisy(0.105, AFTER, 2, noise=0.005)
    assert shop.judge().outcome == "pass"


def test_a_wave_of_neighbours_that_resemble_each_other_is_not_taken_for_many_proofs() -> None:
    waves = 0
    for seed in range(60):
        shop = Situation()
        shop.latency_before = noisy(0.1, BEFORE, seed, memory=0.85, noise=0.1)
        shop.latency_after = noisy(0.1, AFTER, seed + 1000, memory=0.85, noise=0.1)
        waves += shop.judge().outcome == "fail"
    assert waves <= 3


def test_daily_traffic_that_rises_is_no_regression(shop: Situation) -> None:
    climbing = [0.1 * (1 + 0.03 * place / (BEFORE + AFTER)) for place in range(BEFORE + AFTER)]
    drift = [value * factor for value, factor in zip(noisy(1.0, BEFORE + AFTER, 4), climbing, strict=True)]
    shop.latency_before, shop.latency_after = drift[:BEFORE], drift[BEFORE:]
    shop.requests_after = [REQUESTS * 1.4] * AFTER
    shop.errors_after = [0.002 * REQUESTS * 1.4] * AFTER
    assert shop.judge().outcome == "pass"


def test_a_judgement_of_nothing_is_no_data() -> None:
    assert judge([], mann_whitney).outcome == "no_data"


class TestSeries:
    def test_what_is_not_a_number_is_no_sample(self) -> None:
        assert series([(1.0, float("nan")), (2.0, float("inf")), (3.0, 4.0)]).values == (4.0,)

    def test_a_part_that_nobody_has_counted_yet_has_not_happened(self) -> None:
        assert shares([], [(1.0, 10.0), (2.0, 20.0)]).values == (0.0, 0.0)

    def test_a_whole_of_nothing_has_no_share(self) -> None:
        assert len(shares([(1.0, 0.0)], [(1.0, 0.0)])) == 0

    def test_what_touches_a_stretch_is_left_out_with_its_weight(self) -> None:
        counted = Series((30.0, 60.0, 90.0, 120.0), (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0))
        assert counted.outside([(40.0, 61.0)], covers=30) == Series((30.0, 120.0), (1.0, 4.0), (10.0, 40.0))
        assert counted.outside([], covers=30) == counted

    def test_neighbours_that_resemble_each_other_are_put_together(self) -> None:
        calm = series(list(enumerate(noisy(1.0, 200, 5, memory=0.0))))
        sticky = series(list(enumerate(noisy(1.0, 200, 5, memory=0.8))))
        assert dependence(calm) < 0.2
        assert 0.6 < dependence(sticky) <= 0.9
        assert block_length(0.0) == 1
        assert block_length(dependence(sticky)) >= 4

    def test_one_outlier_spoils_no_block(self) -> None:
        assert blocks(series([(n, 99.0 if n == 1 else 1.0) for n in range(6)]), 3) == (1.0, 1.0)

    def test_shares_of_many_requests_weigh_more(self) -> None:
        found = shares([(1.0, 1.0), (2.0, 0.0)], [(1.0, 1.0), (2.0, 99.0)])
        assert found.mean == pytest.approx(0.01)


def test_all_the_same_is_no_difference() -> None:
    assert mann_whitney([1.0, 1.0, 1.0], [1.0] * 20) == 1.0
