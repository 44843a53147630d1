"""What Prometheus is told by the real web app of a busy shop: over real HTTP, from a real PostgreSQL."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.names import ProjectName, feature_key
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Environment, EnvironmentState, PromotionState, now
from feature_delivery.services.control import tallies
from feature_delivery.web import counting, logins, webhook_counts
from tests.support.board_world import HOUR, plant, promote
from tests.support.web_app import Shop, eventually

TOKEN = "the-metrics-token"
SHOP = ProjectName("shop")
Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def scraped(shown: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """One shop for all of the module: each test looks at what it has changed itself."""
    monkeypatch.setenv("FEATURE_DELIVERY_METRICS_TOKEN", TOKEN)
    with httpx.Client(
        base_url=shown.address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30, trust_env=False
    ) as client:
        yield client


def page(client: httpx.Client) -> Page:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    families = list(parser.text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families), "a family is written once"
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found: Page, name: str, **labels: str) -> float:
    return found[f"feature_delivery_{name}", frozenset(labels.items())]


def test_the_figures_are_those_of_the_ledger(scraped: httpx.Client) -> None:
    found = page(scraped)
    assert value(found, "features", project="shop", stage="review") == 4
    assert value(found, "features", project="shop", stage="queue") == 2
    assert value(found, "features", project="shop", stage="acceptance") == 3
    assert value(found, "deliveries_started_total", project="shop") == 23
    assert value(found, "deliveries_total", project="shop", outcome="delivered") == 6
    assert value(found, "deliveries_total", project="shop", outcome="abandoned") == 0
    gate = {"project": "shop", "gate": "preprod.wait_for_confirmation", "role": "manager"}
    assert value(found, "gate_waiting", **gate) == 1
    assert value(found, "gate_oldest_seconds", **gate) == pytest.approx(26 * 3600, abs=600)
    assert value(found, "production_lock_held_seconds", project="shop") == pytest.approx(9 * 60, abs=600)
    assert value(found, "production_queue", project="shop") == 2
    assert value(found, "releases_total", project="shop", outcome="rolled_back") == 1
    assert value(found, "releases_total", project="shop", outcome="kept") == 7
    assert value(found, "promotions_total", project="shop") == 9
    assert 0 < value(found, "dora_change_failure_ratio", project="shop") < 1
    assert value(found, "dora_restore_seconds", project="shop") == pytest.approx(3600, abs=60)
    assert value(found, "incidents_averted", project="shop") == 1
    trouble = {"project": "shop", "feature": "SHOP-4", "run": "SHOP-4", "trouble": "failed"}
    assert [key for key in found if set(trouble.items()) <= key[1]], "what is blocked is named"


def test_a_blocked_gate_is_in_trouble_since_its_step_failed_or_since_it_opened_once_that_was_mended(
    shown: Shop, scraped: httpx.Client
) -> None:
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        for number, mended in ((570, False), (571, True)):
            planted = plant(unit.books, f"SHOP-{number}", Step.WAIT_FOR_MERGE_REQUEST, waiting=2 * HOUR, blocked="red")
            planted.work(Step.CHECK_UNIT, failed="red", lasts=HOUR)
            if mended:
                planted.work(Step.CHECK_UNIT)
    found = page(scraped)
    own = {"project": "shop", "trouble": "failed"}
    failed = {**own, "feature": "SHOP-570", "run": "SHOP-570", "step": "development.checks.unit"}
    assert value(found, "trouble_age_seconds", **failed) == pytest.approx(3600, abs=600)
    gate = {**own, "feature": "SHOP-571", "run": "SHOP-571", "step": "review.wait_for_merge_request"}
    assert value(found, "trouble_age_seconds", **gate) == pytest.approx(7200, abs=600)


def test_label_values_stay_bounded_however_many_features_are_late(shown: Shop, scraped: httpx.Client) -> None:
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        for number in range(500, 560):
            plant(unit.books, f"SHOP-{number}", Step.WAIT_FOR_REVIEW, waiting=timedelta(days=5), age=timedelta(days=9))
    found = page(scraped)
    late = [labels for name, labels in found if "trouble_age" in name and ("trouble", "gate_overdue") in labels]
    assert len(late) == 20
    assert value(found, "gate_waiting", project="shop", gate="review.wait_for_review", role="reviewer") == 62


def test_nobody_reads_the_figures_without_the_token(shown: Shop, scraped: httpx.Client) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        for path in ("/metrics", "/prometheus/targets"):
            answer = shown.nobody.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert TOKEN not in answer.text


def test_without_a_token_nobody_is_let_in_but_a_named_network(shown: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATURE_DELIVERY_METRICS_TOKEN", raising=False)
    answer = shown.nobody.get("/metrics", headers={"Authorization": "Bearer"})
    assert answer.status_code == 401
    assert "No metrics token is set." in answer.json()["message"]
    monkeypatch.setenv("FEATURE_DELIVERY_METRICS_NETWORKS", "10.0.0.0/8, 127.0.0.0/8")
    assert shown.nobody.get("/metrics").status_code == 200
    monkeypatch.setenv("FEATURE_DELIVERY_METRICS_NETWORKS", "10.0.0.0/8")
    assert shown.nobody.get("/metrics").status_code == 401
    monkeypatch.setenv("FEATURE_DELIVERY_METRICS_NETWORKS", "everybody")
    assert "Write networks like" in shown.nobody.get("/metrics").json()["message"]


def test_openmetrics_is_spoken_to_who_asks_for_it(scraped: httpx.Client) -> None:
    answer = scraped.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = openmetrics_parser.text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    assert len(list(families)) > 30


def test_targets_are_the_environments_that_run_a_commit(shown: Shop, scraped: httpx.Client) -> None:
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        place = Environment(
            project=SHOP,
            name="preprod-shop-77",
            kind="preprod",
            feature_id=None,
            state=EnvironmentState.READY,
            address="https://preprod.shop.example/base/",
            metrics_path="/internal/metrics",
            health_path="/up",
        )
        unit.books.add(place)
        nothing = len(scraped.get("/prometheus/targets").json())
        place.commit = unit.books.environments(SHOP)[0].commit
    groups = scraped.get("/prometheus/targets").json()
    assert len(groups) == nothing + 1
    (there,) = [group for group in groups if group["targets"] == ["preprod.shop.example:443"]]
    assert there["labels"]["__metrics_path__"] == "/base/internal/metrics"
    assert there["labels"]["__scheme__"] == "https"
    assert there["labels"]["__meta_delivery_probe"] == "https://preprod.shop.example/base/up"
    assert there["labels"]["__meta_delivery_has_metrics"] == "true"
    (production,) = [group for group in groups if group["labels"]["environment"] == "production"]
    assert (production["targets"], production["labels"]["project"]) == (["127.0.0.1:8999"], "shop")
    assert {g["labels"]["feature"] for g in groups} >= {"SHOP-9", ""}


def test_production_is_a_target_as_soon_as_housekeeping_finds_it_on_the_platform(
    shown: Shop, scraped: httpx.Client
) -> None:
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        production = unit.books.environment(SHOP, "production")
        assert production is not None
        commit, production.commit = production.commit, None  # as before the first delivery
        instance = unit.books.instance()
    found = {
        "name": "production",
        "kind": "production",
        "key": None,
        "instance": instance,
        "foreign": False,
        "address": "https://www.shop.example",
        "commit": commit,
        "metrics_path": "/internal/metrics",
        "health_path": "/up",
    }

    def targets() -> list[Any]:
        return [g for g in scraped.get("/prometheus/targets").json() if g["labels"]["environment"] == "production"]

    assert targets() == []
    body = {"task_instance": shown.housekeeper(), "found": [found]}
    answer = shown.tasks.post("/tasks/reaper/shop/plan", json=body)
    assert answer.status_code == 200, answer.text
    assert "production" not in {doomed["name"] for doomed in answer.json()["destroy"]}
    (there,) = targets()
    assert (there["targets"], there["labels"]["__metrics_path__"]) == (["www.shop.example:443"], "/internal/metrics")
    assert there["labels"]["__meta_delivery_probe"] == "https://www.shop.example/up"
    assert (there["labels"]["commit"], there["labels"]["feature"]) == (commit, "")
    # A worker of an earlier version says less: nothing is learnt, nothing is lost.
    bare = {name: found[name] for name in ("name", "kind", "key", "instance", "foreign")}
    assert shown.tasks.post("/tasks/reaper/shop/plan", json={**body, "found": [bare]}).status_code == 200
    assert targets() == [there]


def test_what_production_calls_its_metrics_is_told_to_who_may_see_the_project(
    shown: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_delivery.domain.watching import ShopMetrics
    from feature_delivery.web import examination_routes

    path, max_ = "/projects/shop/metrics", shown.person("max")
    wrong = max_.get(path)  # the shop's file is no delivery.yaml
    assert (wrong.status_code, "delivery.yaml on main" in wrong.json()["message"]) == (422, True)
    monkeypatch.setattr(examination_routes, "named_in_production", lambda *_: ShopMetrics(errors='a{b="c"}'))
    assert max_.get(path).json() == {"requests": "", "errors": 'a{b="c"}', "duration": ""}
    assert shown.nobody.get(path).status_code == 401


def test_a_destroyed_environment_is_no_target(shown: Shop, scraped: httpx.Client) -> None:
    from feature_delivery.web.transaction import begin

    before = {group["labels"]["feature"] for group in scraped.get("/prometheus/targets").json()}
    with begin() as unit:
        feature = unit.books.feature(SHOP, feature_key("SHOP-9"))
        assert feature is not None
        for place in unit.books.environments(feature=feature):
            place.state = EnvironmentState.DESTROYED
    after = {group["labels"]["feature"] for group in scraped.get("/prometheus/targets").json()}
    assert before - after == {"SHOP-9"}


def test_refused_webhooks_are_counted_in_the_ledger_and_never_fewer(shown: Shop, scraped: httpx.Client) -> None:
    labels = {"project": "shop", "host": "feature-delivery", "result": tallies.REFUSED}
    for _ in range(3):
        bad = shown.webhook({"ref": "x"}, "d-1", headers={"X-Feature-Delivery-Signature": "sha256=" + "0" * 64})
        assert bad.status_code == 401
    shown.nobody.post("/webhooks/nobodys_shop", json={})
    found = page(scraped)
    assert value(found, "webhooks_total", **labels) == 3
    assert not [key for key in found if ("project", "nobodys_shop") in key[1]]
    webhook_counts.pending._counts.clear()  # another process has counted nothing itself
    assert value(page(scraped), "webhooks_total", **labels) == 3


def test_what_the_ledger_could_not_take_is_added_and_told_the_next_time(
    shown: Shop, scraped: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away for the time of one flush: nothing is lost, and nothing is counted or told twice."""

    @contextmanager
    def away() -> Iterator[None]:
        raise Unavailable("The database did not answer.")
        yield

    webhooks = {"project": "shop", "host": "feature-delivery", "result": tallies.REFUSED}
    before = page(scraped)
    for _ in range(3):
        refused = shown.webhook({"ref": "x"}, "d-2", headers={"X-Feature-Delivery-Signature": "sha256=" + "0" * 64})
        assert refused.status_code == 401
        logins.note("max", "10.0.0.7")
        logins.note("nobody", "10.0.0.8")
        with monkeypatch.context() as patched:
            patched.setattr(counting, "begin", away)
            counting.flush()
    counted = page(scraped)
    assert value(counted, "webhooks_total", **webhooks) == value(before, "webhooks_total", **webhooks) + 3
    for whose in ("known", "unknown"):
        labels = frozenset({"project": "shop", "name": whose}.items())
        assert counted["feature_delivery_logins_refused_total", labels] == 3, whose
    told = [one["text"] for one in shown.person("max").get("/projects/shop/events").json() if one["who"] == "max"]
    assert told.count("A login as max was refused 3 times, last from 10.0.0.7.") == 1


