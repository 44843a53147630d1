"""A watch by the probe outlives the process that makes it: its looks are in the ledger, the gap stays a gap."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.judging.rules import AVAILABILITY
from feature_delivery.domain.names import ProjectName, feature_key
from feature_delivery.domain.process import Step
from feature_delivery.domain.watching import Kept, Seen, WatchPlan
from feature_delivery.orchestration.watching import as_json, from_json
from feature_delivery.services.work.job import Job
from feature_delivery.services.work.observing import conclude
from tests.support.board_app import give_runs
from tests.support.board_world import plant
from tests.support.prometheus import eventually, serving
from tests.support.web_app import TOKEN, Shop

SHOP, KEY, WINDOW = ProjectName("shop"), feature_key("SHOP-501"), 5.0
TRIGGERER = """
import asyncio, json, sys
from feature_delivery.adapters import control_http, http_probe
from feature_delivery.bootstrap import settings, tools
from feature_delivery.orchestration import link, watching
from feature_delivery.services.work import keeping, observing
link.URL_PREFIX = ""  # the test serves the app alone
watching.KEEP_EVERY_SECONDS, watching.EARLIEST_SECONDS = 0.2, 0.0
print("ready", flush=True)
plan = json.loads(sys.stdin.readline())

async def watch():
    async for event in watching.WatchTrigger(plan).run():
        print(json.dumps(event.payload), flush=True)

asyncio.run(watch())
"""


@contextmanager
def triggerer(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    """A process that makes the watch it is told of on standard input, and says what it has seen."""
    own = {"AIRFLOW_CONN_FEATURE_DELIVERY": json.dumps({"conn_type": "http", "host": shop.address, "password": TOKEN})}
    process = subprocess.Popen(
        [sys.executable, "-c", TRIGGERER],
        env={**os.environ, **own},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def begin_watch(process: subprocess.Popen[str], plan: WatchPlan) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(as_json(plan)) + "\n")
    process.stdin.flush()


def watched_feature(shop: Shop, key: str) -> Kept:
    """A feature whose watch on production is deferred, under the permit that it was planned with."""
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        plant(unit.books, key, Step.OBSERVE_PRODUCTION, works=True)
    give_runs()
    shop.set(Step.OBSERVE_PRODUCTION, "deferred", run_id=key)
    instance = str(shop.instance(Step.OBSERVE_PRODUCTION, run_id=key).id)
    with begin() as unit:
        feature = unit.books.feature(SHOP, feature_key(key))
        assert feature is not None
        permit = unit.books.permits(feature)[-1]
        permit.task_instance, permit.state = instance, "granted"
        return Kept(run_id=feature.run_id, try_number=1, task_instance=instance, permit=permit.id)


def kept(where: Kept) -> list[float]:
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        feature = unit.books.feature(SHOP, KEY)
        assert feature is not None
        return [look[0] for one in unit.books.looks(feature, where.permit) for look in one.looks]


def judged(plan: WatchPlan, seen: Seen) -> Any:
    tools = SimpleNamespace(measuring=None, rank_test=mann_whitney)
    work = SimpleNamespace(baseline=None, preprod=None)
    return conclude(Job(cast("Any", work), cast("Any", tools), lambda _: "", lambda _: None), plan, seen)


def test_a_triggerer_killed_in_the_window_takes_nothing_with_it_that_it_had_seen(shown: Shop) -> None:
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(time.time())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Be quiet."""

    where = watched_feature(shown, KEY)
    with serving(Handler) as url, triggerer(shown) as first, triggerer(shown) as second:
        assert (said(first), said(second)) == ("ready", "ready")
        began = time.time()
        plan = WatchPlan(
            project="shop", connection="", url=url, began=began, counts_from=began, until=began + WINDOW,
            step_seconds=30, look_every_seconds=30, least_requests=100, probes=True, keep=where,
        )  # fmt: skip
        begin_watch(first, plan)
        eventually("looks in the ledger", lambda: len(kept(where)) >= 4)
        first.kill()
        first.wait(10)
        killed = time.time()
        before = kept(where)
        time.sleep(1.2)  # Airflow takes longer until another triggerer has it; a gap is a gap
        taken_over = time.time()
        begin_watch(second, plan)
        seen: Seen = from_json(Seen, json.loads(said(second)))
    moments = [look.at for look in seen.looks]
    assert set(before) < set(moments)
    assert moments == sorted(moments)
    assert all(moment < killed for moment in before)
    assert [moment for moment in moments if killed < moment < taken_over] == [], "nobody looked then"
    assert [moment for moment in moments if moment > taken_over], "the successor goes on"
    # Each has a request of its own that was really made.
    assert all(any(last < one <= moment for one in asked) for last, moment in pairwise([began, *moments]))
    assert began < moments[0] < moments[-1] <= plan.until + 1
    availability = judged(plan, seen).judgement.findings[0]
    assert availability.metric == AVAILABILITY.name
    assert availability.after.samples == len(moments)
    assert availability.after.expected >= len(moments) + 2, "what nobody saw is counted as missing"


def test_only_a_watch_that_is_under_way_has_looks_to_keep(shown: Shop) -> None:
    where = watched_feature(shown, "SHOP-502")
    task = {**shown.claim(Step.OBSERVE_PRODUCTION, run_id="SHOP-502")}
    path = f"/tasks/permits/{where.permit}/looks"
    look = {"at": 1.5, "status": None, "seconds": 0.25}

    def status(body: dict[str, Any], *, of: str = path) -> int:
        return shown.tasks.post(of, json=body).status_code

    assert status({"task": task, "looks": [look]}) == 200
    assert status({"task": task, "looks": [look, {**look, "at": 1.0, "status": 200}]}) == 200, "again is not twice"
    answer = shown.tasks.post(f"{path}/kept", json=task)
    assert answer.json() == {"looks": [{"at": 1.0, "status": 200, "seconds": 0.25}, look]}
    for bad in ({"at": -1}, {"status": 42}, {"seconds": "soon"}, {"at": 1e400}):
        raw = json.dumps({"task": task, "looks": [{**look, **bad}]})  # JSON of Python's has an Infinity
        headers = {"Content-Type": "application/json"}
        assert shown.tasks.post(path, content=raw, headers=headers).status_code == 422, bad
    assert status({"task": task, "looks": [look] * 501}) == 422
    assert status({"task": {**task, "step": "promote"}, "looks": []}) in {403, 422}
    assert status({"task": {**task, "task_instance": str(uuid.uuid4())}, "looks": []}) == 403
    assert status({"task": task, "looks": []}, of="/tasks/permits/999999/looks") == 404
    assert shown.nobody.post(path, json={"task": task, "looks": []}).status_code == 401
    for state in ("running", "success"):
        shown.set(Step.OBSERVE_PRODUCTION, state, run_id="SHOP-502")
        assert status({"task": task, "looks": [look]}) == 403, state
        assert status(task, of=f"{path}/kept") == 403, state
