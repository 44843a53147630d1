"""``python -m feature_delivery.cli.embedded.preloaded MODULE,MODULE ARGUMENT …``: ``airflow ARGUMENT …``, prepared.

The scheduler forks a worker for each task it may run at once, and a worker forks each task. What is imported before is
shared by all of them; what is not, every single task imports again (40 to 70 ms for an ordinary DAG file).
"""

from __future__ import annotations

import gc
import importlib
import sys

# What every task needs, whatever its DAG.
_ALWAYS = (
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.definitions.connection",
    "airflow.providers.standard.decorators.python",
)

# Airflow makes some million objects that live as long as the process; with Python's default (700) a fifth of a
# start's processor time goes into looking for garbage among them.
_OBJECTS_BETWEEN_COLLECTIONS = 10_000


def main() -> None:
    """Imports the modules, then is the ``airflow`` command."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    modules, *arguments = sys.argv[1:]
    if modules:
        for name in (*_ALWAYS, *modules.split(",")):
            importlib.import_module(name)
    from airflow.__main__ import main as airflow  # noqa: PLC0415 - reads its settings when it is imported

    sys.argv = ["airflow", *arguments]
    airflow()


if __name__ == "__main__":
    main()
