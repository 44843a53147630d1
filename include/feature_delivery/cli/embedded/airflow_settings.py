"""Airflow's settings for one small machine: a file for Airflow and an environment for its processes.

Settings go to ``airflow.cfg`` (readable for its owner alone), not to the environment: a task's child processes see
the environment, and a user who sets ``AIRFLOW_HOME`` can use the ``airflow`` command on the running instance.
"""

from __future__ import annotations

import configparser
import io
import json
import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from feature_delivery.cli.embedded.home import write_private
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECTION_ID = "feature_delivery"
_LOOPBACK = "127.0.0.1,localhost,::1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowSettings:
    """What an instance of Airflow needs to know.

    Attributes:
        database: SQLAlchemy URL.
        secrets: As ``Home.secrets`` makes them.
        users: Airflow's users with their roles (``viewer``, ``user``, ``op``, ``admin``).
        external_db_managers: Classes that keep tables of their own in Airflow's database.
        parallelism: Tasks at once; each has a process waiting for it.
        extra_environment: For all of Airflow's processes; goes before everything else.
    """

    home: Path
    logs: Path
    dags_folder: Path
    plugins_folder: Path
    database: str
    port: int
    secrets: Mapping[str, str]
    users: Mapping[str, str]
    external_db_managers: Sequence[str] = ()
    parallelism: int = 6
    extra_environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where Airflow answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def passwords_file(self) -> Path:
        """The users' passwords as JSON, for the CLI, which acts for them by HTTP."""
        return self.home / "passwords.json"

    def write(self) -> None:
        """Writes ``airflow.cfg`` and the users' passwords; passwords once made stay."""
        file = configparser.RawConfigParser()
        for section, options in self._sections().items():
            file[section] = {name: str(value).replace("%", "%%") for name, value in options.items()}
        text = io.StringIO("# Written at each start of the embedded instance; changes are lost.\n")
        text.seek(0, os.SEEK_END)
        file.write(text)
        write_private(self.home / "airflow.cfg", text.getvalue())
        passwords = self.passwords()
        missing = {user: secrets.token_urlsafe(12) for user in self.users if user not in passwords}
        write_private(self.passwords_file, json.dumps(passwords | missing, indent=2))

    def passwords(self) -> dict[str, str]:
        """The users' passwords as far as they were made."""
        try:
            return dict(json.loads(self.passwords_file.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Misconfigured(
                f"Could not read the passwords in '{self.passwords_file}': {error}. Remove it to have new ones made."
            ) from error

    def environment(self) -> dict[str, str]:
        """For each of Airflow's processes: the caller's, without what would change Airflow or slow Python down.

        Connections, where to look for more of them, bundles of DAG files with versions, how many tasks run at once, and
        where Airflow's own metrics go, are the caller's to give.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(_GIVEN) or (not name.startswith(_OTHERS) and name not in _UNWANTED)
        }
        loopback = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), _LOOPBACK]))
        return {
            **kept,
            "AIRFLOW_HOME": str(self.home),
            f"AIRFLOW_CONN_{CONNECTION_ID.upper()}": json.dumps(
                {
                    "conn_type": "http",
                    "host": self.address,
                    "password": self.secrets["task_token"],
                }
            ),
            "FEATURE_DELIVERY_INSTANCE": self.secrets["instance"],
            # The web app compares what tasks show with this.
            "FEATURE_DELIVERY_TASK_TOKEN": self.secrets["task_token"],
            "NO_PROXY": loopback,
            "no_proxy": loopback,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUTF8": "1",
            **self.extra_environment,
        }

    def _sections(self) -> dict[str, dict[str, object]]:
        return {
            "core": {
                "dags_folder": self.dags_folder,
                "plugins_folder": self.plugins_folder,
                "executor": "LocalExecutor",
                "parallelism": self.parallelism,
                "load_examples": False,
                "dags_are_paused_at_creation": False,
                # A feature at a gate is an active run.
                "max_active_runs_per_dag": 2000,
                "min_serialized_dag_update_interval": 1,
                "fernet_key": self.secrets["fernet"],
                "execution_api_server_url": f"{self.address}/execution/",
                # The full name may ask a name server that is not there, for seconds.
                "hostname_callable": "socket.gethostname",
                # Workers forked from the scheduler share its imports: no task pays for them again.
                "mp_start_method": "fork",
                "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
                "simple_auth_manager_users": ",".join(f"{user}:{role}" for user, role in self.users.items()),
                "simple_auth_manager_passwords_file": self.passwords_file,
            },
            "database": {
                "sql_alchemy_conn": self.database,
                "external_db_managers": ",".join(self.external_db_managers),
            },
            "api": {
                "host": "127.0.0.1",
                "port": self.port,
                "base_url": self.address,
                "workers": 1,
                "secret_key": self.secrets["api"],
            },
            "api_auth": {"jwt_secret": self.secrets["jwt"], "jwt_issuer": CONNECTION_ID},
            "logging": {
                "base_log_folder": self.logs / "tasks",
                "dag_processor_child_process_log_directory": self.logs / "dag-files",
                "colored_console_log": False,
                "uvicorn_logging_level": "WARNING",
            },
            "usage_data_collection": {"enabled": False},
            **_PACE,
        }


_GIVEN = (
    "AIRFLOW_CONN_",
    "AIRFLOW__SECRETS__",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_",
    "AIRFLOW__CORE__PARALLELISM",
    "AIRFLOW__METRICS__",
)
_OTHERS = ("AIRFLOW_", "_AIRFLOW", "PG")
_UNWANTED = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONOPTIMIZE"})

_PACE: dict[str, dict[str, object]] = {
    "scheduler": {
        # The pause between two tasks.
        "scheduler_idle_sleep_time": 0.1,
        "trigger_timeout_check_interval": 2,
        # Airflow's default, and no more: the scheduler beats its heart between loops, and on a busy machine a loop over
        # 100 runs took longer than its health check allows: it was restarted again and again. What waits is not
        # looked at anyway.
        "max_dagruns_per_loop_to_schedule": 20,
        # After a kill of any part, or of a task at work, its work goes on within a minute.
        "scheduler_health_check_threshold": 15,
        "orphaned_tasks_check_interval": 10,
        "task_instance_heartbeat_timeout": 45,
        "task_instance_heartbeat_timeout_detection_interval": 5,
        # Nobody reads these here.
        "pool_metrics_interval": 60,
        "ti_metrics_interval": 300,
        "dagrun_metrics_interval": 300,
    },
    "dag_processor": {
        "refresh_interval": 10,
        "bundle_refresh_check_interval": 2,
        "min_file_process_interval": 20,
        "parsing_processes": 1,
        "print_stats_interval": 300,
    },
    "workers": {
        # Also how long a worker may overlook that its task has ended, and so be lost to others: 5 s by default.
        "min_heartbeat_interval": 1,
        # A task outlives a restart of the API server.
        "execution_api_retries": 12,
        "execution_api_retry_wait_min": 0.5,
        "execution_api_retry_wait_max": 10,
        "execution_api_timeout": 30,
        "max_failed_heartbeats": 60,
        "missing_dag_retry_delay": 5,
    },
    "triggerer": {"capacity": 100},
}
