"""Baseline, watch and load as steps: a real repository, a monitoring in memory, virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.judging.findings import Finding, Judgement
from feature_delivery.domain.judging.rules import ERRORS, LATENCY, SLOWEST
from feature_delivery.domain.process import Step
from feature_delivery.domain.watching import Baseline, Seen, Watching
from feature_delivery.domain.work import BaselineTaken, Observed, PromotionWork
from feature_delivery.services.work import observing, production
from feature_delivery.services.work.job import Job
from tests.fakes.measuring import FakeMeasuring
from tests.support.bench import BRANCH, DELIVERY, Bench, FakeProbe, environment
from tests.support.git_world import PRODUCTION

DEPLOYED = 10_000.0
NAMED = DELIVERY + "metrics: {path: /metrics, requests: hits_total, errors: misses_total, duration: took_seconds}\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.make(tmp_path, delivery=NAMED)


def monitored(bench: Bench, *, latency: float = 0.1, errors: float = 0.0) -> FakeMeasuring:
    """Have the shop measured: ``latency`` and ``errors`` as they are after the release."""
    bench.measuring = FakeMeasuring(
        answers={
            "misses_total": lambda at: 600 * errors if at > DEPLOYED else 0.0,
            "hits_total": lambda _at: 600.0,
            "took_seconds_sum": lambda at: (latency if at > DEPLOYED else 0.1) * (1 + 0.02 * math.sin(at)),
            "took_seconds_bucket": lambda at: (latency if at > DEPLOYED else 0.1) * (2 + 0.02 * math.cos(at)),
            "took_seconds_count": lambda _at: 500.0,
        }
    )
    watching = Watching(connection="prometheus", labels={"project": "shop"})
    choices = replace(bench.project.choices, observe_for=timedelta(minutes=10))
    bench.project = replace(bench.project, watching=watching, choices=choices)
    bench.probe = FakeProbe(200)
    bench.probe.time = DEPLOYED - 60
    return bench.measuring


def promoted(bench: Bench, **work: Any) -> tuple[PromotionWork, Baseline]:
    before = bench.world.head(PRODUCTION)
    bench.world.commit(BRANCH, {"cards.py": "cards = 1\n"}, on=before)
    candidate = bench.candidate()
    promotion = PromotionWork(before=before, candidate=candidate.commit, restored=None)
    bench.run(Step.PROMOTE, candidate=candidate, promotion=promotion, production_address="http://shop.test", **work)
    (taken,) = [one for one in bench.reported if isinstance(one, BaselineTaken)]
    bench.probe.time = max(bench.probe.time, DEPLOYED)
    return promotion, taken.baseline


def observed(bench: Bench, promotion: PromotionWork, baseline: Baseline, preprod: Judgement | None = None) -> Any:
    place = environment("production")
    return bench.run(
        Step.OBSERVE_PRODUCTION, environment=place, promotion=promotion, baseline=baseline, preprod=preprod
    )


def test_the_baseline_is_taken_before_the_branch_moves_by_the_names_that_production_gives(bench: Bench) -> None:
    monitored(bench)
    _, baseline = promoted(bench)
    assert baseline.source == "prometheus"
    assert [one.rule for one in baseline.queries] == [ERRORS, LATENCY, SLOWEST]
    assert {name: len(values) for name, values in baseline.metrics.items()} == {
        ERRORS.name: 120, LATENCY.name: 120, SLOWEST.name: 120,
    }  # fmt: skip
    assert {name: values.requests for name, values in baseline.metrics.items()} == {
        ERRORS.name: 120 * 600, LATENCY.name: 120 * 500, SLOWEST.name: 120 * 500,
    }, "each counts the requests of its own metric"  # fmt: skip


def test_a_latency_whose_requests_nobody_counts_is_judged_all_the_same(bench: Bench) -> None:
    measuring = monitored(bench, latency=0.13)
    del measuring.answers["took_seconds_count"]
    promotion, baseline = promoted(bench)
    assert baseline.metrics[LATENCY.name].requests is None
    assert observed(bench, promotion, baseline).outcome == "fail"


def test_an_equal_release_passes_and_a_slow_one_fails(bench: Bench) -> None:
    monitored(bench)
    said = observed(bench, *promoted(bench))
    assert (said.outcome, said.judgement.recommendation) == ("pass", "keep")
    assert said.evidence[0] == "Watched for 600 seconds by Prometheus."


def test_a_slow_release_fails_at_the_end_of_the_window(bench: Bench) -> None:
    monitored(bench, latency=0.13)
    said = observed(bench, *promoted(bench))
    assert said.outcome == "fail"
    assert not said.judgement.breach


@pytest.mark.parametrize(("known", "outcome"), [(True, "fail"), (False, "inconclusive")])
def test_a_version_that_was_rolled_back_is_no_part_of_what_the_next_release_is_compared_with(
    bench: Bench, *, known: bool, outcome: str
) -> None:
    bad = (DEPLOYED - 2400, DEPLOYED - 900)
    measuring = monitored(bench, latency=0.13)

    def worse(usual: Callable[[float], float]) -> Callable[[float], float]:
        return lambda at: usual(at) * (1.4 if bad[0] < at <= bad[1] else 1.0)

    for name in ("took_seconds_sum", "took_seconds_bucket"):
        measuring.answers[name] = worse(measuring.answers[name])
    promotion, baseline = promoted(bench, bad_times=(bad,) if known else ())
    latency = baseline.metrics[LATENCY.name]
    assert len(latency) in {119, 120}, "an hour all the same: from before the bad version"
    assert (max(latency.values) < 0.11) is known
    assert observed(bench, promotion, baseline).outcome == outcome


def test_a_failing_release_ends_the_watch_long_before_its_end(bench: Bench) -> None:
    monitored(bench, errors=0.4)
    said = observed(bench, *promoted(bench))
    assert said.outcome == "fail"
    assert said.judgement.breach
    assert said.judgement.seconds < 300


def test_a_prometheus_that_is_away_stops_no_promotion_and_passes_no_release(bench: Bench) -> None:
    measuring = monitored(bench)
    measuring.broken = Unavailable("Prometheus did not answer. Is it up?")
    promotion, baseline = promoted(bench)
    assert bench.world.head(PRODUCTION) == promotion.candidate
    assert baseline.trouble == "Prometheus did not answer. Is it up?"
    assert observed(bench, promotion, baseline).outcome == "no_data"


@pytest.mark.parametrize(
    ("latency", "outcome", "word"), [(0.2, "fail", "the release and not the hour"), (0.1, "pass", "Mind")]
)
def test_what_the_load_in_preproduction_had_shown_stands_beside_and_decides_nothing(
    bench: Bench, latency: float, outcome: str, word: str
) -> None:
    monitored(bench, latency=latency)
    promotion, baseline = promoted(bench)
    slow = Finding(
        metric="answer under load",
        unit="seconds",
        outcome="fail",
        reason="Slower.",
        critical=False,
        weight=2,
        change=1.0,
    )
    preprod = Judgement(outcome="fail", recommendation="decide", reasons=("Slower.",), findings=(slow,))
    said = observed(bench, promotion, baseline, preprod)
    assert said.outcome == said.judgement.outcome == outcome
    assert word in said.evidence[-1]
    assert said.evidence[-1].endswith("Slower.")


def test_a_prometheus_that_was_away_before_leaves_nothing_to_compare_with(bench: Bench) -> None:
    measuring = monitored(bench)
    measuring.broken = Unavailable("away")
    promotion, baseline = promoted(bench)
    measuring.broken = None
    assert observed(bench, promotion, baseline).outcome == "inconclusive"


def test_a_breach_that_a_trigger_saw_counts_whatever_is_measured_later(bench: Bench) -> None:
    monitored(bench)
    promotion, baseline = promoted(bench)
    work = bench.work(
        Step.OBSERVE_PRODUCTION, environment=environment("production"), promotion=promotion, baseline=baseline
    )
    job = Job(work=work, tools=bench, report=lambda _result: "", say=bench.log.append)
    plan = production.watch_plan(job)
    assert plan is not None
    assert plan.counts_from == plan.began + 60
    said = observing.conclude(job, plan, Seen(ended=plan.began + 200, breach=ERRORS.name))
    assert said.outcome == "fail"
    assert said.judgement is not None
    assert said.judgement.breach


def test_a_shop_without_metrics_is_compared_by_the_probe(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path)
    promotion, baseline = promoted(bench)
    assert baseline.source == "probe"
    said = observed(bench, promotion, baseline)
    assert said.outcome == "pass"
    assert [one.metric for one in said.judgement.findings] == ["availability", "answer to the probe"]


class TestLoad:
    def put(self, bench: Bench, *, baseline: Baseline | None = None) -> Observed:
        bench.world.commit(BRANCH, {"cards.py": "cards = 1\n"}, on=bench.world.head(PRODUCTION))
        candidate = bench.candidate()
        place = environment("preprod")
        bench.run(Step.PROVISION_PREPROD, environment=place)
        bench.run(Step.DEPLOY_PREPROD, environment=place, candidate=candidate)
        found: Observed = bench.run(Step.TEST_LOAD, candidate=candidate, environment=place, baseline=baseline)
        return found

    def test_the_first_one_has_nothing_to_compare_with(self, bench: Bench) -> None:
        said = self.put(bench)
        assert said.outcome == "pass"
        assert "No release in production has been under this load yet." in said.evidence
        assert bench.load.asked == [("http://shop.test", ("/healthz",))]
        assert said.measured is not None

    def test_a_slower_candidate_fails_and_stops_nothing(self, bench: Bench) -> None:
        first = self.put(bench)
        assert self.put(bench, baseline=first.measured).outcome == "pass"
        bench.load.seconds = 0.05
        assert self.put(bench, baseline=first.measured).outcome == "fail"

    def test_errors_under_load_fail_without_any_comparison(self, bench: Bench) -> None:
        bench.load.status = 500
        assert self.put(bench).outcome == "fail"

    def test_listed_pages_are_asked_for_too(self, tmp_path: Path) -> None:
        bench = Bench.make(tmp_path, delivery=DELIVERY + "load: {pages: [/, /products, /healthz]}\n")
        self.put(bench)
        assert bench.load.asked[0][1] == ("/healthz", "/", "/products")

    def test_the_shops_own_suite_is_production_s_and_each_test_is_a_sample(self, tmp_path: Path) -> None:
        bench = Bench.make(tmp_path, delivery=DELIVERY + "  load: {command: check load}\n")
        said = self.put(bench)
        assert bench.load.asked == []
        assert said.measured is not None
        assert said.measured.source == "the shop's load suite"

    def test_a_project_may_want_none(self, bench: Bench) -> None:
        bench.project = replace(bench.project, choices=replace(bench.project.choices, load_for=timedelta()))
        said = self.put(bench)
        assert (said.outcome, said.judgement) == ("no_data", None)
