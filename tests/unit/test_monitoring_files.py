"""What include/monitoring ships: every alert complete, every link there, every expression valid."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.watching import ShopMetrics
from feature_delivery.services.own_rules import own_rules

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "include" / "monitoring"
RULES = {path.name: yaml.safe_load(path.read_text()) for path in sorted((MONITORING / "rules").glob("*.yml"))}
ALERTS = {
    rule["alert"]: rule
    for held in RULES.values()
    for group in held["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in (MONITORING / "grafana" / "dashboards").glob("*.json")
}
ASKED_FOR = {
    "delivery failed": "DeliveryFailed",
    "step stuck": "DeliveryStepStuck",
    "gate overdue": "GateOverdue",
    "production lock held too long": "ProductionLockHeldTooLong",
    "rollback in progress": "RollbackInProgress",
    "rollback failed": "RollbackFailed",
    "environment leaked": "EnvironmentLeaked",
    "webhook refused": "WebhookRefused",
    "webhook failed": "WebhookFailed",
    "outbox stuck": "OutboxStuck",
    "host unreachable": "HostUnreachable",
    "tracker unreachable": "TrackerUnreachable",
    "Airflow part down": "AirflowPartDown",
    "Airflow's workers down": "WorkerDown",
    "tasks not started": "TasksNotStarted",
    "DAG import error": "DagImportError",
    "production error ratio": "ProductionErrorBudgetBurnFast",
    "production latency": "ProductionLatencyBudgetBurnFast",
    "production availability": "ProductionAvailabilityBudgetBurnFast",
    "pre-production slower": "PreprodSlowerThanProduction",
}


@pytest.mark.parametrize("name", ASKED_FOR.values(), ids=ASKED_FOR)
def test_every_trouble_that_matters_has_an_alert(name: str) -> None:
    assert name in ALERTS


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do_and_where_to_look(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    told = rule["annotations"]
    assert set(told) == {"summary", "description", "runbook_url", "board", "task"}
    assert len(told["summary"]) > 20
    assert told["description"].endswith(".")
    runbook = ROOT / "docs" / "runbooks" / told["runbook_url"].rpartition("/")[2]
    assert runbook.is_file(), f"{name}: write {runbook.relative_to(ROOT)}"
    content = runbook.read_text()
    assert name in content.partition("\n")[0], f"{runbook.name} does not name {name}"
    assert content.index("## Look") < content.index("## Do")
    assert "/feature-delivery/board/" in told["board"]


def test_every_runbook_belongs_to_an_alert() -> None:
    named = {rule["annotations"]["runbook_url"].rpartition("/")[2] for rule in ALERTS.values()}
    assert {path.name for path in (ROOT / "docs" / "runbooks").glob("*.md")} == named


def test_each_alert_has_a_firing_and_a_silent_case() -> None:
    cases: dict[str, set[bool]] = {}
    for path in (MONITORING / "tests").glob("*.test.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for one in test["alert_rule_test"]:
                cases.setdefault(one["alertname"], set()).add(bool(one["exp_alerts"]))
    assert {name for name, kinds in cases.items() if kinds == {True, False}} == set(ALERTS)


def expressions() -> list[tuple[str, str]]:
    found = []
    for name, held in RULES.items():
        for group in held["groups"]:
            found += [(f"{name}:{rule.get('alert') or rule.get('record')}", rule["expr"]) for rule in group["rules"]]
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            found += [(f"{name}:{panel['title']}", filled(target["expr"])) for target in panel["targets"]]
    return found


def filled(expression: str) -> str:
    """Put values where Grafana has its variables."""
    return re.sub(r"\$(project|feature)", ".*", expression).replace("$__range", "1h")


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=[name for name, _ in expressions()])
def test_every_expression_is_promql(where: str, expression: str) -> None:
    assert promql_parser.parse(expression) is not None, where


def test_rules_and_dashboards_ask_only_for_figures_that_there_are() -> None:
    """A name that nobody exports makes an alert that never fires, and nobody notices."""
    from feature_delivery.ports.metrics import MetricFacts  # noqa: PLC0415
    from feature_delivery.services.control.measures import PREFIX, Kind, families  # noqa: PLC0415
    from tests.support.world import EPOCH  # noqa: PLC0415

    known = {
        "feature_delivery_airflow_up",
        "feature_delivery_airflow_heartbeat_age_seconds",
        "feature_delivery_airflow_import_errors",
        "feature_delivery_airflow_queued",
        "feature_delivery_airflow_queued_oldest_seconds",
        "feature_delivery_queue_workers",
        "feature_delivery_project_file_faults",
        "feature_delivery_instance_held",
        "feature_delivery_disk_free_bytes",
        "feature_delivery_disk_size_bytes",
        "feature_delivery_brake_on",
        "feature_delivery_worker_up",
        "feature_delivery_collect_seconds",
        "feature_delivery_build_info",
    }
    for family in families(MetricFacts(at=EPOCH), {}):
        name = PREFIX + family.name
        match family.kind:
            case Kind.COUNTER:
                known.add(f"{name}_total")
            case Kind.HISTOGRAM:
                known |= {f"{name}_{part}" for part in ("bucket", "count", "sum")}
            case Kind.GAUGE:
                known.add(name)
    text = json.dumps(
        [RULES, [[filled(t["expr"]) for p in d["panels"] for t in p["targets"]] for d in DASHBOARDS.values()]]
    )
    used = set(re.findall(r"feature_delivery_[a-z_]*[a-z]", text)) - {"feature_delivery_"}
    assert used - known == set()
    records = {r["record"] for held in RULES.values() for g in held["groups"] for r in g["rules"] if "record" in r}
    own = own_rules({ProjectName("shop"): ShopMetrics(requests="a", errors="b", duration="c")})
    records |= {rule["record"] for group in yaml.safe_load(own)["groups"] for rule in group["rules"]}
    assert set(re.findall(r"shop:[a-z0-9_]+:[a-z0-9_]+", text)) - records == set()


def builder() -> Any:
    path = MONITORING / "grafana" / "build.py"
    spec = importlib.util.spec_from_file_location("grafana_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_dashboards_are_what_the_code_makes() -> None:
    made = {name: dashboard.json() for name, dashboard in builder().DASHBOARDS.items()}
    assert made == DASHBOARDS, "run: python include/monitoring/grafana/build.py"
    uids = [dashboard["uid"] for dashboard in made.values()]
    assert len(set(uids)) == len(uids) == 3
    for dashboard in made.values():
        places = [tuple(sorted(panel["gridPos"].items())) for panel in dashboard["panels"]]
        assert len(set(places)) == len(places)
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)


def test_grafana_is_told_where_dashboards_and_figures_are() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["type"] == "prometheus"
    assert source["isDefault"]
    provider = yaml.safe_load((provisioning / "dashboards" / "feature-delivery.yml").read_text())["providers"][0]
    assert provider["options"]["path"]


def test_the_blackbox_module_that_prometheus_asks_for_is_there() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (probes,) = [job for job in config["scrape_configs"] if job["job_name"] == "probes"]
    modules = yaml.safe_load((MONITORING / "blackbox.yml").read_text())["modules"]
    assert set(probes["params"]["module"]) <= set(modules)
