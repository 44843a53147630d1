# mypy: ignore-errors
# ruff: noqa: S311 - chance decides about noise here, not about secrets
"""The shop that nobody wrote for this, with metrics before it: run by gunicorn in one process, see ``record.py``.

Its answers are work, not waiting. What a release changes comes by the environment, as for ``store.py``.
"""

import os
import random
import time
from collections.abc import Callable

import prometheus_client as prometheus
from config.wsgi import application as shop

FAILS = float(os.environ["SHOP_FAILS"]) + float(os.environ.get("SHOP_MORE_ERRORS", "0"))
SLOWER = float(os.environ.get("SHOP_SLOWER", "1"))
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REQUESTS = prometheus.Counter("http_requests", "Requests answered.", ("status",))
SECONDS = prometheus.Histogram("http_request_duration_seconds", "Time to answer.", buckets=BUCKETS)


def application(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
    """Answer, and count."""
    if environ["PATH_INFO"] == "/metrics":
        start_response("200 OK", [("Content-Type", prometheus.CONTENT_TYPE_LATEST)])
        return [prometheus.generate_latest()]
    began, said = time.perf_counter(), []

    def counted(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> object:
        said.append(status[:3])
        return start_response(status, headers, exc_info)

    if random.random() < FAILS:
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        said, body = ["500"], [b"broken"]
    else:
        body = list(shop(environ, counted))
    time.sleep((SLOWER - 1) * (time.perf_counter() - began))
    SECONDS.observe(time.perf_counter() - began)
    REQUESTS.labels(said[-1]).inc()
    return body