def test_a_replayed_webhook_makes_no_counter_smaller(shown: Shop, scraped: httpx.Client) -> None:
    from feature_delivery.services.control.webhooks import prune, replay
    from feature_delivery.web import rounds
    from feature_delivery.web.transaction import begin

    labels = {"project": "shop", "host": "feature-delivery", "result": tallies.PROCESSED}
    before = value(page(scraped), "webhooks_total", **labels)

    def processed() -> bool:
        rounds.process_webhooks()  # or the background worker was quicker
        with begin() as unit:
            stored = unit.books.webhook(SHOP, "d-2")
            return stored is not None and stored.processed_at is not None

    assert shown.webhook({"ref": "refs/heads/feature/SHOP-6-a-branch"}, "d-2").status_code == 202
    eventually(processed)
    assert value(page(scraped), "webhooks_total", **labels) == before + 1
    with begin() as unit:
        stored = unit.books.webhook(SHOP, "d-2")
        assert stored is not None
        replay(stored, None)
    assert value(page(scraped), "webhooks_total", **labels) >= before + 1
    eventually(processed)
    with begin() as unit:
        stored = unit.books.webhook(SHOP, "d-2")
        assert stored is not None
        stored.received_at = now() - timedelta(days=100)
    with begin() as unit:
        prune(unit)
    with begin() as unit:
        assert unit.books.webhook(SHOP, "d-2") is None
    assert value(page(scraped), "webhooks_total", **labels) == before + 2


