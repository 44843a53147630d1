"""The real Airflow for tests: started once for a session, in a directory of its own, on free ports."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from feature_delivery.cli.embedded.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = {"admin": "admin", "alice": "user", "bob": "viewer"}
TRIVIAL_DAG = '''"""An airflow dag that a test can run."""
from airflow.sdk import DAG, task

with DAG("trivial", schedule=None):

    @task
    def greet():
        print("hello from a task")

    greet()
'''


def free_port() -> int:
    """A port nobody listens on; the next test gets another one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_instance(directory: Path, *, dag_ids: tuple[str, ...] = (), **options: Any) -> Iterator[Instance]:
    """An instance below ``directory``; its DAG and plugin folders are made there unless named.

    Commits need not be on the disk before they return: nobody pulls the plug of a test.
    """
    for name in ("dags_folder", "plugins_folder"):
        options.setdefault(name, directory / name)
        options[name].mkdir(parents=True, exist_ok=True)
    settings = {"users": USERS, "port": free_port(), "durable": False, "parallelism": 3} | options
    instance = Instance(directory / "home", **settings)
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
