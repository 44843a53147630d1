"""What every test may use."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.airflow",
    "tests.support.airflow_instance",
    "tests.support.web_app",
    "tests.support.command_line",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests with a real Airflow run in one worker, one after the other: each needs the machine's two cores."""
    for item in items:
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.xdist_group("airflow"))
