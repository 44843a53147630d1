"""What every test may use."""

from __future__ import annotations

from pathlib import Path

GIVEN = {name: Path(__file__).parents[2] / "shared" / name for name in ("payloads", "specs")}

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.airflow",
    "tests.support.airflow_instance",
    "tests.support.web_app",
    "tests.support.board_app",
    "tests.support.chromium",
    "tests.support.webhooks",
    "tests.support.command_line",
]


def pytest_report_header() -> list[str]:
    """Say what the fakes of hosts are not compared with: the hosts' own descriptions and payloads are not kept here."""
    return [f"not given, so nothing is compared with it: {path}" for path in GIVEN.values() if not path.is_dir()]
