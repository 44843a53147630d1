"""What shops call their metrics, and the PromQL made of it."""

from __future__ import annotations

import pytest

from feature_delivery.domain.judging.rules import ANSWER, AVAILABILITY, ERRORS, LATENCY, SLOWEST
from feature_delivery.domain.watching import ShopMetrics
from feature_delivery.services.shop_metrics import (
    customers_only,
    filled,
    matchers,
    probe_queries,
    queries,
    recognised,
    selector,
    wanted_selector,
)

OTEL = {"__name__": "http_server_request_duration_seconds_count", "http_response_status_code": "200", "http_route": "/"}


def test_the_names_of_opentelemetry_are_recognised() -> None:
    found = recognised([OTEL])
    assert found == ShopMetrics(
        requests="http_server_request_duration_seconds_count",
        errors='http_server_request_duration_seconds_count{http_response_status_code=~"5.."}',
        duration="http_server_request_duration_seconds",
    )


@pytest.mark.parametrize("label", ["status", "code", "status_code"])
def test_the_names_of_prometheus_clients_are_recognised_with_whatever_the_status_is_called(label: str) -> None:
    known = [
        {"__name__": "http_requests_total", label: "200"},
        {"__name__": "http_request_duration_seconds_count", "route": "/"},
    ]
    found = recognised(known)
    assert found.requests == "http_requests_total"
    assert found.errors == f'http_requests_total{{{label}=~"5.."}}'
    assert found.duration == "http_request_duration_seconds"


def test_a_shop_whose_requests_have_no_status_is_judged_by_latency_alone() -> None:
    found = recognised([{"__name__": "http_request_duration_seconds_count"}])
    asked = queries(found)
    assert [one.rule for one in asked] == [LATENCY, SLOWEST]
    counted = "sum(rate(http_request_duration_seconds_count{$labels}[$range])) * $seconds"
    assert {one.requests for one in asked} == {counted}, "a mean of three requests is no mean of three thousand"


def test_of_nothing_nothing_is_asked() -> None:
    assert queries(recognised([])) == ()
    assert probe_queries([]) == ()


def test_a_shop_without_metrics_is_judged_by_what_a_prober_sees() -> None:
    known = [{"__name__": "probe_success"}, {"__name__": "probe_duration_seconds"}]
    assert [one.rule for one in probe_queries(known)] == [AVAILABILITY, ANSWER]


def test_the_names_of_delivery_yaml_may_have_matchers_of_their_own() -> None:
    names = ShopMetrics(requests="hits_total", errors='hits_total{ok="no"}', duration="")
    (errors,) = queries(names)
    assert errors.rule is ERRORS
    text = filled(errors.query, labels={"project": "shop"}, step_seconds=30)
    assert text == 'sum(rate(hits_total{project="shop",ok="no"}[45s])) * 30'


def test_who_scrapes_and_probes_is_no_customer() -> None:
    assert customers_only([OTEL], ("/metrics", "/healthz")) == 'http_route!~"/metrics|/healthz"'
    assert customers_only([{"__name__": "x"}], ("/metrics",)) == ""
    assert customers_only([OTEL], ("/a.b",)) == 'http_route!~"/a\\\\.b"'


def test_labels_cannot_leave_their_quotes() -> None:
    assert matchers({"project": 'a"} or vector(1) #\\'}) == 'project="a\\"} or vector(1) #\\\\"'


def test_no_labels_leave_a_selector_whole() -> None:
    assert filled(selector("up"), labels={}, step_seconds=0.5) == "up{}"
    assert filled(selector('up{a="b"}'), labels={}, step_seconds=0.25) == 'up{a="b"}'
    assert wanted_selector({}).endswith('"}')
