"""Deliveries of the demo's shop with people at parked gates: how long production is held, how soon runs go on.

Production is held from the turn to the verdict. People and observation aside, what is left besides deploying and
testing is ours.
"""

from __future__ import annotations

from itertools import count
from statistics import median
from typing import TYPE_CHECKING

from figures import Figure, percentile
from stage import STORE

from feature_delivery.domain.process import Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stage import Stage

GOAL_LOCK_RATIO, GOAL_DECISION_P95_S = 1.2, 0.6
DECISIONS = (
    (Step.WAIT_FOR_START, "start", "approve"),
    (Step.WAIT_FOR_REVIEW, "review", "approve"),
    (Step.WAIT_FOR_ACCEPTANCE, "acceptance", "approve"),
    (Step.WAIT_FOR_CONFIRMATION, "confirmation", "approve"),
    (Step.WAIT_FOR_VERDICT, "verdict", "keep"),
)
"""Gates whose decision lets further tasks run; the demonstration is the last one."""

_numbers = count(1)


def parked(stage: Stage, project: str, key: str, step: Step) -> None:
    """Wait until the feature's task is parked at a gate."""
    query = """
        SELECT 1 FROM task_instance WHERE dag_id = :dag AND run_id = :run AND task_id = :task
        AND state = 'awaiting_input'
    """
    dag = stage.shops[project].project.dag_id
    stage.until(f"{key} at {step}", lambda: stage.rows(query, dag=dag, run=key, task=step.value))


def deliver(stage: Stage, project: str, files: Mapping[str, str] | None = None) -> tuple[str, list[float]]:
    """Deliver one feature by decisions at parked gates; returns its key, and from each decision to the next start.

    ``files``: what its commit holds besides a line of text, by path.
    """
    key = f"STORE-{next(_numbers)}"
    branch = stage.push(project, key, files)
    stage.post(project, "/features", {"key": key, "title": "A line", "branch": branch})
    for step, gate, kind in DECISIONS:
        if step is Step.WAIT_FOR_REVIEW:
            parked(stage, project, key, Step.WAIT_FOR_MERGE_REQUEST)
            stage.post(project, "/requests", {"source": branch, "title": key})
        parked(stage, project, key, step)
        stage.decide(project, key, gate, kind)
    parked(stage, project, key, Step.WAIT_FOR_DEMONSTRATION)
    stage.decide(project, key, "demonstration", "approve")
    dag = stage.shops[project].project.dag_id
    stage.until(f"the end of {key}", lambda: stage.run_seconds(dag, key))
    return key, waits_after_decisions(stage, project, key)


def waits_after_decisions(stage: Stage, project: str, key: str) -> list[float]:
    """Return the seconds from each counted decision to the start of the task after its gate."""
    query = """
        SELECT extract(epoch FROM min(t.start_date) - d.at)
        FROM fd_decision d JOIN task_instance t ON t.dag_id = :dag AND t.run_id = :run
        WHERE d.feature_id = :feature AND d.accepted AND d.step = ANY(:steps) AND t.start_date > d.at
        AND t.state <> 'skipped'
        GROUP BY d.id, d.at
    """
    dag, steps = stage.shops[project].project.dag_id, [step.value for step, _gate, _kind in DECISIONS]
    feature = stage.feature_id(project, key)
    return [float(row[0]) for row in stage.rows(query, dag=dag, run=key, feature=feature, steps=steps)]


def production_seconds(stage: Stage, project: str, key: str) -> tuple[float, float]:
    """Return how long production was held without people and observation, and how long deploy and tests took.

    The people's time is from the parking at the verdict to the decision; the task that observes is left out whole.
    """
    feature, dag = stage.feature_id(project, key), stage.shops[project].project.dag_id
    held = """
        SELECT extract(epoch FROM v.opened_at - e.at) FROM fd_event e
        JOIN fd_gate v ON v.feature_id = e.feature_id AND v.step = 'production.wait_for_verdict'
        WHERE e.feature_id = :feature AND e.kind = 'turn'
    """
    observed = """
        SELECT extract(epoch FROM end_date - start_date) FROM task_instance
        WHERE dag_id = :dag AND run_id = :run AND task_id = 'production.observe'
    """
    work = """
        SELECT sum(extract(epoch FROM ended_at - granted_at)) FROM fd_permit WHERE feature_id = :feature
        AND state = 'done' AND step IN ('production.deploy', 'production.integration_tests')
    """
    whole = float(stage.rows(held, feature=feature)[0][0])
    watching = float(stage.rows(observed, dag=dag, run=key)[0][0])
    return whole - watching, float(stage.rows(work, feature=feature)[0][0])


def measure(stage: Stage, *, rounds: int) -> list[Figure]:
    """Deliver features of the demo's shop one after another."""
    deliver(stage, STORE)  # once before it counts
    waits: list[float] = []
    held: list[float] = []
    work: list[float] = []
    for _ in range(rounds):
        key, waited = deliver(stage, STORE)
        waits.extend(waited)
        seconds, needed = production_seconds(stage, STORE, key)
        held.append(seconds)
        work.append(needed)
    return [*of_production("store", "the demo's shop", held, work), *of_decisions("store", waits)]


def of_production(benchmark: str, shop: str, held: Sequence[float], work: Sequence[float]) -> list[Figure]:
    """Return the figures about the lock on production: how long it was held, and what was needed, per release."""
    besides = [whole - needed for whole, needed in zip(held, work, strict=True)]
    note = f"medians of {len(held)} releases of {shop}; people and observation aside"
    return [
        Figure(
            benchmark, "production held / deploy + tests", median(held) / median(work), "ratio", GOAL_LOCK_RATIO, note
        ),
        Figure(benchmark, "production held", median(held), "s", None, "turn to verdict", held),
        Figure(benchmark, "deploy + tests", median(work), "s", None, "permit to result of both", work),
        Figure(benchmark, "held besides", median(besides), "s", None, "refresh, promote, five task starts", besides),
    ]


def of_decisions(benchmark: str, waits: Sequence[float]) -> list[Figure]:
    """Return the figures about the waits after decisions."""
    note = f"{len(waits)} decisions at parked gates"
    p95 = percentile(waits, 0.95)
    return [
        Figure(benchmark, "decision to next task, p95", p95, "s", GOAL_DECISION_P95_S, note, waits),
        Figure(benchmark, "decision to next task, p50", percentile(waits, 0.5), "s"),
    ]
