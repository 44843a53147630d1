"""Ten thousand features as prepared rows: the board's pages, Prometheus' scrape, a round of housekeeping.

Half of the features wait at gates, half have been delivered; each has the traces of a whole way in the ledger, its run
with every task in Airflow's tables, and a branch on the host where it is under way. The real web app answers over HTTP;
pages are read by a client in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import metrics
import pytest
from figures import Figure, percentile
from metrics import MARK, fill, ledger, vacuum
from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from sqlalchemy import Engine

FEATURES = 10_000
GOAL_PAGE_S, GOAL_HOUSEKEEPING_S = 1.0, 10.0
TIMEOUT_SECONDS = 1800
DAG = "feature_delivery_shop"

# What is on its way is sent and processed, what is waited for was asked: a shop on a quiet day, and nothing to do.
QUIET = """
UPDATE fd_outbox SET sent_at = created_at WHERE sent_at IS NULL;
UPDATE fd_webhook SET processed_at = received_at WHERE processed_at IS NULL;
UPDATE fd_gate SET requested_at = now(), reminders = 9, reminded_at = now();
UPDATE fd_attempt SET commit = :head;
UPDATE fd_feature SET branch = 'feature/' || key || '-a-branch', branch_head = :head WHERE state = 'active';
UPDATE fd_project SET production_commit = :head
"""
COPIED: dict[str, dict[str, str | None]] = {
    "dag_run": {"id": None, "run_id": "'SHOP-' || n", "state": "{run_state}", "run_after": "{run_after}"},
    "task_instance": {"id": "gen_random_uuid()", "run_id": "'SHOP-' || n", "state": "{task_state}"},
}
"""What a run consists of, and what of a copy is its own; ``None``: the database gives it."""

DELIVERED = "n % 2 = 1"
GATE = (
    "(ARRAY['development.wait_for_code', 'review.wait_for_review', 'preprod.wait_for_acceptance',"
    " 'preprod.wait_for_confirmation'])[1 + n % 4]"
)
"""Where HISTORY in metrics.py has a feature wait."""


def _choices() -> dict[str, str]:
    """Return what of a run differs from feature to feature, as SQL over its number ``n`` and its task ``o``."""
    from feature_delivery.domain.process import ORDER  # noqa: PLC0415 - after Airflow's settings

    place = "CASE {} " + " ".join(f"WHEN '{step.value}' THEN {order}" for step, order in ORDER.items()) + " END"
    over = f"{place.format('o.task_id')} < {place.format(GATE)}"
    waits = f"WHEN o.task_id = {GATE} THEN 'awaiting_input'"
    return {
        "run_state": f"CASE WHEN {DELIVERED} THEN 'success' ELSE 'running' END",
        "run_after": f"CASE WHEN {DELIVERED} THEN now() ELSE now() + interval '30 days' END",
        "task_state": f"CASE WHEN {DELIVERED} OR {over} THEN 'success' {waits} END",
    }


def _copy_runs(engine: Engine, features: int) -> None:
    """Copy the one run that Airflow has made itself to every other feature."""
    choices = _choices()
    with engine.begin() as connection:
        for table, own in COPIED.items():
            names = [column["name"] for column in inspect(connection).get_columns(table)]
            kept = [name for name in names if own.get(name, "") is not None]
            values = [(own.get(name) or f"o.{name}").format(**choices) for name in kept]
            query = (
                f"INSERT INTO {table} ({', '.join(kept)}) SELECT {', '.join(values)} FROM {table} o, "  # noqa: S608
                "generate_series(1, :last) n WHERE o.run_id = 'SHOP-1' AND n > 1"
            )
            connection.execute(text(query), {"last": features})
            connection.execute(text(f"UPDATE {table} SET state = 'success' WHERE run_id = 'SHOP-1'"))  # noqa: S608


def _calm(engine: Engine, *, head: str) -> None:
    """Leave nothing to do, with everything at the commit ``head``."""
    with engine.begin() as connection:
        for statement in QUIET.split(";\n"):
            connection.execute(text(statement), {"head": head} if ":head" in statement else {})


def _branches(bare: Path, head: str, features: int) -> None:
    """Give every feature under way a branch; one file, as Git itself packs them."""
    names = sorted(f"refs/heads/feature/SHOP-{number}-a-branch" for number in range(2, features + 1, 2))
    held = (bare / "packed-refs").read_text("utf-8").splitlines()[1:] if (bare / "packed-refs").exists() else []
    lines = [*held, *(f"{head} {name}" for name in names)]
    (bare / "packed-refs").write_text("# pack-refs with: peeled fully-peeled \n" + "\n".join(lines) + "\n", "utf-8")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


READER = """
import json, sys, time, httpx
base, token, *paths = sys.argv[1:]
with httpx.Client(base_url=base, cookies={"_token": token}, timeout=120, trust_env=False) as client:
    for path in paths:
        began = time.perf_counter()
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:200])
        print(json.dumps([path, time.perf_counter() - began, len(answer.content)]))
