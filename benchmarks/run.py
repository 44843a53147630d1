"""``make bench``: measure everything and print one table. Nothing fails on a time; a benchmark that breaks does.

python benchmarks/run.py                                  all of it, about half an hour
python benchmarks/run.py delivery webhooks --rounds 3     some of it
python benchmarks/run.py real_shop --rounds 3             the lock on production with a real Django shop
python benchmarks/run.py scale                            the board, /metrics, housekeeping with 10,000 features
python benchmarks/run.py load --deliveries 50             at once through docker-compose.yaml's stack: Linux and root
python benchmarks/run.py --json figures.json              for programs, too
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from figures import Figure, report, show
from rich.console import Console

Table = Mapping[str, Mapping[str, Callable[[argparse.Namespace], object]]]
"""Benchmarks by name, with the arguments of their ``measure`` and where these come from."""

ROUNDS, PORT = attrgetter("rounds"), attrgetter("port")
ALONE: Table = {
    "import": {"rounds": ROUNDS},
    "metrics": {"rounds": ROUNDS},
    "startup": {"port": PORT},
    "judge": {},
    "small_shops": {},
}
ON_REQUEST: Table = {
    "real_shop": {"port": PORT, "rounds": ROUNDS},
    "scale": {"rounds": ROUNDS},
    "load": {"number": attrgetter("deliveries")},
}
"""Needs a package index, and minutes for each release; minutes to write the rows; root, Debian's programs, an hour."""

ON_A_STAGE: Table = {
    "delivery": {"rounds": ROUNDS},
    "store": {"rounds": ROUNDS},
    "webhooks": {"number": attrgetter("webhooks")},
    "board": {"rounds": ROUNDS},
    "streams": {"number": attrgetter("boards")},
    "waiting": {"rounds": ROUNDS, "levels": lambda asked: sorted(asked.waiting), "real": attrgetter("real")},
}
"""On one running instance; the one that fills its tables is the last."""

MODULES = {"import": "dag_import"}
"""The others are called as their modules."""


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    # Whoever ends us wants the instance stopped and its directory gone, too.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 160)
    busy = os.getloadavg()[0]
    wanted = asked.benchmarks or [*ALONE, *ON_A_STAGE]
    figures = _measured({**ALONE, **ON_REQUEST}, wanted, asked, console)
    if any(name in ON_A_STAGE for name in wanted):
        figures += _on_a_stage(wanted, asked, console)
    console.print()
    show(figures, console)
    console.print(f"\nLoad of the machine before: {busy:.1f} on {os.cpu_count()} cores.")
    if asked.json is not None:
        asked.json.write_text(json.dumps(report(figures), indent=2) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure deliveries; prints figures beside their goals.")
    parser.add_argument(
        "benchmarks", nargs="*", choices=[*ALONE, *ON_A_STAGE, *ON_REQUEST], metavar="NAME", help="some of: %(choices)s"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each is repeated (default: %(default)s)")
    parser.add_argument("--waiting", type=int, nargs="+", default=[100, 300, 1000], help="features that wait")
    parser.add_argument("--real", type=int, default=100, help="how many of these are brought there by real tasks")
    parser.add_argument("--webhooks", type=int, default=1000, help="webhooks in the burst")
    parser.add_argument("--boards", type=int, default=100, help="how many boards `streams` keeps open")
    parser.add_argument("--deliveries", type=int, default=50, help="how many `load` carries at once")
    parser.add_argument("--port", type=int, default=8480, help="the first port to try for Airflow")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser.parse_args()


def _measured(
    table: Table, wanted: Sequence[str], asked: argparse.Namespace, console: Console, *on: object
) -> list[Figure]:
    """Run those of a table that are wanted; ``on``: what they need besides the arguments."""
    figures: list[Figure] = []
    for name, arguments in table.items():
        if name in wanted:
            console.print(f"{name} …")
            # Imported now: not all of them need Airflow, or the tests' support.
            module = importlib.import_module(MODULES.get(name, name))
            figures += module.measure(*on, **{key: value(asked) for key, value in arguments.items()})
    return figures


def _on_a_stage(wanted: Sequence[str], asked: argparse.Namespace, console: Console) -> list[Figure]:
    """Run what needs a running instance on one instance."""
    import stage  # noqa: PLC0415 - the others do not need Airflow

    with tempfile.TemporaryDirectory(prefix="fd-bench-") as scratch:
        console.print("starting Airflow …")
        with stage.running(Path(scratch) / "home", port=asked.port) as now:
            return _measured(ON_A_STAGE, wanted, asked, console, now)


if __name__ == "__main__":
    sys.exit(main())
