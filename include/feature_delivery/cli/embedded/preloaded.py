"""``python -m feature_delivery.cli.embedded.preloaded MODULE,MODULE ARGUMENT …``: ``airflow ARGUMENT …``, prepared.

The scheduler forks a worker for each task it may run at once, and a worker forks each task. What is imported before is
shared by all of them; what is not, every single task imports again (40 to 70 ms for an ordinary DAG file).
"""

from __future__ import annotations

import importlib
import sys

# What every task needs, whatever its DAG.
_ALWAYS = (
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.definitions.connection",
    "airflow.providers.standard.decorators.python",
)


def main() -> None:
    """Imports the modules, then is the ``airflow`` command."""
    modules, *arguments = sys.argv[1:]
    for name in (*_ALWAYS, *filter(None, modules.split(","))):
        importlib.import_module(name)
    from airflow.__main__ import main as airflow  # noqa: PLC0415 - reads its settings when it is imported

    sys.argv = ["airflow", *arguments]
    airflow()


if __name__ == "__main__":
    main()
