"""From nothing to a feature in production with the demo: the first time, and once more in the same home."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure

ROOT = Path(__file__).parents[1]
GOAL_FIRST_S, GOAL_SECOND_S = 180.0, 75.0
TIMEOUT_SECONDS = 900


def seconds(home: Path, *, port: int) -> float:
    """Run the demo once, as ``make demo`` does, with nothing to install any more."""
    program = "import sys; from feature_delivery.cli.main import main; sys.exit(main())"
    options = ["demo", "--scenario", "delivered", "--exit", "--home", str(home), "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=ROOT,
        env=environment,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT_SECONDS,
    )
    return time.monotonic() - began


def measure(*, port: int) -> list[Figure]:
    """Run the demo twice in a fresh home."""
    with tempfile.TemporaryDirectory(prefix="fd-bench-") as scratch:
        home = Path(scratch) / "home"
        first, second = seconds(home, port=port), seconds(home, port=port)
    note = "demo --scenario delivered --exit; packages installed already"
    return [
        Figure("startup", "first demo", first, "s", GOAL_FIRST_S, note),
        Figure("startup", "second demo", second, "s", GOAL_SECOND_S, "same home"),
    ]
