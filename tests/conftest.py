"""What every test may use."""

from __future__ import annotations

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
