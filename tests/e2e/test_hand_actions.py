"""What people do by hand in Airflow's pages, at any time: nothing of it breaks a delivery or gets past a decision."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.cli.demo.scenarios import ACCEPTANCE, CONFIRMATION, START, TURN
from feature_delivery.domain.errors import Conflict, Refused
from tests.support.delivering import DAG, DeliveringShop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def waiting(shop: DeliveringShop) -> str:
    """A feature that waits for the testers; its tests follow it from there to its end and beyond."""
    return shop.at_acceptance()[0]


def question(shop: DeliveringShop, key: str, gate: str) -> dict[str, Any]:
    """The question on the *Required Actions* page, once it is shown and not answered."""

    def shown() -> dict[str, Any] | None:
        listed = shop.airflow("GET", f"/dagRuns/{key}/hitlDetails")["hitl_details"]
        return next(
            (one for one in listed if one["task_instance"]["task_id"] == gate and not one["response_received"]), None
        )

    found = shop.until(f"a question at {gate} of {key}", shown)
    assert isinstance(found, dict)
    return found


def answer(shop: DeliveringShop, key: str, gate: str, option: str, *, user: str, comment: str = "") -> None:
    body = {"chosen_options": [option], "params_input": {"comment": comment}}
    shop.airflow("PATCH", f"/dagRuns/{key}/taskInstances/{gate}/-1/hitlDetails", body, user=user)


def decisions(shop: DeliveringShop, key: str) -> list[tuple[str, str, bool]]:
    return [(one["who"], one["kind"], one["accepted"]) for one in shop.play.stage.feature(key)["decisions"]]


def test_a_step_cleared_while_its_feature_waits_runs_again_and_the_gate_asks_anew(
    shop: DeliveringShop, waiting: str
) -> None:
    before = shop.task(waiting, "preprod.integration_tests")["try_number"]
    shop.clear(waiting, "preprod.integration_tests")
    shop.until("it ran again", lambda: shop.task(waiting, "preprod.integration_tests")["try_number"] > before)
    shop.until_step(waiting, "preprod.integration_tests", "done")
    shop.until_step(waiting, ACCEPTANCE, "waiting")
    before = shop.task(waiting, "development.checks.unit")["try_number"]
    shop.clear(waiting, "development.checks.unit", downstream=False)
    shop.until("it ran again", lambda: shop.task(waiting, "development.checks.unit")["try_number"] > before)
    shop.until_step(waiting, "development.checks.unit", "done")
    found = shop.play.stage.until_gate(waiting, ACCEPTANCE, attempt=1)
    assert found["gate"]["blocked"] == ""


def test_a_teardown_marked_done_by_hand_destroys_nothing(shop: DeliveringShop, waiting: str) -> None:
    shop.mark(waiting, "teardown.destroy_preprod", "success")
    assert f"preprod-{waiting.lower()}" in shop.environments()
    assert shop.play.stage.until_gate(waiting, ACCEPTANCE)["state"] == "active"


def test_an_answer_on_airflows_page_counts_when_it_may_and_else_leaves_the_gate_open(
    shop: DeliveringShop, waiting: str
) -> None:
    assert question(shop, waiting, ACCEPTANCE)["options"] == ["approve", "reject"]
    with pytest.raises(Refused, match="dora is not tester of this project"):
        answer(shop, waiting, ACCEPTANCE, "approve", user="dora")
    with pytest.raises(Refused, match="A rejection needs a comment"):
        answer(shop, waiting, ACCEPTANCE, "reject", user="tess")
    assert decisions(shop, waiting)[-2:] == [("dora", "approve", False), ("tess", "reject", False)]
    asked = question(shop, waiting, ACCEPTANCE)
    assert "**Did not count:** tess, reject: A rejection needs a comment" in asked["body"], "the gate stays open"
    assert "Try it in preprod" in asked["body"]
    assert "integration tests: " in asked["body"]
    answer(shop, waiting, ACCEPTANCE, "approve", user="tess")
    shop.play.stage.until_gate(waiting, CONFIRMATION)
    said = shop.play.stage.feature(waiting)["decisions"][-3:]
    assert [(one["who"], one["kind"], one["accepted"]) for one in said][-1] == ("tess", "approve", True)
    assert {(one["way"], one["address"]) for one in said} == {("airflow", "127.0.0.1")}


def test_what_a_hand_kept_from_being_torn_down_is_reaped_after_the_end(shop: DeliveringShop, waiting: str) -> None:
    shop.play.manager.decide(waiting, "confirmation", "approve")
    shop.play.kept(waiting)
    shop.until("nothing of it is left", lambda: not shop.environments_of(waiting))


# What fails when it is run again keeps what comes after it from running: the last steps first.
@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("teardown.delete_branches", ""),
        ("teardown.destroy_development", ""),
        ("production.deploy", "is delivered; nothing is left to do for it"),
        ("production.promote", "is delivered; nothing is left to do for it"),
    ],
)
def test_a_task_cleared_after_the_end_has_no_effect(shop: DeliveringShop, waiting: str, task: str, says: str) -> None:
    before = (
        shop.production(),
        shop.play.facts.branches(),
        shop.environments(),
        shop.task(waiting, task)["try_number"],
    )
    # Airflow itself loses a clear that meets the scheduler just ending the run.
    shop.until("the run is over", lambda: shop.airflow("GET", f"/dagRuns/{waiting}")["state"] in {"success", "failed"})
    shop.clear(waiting, task, downstream=False)
    shop.until("it ran again", lambda: shop.task(waiting, task)["try_number"] > before[3])
    shop.until("it ended", lambda: shop.task(waiting, task)["state"] in {"success", "failed"})
    assert shop.task(waiting, task)["state"] == ("failed" if says else "success")
    assert says in shop.log(waiting, task)
    assert (shop.production(), shop.play.facts.branches(), shop.environments()) == before[:3]
    assert shop.play.stage.feature(waiting)["state"] == "delivered"


def test_gates_marked_done_by_hand_ship_nothing(shop: DeliveringShop) -> None:
    key, _ = shop.at_acceptance()
    before = shop.production()
    shop.mark(key, ACCEPTANCE, "success")
    shop.until_step(key, CONFIRMATION, "waiting")
    shop.mark(key, CONFIRMATION, "success")
    shop.until_step(key, TURN, "waiting")
    shop.mark(key, TURN, "success")
    found = shop.play.stage.until(key, "a gate", lambda f: f["gate"] is not None and bool(f["gate"]["blocked"]))
    assert "acceptance" in found["gate"]["blocked"], "it says what is missing"
    assert shop.production() == before
    assert found["promotions"] == []
    shop.play.manager.post(f"/features/{key}/cancel", {"reason": "Shown what had to be shown."})
    shop.play.stage.until(key, "its end", lambda f: f["state"] == "cancelled" and f["run_state"] == "success")


def test_a_feature_that_waits_is_cancelled_from_the_command_line(shop: DeliveringShop) -> None:
    key, _ = shop.pushed()
    branch = shop.play.stage.until_gate(key, "review.wait_for_merge_request")["branch"]
    command = [
        str(Path(sys.executable).with_name("feature-delivery")),
        "cancel",
        key,
        "--as",
        "max",
        "--reason",
        "Not now",
    ]
    environment = {**os.environ, "FEATURE_DELIVERY_HOME": str(shop.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert key in done.stdout
    shop.play.stage.until(key, "its end", lambda f: f["state"] == "cancelled" and f["run_state"] == "success")
    assert not shop.environments_of(key)
    assert branch in shop.play.facts.branches(), "the developer's work is the developer's"


def test_a_feature_started_in_four_ways_at_once_is_delivered_once(shop: DeliveringShop) -> None:
    key, what = shop.new()
    developer = shop.play.developer("dean")
    branch = f"feature/{key}-at-once"
    developer._git("fetch", "--quiet", "origin")
    developer._git("checkout", "--quiet", "-B", branch, "origin/production")
    developer._git("commit", "--quiet", "--allow-empty", "--message", what.title)
    command = [str(Path(sys.executable).with_name("feature-delivery")), "start", key, "--as", "max"]
    ways: tuple[Callable[[], object], ...] = (
        lambda: shop.play.manager.post("/features", {"key": key, "title": what.title}),
        lambda: subprocess.run(
            command,
            env={**os.environ, "FEATURE_DELIVERY_HOME": str(shop.home)},
            capture_output=True,
            timeout=120,
            check=True,
        ),
        lambda: developer._git("push", "--quiet", "origin", branch),
        lambda: shop.airflow("POST", "/dagRuns", {"logical_date": None, "conf": {"feature": key}}),
    )
    problems: list[BaseException] = []

    def go(way: Callable[[], object]) -> None:
        try:
            way()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            problems.append(error)

    threads = [threading.Thread(target=go, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    found = shop.play.stage.until_gate(key, START)

    def runs() -> list[dict[str, Any]]:
        listed = shop.airflow("GET", "/dagRuns?order_by=-id&limit=20")["dag_runs"]
        return [run for run in listed if run["conf"].get("feature") == key]

    others = shop.until(
        "every other run of it has ended",
        lambda: (
            [r for r in runs() if r["dag_run_id"] != found["run_id"]]
            if all(r["state"] == "failed" for r in runs() if r["dag_run_id"] != found["run_id"])
            else None
        ),
    )
    lines = shop.play.stage.api("max").get(shop.play.stage.path("/features"))
    assert [line["run_id"] for line in lines if line["key"] == key] == [found["run_id"]]
    for run in others:
        assert "under delivery already" in shop.log(run["dag_run_id"], "intake.register_feature")


def test_a_start_in_airflow_under_a_run_id_that_is_taken_is_refused(shop: DeliveringShop) -> None:
    key = shop.at_start()
    with pytest.raises(Conflict):
        shop.airflow("POST", "/dagRuns", {"logical_date": None, "dag_run_id": key, "conf": {"feature": key}})
    assert DAG in str(shop.airflow("GET", f"/dagRuns/{key}"))
