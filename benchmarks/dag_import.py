"""What reading our DAG file costs over a DAG file with one bare task; each start of a task pays it.

Workers of the embedded instance share what the scheduler has imported and pay less than this.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from figures import Figure

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


def measure(*, rounds: int) -> list[Figure]:
    """Measure both files in turn, so that whatever else the machine does falls on both."""
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
    note = f"fresh interpreters, medians of {rounds}: {with_us:.3f} s and {without:.3f} s, {with_us / without:.0f} x"
    return [Figure("import", "DAG file - bare DAG file", with_us - without, "s", GOAL_SECONDS, note)]
