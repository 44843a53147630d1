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
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import dag_import
import judge
import metrics
import scale
import startup
from figures import Figure, report, show
from rich.console import Console

Measure = Callable[[], list[Figure]]
ON_A_STAGE = ("delivery", "store", "webhooks", "board", "waiting")
ALONE = ("import", "metrics", "startup", "judge")
ON_REQUEST = ("real_shop", "scale", "load")
"""Needs a package index, and minutes for each release; minutes to write the rows; root, Debian's programs, an hour."""


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    # Whoever ends us wants the instance stopped and its directory gone, too.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 160)
    figures: list[Figure] = []
    busy = os.getloadavg()[0]
    wanted = asked.benchmarks or [*ALONE, *ON_A_STAGE]
    if "import" in wanted:
        console.print("import …")
        figures += dag_import.measure(rounds=asked.rounds)
    if "metrics" in wanted:
        console.print("metrics …")
        figures += metrics.measure(rounds=asked.rounds)
    if "startup" in wanted:
        console.print("startup …")
        figures += startup.measure(port=asked.port)
    if "judge" in wanted:
        console.print("judge …")
        figures += judge.measure()
    if "real_shop" in wanted:
        import real_shop  # noqa: PLC0415 - the others do not need Airflow

        console.print("real_shop …")
        figures += real_shop.measure(port=asked.port, rounds=asked.rounds)
    if "scale" in wanted:
        console.print("scale …")
        figures += scale.measure(rounds=asked.rounds)
    if "load" in wanted:
        import load  # noqa: PLC0415 - the others do not need the tests' support

        console.print("load …")
        figures += load.measure(number=asked.deliveries)
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
    parser.add_argument("--deliveries", type=int, default=50, help="how many `load` carries at once")
    parser.add_argument("--port", type=int, default=8480, help="the first port to try for Airflow")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser.parse_args()


def _on_a_stage(wanted: list[str], asked: argparse.Namespace, console: Console) -> list[Figure]:
    """Run what needs a running instance on one instance, the one that fills its tables last."""
    import board  # noqa: PLC0415
    import delivery  # noqa: PLC0415 - the others do not need Airflow
    import stage  # noqa: PLC0415
    import store  # noqa: PLC0415
    import waiting  # noqa: PLC0415
    import webhooks  # noqa: PLC0415

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="fd-bench-") as scratch:
        console.print("starting Airflow …")
        with stage.running(Path(scratch) / "home", port=asked.port) as now:
            measures: dict[str, Measure] = {
                "delivery": lambda: delivery.measure(now, rounds=asked.rounds),
                "store": lambda: store.measure(now, rounds=asked.rounds),
                "webhooks": lambda: webhooks.measure(now, number=asked.webhooks),
                "board": lambda: board.measure(now, rounds=asked.rounds),
                "waiting": lambda: waiting.measure(
                    now, rounds=asked.rounds, levels=sorted(asked.waiting), real=asked.real
                ),
            }
            for name, measure in measures.items():
                if name in wanted:
                    console.print(f"{name} …")
                    figures += measure()
    return figures


if __name__ == "__main__":
    sys.exit(main())
