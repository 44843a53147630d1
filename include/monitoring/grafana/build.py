"""The dashboards as code: ``python include/monitoring/grafana/build.py`` writes their JSON, which Grafana provisions.

A panel is a title, a unit and queries. Everything else is the same for all of them, and a test compares the files with
what this makes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, PER_ROW = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """One panel; ``queries``: legend by PromQL."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    text: str = ""

    def json(self, place: int) -> dict[str, Any]:
        """Return the panel as Grafana keeps it."""
        instant = self.kind != "timeseries"
        found: dict[str, Any] = {
            "id": place + 1,
            "title": self.title,
            "description": self.text,
            "type": self.kind,
            "datasource": SOURCE,
            "gridPos": {"x": place % PER_ROW * WIDTH, "y": place // PER_ROW * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "targets": [
                {
                    "refId": chr(ord("A") + number),
                    "datasource": SOURCE,
                    "expr": expression,
                    "legendFormat": legend,
                    "instant": instant,
                    "range": not instant,
                    "format": "table" if self.kind == "table" else "time_series",
                }
                for number, (expression, legend) in enumerate(self.queries.items())
            ],
        }
        if self.kind == "table":
            found["transformations"] = [
                {"id": "organize", "options": {"excludeByName": {"Time": True, "instance": True, "job": True}}}
            ]
        return found


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; ``variables``: name by the query that lists its values."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    variables: dict[str, str] = field(default_factory=dict)
    span: str = "now-24h"

    def json(self) -> dict[str, Any]:
        """Return the dashboard as Grafana keeps it."""
        source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
        chosen = [
            {
                "name": name,
                "type": "query",
                "datasource": SOURCE,
                "query": {"query": query, "refId": name},
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            }
            for name, query in self.variables.items()
        ]
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["feature-delivery"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": self.span, "to": "now"},
            "templating": {"list": [source, *chosen]},
            "links": [{"type": "dashboards", "tags": ["feature-delivery"], "title": "Others", "asDropdown": False}],
            "panels": [panel.json(place) for place, panel in enumerate(self.panels)],
        }


P = 'project=~"$project"'
FD = "feature_delivery_"


def _max(name: str, by: str, more: str = "") -> str:
    # Every API server tells the same figures.
    return f"max by ({by}) ({FD}{name}{{{P}{more}}})"


def _increase(name: str, by: str, span: str, more: str = "") -> str:
    return f"max by ({by}) (increase({FD}{name}{{{P}{more}}}[{span}]))"


def _steps(share: float) -> str:
    buckets = f'max by (step, le) (increase({FD}step_duration_seconds_bucket{{{P}, outcome="done"}}[$__range]))'
    return f"histogram_quantile({share}, {buckets})"


DELIVERIES = Dashboard(
    "fd-deliveries",
    "Feature delivery: deliveries",
    (
        Panel("Under way, by stage", {_max("features", "project, stage"): "{{project}} {{stage}}"}),
        Panel(
            "Delivered, cancelled, abandoned in a week", {_increase("deliveries_total", "outcome", "7d"): "{{outcome}}"}
        ),
        Panel(
            "In trouble now",
            {_max("trouble_age_seconds", "project, feature, step, trouble", ', trouble!="lock_held"'): ""},
            "s",
            "table",
            "Failed, overdue, stuck, left behind: at most 20 of a project and kind.",
        ),
        Panel("Waiting at gates", {_max("gate_waiting", "gate, role"): "{{gate}} ({{role}})"}),
        Panel("Longest wait at each gate", {_max("gate_oldest_seconds", "gate, role"): "{{gate}} ({{role}})"}, "s"),
        Panel(
            "Decisions a day",
            {_increase("decisions_total", "gate, kind, answer", "1d"): "{{gate}} {{kind}}"},
        ),
        Panel("Production held", {_max("production_lock_held_seconds", "project"): "{{project}}"}, "s"),
        Panel(
            "Queue for production",
            {
                _max("production_queue", "project"): "{{project}} waiting",
                _max("production_queue_oldest_seconds", "project") + " / 60": "{{project}} longest, minutes",
            },
        ),
        Panel("Frozen", {_max("production_frozen", "project"): "{{project}}"}, "bool_yes_no", "stat"),
        Panel("Steps, median time", {_steps(0.5): "{{step}}"}, "s", "bargauge"),
        Panel("Steps, 95th percentile", {_steps(0.95): "{{step}}"}, "s", "bargauge"),
        Panel(
            "Steps that failed, a day",
            {_increase("step_duration_seconds_count", "step", "1d", ', outcome="failed"'): "{{step}}"},
        ),
        Panel(
            "Deployments a day",
            {_increase("deployments_total", "environment, outcome", "1d"): "{{environment}} {{outcome}}"},
        ),
        Panel("Webhooks in 5 minutes", {_increase("webhooks_total", "host, result", "5m"): "{{host}} {{result}}"}),
        Panel("Webhooks waiting", {_max("webhooks_waiting", "project"): "{{project}}"}),
        Panel("Outbox", {_max("outbox", "project, side"): "{{project}} {{side}}"}),
        Panel(
            "Oldest word in the outbox", {_max("outbox_oldest_seconds", "project, side"): "{{project}} {{side}}"}, "s"
        ),
        Panel(
            "Host and tracker last looked at", {_max("look_age_seconds", "project, side"): "{{project}} {{side}}"}, "s"
        ),
        Panel("Airflow's parts", {f"max by (part) ({FD}airflow_up)": "{{part}}"}, "bool_on_off", "stat"),
        Panel("Age of their heartbeats", {f"max by (part) ({FD}airflow_heartbeat_age_seconds)": "{{part}}"}, "s"),
        Panel("Workers of each queue", {f"max by (queue) ({FD}queue_workers)": "{{queue}}"}, text="With Celery."),
        Panel("Longest wait for a worker", {f"max by (queue) ({FD}airflow_queued_oldest_seconds)": "{{queue}}"}, "s"),
        Panel(
            "Airflow's executor",
            {
                f"sum by (executor_class_name) (airflow_executor_{what})": f"{{{{executor_class_name}}}} {word}"
                for what, word in (("running_tasks", "running"), ("queued_tasks", "queued"), ("open_slots", "open"))
            },
            text="By StatsD: docs/monitoring.md.",
        ),
        Panel(
            "Files that cannot be used",
            {
                f"max({FD}airflow_import_errors)": "DAG files",
                f"max({FD}project_file_faults)": "project files",
            },
            "short",
            "stat",
        ),
        Panel("Time to collect these figures", {f"max by (instance) ({FD}collect_seconds)": "{{instance}}"}, "s"),
    ),
    {"project": f"label_values({FD}features, project)"},
)


