"""A whole delivery with empty work, every decision given early, against a bare Airflow chain as long as its way.

Both run alternately on the same instance. A delivery's own work (Git, checking out, starting the shop) is not nothing,
whatever the shop: it is what the tasks do between their permits and their results. It is measured by the ledger's own
clock and printed, so that one sees what the delivery costs with it and without it.
"""

from __future__ import annotations

import time
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

from figures import Figure
from stage import BARE_DAG, CHAIN_LENGTH, EMPTY

from feature_delivery.domain.process import CHECKS, TEARDOWNS

if TYPE_CHECKING:
    from stage import Stage

GOAL_RATIO = 1.25
SIGN_OFFS = ("review", "acceptance", "confirmation")
_numbers = count(1)


def deliver_empty(stage: Stage) -> tuple[str, float]:
    """Deliver one feature of the empty shop, everything decided as soon as it may be; returns its key and seconds."""
    key = f"EMPTY-{next(_numbers)}"
    branch = stage.push(EMPTY, key)
    stage.post(EMPTY, "/features", {"key": key, "title": "Nothing", "branch": branch})
    stage.decide(EMPTY, key, "start", "approve")
    feature = stage.feature_id(EMPTY, key)
    attempt = "SELECT 1 FROM fd_attempt WHERE feature_id = :feature"
    stage.until(f"the attempt of {key}", lambda: stage.rows(attempt, feature=feature))
    stage.post(EMPTY, "/requests", {"source": branch, "title": key})
    for gate in SIGN_OFFS:
        stage.decide(EMPTY, key, gate, "approve")
    asked = "SELECT 1 FROM fd_gate WHERE feature_id = :feature AND step = 'production.wait_for_verdict'"
    stage.until(f"the verdict on {key}", lambda: stage.rows(asked, feature=feature))
    stage.decide(EMPTY, key, "verdict", "keep")
    shipped = "SELECT 1 FROM fd_feature WHERE id = :feature AND state = 'shipped'"
    stage.until(f"{key} in production", lambda: stage.rows(shipped, feature=feature))
    stage.decide(EMPTY, key, "demonstration", "approve")
    dag = stage.shops[EMPTY].project.dag_id
    return key, float(stage.until(f"the end of {key}", lambda: stage.run_seconds(dag, key)))


def run_chain(stage: Stage) -> float:
    """Run the bare chain once; returns its seconds."""
    run = f"chain-{time.time_ns()}"
    stage.api.airflow("POST", f"/dags/{BARE_DAG}/dagRuns", {"logical_date": None, "dag_run_id": run})
    return float(stage.until(f"the end of {run}", lambda: stage.run_seconds(BARE_DAG, run)))


def work_seconds(stage: Stage, key: str) -> float:
    """Return what the steps of a delivery took between permit and result; of parallel ones only the longest."""
    query = """
        SELECT step, extract(epoch FROM ended_at - granted_at) FROM fd_permit
        WHERE state = 'done' AND feature_id = :feature
    """
    took = {row[0]: float(row[1]) for row in stage.rows(query, feature=stage.feature_id(EMPTY, key))}
    parallel = [{step.value for step in CHECKS}, {step.value for step in TEARDOWNS}]
    row = sum(seconds for step, seconds in took.items() if not any(step in group for group in parallel))
    return row + sum(max((took[step] for step in group if step in took), default=0.0) for group in parallel)


def measure(stage: Stage, *, rounds: int) -> list[Figure]:
    """Run deliveries and chains in turn, so that whatever else the machine does falls on both."""
    deliver_empty(stage)
    run_chain(stage)  # both once before it counts: caches, byte code, the first look at the repository
    ours, bare, work = [], [], []
    for _ in range(rounds):
        bare.append(run_chain(stage))
        key, seconds = deliver_empty(stage)
        ours.append(seconds)
        work.append(work_seconds(stage, key))
    with_work, chain, own = median(ours), median(bare), median(work)
    note = f"medians of {rounds}, in turn; chain of {CHAIN_LENGTH} tasks"
    return [
        Figure("delivery", "empty delivery / bare chain", with_work / chain, "ratio", GOAL_RATIO, note),
        Figure("delivery", "empty delivery", with_work, "s", None, "permits, Git, processes and all", ours),
        Figure("delivery", "bare chain", chain, "s", None, f"{chain / CHAIN_LENGTH:.3f} s per task", bare),
        Figure("delivery", "of it: work of the steps", own, "s", None, "Git, checkout, processes, reaching them", work),
        Figure("delivery", "the rest / bare chain", (with_work - own) / chain, "ratio", None, "what delivering adds"),
    ]
