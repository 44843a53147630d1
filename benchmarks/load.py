"""Many deliveries at once through the stack of docker-compose.yaml: Celery, split API servers, PostgreSQL, Redis.

The stack is the one of the e2e tests (Linux and root; namespaces instead of Docker). Every delivery has empty work and
everything decided as soon as it may be: what is left is what delivering costs. Production is taken by one after the
other, as always.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from figures import Figure, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.compose_stack import Stack
    from tests.support.stack_shop import Max

SITE = "delivery.localhost"
PATIENCE_SECONDS = 7200.0
LOOK_EVERY_SECONDS = 1.0
WATCHED = ("scheduler", "api-core", "api-execution", "postgres", "redis", "worker-local")
ACCESS = re.compile(r"duration_us=(\d+) .* path=(\S+) .*status_code=(\d+)")


@dataclass
class Drive:
    """Everybody at once: what may be said of each feature is said when it is seen to be possible."""

    shop: Max
    keys: list[str]
    said: dict[str, set[str]] = field(default_factory=dict)

    def once(self) -> int:
        """Look at all of them, say what can be said; returns how many have been delivered."""
        from tests.support.stack_shop import SHOP  # noqa: PLC0415

        found = {one["key"]: one for one in self.shop.api.get(f"/projects/{SHOP}/features")}
        for key in self.keys:
            self._say(key, found[key])
        return sum(one["state"] == "delivered" for one in found.values())

    def _say(self, key: str, now: dict[str, object]) -> None:
        said = self.said.setdefault(key, {"start"})
        gate = now["gate"]
        at = str(gate["step"]) if isinstance(gate, dict) else ""
        if isinstance(gate, dict) and gate["blocked"]:
            raise RuntimeError(f"{key} does not go on at {at}: {gate['blocked']}")
        if now["attempt"] == 1 and "request" not in said:
            said.add("request")
            self.shop.post("/requests", {"source": f"feature/{key}-load", "title": key})
            for one in ("review", "acceptance", "confirmation"):
                self.shop.decide(key, one, "approve")
        if at == "production.wait_for_verdict" and "verdict" not in said:
            said.add("verdict")
            self.shop.decide(key, "verdict", "keep")
        if at == "completion.wait_for_demonstration" and "demonstration" not in said:
            said.add("demonstration")
            self.shop.decide(key, "demonstration", "approve")


def measure(*, number: int) -> list[Figure]:
    """Start the stack and deliver so many features at once."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the stack is the tests' own
    from tests.support.compose_stack import stack  # noqa: PLC0415
    from tests.support.stack_shop import Max, put_shop, services  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="fd-load-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with stack(directory, services(directory, site=SITE)) as made:
            put_shop(made)
            made.up()
            shop = Max(made)
            with closing(shop.api):
                return _deliver(made, shop, number)


def _deliver(stack: Stack, shop: Max, number: int) -> list[Figure]:
    from tests.support.stack_shop import push  # noqa: PLC0415

    keys = [f"LOAD-{n}" for n in range(1, number + 1)]
    push(stack, *(f"feature/{key}-load" for key in keys))
    read = {name: stack.log(name).stat().st_size for name in ("api-core", "api-execution")}
    used = {name: -_cpu_seconds(stack, name) for name in WATCHED}
    commits = -_number(stack, "SELECT xact_commit FROM pg_stat_database WHERE datname = 'airflow'")
    began = time.monotonic()
    for key in keys:
        shop.post("/features", {"key": key, "title": "Nothing", "branch": f"feature/{key}-load"})
        shop.decide(key, "start", "approve")
    drive = Drive(shop, keys)
    _until(lambda: drive.once() == number)
    seconds = time.monotonic() - began
    commits += _number(stack, "SELECT xact_commit FROM pg_stat_database WHERE datname = 'airflow'")
    used = {name: used[name] + _cpu_seconds(stack, name) for name in WATCHED}
    return [
        Figure("load", f"{number} deliveries at once", seconds, "s", None, f"{seconds / number:.1f} s for each"),
        Figure("load", "tasks that failed", _number(stack, BAD), "", 0, "or were run more than once"),
        *_scheduler(stack),
        *_requests(stack, read),
        Figure("load", "the database's transactions", commits, "", None, f"{commits / seconds:.0f} a second"),
        *(
            Figure("load", f"processor time of {name}", one, "s", None, f"{one / number:.2f} s a delivery")
            for name, one in used.items()
        ),
    ]


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"Not every delivery ended within {PATIENCE_SECONDS:.0f} s.")
        time.sleep(LOOK_EVERY_SECONDS)


OURS = "dag_id = 'feature_delivery_shop'"
BAD = f"SELECT count(*) FROM task_instance WHERE {OURS} AND (state IN ('failed', 'upstream_failed') OR try_number > 1)"  # noqa: S608
STARTS = f"SELECT round(1000 * extract(epoch FROM start_date - queued_dttm)) FROM task_instance WHERE {OURS} AND start_date >= queued_dttm"  # noqa: E501, S608
PERMITS = (
    "SELECT round(1000 * extract(epoch FROM p.granted_at - t.start_date)) FROM fd_permit p "  # noqa: S608
    f"JOIN task_instance t ON t.id::text = p.task_instance WHERE t.{OURS} AND p.granted_at >= t.start_date"
)


def _scheduler(stack: Stack) -> list[Figure]:
    starts, permits = _numbers(stack, STARTS), _numbers(stack, PERMITS)
    return [
        Figure("load", "from queued to running, p95", percentile(starts, 0.95), "ms", None, f"{len(starts)} tasks"),
        Figure("load", "from running to its permit, p95", percentile(permits, 0.95), "ms", None, f"{len(permits)}"),
    ]


def _requests(stack: Stack, read: dict[str, int]) -> list[Figure]:
    """Read Airflow's own access log: how long the servers took to answer, those of the ledger and of people apart."""
    took: dict[str, list[float]] = {}
    states: Counter[str] = Counter()
    for server, begun in read.items():
        with stack.log(server).open("rb") as log:
            log.seek(begun)
            for line in log:
                if found := ACCESS.search(line.decode("utf-8", "replace")):
                    kind = server
                    if server == "api-core":
                        kind = "the ledger for tasks" if "/tasks/" in found[2] else "people and hosts"
                    took.setdefault(kind, []).append(int(found[1]) / 1000)
                    states[found[3][0]] += 1
    bad = states["5"]
    return [
        *(
            Figure("load", f"answers of {kind}, p95", percentile(all_, 0.95), "ms", None, f"{len(all_)} requests")
            for kind, all_ in sorted(took.items())
        ),
        Figure("load", "requests that failed", bad, "", 0, f"of {states.total()}: answered by 500 or more"),
    ]


def _numbers(stack: Stack, query: str) -> list[float]:
    said = stack.run("postgres", "psql", "-h", "127.0.0.1", "-U", "airflow", "-d", "airflow", "-tAc", query)
    return [float(line) for line in said.split()]


def _number(stack: Stack, query: str) -> float:
    return _numbers(stack, query)[0]


def _cpu_seconds(stack: Stack, name: str) -> float:
    """Return the processor time of a container so far; a child that has ended is in its parent's figure."""
    total = 0.0
    for process in stack.containers[name].processes():
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


if __name__ == "__main__":
    for figure in measure(number=int(sys.argv[1]) if len(sys.argv) > 1 else 50):
        print(json.dumps([figure.name, round(figure.value, 2), figure.unit, figure.note]))
