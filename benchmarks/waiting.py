"""An active feature while others wait at gates: waiting must cost nothing.

The first of those that wait are brought to their gate by real tasks; the rest are copies of one of them, row by row,
in Airflow's tables and in the ledger: nothing tells them apart. Housekeeping runs every minute as always, over all.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from delivery import deliver_empty
from figures import Figure
from sqlalchemy import inspect
from stage import EMPTY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stage import Stage

GOAL_RATIO = 1.1
AT_ONCE = 10
COPIED: dict[str, dict[str, str | None]] = {
    "dag_run": {"id": None, "run_id": "'WAIT-' || n"},
    "task_instance": {"id": "gen_random_uuid()", "run_id": "'WAIT-' || n"},
    "hitl_detail": {
        "ti_id": "(SELECT t.id FROM task_instance t JOIN task_instance s ON s.dag_id = t.dag_id "
        "AND s.task_id = t.task_id WHERE s.id = o.ti_id AND t.run_id = 'WAIT-' || n)"
    },
    "fd_feature": {"id": None, "run_id": "'WAIT-' || n", "key": "'WAIT-' || n"},
    "fd_gate": {
        "id": None,
        "feature_id": "(SELECT id FROM fd_feature WHERE project = :project AND key = 'WAIT-' || n)",
    },
}
"""What a feature at its first gate consists of, and what of a copy is its own; ``None``: the database gives it."""
ORIGINAL = {
    "dag_run": "dag_id = :dag AND run_id = 'WAIT-1'",
    "task_instance": "dag_id = :dag AND run_id = 'WAIT-1'",
    "hitl_detail": "ti_id IN (SELECT id FROM task_instance WHERE dag_id = :dag AND run_id = 'WAIT-1')",
    "fd_feature": "project = :project AND key = 'WAIT-1'",
    "fd_gate": "feature_id = (SELECT id FROM fd_feature WHERE project = :project AND key = 'WAIT-1')",
}


def park(stage: Stage, first: int, last: int) -> None:
    """Bring features to the start gate by real tasks, some at a time: it is not their start that is measured."""
    for number in range(first, last + 1):
        stage.post(EMPTY, "/features", {"key": f"WAIT-{number}", "title": "Waits"})
        if number % AT_ONCE == 0 or number == last:
            _until_waiting(stage, f"{number} features at their gate", number)
    asked = "SELECT count(*) FROM fd_gate g JOIN fd_feature f ON f.id = g.feature_id WHERE g.requested_at IS NULL"
    stage.until("their questions", lambda: stage.rows(f"{asked} AND f.key LIKE 'WAIT-%'")[0][0] == 0)


def copy(stage: Stage, first: int, last: int) -> None:
    """Copy the first feature that waits, as it is in the database, to features ``first`` to ``last``."""
    values = {"dag": stage.shops[EMPTY].project.dag_id, "project": EMPTY, "first": first, "last": last}
    look = inspect(stage.engine)
    for table, own in COPIED.items():
        columns = [c["name"] for c in look.get_columns(table) if own.get(c["name"], "") is not None]
        source = ", ".join(own.get(name) or f"o.{name}" for name in columns)
        stage.change(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {source} "  # noqa: S608 - names of our own
            f"FROM {table} o, generate_series(CAST(:first AS int), CAST(:last AS int)) n WHERE {ORIGINAL[table]}",
            **{name: value for name, value in values.items() if f":{name}" in source + ORIGINAL[table] + ":first:last"},
        )


def _waiting(stage: Stage) -> int:
    query = """
        SELECT count(*) FROM task_instance t JOIN dag_run r ON r.dag_id = t.dag_id AND r.run_id = t.run_id
        WHERE t.run_id LIKE 'WAIT-%' AND t.state = 'awaiting_input' AND r.run_after > now()
    """
    return int(stage.rows(query)[0][0])


def _until_waiting(stage: Stage, what: str, number: int) -> None:
    stage.until(what, lambda: _waiting(stage) == number)


def measure(stage: Stage, *, rounds: int, levels: Sequence[int], real: int) -> list[Figure]:
    """Deliver features with more and more others waiting, and again with none at the end: machines tire, too."""
    deliver_empty(stage)
    took: dict[int, list[float]] = {}
    used: dict[int, list[float]] = {}
    _deliveries(stage, rounds, took, used, level=0)
    there = 0
    for level in levels:
        if there < real:
            park(stage, there + 1, min(level, real))
        if level > max(there, real):
            copy(stage, max(there, real) + 1, level)
        there = level
        _until_waiting(stage, "the shelf", level)
        _deliveries(stage, rounds, took, used, level=level)
        if _waiting(stage) != level:
            raise RuntimeError("A feature that waits was woken.")
    _clear(stage)
    _deliveries(stage, rounds, took, used, level=0)
    return _figures(took, used, real)


def _clear(stage: Stage) -> None:
    """Remove those that wait, so that the last deliveries have none beside them, as the first."""
    mine = "(SELECT id FROM fd_feature WHERE key LIKE 'WAIT-%')"
    for table in ("fd_gate", "fd_event", "fd_permit", "fd_outbox"):
        stage.change(f"DELETE FROM {table} WHERE feature_id IN {mine}")  # noqa: S608 - names of our own
    stage.change("DELETE FROM fd_feature WHERE key LIKE 'WAIT-%'")
    stage.change("DELETE FROM task_instance WHERE run_id LIKE 'WAIT-%'")
    stage.change("DELETE FROM dag_run WHERE run_id LIKE 'WAIT-%'")


def _deliveries(
    stage: Stage, rounds: int, took: dict[int, list[float]], used: dict[int, list[float]], *, level: int
) -> None:
    for _ in range(rounds):
        before = stage.cpu_seconds()
        took.setdefault(level, []).append(deliver_empty(stage)[1])
        used.setdefault(level, []).append(stage.cpu_seconds() - before)


def _figures(took: dict[int, list[float]], used: dict[int, list[float]], by_tasks: int) -> list[Figure]:
    found = []
    for level, seconds in took.items():
        if level:
            real = f"{min(level, by_tasks)} by real tasks; medians of {len(seconds)} and {len(took[0])}"
            goal = GOAL_RATIO if level >= 1000 else None
            name = f"active feature beside {level} / beside none"
            found.append(Figure("waiting", name, median(seconds) / median(took[0]), "ratio", goal, real))
            share = median(used[level]) / median(used[0])
            note = "of the whole instance, housekeeping and all"
            found.append(Figure("waiting", f"processor time beside {level} / beside none", share, "ratio", None, note))
        found.append(Figure("waiting", f"active feature beside {level}", median(seconds), "s", None, "", seconds))
        cpu = median(used[level])
        found.append(Figure("waiting", f"processor time beside {level}", cpu, "s", None, "", used[level]))
    return found
