"""A real Prometheus and the demo store in trouble: what the judge says, in windows of seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from feature_delivery.adapters.http_probe import HttpProbe
from feature_delivery.adapters.measuring.prometheus import Prometheus
from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.errors import Misconfigured, Unavailable
from feature_delivery.domain.judging.rules import ERRORS, LATENCY, SLOWEST
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.watching import Baseline, Query, Watching
from feature_delivery.domain.work import Observed
from feature_delivery.services.shop_metrics import customers_only, queries, recognised, wanted_selector
from feature_delivery.services.work.job import Job
from feature_delivery.services.work.observing import Watcher, conclude, measure, plan_watch, watch
from tests.support.watched_shop import LABELS, WatchedShop, watched_shop

STEP = 0.3
# Machines that run tests are busy at times: what counts as slower is far above that.
EASY = {
    ERRORS.name: ERRORS,
    LATENCY.name: replace(LATENCY, least_change=0.04),
    SLOWEST.name: replace(SLOWEST, weight=0),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedShop]:
    with watched_shop(tmp_path_factory.mktemp("watched")) as found:
        yield found


@pytest.fixture(scope="module")
def asked(shop: WatchedShop) -> tuple[Query, ...]:
    """What is asked of a shop whose metrics nobody has named: found by the conventions."""
    deadline = time.monotonic() + 30
    while not (known := shop.measuring.known(wanted_selector(LABELS), since=time.time() - 60, until=time.time())):
        assert time.monotonic() < deadline, "Prometheus has scraped nothing"
        time.sleep(0.2)  # it looks for its targets after five seconds
    time.sleep(4.6)
    matcher = customers_only(known, ("/metrics", "/healthz"))
    return tuple(replace(one, rule=EASY[one.rule.name]) for one in queries(recognised(known), matcher=matcher))


@pytest.fixture(scope="module")
def job(shop: WatchedShop, asked: tuple[Query, ...]) -> Job:
    watching = Watching(
        connection="prometheus",
        labels=LABELS,
        resolution=timedelta(seconds=STEP),
        warm_up=timedelta(seconds=STEP),
        look_every=timedelta(seconds=0.3),
        least_requests=50,
        queries=asked,
    )
    until = time.time() - 0.2
    before = {
        one.rule.name: measure(one, shop.measuring, watching, since=until - 4, until=until, step_seconds=STEP)
        for one in asked
    }
    assert {name: len(values) for name, values in before.items()} == dict.fromkeys(EASY, 13)
    tools = SimpleNamespace(
        project=SimpleNamespace(
            watching=watching, choices=SimpleNamespace(observe_for=timedelta(seconds=4)), name="shop"
        ),
        probe=HttpProbe(),
        measuring=shop.measuring,
        rank_test=mann_whitney,
    )
    baseline = Baseline(source="prometheus", metrics=before, queries=asked, expected=13)
    work = SimpleNamespace(baseline=baseline, preprod=None, project=ProjectName("shop"))
    return Job(cast("Any", work), cast("Any", tools), lambda _result: "", lambda _line: None)


def watched(job: Job, shop: WatchedShop, *, meanwhile: Any = None) -> Observed:
    """Watch one window."""
    plan = plan_watch(job, url=f"{shop.address}/healthz")
    thread = threading.Thread(target=meanwhile, daemon=True) if meanwhile else None
    if thread:
        thread.start()
    seen = watch(job, plan)
    if thread:
        thread.join()
    return conclude(job, plan, seen)


def test_the_shops_metrics_are_found_by_the_conventions(asked: tuple[Query, ...]) -> None:
    assert [one.rule.name for one in asked] == [ERRORS.name, LATENCY.name, SLOWEST.name]
    assert 'http_requests_total{$labels,status=~"5..",route!~"/metrics|/healthz"}' in asked[0].query


def test_a_shop_that_did_not_change_passes(shop: WatchedShop, job: Job) -> None:
    said = watched(job, shop)
    assert said.outcome == "pass", said.evidence


def test_a_store_that_began_anew_in_the_window_passes(shop: WatchedShop, job: Job) -> None:
    def restart() -> None:
        time.sleep(1.5)
        shop.stop("store")
        shop.start_store()

    said = watched(job, shop, meanwhile=restart)
    assert said.outcome in {"pass", "inconclusive"}, said.evidence
    assert said.judgement is not None
    errors = said.judgement.findings[0]
    assert errors.after is not None
    assert errors.after.level < 0.05
    assert (errors.after.requests or 0) < 1000, "a counter that began anew was taken for a jump"


@pytest.mark.parametrize("trouble", ["", "failing"])
def test_a_prometheus_that_began_anew_in_the_window_neither_hides_nor_makes_a_trouble(
    shop: WatchedShop, job: Job, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def restart() -> None:
        shop.stop("prometheus", 9)
        shop.trouble(trouble)
        shop.start_prometheus()

    # It looks for its targets five seconds after its start: the rest of the window has to tell.
    monkeypatch.setattr(job.tools.project.choices, "observe_for", timedelta(seconds=9))
    try:
        said = watched(job, shop, meanwhile=restart)
    finally:
        shop.trouble("")
    allowed = {"fail"} if trouble else {"pass", "inconclusive"}
    assert said.outcome in allowed, said.evidence


def test_a_slow_store_fails(shop: WatchedShop, job: Job) -> None:
    shop.trouble("slow")
    try:
        said = watched(job, shop)
    finally:
        shop.trouble("")
    assert said.outcome == "fail", said.evidence
    assert "Latency" in said.evidence[1]
    assert said.judgement is not None
    assert said.judgement.breach, "a hundred milliseconds more are beyond all bounds here: the watch ends"


def test_a_failing_store_ends_the_watch_at_once(shop: WatchedShop, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    breaches, look = list[str](), Watcher.look

    def noted(watcher: Watcher) -> bool:
        over = look(watcher)
        breaches.append(watcher.breach)
        return over

    monkeypatch.setattr(Watcher, "look", noted)
    monkeypatch.setattr(job.tools.project.choices, "observe_for", timedelta(seconds=30))  # it does not take so long
    time.sleep(1)
    shop.trouble("failing")
    try:
        said = watched(job, shop)
    finally:
        shop.trouble("")
    assert said.outcome == "fail", said.evidence
    assert said.judgement is not None
    assert said.judgement.breach
    assert [bool(one) for one in breaches] == [False] * (len(breaches) - 1) + [True], "the first one is the last look"


def test_a_flapping_store_fails(shop: WatchedShop, job: Job) -> None:
    time.sleep(1)
    shop.trouble("flapping")
    try:
        said = watched(job, shop)
    finally:
        shop.trouble("")
    assert said.outcome == "fail", said.evidence


def test_a_silent_store_is_no_data(shop: WatchedShop, job: Job) -> None:
    shop.asking.clear()
    time.sleep(1)
    try:
        said = watched(job, shop)
    finally:
        shop.asking.set()
    assert said.outcome == "no_data", said.evidence


def test_a_query_that_prometheus_does_not_understand_is_told_in_its_words(shop: WatchedShop) -> None:
    with pytest.raises(Misconfigured, match=r"does not understand the query: .*parse error"):
        shop.measuring.values("sum(", since=0, until=1, step_seconds=1)


def test_a_query_of_many_series_is_not_guessed_at(shop: WatchedShop) -> None:
    with pytest.raises(Misconfigured, match="Aggregate it"):
        shop.measuring.values("http_requests_total", since=time.time() - 2, until=time.time() - 0.5, step_seconds=0.5)


def test_a_prometheus_killed_in_the_window_proves_nothing_and_says_why(shop: WatchedShop, job: Job) -> None:
    def kill() -> None:
        time.sleep(0.5)
        shop.stop("prometheus", 9)

    said = watched(job, shop, meanwhile=kill)
    assert said.outcome == "no_data", said.evidence
    assert "Is it up?" in " ".join(said.evidence)
    with pytest.raises(Unavailable, match="did not answer"):
        Prometheus(Login(connection="prometheus", url="http://127.0.0.1:9")).known("up", since=0, until=1)
    shop.start_prometheus()
