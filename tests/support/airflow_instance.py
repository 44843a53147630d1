"""The real Airflow for tests: started once for a session, in a directory of its own, on free ports."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from feature_delivery.cli.embedded.instance import Instance
from feature_delivery.cli.embedded.supervisor import PartEvent
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USERS = {"admin": "admin", "alice": "user", "bob": "viewer"}
TRIVIAL_DAG = '''"""An airflow dag that a test can run."""
from airflow.sdk import DAG, task

with DAG("trivial", schedule=None):

    @task
    def greet():
        print("hello from a task")

    greet()
'''


@contextmanager
def running_instance(
    directory: Path,
    *,
    dag_ids: tuple[str, ...] = (),
    port: int | None = None,
    on_event: Callable[[PartEvent], None] = lambda _event: None,
) -> Iterator[Instance]:
    """An instance below ``directory``, with its DAG and plugin folders.

    Commits need not be on the disk before they return: nobody pulls the plug of a test.
    """
    dags, plugins = directory / "dags_folder", directory / "plugins_folder"
    for folder in (dags, plugins):
        folder.mkdir(parents=True, exist_ok=True)
    instance = Instance(
        directory / "home",
        dags_folder=dags,
        plugins_folder=plugins,
        users=USERS,
        port=port or free_port(),
        parallelism=3,
        durable=False,
        on_event=on_event,
    )
    instance.start(dag_ids=dag_ids)
    try:
        yield instance
    finally:
        instance.stop()


@pytest.fixture(scope="session")
def airflow_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A running Airflow with the DAG ``trivial``; more DAG files go to ``instance.settings.dags_folder``."""
    directory = tmp_path_factory.mktemp("airflow")
    (directory / "dags_folder").mkdir()
    (directory / "dags_folder" / "trivial.py").write_text(TRIVIAL_DAG)
    with running_instance(directory, dag_ids=("trivial",)) as instance:
        yield instance
