"""The shipped rules, routes and dashboards on a real Prometheus and Alertmanager that watch the real web app.

Each trouble is really made to happen once, and its alert comes to a Slack of ours. Only waits are shortened.
"""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import parser

from feature_delivery.adapters.measuring.prometheus import Prometheus as Measuring
from feature_delivery.domain.judging.rules import ERRORS, LATENCY, SLOWEST
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import feature_key
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import EnvironmentState, Feature, FeatureState, PromotionState, now
from feature_delivery.domain.watching import ShopMetrics, Watching
from feature_delivery.services import shop_metrics
from feature_delivery.services.shop_metrics import customers_only, queries, recognised, wanted_selector
from feature_delivery.services.work.observing import measure
from tests.support.board_world import DAY, HOUR, MINUTE, Planted, end, plant
from tests.support.monitored import SHOP, TOKEN, LiveShop, OpenTelemetryMetrics, Watched, place_environments, sound
from tests.support.prometheus import (
    MONITORING,
    AlertManager,
    alertmanager,
    eventually,
    needs_prometheus,
    prometheus,
    record,
)
from tests.support.web_app import Shop, serve

RECORDED = "recorded"
"""The project whose past is put into Prometheus: what happens to the live one is told apart from it."""


def test_the_rules_pass_their_own_cases() -> None:
    needs_prometheus()
    files = sorted(str(path) for path in (MONITORING / "tests").glob("*.test.yml"))
    done = subprocess.run(
        ["promtool", "test", "rules", *files], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(files) == 3


def test_what_happens_between_two_samples_is_in_one_of_them(tmp_path: Path) -> None:
    """Two scrapes to a sample, the fewest allowed; what comes between one's last and the next one's first is counted.

    Scrapes are at 0 s, 15 s and so on, samples at 65 s, 95 s, 125 s; an error is counted between 60 s and 75 s.
    """
    needs_prometheus()
    names = ShopMetrics(requests="hits_total", errors='hits_total{ok="no"}')
    (errors,) = shop_metrics.queries(names)
    asked = shop_metrics.filled(errors.query, labels={}, step_seconds=30)
    scraped = {"series": 'hits_total{ok="no"}', "values": "3+0x4 4+0x6"}
    samples = [
        {"expr": asked, "eval_time": f"{at}s", "exp_samples": [{"labels": "{}", "value": value}]}
        for at, value in ((65, 0), (95, 1), (125, 0))
    ]
    case = {
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": [scraped], "promql_expr_test": samples}],
    }
    (tmp_path / "case.yml").write_text(json.dumps(case))
    tool = subprocess.run(
        ["promtool", "test", "rules", "case.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert tool.returncode == 0, tool.stdout + tool.stderr


def test_the_configurations_are_accepted(tmp_path: Path) -> None:
    needs_prometheus()
    shutil.copytree(MONITORING, tmp_path / "monitoring")
    secrets = tmp_path / "monitoring" / "secrets"
    secrets.mkdir()
    (secrets / "metrics-token").write_text("x")
    (secrets / "slack-token").write_text("x")
    for command in (["promtool", "check", "config", "prometheus.yml"], ["amtool", "check-config", "alertmanager.yml"]):
        done = subprocess.run(command, cwd=secrets.parent, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertManager]:
    needs_prometheus()
    with alertmanager(tmp_path_factory.mktemp("am") / "home") as running:
        yield running


def an_alert(name: str, severity: str = "warning", **labels: str) -> dict[str, Any]:
    annotations = {
        "summary": f"{name} of {labels.get('project', 'nobody')}.",
        "description": "It happened.",
        "runbook_url": "https://docs.example/runbooks/x.md",
        "board": "https://airflow.example/feature-delivery/board/",
        "task": "https://airflow.example/dags/x",
    }
    until = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    return {"labels": {"alertname": name, "severity": severity, **labels}, "annotations": annotations, "endsAt": until}


def test_alerts_go_to_the_channel_of_their_project_and_pages_to_everybody(manager: AlertManager) -> None:
    slack = manager.slack
    manager.send(
        an_alert("GateOverdue", project="toys", feature="TOY-1"),
        an_alert("GateOverdue", project="toys", feature="TOY-2"),
        an_alert("GateOverdue", project="books", feature="BOOK-1"),
        an_alert("RollbackFailed", "critical", project="books", feature="BOOK-2"),
        an_alert("DagImportError"),
    )
    eventually("the page", lambda: "RollbackFailed" in slack.texts("#delivery-pages"))
    eventually("the word to its project", lambda: "RollbackFailed books" in slack.texts("#delivery-books"))
    eventually("both of one project", lambda: "GateOverdue toys" in slack.texts("#delivery-toys"))
    eventually("what is nobody's", lambda: "DagImportError" in slack.texts("#delivery-platform"))
    toys = [m for m in slack.messages if m["channel"] == "#delivery-toys"]
    assert len(toys) == 1, "what comes together is one message"
    assert "FIRING 2" in slack.texts("#delivery-toys")
    assert "of books" not in slack.texts("#delivery-toys")
    assert "GateOverdue" not in slack.texts("#delivery-pages")
    assert "<https://docs.example/runbooks/x.md|Runbook>" in slack.texts("#delivery-toys")


def test_what_follows_from_a_rollback_is_not_told(manager: AlertManager) -> None:
    slack = manager.slack
    manager.send(
        an_alert("RollbackInProgress", project="wine", feature="WINE-1"),
        an_alert("ProductionLockHeldTooLong", project="wine", feature="WINE-1"),
        an_alert("ProductionErrorBudgetBurnFast", "critical", project="wine"),
        an_alert("ProductionLockHeldTooLong", project="tea", feature="TEA-1"),
    )
    eventually("the rollback", lambda: "RollbackInProgress" in slack.texts("#delivery-wine"))
    eventually("the other project", lambda: "ProductionLockHeldTooLong" in slack.texts("#delivery-tea"))
    assert "ProductionLockHeldTooLong" not in slack.texts("#delivery-wine")
    assert "wine" not in slack.texts("#delivery-pages")
    inhibited = [a for a in manager.alerts() if a["status"]["inhibitedBy"]]
    assert {(a["labels"]["alertname"], a["labels"]["project"]) for a in inhibited} >= {
        ("ProductionLockHeldTooLong", "wine"),
        ("ProductionErrorBudgetBurnFast", "wine"),
    }


# The real app, watched.


@pytest.fixture(scope="module")
def watched(shown: Shop, manager: AlertManager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    from feature_delivery.web.app import create_app

    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack, ExitStack() as second:
        patched.setenv("FEATURE_DELIVERY_METRICS_TOKEN", TOKEN)
        patched.setenv("FEATURE_DELIVERY_RUNBOOKS_URL", "https://docs.example/runbooks")
        patched.syspath_prepend(str(MONITORING.parent / "demo_store"))
        patched.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
        sound(shown)
        # One shop by OpenTelemetry's names, one by those of Prometheus' clients: every rule works for both.
        shops = {"production": LiveShop("production", OpenTelemetryMetrics()), "preprod": LiveShop("preprod")}
        addresses = {kind: stack.enter_context(one.running()) for kind, one in shops.items()}
        place_environments(addresses)
        home = tmp_path_factory.mktemp("prometheus")
        record(home, past(shown))
        other = second.enter_context(serve(create_app()))
        for one in shops.values():
            one.answers(50)
        running = stack.enter_context(
            prometheus(
                home,
                app=shown.address,
                token=TOKEN,
                alertmanager_url=manager.url,
                also=[other.removeprefix("http://")],
            )
        )
        yield Watched(shown, running, manager, shops["production"], shops["preprod"], second)


def past(shop: Shop) -> str:
    """Two hours of the app's own figures and of two environments, as OpenMetrics with moments."""
    answer = httpx.get(
        f"{shop.address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    # What is of no project is left to the live scrape: it must not look alive for minutes after it has died.
    families = [
        family
        for family in parser.text_string_to_metric_families(answer.text)
        if family.samples and "project" in family.samples[0].labels
    ]
    until = int(time.time()) - 5
    moments = [until - 60 * back for back in range(120, -1, -1)]
    lines: dict[str, list[str]] = {}

    def put(name: str, kind: str, labels: dict[str, str], value: Any) -> None:
        text = ",".join(f'{key}="{held}"' for key, held in labels.items())
        family = re.sub(r"_(total|bucket|count|sum)$", "", name) if kind != "gauge" else name
        held = lines.setdefault(f"# TYPE {family} {kind}", [])
        held += [f"{name}{{{text}}} {value(step)} {moment}" for step, moment in enumerate(moments)]

    counting = itertools.count(1)
    for family in families:
        for sample in family.samples:
            labels = {key: RECORDED if key == "project" else held for key, held in sample.labels.items()}
            labels |= {"job": "feature-delivery", "instance": "recorded:8080"}
            if family.type in {"counter", "histogram"}:
                base, pace = sample.value, 0 if family.type == "histogram" else next(counting) % 3
                put(sample.name, family.type, labels, lambda step, base=base, pace=pace: base + pace * step)
            else:
                put(sample.name, "gauge", labels, lambda _step, base=sample.value: base)
    ours = {"job": "feature-delivery", "instance": "recorded:8080"}
    for name in ("queue_workers", "airflow_queued_oldest_seconds"):
        put(f"feature_delivery_{name}", "gauge", {**ours, "queue": "default"}, lambda _n: 2)
    for name in ("running_tasks", "queued_tasks", "open_slots"):
        seen = {"job": "airflow", "instance": "statsd:9102", "executor_class_name": "CeleryExecutor"}
        put(f"airflow_executor_{name}", "gauge", seen, lambda _n: 2)
    step = {"project": RECORDED, "step": "preprod.deploy", "job": "feature-delivery", "instance": "recorded:8080"}
    for outcome in ("done", "failed"):
        for le, share in (("1.0", 0), ("30.0", 1), ("+Inf", 2)):
            put(
                "feature_delivery_step_duration_seconds_bucket",
                "histogram",
                {**step, "outcome": outcome, "le": le},
                lambda n, share=share: share * n,
            )
        put(
            "feature_delivery_step_duration_seconds_count",
            "histogram",
            {**step, "outcome": outcome},
            lambda n: 2 * n,
        )
    for place, feature in (("production", ""), ("preprod", "SHOP-9")):
        seen = {"project": RECORDED, "environment": place, "feature": feature, "instance": f"{place}:80"}
        put("up", "gauge", {**seen, "job": "shops", "commit": "c" * 40, "version": "c" * 10}, lambda _n: 1)
        put("probe_success", "gauge", {**seen, "job": "probes"}, lambda _n: 1)
        for status, pace in (("200", 600), ("500", 0)):
            put("http_requests_total", "counter", {**seen, "job": "shops", "status": status}, lambda n, p=pace: p * n)
        for le, pace in (("0.1", 500), ("0.5", 590), ("2.5", 600), ("+Inf", 600)):
            put(
                "http_request_duration_seconds_bucket",
                "histogram",
                {**seen, "job": "shops", "le": le},
                lambda n, p=pace: p * n,
            )
        put("http_request_duration_seconds_count", "histogram", {**seen, "job": "shops"}, lambda n: 600 * n)
    return "".join(f"{head}\n" + "".join(f"{line}\n" for line in held) for head, held in lines.items()) + "# EOF\n"


def panels() -> list[tuple[str, str]]:
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def test_no_panel_of_any_dashboard_is_empty(watched: Watched) -> None:
    """Two hours of recorded data, and the rules over them: every panel shows numbers of the recorded project."""
    chosen = {"$project": f"{RECORDED}|shop", "$feature": ".*", "$__range": "1h"}

    def filled(expression: str) -> str:
        for name, value in chosen.items():
            expression = expression.replace(name, value)
        return expression

    def empty() -> list[str]:
        return [
            f"{where}: {filled(expression)}"
            for where, expression in panels()
            if not [one for one in watched.prometheus.query(filled(expression)) if one["value"][1] != "NaN"]
        ]

    end_at = time.monotonic() + 20
    while (missing := empty()) and time.monotonic() < end_at:
        time.sleep(0.5)
    assert missing == []
    assert len(panels()) > 40


def test_the_app_and_its_environments_are_scraped(watched: Watched) -> None:
    def both() -> list[dict[str, Any]]:
        found = watched.prometheus.query('up{job="shops",project="shop"} == 1')
        return found if len(found) == 2 else []

    up = eventually("the scrape of both shops", both)
    assert {one["metric"]["environment"] for one in up} == {"production", "preprod"}
    (preprod,) = [one["metric"] for one in up if one["metric"]["environment"] == "preprod"]
    assert (preprod["feature"], len(preprod["commit"]), preprod["version"]) == ("SHOP-8", 40, preprod["commit"][:10])
    for name, environment in (
        ("http_server_request_duration_seconds_count", "production"),
        ("http_requests_total", "preprod"),
    ):
        assert watched.prometheus.query(f'{name}{{project="shop",environment="{environment}"}}')


def test_doctor_looks_at_the_prometheus_that_is_configured(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_delivery.cli.doctor import examine_prometheus

    monkeypatch.delenv("FEATURE_DELIVERY_PROMETHEUS_URL", raising=False)
    (none,) = examine_prometheus()
    assert (none.well, "None is configured" in none.sentence) == (True, True)
    monkeypatch.setenv("FEATURE_DELIVERY_PROMETHEUS_URL", watched.prometheus.url + "/")
    assert [one.well for one in examine_prometheus()] == [True, True]
    # Alertmanager is no Prometheus, and a server that serves nothing of ours is none of ours.
    monkeypatch.setenv("FEATURE_DELIVERY_PROMETHEUS_URL", watched.manager.url)
    assert [one.well for one in examine_prometheus()] == [False]
    monkeypatch.setenv("FEATURE_DELIVERY_PROMETHEUS_URL", "http://127.0.0.1:1")
    assert [one.well for one in examine_prometheus()] == [False]


def _feature(unit: Any, key: str) -> Feature:
    found = unit.books.feature(SHOP, feature_key(key))
    assert isinstance(found, Feature)
    return found


def test_troubles_of_deliveries_are_told(watched: Watched) -> None:
    from feature_delivery.web.transaction import begin

    assert not watched.prometheus.firing("GateOverdue", project="shop")
    with begin() as unit:
        plant(unit.books, "SHOP-301", Step.WAIT_FOR_MERGE_REQUEST, blocked="2 unit tests failed.", waiting=MINUTE)
        plant(unit.books, "SHOP-302", Step.DEPLOY_PREPROD, works=True, waiting=40 * MINUTE)
        plant(unit.books, "SHOP-303", Step.WAIT_FOR_REVIEW, waiting=4 * DAY, age=9 * DAY)
        left = plant(unit.books, "SHOP-304", Step.WAIT_FOR_ACCEPTANCE)
        places = unit.books.environments(feature=left.feature)
        end(left, FeatureState.CANCELLED, ago=HOUR)
        for place in places:
            place.state, place.address = EnvironmentState.READY, ""
        unit.books.lock_project(SHOP).lock_since = now() - 5 * HOUR
    watched.seen("DeliveryFailed", feature="SHOP-301")
    watched.seen("DeliveryStepStuck", feature="SHOP-302", step="preprod.deploy")
    watched.seen("GateOverdue", feature="SHOP-303")
    watched.seen("EnvironmentLeaked", feature="SHOP-304")
    watched.seen("ProductionLockHeldTooLong", feature="SHOP-14")
    said = watched.manager.slack.texts("#delivery-shop")
    board = "https://airflow.example/feature-delivery/board/shop/SHOP-303"
    task = "https://airflow.example/dags/feature_delivery_shop/runs/SHOP-303/tasks/review.wait_for_review"
    assert f"<{board}|Board>" in said
    assert f"<{task}|Task>" in said
    assert "<https://docs.example/runbooks/gate-overdue.md|Runbook>" in said
    with begin() as unit:
        gate = unit.books.open_gate(_feature(unit, "SHOP-303"))
        assert gate is not None
        gate.opened_at = now()
    eventually("the end of an alert", lambda: not watched.prometheus.firing("GateOverdue", feature="SHOP-303"))


def test_a_rollback_that_fails_pages_and_quiets_what_follows_from_it(watched: Watched) -> None:
    from feature_delivery.web.transaction import begin

    def state(wanted: PromotionState) -> None:
        with begin() as unit:
            unit.books.lock_project(SHOP).lock_since = now() - 5 * HOUR
            promotion = unit.books.promotion(_feature(unit, "SHOP-14"))
            assert promotion is not None
            promotion.state = wanted

    state(PromotionState.UNCERTAIN)
    watched.seen("ProductionUncertain", feature="SHOP-14")
    state(PromotionState.ROLLING_BACK)
    watched.seen("RollbackInProgress", feature="SHOP-14")

    def quiet() -> bool:
        found = watched.manager.alerts(filter='alertname="ProductionLockHeldTooLong"')
        return any(a["status"]["inhibitedBy"] for a in found if a["labels"].get("feature") == "SHOP-14")

    eventually("the quiet about the lock", quiet)
    with begin() as unit:
        Planted(unit.books, _feature(unit, "SHOP-14"), now()).work(Step.DEPLOY_ROLLBACK, failed="It does not start.")
        unit.books.lock_project(SHOP).frozen_reason = "Production is at a commit that was not delivered."
    watched.seen("RollbackFailed", feature="SHOP-14", step="rollback.deploy")
    watched.seen("ProductionFrozen", project="shop")


def test_troubles_with_the_outside_are_told(watched: Watched) -> None:
    from feature_delivery.services.control.kept import MARKS, keep
    from feature_delivery.services.control.looks import Marks
    from feature_delivery.web import rounds
    from feature_delivery.web.transaction import begin

    refused = 'feature_delivery_webhooks_total{project="shop",result="refused"}'
    eventually("a scrape", lambda: watched.prometheus.query(refused))
    bad = {"X-Feature-Delivery-Signature": "sha256=" + "0" * 64}
    for number in range(8):
        assert watched.shop.webhook({}, f"bad-{number}", headers=bad).status_code == 401
    bare = watched.shop.repository.bare
    away = bare.with_name("away.git")
    bare.rename(away)
    try:
        for delivery in ("lost", "slow"):
            assert watched.shop.webhook({"ref": "refs/heads/feature/SHOP-6-a-branch"}, delivery).status_code == 202
        with begin() as unit:
            for delivery in ("lost", "slow"):
                stored = unit.books.webhook(SHOP, delivery)
                assert stored is not None
                stored.received_at, stored.tries = now() - HOUR, 60 if delivery == "lost" else 0
                stored.processed_at = None
        # One has been tried often enough: it is given up; the other one waits.
        rounds.process_webhooks()
    finally:
        away.rename(bare)
    with begin() as unit:
        for number, kind in enumerate((Errand.ISSUE_COMMENT, Errand.MESSAGE)):
            unit.books.add(
                OutboxEntry(
                    project=SHOP,
                    feature_id=_feature(unit, "SHOP-6").id,
                    kind=kind,
                    payload={"text": "x", "to": []},
                    marker=f"stuck-{number}",
                    created_at=now() - HOUR,
                    due_at=now() + HOUR,
                    tries=4,
                    error="It did not answer.",
                )
            )
        keep(unit, SHOP, MARKS, Marks(looked_at=now(), requests=now() - 2 * HOUR, issues=now() - 2 * HOUR).dump())
    watched.seen("WebhookRefused", project="shop")
    watched.seen("WebhookFailed", project="shop")
    watched.seen("OutboxStuck", project="shop", side="tracker")
    watched.seen("HostUnreachable", project="shop")
    watched.seen("TrackerUnreachable", project="shop")


def test_a_slow_and_failing_shop_is_told(watched: Watched) -> None:
    from feature_delivery.web.transaction import begin

    assert not watched.prometheus.firing("ProductionErrorBudgetBurnFast", project="shop")
    with begin() as unit:
        # While production is rolled back, what it answers is no news.
        promotion = unit.books.promotion(_feature(unit, "SHOP-14"))
        assert promotion is not None
        promotion.state = PromotionState.DEPLOYED
    watched.production.answers(1, status=500)
    # Only what was seen before is seen to rise.
    errors = 'http_server_request_duration_seconds_count{project="shop",http_response_status_code="500"}'
    eventually("the first error", lambda: watched.prometheus.query(errors))
    both = 'count(up{job="shops",project="shop"} == 1) == 2'
    eventually("a look at both", lambda: watched.prometheus.query(both))
    for _ in range(4):
        watched.production.answers(60, status=500)
        watched.production.answers(240, seconds=0.02)
        watched.preprod.answers(300, seconds=2.0)
        time.sleep(1)
    watched.seen("ProductionErrorBudgetBurnFast", project="shop")
    watched.seen("PreprodSlowerThanProduction", feature="SHOP-8")
    slow = "ProductionErrorBudgetBurnSlow"
    eventually("the slower one", lambda: watched.prometheus.firing(slow, project="shop"))
    for _ in range(3):
        watched.production.answers(2000, seconds=2.0)
        time.sleep(1)
    watched.seen("ProductionLatencyBudgetBurnFast", project="shop")


def test_what_judges_a_release_finds_the_figures_of_opentelemetry(watched: Watched) -> None:
    """Production has just failed and slowed down, which the rules have told of by the same series."""
    labels, until = {"project": "shop", "environment": "production"}, time.time()
    source = Measuring(Login(connection="prometheus", url=watched.prometheus.url))
    known = source.known(wanted_selector(labels), since=until - 300, until=until)
    names = recognised(known)
    assert names.duration == "http_server_request_duration_seconds"
    asked = queries(names, matcher=customers_only(known, ("/metrics", "/healthz")))
    watching = Watching(labels=labels)
    found = {q.rule: measure(q, source, watching, since=until - 300, until=until, step_seconds=5) for q in asked}
    assert {rule.name for rule in found} == {ERRORS.name, LATENCY.name, SLOWEST.name}
    assert max(found[ERRORS].values) > 0.1
    assert max(found[LATENCY].values) > 1
    assert max(found[SLOWEST].values) > 2


def test_troubles_of_airflow_are_told(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.jobs.job import Job
    from airflow.models.errors import ParseImportError
    from sqlalchemy import update

    from feature_delivery.bootstrap import settings
    from feature_delivery.web.transaction import session

    assert not watched.prometheus.firing("AirflowPartDown")
    with session() as opened:
        # What a killed scheduler leaves: a job that is running, whose heart does not beat.
        opened.execute(update(Job).where(Job.job_type == "SchedulerJob").values(latest_heartbeat=now() - HOUR))
        opened.add(ParseImportError(filename="broken.py", bundle_name="testing", stacktrace="boom", timestamp=now()))
    found = shutil.disk_usage(settings.settings().home)
    sizes = watched.prometheus.query("feature_delivery_disk_size_bytes")
    assert {float(one["value"][1]) for one in sizes} == {float(found.total)}
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: found._replace(free=found.total // 20))
    broken = settings.settings().projects / "broken.yaml"
    broken.write_text("name: [", encoding="utf-8")
    try:
        watched.seen("AirflowPartDown", part="scheduler")
        watched.seen("DagImportError")
        watched.seen("DiskFillsUp")
        watched.seen("ProjectFileFault")
    finally:
        broken.unlink()


def test_an_api_server_that_is_gone_pages(watched: Watched) -> None:
    """Last: the server that goes takes the background threads of this process with it."""
    assert not watched.prometheus.firing("FeatureDeliveryDown")
    watched.second_server.close()
    watched.seen("FeatureDeliveryDown")