"""


def _read(address: str, token: str, *paths: str) -> list[float]:
    command = [sys.executable, "-c", READER, address, token, *paths]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS)
    return [json.loads(line)[1] for line in done.stdout.splitlines()]


def measure(*, rounds: int) -> list[Figure]:
    """Measure in a process of its own: Airflow reads its settings once."""
    command = [sys.executable, __file__, str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS)
    said = next(line for line in done.stdout.splitlines() if line.startswith(MARK))
    return [Figure(**one) for one in json.loads(said.removeprefix(MARK))]


def _measure(rounds: int, features: int = FEATURES) -> list[Figure]:
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the app's server and repository are the tests' own
    with ledger() as engine, pytest.MonkeyPatch.context() as patched:
        from feature_delivery.domain.names import ProjectName  # noqa: PLC0415
        from feature_delivery.ports.runs import RunRef  # noqa: PLC0415
        from feature_delivery.web.transaction import begin, session  # noqa: PLC0415
        from tests.support.airflow import store_dag  # noqa: PLC0415 - after Airflow's settings
        from tests.support.web_app import running_shop  # noqa: PLC0415

        fill(engine, features)
        with session() as opened:
            store_dag(opened, DAG)
        with begin() as unit:
            unit.runs.start(RunRef(ProjectName("shop"), "SHOP-1"), conf={"feature": "SHOP-1"}, note="")
        _copy_runs(engine, features)
        place = Path(os.environ["AIRFLOW_HOME"]) / "scale"
        place.mkdir()
        _calm(engine, head="0" * 40)  # before anything works in the background
        with running_shop(place, patched) as shop:
            _branches(shop.repository.bare, shop.repository.main, features)
            _calm(engine, head=shop.repository.main)
            vacuum(engine)
            return [*_pages(shop, rounds), *_scrape(rounds), *_housekeeping(features, rounds)]


def _pages(shop: Any, rounds: int) -> list[Figure]:
    from feature_delivery.web.board import pulse  # noqa: PLC0415
    from tests.support.board_app import cookie  # noqa: PLC0415

    token = cookie("max")
    _read(shop.address, token, "/board/")  # once before it counts: templates are compiled
    again = _read(shop.address, token, *["/board/"] * rounds)
    changed, used = [], -time.process_time()
    for _ in range(rounds):
        pulse.snapshots.forget()
        changed += _read(shop.address, token, "/board/")
    used += time.process_time()
    column = _read(shop.address, token, *["/board/?all=review"] * rounds)
    feature = _read(shop.address, token, *["/board/shop/SHOP-5002"] * rounds)
    figures = _read(shop.address, token, *["/board/figures"] * rounds)
    note = f"{FEATURES // 2} features under way, {FEATURES // 2} delivered"
    return [
        Figure("scale", "the board's page", median(again), "s", GOAL_PAGE_S, note, again),
        Figure("scale", "the first after a change", median(changed), "s", GOAL_PAGE_S, "", changed),
        Figure("scale", "of it: the server's processor time", used / rounds, "s", None, "without the database's"),
        Figure("scale", "one column as a whole", median(column), "s", None, "1250 cards", column),
        Figure("scale", "a feature's page", median(feature), "s", GOAL_PAGE_S, "", feature),
        Figure("scale", "the page of figures", median(figures), "s", GOAL_PAGE_S, "", figures),
    ]


def _scrape(rounds: int) -> list[Figure]:
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

    from feature_delivery.web.monitoring import LedgerCollector  # noqa: PLC0415

    registry = CollectorRegistry()
    registry.register(LedgerCollector())
    generate_latest(registry)
    took = [1000 * _timed(lambda: generate_latest(registry)) for _ in range(max(10, rounds * 4))]
    return [Figure("scale", "one scrape, p95", percentile(took, 0.95), "ms", metrics.GOAL_MS, "", took)]


def _housekeeping(features: int, rounds: int) -> list[Figure]:
    from feature_delivery.bootstrap import settings  # noqa: PLC0415
    from feature_delivery.domain.upkeep import Found  # noqa: PLC0415
    from feature_delivery.services.control.reap import plan_reaping  # noqa: PLC0415
    from feature_delivery.web import rounds as web_rounds  # noqa: PLC0415
    from feature_delivery.web.transaction import begin  # noqa: PLC0415

    first = _timed(lambda: print(web_rounds.housekeeping()))
    took = [_timed(web_rounds.housekeeping) for _ in range(rounds)]
    project = settings.project("shop")
    with begin() as unit:
        instance = unit.books.instance()
        ids = [feature.id for feature in unit.books.features() if feature.state == "active"]
    found = [
        Found(name=f"{kind}-{number}", kind=kind, key=None, instance=instance, foreign=False)
        for number in ids
        for kind in ("development", "preprod")
    ]

    def plan() -> None:
        with begin() as unit:
            assert not plan_reaping(unit, project, found).destroy

    reaping = [_timed(plan) for _ in range(rounds)]
    whole = median(took) + median(reaping)
    note = f"every round over {features} features, and what the reaper may do about {len(found)} environments"
    return [
        Figure("scale", "housekeeping", whole, "s", GOAL_HOUSEKEEPING_S, note),
        Figure("scale", "of it: the rounds", median(took), "s", None, f"the first {first:.1f} s", took),
        Figure("scale", "of it: the reaper's plan", median(reaping), "s", None, "", reaping),
    ]


if __name__ == "__main__":
    print(MARK + json.dumps([asdict(one) for one in _measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)]))
