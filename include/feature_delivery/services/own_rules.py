"""Recording rules for shops whose metrics have names of their own: the shipped rules begin with what these record.

``shop:own_…`` in ``include/monitoring/rules/shops.yml`` is empty for a shop that keeps to the common names. The names
come from production's ``delivery.yaml``: a branch does not choose by what it is measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.watching import ShopMetrics
from feature_delivery.services.delivery_file import read_delivery_file
from feature_delivery.services.shop_metrics import matchers
from feature_delivery.services.work.job import DELIVERY_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.names import BranchName, ProjectName
    from feature_delivery.ports.repository import Repository

WINDOWS = ("5m", "10m", "30m", "1h", "6h")
"""Over which the shipped rules look; a test holds them together."""

HEAD = """\
# Written by 'feature-delivery monitoring rules': do not change it, write it again when a delivery.yaml has changed.
# It brings the names that shops give their metrics to those that rules/shops.yml begins with.
"""

_NAME = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*\Z", re.DOTALL)
_MATCHERS = re.compile(
    r"""(?:\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')\s*(?:,|\Z))*\s*\Z"""
)


def named_in_production(repository: Repository, production: BranchName) -> ShopMetrics:
    """Return what production's ``delivery.yaml`` calls the shop's metrics; empty names: it keeps to the common ones.

    Raises:
        Misconfigured: That file is wrong.
        Temporary, Permanent: The repository cannot be read.
    """
    head = repository.heads().get(production)
    if head is None:
        return ShopMetrics()
    repository.fetch(head)
    content = repository.read_file(head, DELIVERY_FILE)
    if content is None:
        return ShopMetrics()
    return read_delivery_file(content, where=f"{DELIVERY_FILE} on {production}").metrics or ShopMetrics()


def own_rules(shops: Mapping[ProjectName, ShopMetrics]) -> str:
    """Return a rule file for Prometheus, the same for the same names; without shops a file without rules.

    Raises:
        Misconfigured: A name has matchers that Prometheus would not understand, and with them no rule of the file.
    """
    groups = [
        {"name": f"own names of {project}", "rules": _rules(project, shops[project])} for project in sorted(shops)
    ]
    return HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, width=10_000)


def _rules(project: ProjectName, names: ShopMetrics) -> list[dict[str, Any]]:
    """Return what records requests, errors and durations of one shop, as far as it names them."""
    duration = names.duration
    requests = names.requests or (_suffixed(duration, "_count") if duration else "")
    found = []
    for window in WINDOWS:
        all_of_them = _rate(project, requests, window) if requests else ""
        if requests:
            found.append(_rule("own_requests", window, all_of_them))
        if requests and names.errors:
            # A label appears with the first event that carries it: until then nothing has failed.
            expr = f"{_rate(project, names.errors, window)} or 0 * {all_of_them}"
            found.append(_rule("own_errors", window, expr))
        if duration:
            bucket = _rate(project, _suffixed(duration, "_bucket"), window, by="project, environment, feature, le")
            found.append(_rule("own_duration_bucket", window, bucket))
    return found


def _rule(what: str, window: str, expr: str) -> dict[str, Any]:
    return {"record": f"shop:{what}:rate{window}", "expr": expr}


def _rate(project: ProjectName, metric: str, window: str, *, by: str = "project, environment, feature") -> str:
    name, own = _parts(project, metric)
    ours = matchers({"job": "shops", "project": project})
    return f"sum by ({by}) (rate({name}{{{','.join(filter(None, (ours, own)))}}}[{window}]))"


def _suffixed(metric: str, suffix: str) -> str:
    """Return a part of a histogram, whose name may have matchers behind it."""
    name, brace, rest = metric.strip().partition("{")
    return f"{name.strip()}{suffix}{brace}{rest}"


def _parts(project: ProjectName, metric: str) -> tuple[str, str]:
    """Return a metric's name and its own matchers.

    Raises:
        Misconfigured: They are none.
    """
    found = _NAME.match(metric)
    own = (found[2] or "").strip(" ,") if found else ""
    if found is None or not _MATCHERS.match(own):
        raise Misconfigured(
            f"Could not write rules for {project}: {metric!r} in its delivery.yaml is no metric with matchers. "
            'Write it like hits_total{result="error"}.'
        )
    return found[1], own
