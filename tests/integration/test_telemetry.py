"""Why StatsD is the default and not OpenTelemetry: what two tasks of one name become on each of both ways.

Airflow's own code says it, in processes of their own as tasks are; Prometheus' side is a socket and a small receiver of
OTLP, since Debian's Prometheus is older than its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint

from tests.support.prometheus import serving
from tests.support.statsd import mapped

TWO_TASKS_EACH_WAY = """
import os

from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk._shared.observability.metrics.otel_logger import flush_otel_metrics
from airflow.sdk.observability.metrics import stats_utils

tags = {"dag_id": "feature_delivery_shop", "task_id": "review.build_candidate"}
for way in ("STATSD", "OTEL"):
    os.environ[f"AIRFLOW__METRICS__{way}_ON"] = "True"
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
    for _ in range(2):
        child = os.fork()
        if not child:
            stats.incr("ti_failures", tags=tags)
            stats.timing("task.duration", 1500.0, tags=tags)
            stats.gauge("executor.open_slots", 7, tags={"executor_class_name": "CeleryExecutor"})
            if way == "OTEL":
                flush_otel_metrics()
            os._exit(0)
        os.waitpid(child, 0)
    os.environ[f"AIRFLOW__METRICS__{way}_ON"] = "False"
"""
TAGS = {"dag_id": "feature_delivery_shop", "task_id": "review.build_candidate"}


@dataclass
class Said:
    """What came by each way, of the figures that the tasks spoke of."""

    lines: list[str] = field(default_factory=list)
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)

    def points(self) -> Iterator[tuple[Metric, frozenset[tuple[str, str]], NumberDataPoint | None]]:
        """Give each metric that came by OTLP, with who said it and each of its sums."""
        for resource in (one for request in self.requests for one in request.resource_metrics):
            who = {(one.key, one.value.string_value) for one in resource.resource.attributes}
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                for point in metric.sum.data_points or [None]:
                    tags = {(one.key, one.value.string_value) for one in point.attributes} if point else set()
                    yield metric, frozenset(who | tags), point


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What Airflow says of two tasks, run one after the other, each way."""
    found = Said()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Be quiet."""

    with serving(Handler) as url, socket.socket(type=socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "AIRFLOW__METRICS__STATSD_PORT": str(ear.getsockname()[1]),
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{url}/v1/metrics",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        command = [sys.executable, "-c", TWO_TASKS_EACH_WAY]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        ear.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                found.lines.append(ear.recv(65536).decode())
    return found


def test_statsd_says_each_count_so_that_they_can_be_added_up(said: Said) -> None:
    name = "airflow.ti_failures,dag_id=feature_delivery_shop,task_id=review.build_candidate"
    assert said.lines.count(f"{name}:1|c") == 2
    found = mapped(f"{line.rpartition(':')[0]}:{line.rpartition('|')[2]}" for line in said.lines)
    forms = {one: figure.form for one, figure in found.items()}
    assert forms["airflow_ti_failures"] == "counter"
    assert forms["airflow_task_duration"] == "histogram"
    assert forms["airflow_executor_open_slots"] == "gauge"
    assert found["airflow_ti_failures"].labels == {tag: {value} for tag, value in TAGS.items()}


def test_opentelemetry_makes_of_each_task_a_series_that_never_rises(said: Said) -> None:
    """Prometheus would keep one for each try of each task for ever, and count by none: no rise, no increase."""
    failures = [(metric, who, point) for metric, who, point in said.points() if metric.name == "airflow.ti_failures"]
    assert [point.as_int for _, _, point in failures if point is not None] == [1, 1]
    one, other = (dict(who) for _, who, _ in failures)
    assert one.pop("service.instance.id") != other.pop("service.instance.id")
    assert one == other
    assert one.items() >= {**TAGS, "service.name": "airflow"}.items()
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert {metric.sum.aggregation_temporality for metric, _, _ in failures} == {cumulative}


def test_opentelemetrys_names_and_forms_are_those_of_the_docs(said: Said) -> None:
    metrics = {metric.name: metric for metric, _, _ in said.points()}
    assert metrics["airflow.task.duration"].WhichOneof("data") == "exponential_histogram"
    assert metrics["airflow.task.duration"].unit == "ms"
    assert metrics["airflow.executor.open_slots"].WhichOneof("data") == "gauge"
