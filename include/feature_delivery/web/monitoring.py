"""What Prometheus asks: ``/metrics`` and the environments to scrape.

One scrape is enough on the embedded default: Airflow's own health is beside the ledger's figures. Whoever asks shows a
token or comes from a network that is let in; figures tell more of a shop than its pages do.
"""

from __future__ import annotations

import hmac
import ipaddress
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from pydantic import BaseModel

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.metric_books import SqlMetricBooks
from feature_delivery.bootstrap import monitoring, settings
from feature_delivery.bootstrap.variables import Network
from feature_delivery.domain.records import now
from feature_delivery.ports.metrics import Target
from feature_delivery.services.control.figures import DORA_SPAN
from feature_delivery.services.control.measures import PREFIX, Family, Kind, families
from feature_delivery.services.control.tallies import BUCKETS
from feature_delivery.web import airflow_health, counting, workers
from feature_delivery.web.errors import Unauthorized, problems
from feature_delivery.web.transaction import session


def scraper(
    request: Request, authorization: Annotated[str, Header(description="``Bearer`` and the token")] = ""
) -> None:
    """Let through who shows the metrics token, or comes from a network that is let in.

    Raises:
        Unauthorized: Neither.
        Misconfigured: A network in the setting is none.
    """
    access = monitoring.access()
    scheme, _, shown = authorization.partition(" ")
    right = hmac.compare_digest(shown.strip().encode(), access.token.encode())
    if access.token and scheme.lower() == "bearer" and right:
        return
    if request.client is not None and _within(request.client.host, access.networks):
        return
    known = "This is not the metrics token." if access.token else "No metrics token is set."
    raise Unauthorized(
        f"{known} Set it by FEATURE_DELIVERY_METRICS_TOKEN, the file 'secrets/metrics-token' or the Connection "
        f"{monitoring.CONNECTION!r}, and show it as bearer token; or let a network in by "
        "FEATURE_DELIVERY_METRICS_NETWORKS."
    )


def _within(host: str, networks: Iterable[Network]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


router = APIRouter(tags=["monitoring"], dependencies=[Depends(scraper)])


@router.get("/metrics", response_class=Response, responses=problems(401))
def metrics(accept: Annotated[str, Header()] = "") -> Response:
    """Return the figures of all projects in Prometheus' or OpenMetrics' text format."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector())
    encode, kind = choose_encoder(accept)
    return Response(encode(registry), headers={"Content-Type": kind})


class TargetGroup(BaseModel):
    """One environment in the form of Prometheus' HTTP service discovery."""

    targets: list[str]
    labels: dict[str, str]


@router.get("/prometheus/targets", responses=problems(401))
def targets() -> list[TargetGroup]:
    """Return the environments that run now, for ``http_sd_configs``."""
    known = settings.projects()
    with session() as opened:
        found = SqlMetricBooks(opened).targets()
    groups = (_group(one) for one in found if one.project in known)
    return [group for group in groups if group is not None]


def _group(one: Target) -> TargetGroup | None:
    address = urlsplit(one.address)
    if address.scheme not in {"http", "https"} or not address.hostname:
        return None
    base = address.path.rstrip("/")
    labels = {
        "project": one.project,
        "environment": one.kind,
        "feature": one.key or "",
        "commit": one.commit,
        "version": one.commit[:10],
        "__scheme__": address.scheme,
        "__metrics_path__": base + (one.metrics_path or "/metrics"),
        # Prometheus drops these after relabelling: they say whether to scrape, and what the probe asks.
        "__meta_delivery_has_metrics": "true" if one.metrics_path else "false",
        "__meta_delivery_probe": f"{address.scheme}://{address.netloc}{base}{one.health_path or '/'}",
    }
    return TargetGroup(targets=[_host_and_port(address.netloc, address.scheme)], labels=labels)


def _host_and_port(netloc: str, scheme: str) -> str:
    place = netloc.rpartition("@")[2]
    has_port = place.rpartition("]")[2].count(":") == 1 if place.startswith("[") else ":" in place
    return place if has_port else f"{place}:{443 if scheme == 'https' else 80}"


class LedgerCollector(Collector):
    """Asks the ledger and Airflow at each scrape; keeps nothing, so that every API server says the same."""

    def collect(self) -> Iterator[Metric]:
        """Return every family."""
        began = time.perf_counter()
        counting.flush()
        at, survey = now(), settings.survey()
        # One transaction on one connection: each more costs as much as a query.
        with session() as opened:
            books = SqlBooks(opened, new_instance=settings.new_instance())
            installation = books.installation()
            stopped = {name: on.kind for name in survey.projects if (on := books.brake(name)) is not None}
            facts = SqlMetricBooks(opened).facts(at, releases_since=at - DORA_SPAN)
            airflow = airflow_health.health(opened)
        yield _info(installation.id)
        held = "Whether nothing is done because the ledger may be a copy."
        yield GaugeMetricFamily(f"{PREFIX}instance_held", held, value=bool(installation.fault))
        brake = GaugeMetricFamily(f"{PREFIX}brake_on", "Projects whose brake is on.", labels=["project", "kind"])
        for project, kind in stopped.items():
            brake.add_metric([project, kind], 1)
        yield brake
        yield from (_metric(family) for family in families(facts, survey.projects))
        yield from airflow_health.figures(airflow, at)
        faults = "Project files that cannot be used."
        yield GaugeMetricFamily(f"{PREFIX}project_file_faults", faults, value=len(survey.faults))
        yield from _disk()
        alive = GaugeMetricFamily(f"{PREFIX}worker_up", "Whether a background thread runs.", labels=["worker"])
        for name, runs in workers.alive().items():
            alive.add_metric([name], runs)
        yield alive
        text = "How long it took to collect all this."
        yield GaugeMetricFamily(f"{PREFIX}collect_seconds", text, value=time.perf_counter() - began)


def _disk() -> Iterator[Metric]:
    """Return how full the disk of the home is: with docker-compose and on one machine, the database's as well."""
    with suppress(OSError):  # where no task is at home here there is none
        found = shutil.disk_usage(settings.settings().home)
        for name, what, value in (("free", "is free", found.free), ("size", "there is", found.total)):
            yield GaugeMetricFamily(f"{PREFIX}disk_{name}_bytes", f"How much {what} on the home's disk.", value=value)


def _info(instance: str) -> Metric:
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    labels = {
        "instance_id": instance,
        "version": version("airflow-feature-delivery"),
        "airflow_version": version("apache-airflow-core"),
        "url": base if "://" in base else "",
        "runbooks": monitoring.runbooks(),
    }
    found = InfoMetricFamily(f"{PREFIX}build", "What runs here, and where people reach it.")
    found.add_metric([], labels)
    return found


def _metric(family: Family) -> Metric:
    name, labels = PREFIX + family.name, list(family.labels)
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, family.help, labels=labels)
        bounds = [*(str(float(bound)) for bound in BUCKETS), "+Inf"]
        for sample in family.samples:
            buckets = list(zip(bounds, sample.buckets, strict=True))
            histogram.add_metric(sample.labels, buckets, sum_value=sample.value)
        return histogram
    kind: Any = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    made: Metric = kind(name, family.help, labels=labels)
    for sample in family.samples:
        made.add_sample(
            f"{name}_total" if family.kind is Kind.COUNTER else name,
            dict(zip(labels, sample.labels, strict=True)),
            sample.value,
        )
    return made