def test_a_step_is_counted_when_its_result_comes(shown: Shop, scraped: httpx.Client) -> None:
    shown.start("SHOP-800")
    shown.register(run_id="SHOP-800")
    found = page(scraped)
    labels = {"project": "shop", "step": "intake.register_feature", "outcome": "done"}
    assert value(found, "step_duration_seconds_count", **labels) == 1
    assert value(found, "step_duration_seconds_bucket", **labels, le="+Inf") == 1
    assert value(found, "step_duration_seconds_bucket", **labels, le="3600.0") == 1


def test_errands_that_wait_are_told_by_side_and_age(shown: Shop, scraped: httpx.Client) -> None:
    from feature_delivery.web.transaction import begin

    before = page(scraped)
    with begin() as unit:
        feature = unit.books.feature(SHOP, feature_key("SHOP-6"))
        assert feature is not None
        for number, kind in enumerate((Errand.ISSUE_COMMENT, Errand.MESSAGE, Errand.MESSAGE)):
            unit.books.add(
                OutboxEntry(
                    project=SHOP,
                    feature_id=feature.id,
                    kind=kind,
                    payload={},
                    marker=f"m-{number}",
                    created_at=now() - timedelta(hours=1 + number),
                    due_at=now() + timedelta(hours=1),
                    tries=3,
                    error="The tracker did not answer.",
                )
            )
    found = page(scraped)
    messenger, tracker = {"project": "shop", "side": "messenger"}, {"project": "shop", "side": "tracker"}
    assert value(found, "outbox", **messenger) >= value(before, "outbox", **messenger) + 2
    assert value(found, "outbox_failing", **tracker) == value(before, "outbox_failing", **tracker) + 1
    assert value(found, "outbox_oldest_seconds", project="shop", side="messenger") == pytest.approx(3 * 3600, abs=300)


