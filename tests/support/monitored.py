"""The real web app, its environments and a Prometheus and Alertmanager that watch them: what tests of alerts share."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest

from feature_delivery.domain.names import ProjectName, feature_key
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import EnvironmentState, FeatureState, now
from feature_delivery.services.control import tallies
from tests.support.board_world import HOUR
from tests.support.prometheus import AlertManager, Prometheus, eventually, serving
from tests.support.web_app import Shop

TOKEN = "the-metrics-token"
SHOP = ProjectName("shop")


class OpenTelemetryMetrics:
    """``http.server.request.duration`` as OpenTelemetry's exporter for Prometheus writes it, and nothing else."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("http_request_method", "http_response_status_code", "http_route", "otel_scope_name")
        buckets = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
        self.durations = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP server requests.",
            labels,
            buckets=buckets,
            registry=self.registry,
        )

    def observe(self, *, method: str, route: str, status: int, started: float) -> None:
        self.durations.labels(method, str(status), route, "shop").observe(time.perf_counter() - started)

    def text(self, _counts: list[tuple[str, str, int]]) -> tuple[bytes, str]:
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class LiveShop:
    """A shop that is measured as the demo's is, by the demo's own code, or otherwise; answers as a test wants."""

    def __init__(self, environment: str, metrics: OpenTelemetryMetrics | None = None) -> None:
        store, config = importlib.import_module("store.metrics"), importlib.import_module("store.config")
        settings = config.Settings.from_environment({"DELIVERY_ENVIRONMENT": environment})
        self.metrics = metrics or store.Metrics(settings)
        self.healthy = True

    def answers(self, times: int, *, status: int = 200, seconds: float = 0.01) -> None:
        for _ in range(times):
            self.metrics.observe(method="GET", route="/", status=status, started=time.perf_counter() - seconds)

    @contextmanager
    def running(self) -> Iterator[str]:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, kind = shop.metrics.text([])
                self.send_response(200 if shop.healthy or self.path == "/metrics" else 503)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Be quiet."""

        with serving(Handler) as url:
            yield url


@dataclass
class Watched:
    """Everything that runs."""

    shop: Shop
    prometheus: Prometheus
    manager: AlertManager
    production: LiveShop
    preprod: LiveShop
    second_server: ExitStack = field(default_factory=ExitStack)

    def seen(self, name: str, **labels: str) -> None:
        """Wait until an alert fires and has come to Slack, or to Alertmanager if that holds it back."""

        def held() -> bool:
            found = [
                a for a in self.manager.alerts(filter=f'alertname="{name}"') if labels.items() <= a["labels"].items()
            ]
            return any(a["status"]["inhibitedBy"] or self._told(a["labels"]) for a in found)

        eventually(f"the alert {name} in Prometheus", lambda: self.prometheus.firing(name, **labels))
        eventually(f"the word of {name} in Slack", held)

    def ended(self, name: str) -> None:
        """Wait until an alert fires no more and Slack knows: the next word of it is of another time."""
        eventually(f"the end of {name} in Prometheus", lambda: not self.prometheus.firing(name))
        eventually(f"the end of {name} in Alertmanager", lambda: not self.manager.alerts(filter=f'alertname="{name}"'))
        pages = "#delivery-pages"
        eventually(f"the word of its end in {pages}", lambda: not self.manager.slack.last_says_it_fires(pages, name))

    def _told(self, labels: dict[str, str]) -> bool:
        project = labels.get("project", "")
        channels = {"#delivery-pages"} if labels["severity"] == "critical" else set()
        if project or not channels:
            channels.add(f"#delivery-{project or 'platform'}")
        says = self.manager.slack.last_says_it_fires
        return all(says(channel, labels["alertname"], project) for channel in channels)


def sound(shop: Shop) -> None:
    """Airflow's scheduler lives, and nothing of the busy shop is late."""
    from airflow.jobs.job import Job

    from feature_delivery.services.control.kept import MARKS, keep
    from feature_delivery.services.control.looks import Marks
    from feature_delivery.web.transaction import begin, session

    with session() as opened:
        job = Job(job_type="SchedulerJob", state="running")
        job.latest_heartbeat = now() + HOUR
        opened.add(job)
    with begin() as unit:
        keep(unit, SHOP, MARKS, Marks(looked_at=now(), issues=now()).dump())
        tallies.decided(unit.books, SHOP, Step.WAIT_FOR_REVIEW, DecisionKind.APPROVE, counted=True)
        tallies.deployed(unit.books, SHOP, "preprod", "done")
        for feature in unit.books.features():
            if feature.state is not FeatureState.ACTIVE:
                for place in unit.books.environments(feature=feature):
                    place.state = EnvironmentState.DESTROYED


def place_environments(addresses: dict[str, str]) -> None:
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        for place in unit.books.environments(SHOP):
            place.address = ""
        feature = unit.books.feature(SHOP, feature_key("SHOP-8"))
        assert feature is not None
        production = unit.books.environment(SHOP, "production")
        assert production is not None
        preprod = next(place for place in unit.books.environments(feature=feature) if place.kind == "preprod")
        for kind, place in (("production", production), ("preprod", preprod)):
            place.address, place.metrics_path, place.health_path = addresses[kind], "/metrics", "/healthz"
