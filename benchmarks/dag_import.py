"""What reading our DAG file costs over a DAG file with one bare task; each start of a task pays it.

Prints the difference of medians in seconds and the ratio. Goal: a difference of at most 0.15 s.
Run it with ``python benchmarks/dag_import.py [ROUNDS]`` on a machine that is quiet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
GOAL_SECONDS = 0.15
BARE = (
    'from airflow.sdk import DAG, task\nwith DAG("bare", schedule=None):\n    task(lambda: None, task_id="nothing")()\n'
)
# Airflow's own imports are paid by both and shared by forked workers: they are over before the clock starts.
TIMER = """
import runpy, sys, time, airflow.sdk
began = time.perf_counter()
runpy.run_path(sys.argv[1])
print(time.perf_counter() - began)
"""


def seconds(file: Path, environment: dict[str, str]) -> float:
    """Read one DAG file in a fresh interpreter."""
    command = [sys.executable, "-c", TIMER, str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure both files in turn, so that whatever else the machine does falls on both."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        bare = home / "bare.py"
        bare.write_text(BARE)
        (home / "projects").mkdir()
        text = (ROOT / "include/projects/demo_store.yaml").read_text().replace("@REPOSITORY@", "/nowhere/shop.git")
        (home / "projects" / "demo_store.yaml").write_text(text)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "FEATURE_DELIVERY_PROJECTS": str(home / "projects"),
        }
        ours = ROOT / "dags" / "feature_delivery.py"
        seconds(ours, environment)
        seconds(bare, environment)  # byte code is there from here on
        pairs = [(seconds(bare, environment), seconds(ours, environment)) for _ in range(rounds)]
    without, with_us = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    result = {
        "bare_seconds": round(without, 4),
        "ours_seconds": round(with_us, 4),
        "difference_seconds": round(with_us - without, 4),
        "ratio": round(with_us / without, 2),
        "goal_difference_seconds": GOAL_SECONDS,
        "reached": with_us - without <= GOAL_SECONDS,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