def test_a_rollback_that_fails_is_told_apart_from_one_that_runs(shown: Shop, scraped: httpx.Client) -> None:
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        holder = unit.books.feature(SHOP, feature_key("SHOP-14"))
        assert holder is not None
        promotion = unit.books.promotion(holder)
        assert promotion is not None
        promotion.state = PromotionState.ROLLING_BACK
    names = {dict(labels).get("trouble") for name, labels in page(scraped) if "trouble_age" in name}
    assert "rollback" in names
    assert "rollback_failed" not in names
    with begin() as unit:
        holder = unit.books.feature(SHOP, feature_key("SHOP-14"))
        assert holder is not None
        from tests.support.board_world import Planted

        Planted(unit.books, holder, now()).work(Step.DEPLOY_ROLLBACK, failed="It does not start.")
    found = page(scraped)
    labels = {"project": "shop", "feature": "SHOP-14", "run": "SHOP-14", "step": "rollback.deploy"}
    assert value(found, "trouble_age_seconds", **labels, trouble="rollback_failed") < 120


def test_the_health_of_airflow_is_beside_the_figures(shown: Shop, scraped: httpx.Client) -> None:
    from airflow.jobs.job import Job
    from airflow.models.errors import ParseImportError

    from feature_delivery.web.transaction import session

    found = page(scraped)
    assert value(found, "airflow_up", part="metadatabase") == 1
    assert value(found, "airflow_up", part="scheduler") == 0, "no scheduler has ever run here"
    assert ("feature_delivery_airflow_up", frozenset({("part", "triggerer")})) not in found
    with session() as opened:
        job = Job(job_type="SchedulerJob", state="running")
        job.latest_heartbeat = now()
        opened.add(job)
        opened.add(ParseImportError(filename="broken.py", bundle_name="testing", stacktrace="boom", timestamp=now()))
    found = page(scraped)
    assert value(found, "airflow_up", part="scheduler") == 1
    assert value(found, "airflow_heartbeat_age_seconds", part="scheduler") < 60
    assert value(found, "airflow_import_errors") == 1


def test_the_promises_of_a_project_are_exported(scraped: httpx.Client) -> None:
    found = page(scraped)
    assert value(found, "slo_availability", project="shop") == 0.999
    assert value(found, "slo_latency", project="shop", le="0.5") == 0.95
    assert value(found, "preprod_slower_at_most", project="shop") == 1.5


def test_a_promotion_that_is_kept_counts_once_and_for_all(shown: Shop, scraped: httpx.Client) -> None:
    from feature_delivery.web.transaction import begin

    before = value(page(scraped), "releases_total", project="shop", outcome="kept")
    with begin() as unit:
        done = plant(unit.books, "SHOP-700", Step.WAIT_FOR_DEMONSTRATION)
        promote(done, PromotionState.KEPT, ended=now())
    assert value(page(scraped), "releases_total", project="shop", outcome="kept") == before + 1
