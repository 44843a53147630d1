"""``kill -9`` in the middle of deliveries: each must end well, with nothing lost and nothing wrongly destroyed."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli.demo.scenarios import CONFIRMATION, VERDICT
from tests.support.delivering import DeliveringShop
from tests.support.webhooks import SENDERS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # the one before took it along
            process.kill()
    assert processes
    psutil.wait_procs(processes, timeout=30)


def kill_part(shop: DeliveringShop, name: str, *, family: bool = False) -> None:
    """Kill what the part's guard guards, and with ``family`` all that Airflow has started below it, at once."""
    # Its first child: what a task has left running on purpose, the environments, comes to the guard later.
    leader = min(psutil.Process(shop.now.instance.processes()[name]).children(), key=psutil.Process.create_time)
    below = [one for one in leader.children(recursive=True) if "airflow" in words(one).partition(" ")[0]]
    kill(leader, *(below if family else ()))


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def task_processes(instance: str) -> list[psutil.Process]:
    """The supervisor of a task instance and what it has started, the runner first of all."""
    supervisors = [p for p in psutil.process_iter() if "LocalExecutor" in (said := words(p)) and instance in said]
    return [one for supervisor in supervisors for one in (supervisor, *supervisor.children())]


def servers_of_production(shop: DeliveringShop) -> list[psutil.Process]:
    place = str(shop.home / "environments" / "demo_store" / "production" / "releases")
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(place):
                found.append(process)
        except psutil.Error:
            continue
    return found


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=10, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def assert_delivered(shop: DeliveringShop, key: str) -> None:
    """It came through on one attempt, production runs it, and only what was its own is gone."""
    found = shop.play.stage.feature(key)
    assert (found["state"], found["run_state"]) == ("delivered", "success")
    assert [one["state"] for one in found["attempts"]] == ["shipped"]
    assert len(found["promotions"]) == 1
    assert shop.production() == found["candidate"]["commit"]
    assert answers(shop.play.facts.production_address())
    assert not shop.environments_of(key)
    assert not any(key in branch for branch in shop.play.facts.branches())
    assert {"production", "preprod"} <= shop.play.facts.branches()
    assert shop.play.facts.issue(key)["state"] == "done"


def test_the_scheduler_and_its_workers_die_during_the_checks_and_again_at_a_gate(shop: DeliveringShop) -> None:
    key, _ = shop.pushed()
    shop.until_at_work(key, "development.checks.unit")
    kill_part(shop, "scheduler", family=True)
    shop.play.reviewed(key)
    kill_part(shop, "scheduler")
    shop.until("it is noticed", lambda: not shop.now.instance.is_ready())
    shop.play.tester.decide(key, "acceptance", "approve", "Said while nobody schedules.")
    shop.play.stage.until_gate(key, CONFIRMATION)
    shop.play.manager.decide(key, "confirmation", "approve")
    shop.play.kept(key)
    assert_delivered(shop, key)
    assert shop.task(key, "development.checks.unit")["try_number"] > 1, "what died with its worker was at work"


def test_the_api_server_and_the_database_die_under_running_tasks(shop: DeliveringShop) -> None:
    key, _ = shop.pushed()
    shop.until_at_work(key, "development.deploy")
    kill_part(shop, "api-server", family=True)
    shop.play.reviewed(key)
    shop.play.accepted(key)
    shop.until_at_work(key, "production.deploy")
    kill_part(shop, "postgres")
    shop.play.kept(key)
    assert_delivered(shop, key)


def test_a_task_dies_while_it_deploys_to_production_and_then_production_itself(shop: DeliveringShop) -> None:
    key, _ = shop.at_acceptance()
    shop.play.accepted(key)
    shop.until_at_work(key, "production.deploy")
    instance = shop.task(key, "production.deploy")["id"]
    kill(*shop.until("the task has processes", lambda: task_processes(instance)))
    shop.play.stage.until_gate(key, VERDICT)
    kill(*servers_of_production(shop))
    address = shop.play.facts.production_address()
    shop.until("production answers again at its address", lambda: answers(address))
    shop.play.kept(key)
    assert_delivered(shop, key)
    assert shop.task(key, "production.deploy")["try_number"] > 1, "what was killed was at work"


def test_every_webhook_that_was_answered_is_processed_though_the_api_server_dies(shop: DeliveringShop) -> None:
    """In a burst of four hosts' words; who got no answer sends again, as hosts and people do."""
    secret = (shop.home / "secrets" / "webhook-demo_store").read_bytes().strip()
    address = f"{shop.now.instance.address}{URL_PREFIX}/webhooks/demo_store"
    hosts = ("github", "gitlab", "gitea", "feature-delivery")
    number, mark = 400, uuid.uuid4().hex
    answered: list[str] = []
    unanswered: list[str] = []

    def send(which: int) -> None:
        host, delivery = hosts[which % len(hosts)], f"{mark}-{which}"
        push = {"object_kind": "push", "ref": f"refs/heads/feature/BURST-{which}", "after": "a" * 40, "new": "a" * 40}
        sent = SENDERS[host]("push", json.dumps(push).encode(), secret, delivery=delivery)

        def taken() -> bool:
            try:
                answer = httpx.post(address, content=sent.body, headers=sent.headers, timeout=30, trust_env=False)
            except httpx.HTTPError:
                unanswered.append(delivery)
                return False
            return answer.status_code == 202

        shop.until(f"{delivery} is taken", taken)
        answered.append(delivery)

    with ThreadPoolExecutor(8) as senders:
        sending = [senders.submit(send, which) for which in range(number)]
        shop.until("half of them are answered", lambda: len(answered) >= number // 2)
        kill_part(shop, "api-server", family=True)
        for one in sending:
            one.result()
    assert unanswered, "it died in the middle of the burst"
    assert len(set(answered)) == number
    api = shop.play.stage.api("olga")

    def processed() -> bool:
        found = [api.get(f"/webhooks/demo_store/deliveries/{delivery}") for delivery in answered]
        return all(one["state"] == "processed" and one["processed_at"] for one in found)

    shop.until("all of them are processed", processed)
    key, _ = shop.pushed()  # and the next real push is told as ever
    shop.until_step(key, "development.deploy", "running", "done")


def test_no_decision_is_lost_however_early_it_comes(shop: DeliveringShop) -> None:
    """Before the gate is asked at, while its task is on its way to park, right after."""
    keys = [shop.new()[0] for _ in range(10)]
    for place, key in enumerate(keys):
        shop.play.manager.post("/features", {"key": key, "title": "Soon given up"})
        if place % 2:
            shop.play.developer().decide(key, "start", "approve")
    waiting = set(keys[::2])

    def all_decided() -> bool:
        for key in list(waiting):
            found = shop.play.stage.feature(key)
            if found["gate"] is not None and found["gate"]["step"] == "intake.wait_for_start":
                shop.play.developer().decide(key, "start", "approve")
                waiting.remove(key)
        return not waiting

    shop.until("every start gate has opened", all_decided)
    for key in keys:
        shop.until_step(key, "intake.wait_for_start", "done")
        shop.play.manager.post(f"/features/{key}/cancel", {"reason": "It was only about the gate."})
    for key in keys:
        shop.play.stage.until(key, "its end", lambda f: f["state"] == "cancelled" and f["run_state"] == "success")
        assert not shop.environments_of(key)
