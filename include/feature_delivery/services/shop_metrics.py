"""What shops call their metrics, and the PromQL that judges them.

Names of the OpenTelemetry semantic conventions (``http.server.request.duration``) and those that the client libraries
of Prometheus use in their examples; a shop with other names says so in ``delivery.yaml``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from feature_delivery.domain.judging.rules import ANSWER, AVAILABILITY, ERRORS, LATENCY, SLOWEST
from feature_delivery.domain.watching import Query, ShopMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STATUS_LABELS = ("http_response_status_code", "status", "code", "status_code", "http_status_code", "http_status")
ROUTE_LABELS = ("http_route", "route", "handler", "path", "endpoint", "uri", "url")
"""Where the page of a request stands, the first that there is."""
DURATIONS = (
    "http_server_request_duration_seconds",
    "http_request_duration_seconds",
    "http_server_requests_seconds",
    "http_server_duration_seconds",
)
REQUESTS = ("http_requests_total", "http_server_requests_total", "http_server_requests_seconds_count")
PROBE_SUCCESS, PROBE_DURATION = "probe_success", "probe_duration_seconds"

WANTED = (*(f"{name}_count" for name in DURATIONS), *REQUESTS, PROBE_SUCCESS, PROBE_DURATION)
"""What is looked for when nobody says what the metrics are called."""

RANGE_STEPS = 1.5
"""A sample is the rate of its step and of half a step before. Two scrapes fall into a step of twice their interval; a
rate knows what happened between them, and what happened until the next step's first would be in no sample: half of all.
Half a step more reaches the scrape before (the rule of Grafana's ``$__rate_interval``)."""

_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*\Z", re.DOTALL)


def matchers(labels: Mapping[str, str]) -> str:
    """Return labels as they stand between the braces of a selector."""
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in sorted(labels.items()))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def selector(metric: str, *more: str) -> str:
    """Return ``metric``, which may have matchers of its own, with ``$labels`` and ``more`` matchers."""
    found = _SELECTOR.match(metric.strip())
    name, own = (found[1], (found[2] or "").strip(" ,")) if found else (metric, "")
    return f"{name}{{{','.join(filter(None, ('$labels', own, *more)))}}}"


def wanted_selector(labels: Mapping[str, str]) -> str:
    """Return the selector of everything that is looked for."""
    return f'{{__name__=~"{"|".join(WANTED)}",{matchers(labels)}}}'.replace(",}", "}")


def recognised(known: Iterable[Mapping[str, str]]) -> ShopMetrics:
    """Return what the shop's metrics are called, by what there is; empty names: there is nothing."""
    labels: dict[str, set[str]] = {}
    for one in known:
        labels.setdefault(one.get("__name__", ""), set()).update(one)
    duration = next((name for name in DURATIONS if f"{name}_count" in labels), "")
    counts = [f"{duration}_count", *REQUESTS] if duration else [*REQUESTS]
    by_status = [(name, label) for name in counts for label in STATUS_LABELS if label in labels.get(name, ())]
    if not by_status:
        requests = next((name for name in counts if name in labels), "")
        return ShopMetrics(requests=requests, duration=duration)
    requests, label = by_status[0]
    return ShopMetrics(requests=requests, errors=f'{requests}{{{label}=~"5.."}}', duration=duration)


def customers_only(known: Iterable[Mapping[str, str]], paths: Iterable[str]) -> str:
    """Return the matcher that leaves out requests for ``paths``; empty where the metrics do not tell the page.

    Whoever scrapes and probes a shop asks it, too: a shop without a single customer would seem to be in good health.
    """
    labels = {name for one in known for name in one}
    label = next((name for name in ROUTE_LABELS if name in labels), "")
    wanted = "|".join(re.escape(path).replace("\\", "\\\\") for path in paths if path)
    return f'{label}!~"{wanted}"' if label and wanted else ""


def queries(names: ShopMetrics, *, matcher: str = "") -> tuple[Query, ...]:
    """Return what is asked of a shop with these names: errors, latency and the slowest twentieth, as far as known.

    ``matcher``: stands in every selector, see ``customers_only``.
    """
    found = []

    def counted(metric: str) -> str:
        return f"sum(rate({selector(metric, matcher)}[$range])) * $seconds"

    requests = names.requests or (f"{names.duration}_count" if names.duration else "")
    if requests and names.errors:
        found.append(Query(rule=ERRORS, query=counted(names.errors), of=counted(requests)))
    if names.duration:
        # Of the histogram itself: the shop's other counter may count other requests.
        behind = counted(f"{names.duration}_count")
        total, count = selector(f"{names.duration}_sum", matcher), selector(f"{names.duration}_count", matcher)
        found.append(
            Query(
                rule=LATENCY,
                query=f"sum(rate({total}[$range])) / (sum(rate({count}[$range])) > 0)",
                requests=behind,
            ),
        )
        bucket = selector(f"{names.duration}_bucket", matcher)
        found.append(
            Query(
                rule=SLOWEST,
                query=f"histogram_quantile(0.95, sum by (le) (rate({bucket}[$range])))",
                requests=behind,
            ),
        )
    return tuple(found)


def probe_queries(known: Iterable[Mapping[str, str]]) -> tuple[Query, ...]:
    """Return what is asked of a blackbox exporter that probes the shop; nothing when none does."""
    names = {one.get("__name__", "") for one in known}
    if PROBE_SUCCESS not in names:
        return ()
    success = Query(rule=AVAILABILITY, query=f"avg(avg_over_time({selector(PROBE_SUCCESS)}[$step]))")
    duration = Query(rule=ANSWER, query=f"avg(avg_over_time({selector(PROBE_DURATION)}[$step]))")
    return (success, duration) if PROBE_DURATION in names else (success,)


def filled(query: str, *, labels: Mapping[str, str], step_seconds: float) -> str:
    """Return a query with its labels, its ``$step``, its ``$range`` and its ``$seconds`` (a step's) filled in."""
    text = query.replace("$step", _duration(step_seconds)).replace("$range", _duration(step_seconds * RANGE_STEPS))
    text = text.replace("$seconds", f"{step_seconds:g}").replace("$labels", matchers(labels))
    return text.replace("{,", "{")


def _duration(seconds: float) -> str:
    milliseconds = max(1, round(seconds * 1000))
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"