def _both(record: str) -> dict[str, str]:
    return {
        f'{record}{{{P}, environment="production"}}': "{{project}} production",
        f'{record}{{{P}, environment="preprod", feature=~"$feature"}}': "{{feature}} pre-production",
    }


ENVIRONMENTS = Dashboard(
    "fd-environments",
    "Feature delivery: pre-production against production",
    (
        Panel("Requests a second", _both("shop:requests:rate5m"), "reqps"),
        Panel("Share of requests that failed", _both("shop:error_ratio:rate5m"), "percentunit"),
        Panel("95th percentile of durations", _both("shop:duration_seconds:p95_10m"), "s"),
        Panel("Share of requests slower than promised", _both("shop:slow_ratio:rate5m"), "percentunit"),
        Panel(
            "Pre-production, times as slow as production",
            {
                f'shop:duration_seconds:p95_10m{{{P}, environment="preprod", feature=~"$feature"}}'
                " / on (project) group_left () max by (project)"
                ' (shop:duration_seconds:p95_10m{environment="production"})': "{{feature}}",
                _max("preprod_slower_at_most", "project"): "{{project}} at most",
            },
        ),
        Panel(
            "Answers to probes",
            {f"avg by (project, environment, feature) (probe_success{{{P}}})": "{{project}} {{environment}}"},
            "percentunit",
        ),
        Panel(
            "Error budget burnt, times as fast as allowed",
            {
                'shop:error_ratio:rate1h{environment="production"}'
                f" / on (project) group_left () (1 - {_max('slo_availability', 'project')})": "{{project}} errors",
                'shop:slow_ratio:rate1h{environment="production"}'
                f" / on (project) group_left () (1 - {_max('slo_latency', 'project')})": "{{project}} slow requests",
            },
        ),
        Panel("Environments", {_max("environments", "project, environment, state"): "{{environment}} {{state}}"}),
        Panel(
            "Oldest environment", {_max("environment_oldest_seconds", "project, environment"): "{{environment}}"}, "s"
        ),
        Panel(
            "What runs now",
            {f'max by (project, environment, feature, version) (up{{job="shops", {P}}})': ""},
            "bool_on_off",
            "table",
        ),
    ),
    {
        "project": f"label_values({FD}features, project)",
        "feature": 'label_values(up{job="shops", environment="preprod"}, feature)',
    },
    "now-3h",
)

DORA = Dashboard(
    "fd-dora",
    "Feature delivery: DORA",
    (
        Panel(
            "Deployment frequency, a week",
            {_max("dora_deployments_per_week", "project"): "{{project}}"},
            "short",
            "stat",
        ),
        Panel(
            "Lead time, median of four weeks", {_max("dora_lead_time_seconds", "project"): "{{project}}"}, "s", "stat"
        ),
        Panel(
            "Change failure rate, four weeks",
            {_max("dora_change_failure_ratio", "project"): "{{project}}"},
            "percentunit",
            "stat",
        ),
        Panel(
            "Time to restore, median of four weeks",
            {_max("dora_restore_seconds", "project"): "{{project}}"},
            "s",
            "stat",
        ),
        Panel(
            "Incidents averted in four weeks",
            {_max("incidents_averted", "project"): "{{project}}"},
            kind="stat",
        ),
        Panel("Deployment frequency over time", {_max("dora_deployments_per_week", "project"): "{{project}}"}),
        Panel("Lead time over time", {_max("dora_lead_time_seconds", "project"): "{{project}}"}, "s"),
        Panel("Releases in a week", {_increase("releases_total", "project, outcome", "7d"): "{{project}} {{outcome}}"}),
        Panel("Moves of production in a week", {_increase("promotions_total", "project", "7d"): "{{project}}"}),
        Panel("Deliveries begun in a week", {_increase("deliveries_started_total", "project", "7d"): "{{project}}"}),
    ),
    {"project": f"label_values({FD}features, project)"},
    "now-90d",
)

DASHBOARDS = {"deliveries": DELIVERIES, "environments": ENVIRONMENTS, "dora": DORA}


def main() -> None:
    """Write the files."""
    HERE.mkdir(exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (HERE / f"{name}.json").write_text(json.dumps(dashboard.json(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
