"""What Prometheus scrapes. One registry per shop, so that tests can make several."""

import platform
import time

import prometheus_client as prometheus

from store import __version__
from store.config import Settings

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    def __init__(self, settings: Settings) -> None:
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        labels = ("method", "route")
        self.requests = prometheus.Counter(
            "http_requests", "Requests answered.", (*labels, "status"), registry=self.registry
        )
        self.errors = prometheus.Counter(
            "http_request_errors", "Requests answered with a 5xx status.", labels, registry=self.registry
        )
        self.latency = prometheus.Histogram(
            "http_request_duration_seconds", "Time to answer.", labels, buckets=BUCKETS, registry=self.registry
        )
        self.orders_placed = prometheus.Counter(
            "shop_orders_placed", "Orders placed since the start.", ("kind",), registry=self.registry
        )
        self.revenue = prometheus.Counter(
            "shop_revenue_minor_units", "Value of the orders placed since the start.", ("kind",), registry=self.registry
        )
        self.orders = prometheus.Gauge("shop_orders", "Orders in the database.", ("kind", "status"), registry=self.registry)
        for kind in ("customer", "test"):
            self.orders_placed.labels(kind)
            self.revenue.labels(kind)
        prometheus.Info("shop_build", "What runs here.", registry=self.registry).info({
            "version": __version__,
            "commit": settings.commit,
            "environment": settings.environment,
            "python": platform.python_version(),
        })

    def observe(self, *, method: str, route: str, status: int, started: float) -> None:
        """Count one answered request. ``route`` is the rule, not the path: paths would be without number."""
        self.requests.labels(method, route, str(status)).inc()
        self.latency.labels(method, route).observe(time.perf_counter() - started)
        if status >= 500:
            self.errors.labels(method, route).inc()

    def order_placed(self, kind: str, total: int) -> None:
        self.orders_placed.labels(kind).inc()
        self.revenue.labels(kind).inc(total)

    def text(self, counts: list[tuple[str, str, int]]) -> tuple[bytes, str]:
        """Return the page and its content type; ``counts`` are the orders in the database."""
        self.orders.clear()
        for kind, status, count in counts:
            self.orders.labels(kind, status).set(count)
        return prometheus.generate_latest(self.registry), prometheus.CONTENT_TYPE_LATEST
