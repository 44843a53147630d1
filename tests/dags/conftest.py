"""DAGs are built in this process; nothing here starts a scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import airflow  # noqa: F401 - sets Airflow's environment before anybody imports it
from tests.support.shop_project import project_text, shop_project

if TYPE_CHECKING:
    from airflow.sdk import DAG

ROOT = Path(__file__).parents[2]


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one project file."""
    folder = tmp_path / "projects"
    folder.mkdir()
    (folder / "shop.yaml").write_text(project_text())
    monkeypatch.setenv("FEATURE_DELIVERY_PROJECTS", str(folder))
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def dag(projects: Path) -> DAG:
    """The DAG of the project."""
    from feature_delivery.orchestration.build import build_dag  # noqa: PLC0415 - after Airflow's environment

    return build_dag(shop_project())
