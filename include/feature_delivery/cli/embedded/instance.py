"""One embedded instance: PostgreSQL and Airflow's components, started, watched and stopped together."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from feature_delivery.cli.embedded import preloaded
from feature_delivery.cli.embedded.airflow_settings import AirflowSettings
from feature_delivery.cli.embedded.home import Home, write_private
from feature_delivery.cli.embedded.postgres import EmbeddedPostgres, is_migrated, stamp_path
from feature_delivery.cli.embedded.supervisor import Part, PartEvent, PartState, Supervisor, last_line
from feature_delivery.domain.errors import Error, Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

_MIGRATION_TIMEOUT_SECONDS = 300
_DAG_TIMEOUT_SECONDS = 90
_HEALTH_CACHE_SECONDS = 0.2


class Instance:
    """Airflow with its database in one directory, which it locks while it runs.

    Use it as a context manager, or call ``start`` and ``stop``. While it runs, ``failure`` tells when a part could
    not be kept alive; everything has been stopped then.
    """

    def __init__(
        self,
        home: Path | Home,
        *,
        dags_folder: Path,
        plugins_folder: Path,
        users: Mapping[str, str],
        database: str | None = None,
        external_db_managers: Sequence[str] = (),
        extra_environment: Mapping[str, str] | None = None,
        port: int = 8080,
        parallelism: int = 6,
        preload: Sequence[str] = (),
        triggerer: bool = False,
        durable: bool = True,
        on_event: Callable[[PartEvent], None] = lambda _event: None,
        on_failure: Callable[[Error], None] = lambda _error: None,
    ) -> None:
        """Nothing is created yet.

        Args:
            home: The instance's directory, perhaps entered already; its path may be long and hold spaces.
            dags_folder: Airflow's.
            plugins_folder: Airflow's.
            users: Airflow's users with their roles; must hold an ``admin`` with the role ``admin``.
            database: SQLAlchemy URL of a database to use instead of the embedded one.
            external_db_managers: Classes that keep tables of their own in Airflow's database.
            extra_environment: For all of Airflow's processes; goes before everything else.
            port: The first one to try for Airflow.
            parallelism: Tasks at once.
            preload: Modules that the DAG files import; imported once before workers are forked, not in each task.
            triggerer: Whether to run one; only steps on a cluster and a long watch on production defer.
            durable: Off only in tests: see ``EmbeddedPostgres``.
            on_event: Told each change of a part; also of ``database`` (migrated) and ``dags`` (known).
            on_failure: Told once, from another thread, when everything had to be stopped.
        """
        self._home = home if isinstance(home, Home) else Home(home)
        self._dags_folder, self._plugins_folder = dags_folder.absolute(), plugins_folder.absolute()
        self._users = dict(users)
        self._database = database
        self._external_db_managers = tuple(external_db_managers)
        self._extra_environment = dict(extra_environment or {})
        self._preferred_port = port
        self._parallelism = parallelism
        self._preload = tuple(preload)
        self._triggerer = triggerer
        self._durable = durable
        self._on_event = on_event
        self._supervisor = Supervisor(
            logs=self._home.logs, lock=self._home.parts_lock, on_event=on_event, on_failure=on_failure
        )
        self._running = ExitStack()
        self._settings: AirflowSettings | None = None
        self._started_at = datetime.now(UTC)

    @property
    def settings(self) -> AirflowSettings:
        """Addresses, passwords and the environment of Airflow's processes; known once ``start`` was called."""
        if self._settings is None:
            raise Misconfigured("The instance has not been started. Call `start` first.")
        return self._settings

    @property
    def address(self) -> str:
        """Where Airflow answers."""
        return self.settings.address

    @property
    def failure(self) -> Error | None:
        """Why everything was stopped, if it was not asked for."""
        return self._supervisor.failure

    def is_ready(self) -> bool:
        """Whether every part works now: not while one is being restarted."""
        return self._supervisor.is_ready()

    def processes(self) -> dict[str, int]:
        """Each part's guard, by the part's name."""
        return self._supervisor.processes()

    def __enter__(self) -> Self:
        """Starts."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops."""
        self.stop()

    def start(self, *, dag_ids: Sequence[str] = ()) -> None:
        """Starts everything; returns once Airflow answers, schedules, and knows the DAGs named.

        Raises:
            Conflict: Another process runs this home.
            Misconfigured: A path, the database or a DAG file is wrong.
            Unavailable: A part could not be started; everything has been stopped.
        """
        try:
            self._running.enter_context(self._home)
            self._running.callback(self._supervisor.stop)
            database = self._start_database()
            self._settings = self._make_settings(database)
            self._settings.write()
            self._migrate()
            self._start_airflow()
            self._supervisor.wait_ready()
            self._await_dags(dag_ids)
            self._home.announce(address=self.address)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops everything in order; no process is left. Calling it again does nothing."""
        self._running.close()

    def _start_database(self) -> str:
        if self._database is not None:
            return self._database
        server = EmbeddedPostgres(
            self._home.postgres,
            socket_directory=self._home.short_directory(),
            password=self._home.secrets()["database"],
            durable=self._durable,
        )
        self._supervisor.start(server.part())
        self._supervisor.wait_ready()
        return server.address

    def _make_settings(self, database: str) -> AirflowSettings:
        return AirflowSettings(
            home=self._home.airflow,
            logs=self._home.logs,
            dags_folder=self._dags_folder,
            plugins_folder=self._plugins_folder,
            database=database,
            port=self._home.port("airflow", preferred=self._preferred_port),
            secrets=self._home.secrets(),
            users=self._users,
            external_db_managers=self._external_db_managers,
            parallelism=self._parallelism,
            extra_environment=self._extra_environment,
        )

    def _migrate(self) -> None:
        """Runs ``airflow db migrate``; not when the embedded database was last migrated by the same versions."""
        fingerprint = self._fingerprint()
        if self._database is None and is_migrated(self._home.postgres, fingerprint):
            return
        started = time.monotonic()
        self._on_event(PartEvent("database", PartState.STARTING, 0.0))
        log = self._home.logs / "migration.log"
        try:
            with log.open("wb") as output:
                subprocess.run(
                    _airflow("db", "migrate"),
                    env=self.settings.environment(),
                    cwd=self._home.airflow,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=True,
                    timeout=_MIGRATION_TIMEOUT_SECONDS,
                )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise Unavailable(
                f"Could not migrate the database. Last words: \"{last_line(log)}\". The whole log is '{log}'."
            ) from error
        if self._database is None:
            write_private(stamp_path(self._home.postgres), json.dumps(fingerprint))
        self._on_event(PartEvent("database", PartState.READY, time.monotonic() - started))

    def _fingerprint(self) -> dict[str, str]:
        """Changes whenever a migration could have something to do."""
        versions = sorted(f"{one.name}=={one.version}" for one in importlib.metadata.distributions())
        package = Path(__file__).parents[2]
        ours = sorted(package.glob("**/migrations/**/*.py"))
        content = hashlib.sha256(b"\0".join(file.read_bytes() for file in ours)).hexdigest()
        return {
            "distributions": hashlib.sha256("\n".join(versions).encode()).hexdigest(),
            "migrations": content,
            "managers": ",".join(self._external_db_managers),
        }

    def _start_airflow(self) -> None:
        self._started_at = datetime.now(UTC)
        health = _Health(self.address)
        environment = self.settings.environment()

        def part(name: str, command: list[str]) -> Part:
            is_server = name == "api-server"
            component = name.replace("-", "_")
            return Part(
                name=name,
                command=command,
                environment=environment,
                ready=health.api_server if is_server else lambda: health.has_begun(component),
                healthy=health.answers if is_server else lambda: not health.is_unhealthy(component),
                prepare=lambda: health.expect_anew(component),
                directory=self._home.airflow,
                # The API server has answered what it was asked long before Python has taken it apart.
                grace_seconds=2 if is_server else 5,
                children_first=not is_server,
            )

        parts = [
            part("api-server", _airflow("api-server")),
            part("scheduler", _airflow("scheduler", "--skip-serve-logs", preload=self._preload)),
            part("dag-processor", _airflow("dag-processor")),
        ]
        if self._triggerer:
            parts.append(part("triggerer", _airflow("triggerer", "--skip-serve-logs")))
        self._supervisor.start(*parts)

    def _await_dags(self, dag_ids: Sequence[str]) -> None:
        if not dag_ids:
            return
        started = time.monotonic()
        self._on_event(PartEvent("dags", PartState.STARTING, 0.0))
        with closing(self.client("admin")) as client:
            missing = set(dag_ids)
            while missing := {one for one in missing if client.get(f"/api/v2/dags/{one}").status_code != 200}:
                if self.failure is not None:
                    raise self.failure
                _raise_import_error(client, missing, since=self._started_at)
                if time.monotonic() - started > _DAG_TIMEOUT_SECONDS:
                    raise Misconfigured(
                        f"Airflow found no DAG {_quoted(missing)} in '{self._dags_folder}' within "
                        f"{_DAG_TIMEOUT_SECONDS} seconds. Check the files there and the projects they read."
                    )
                time.sleep(0.1)
        self._on_event(PartEvent("dags", PartState.READY, time.monotonic() - started))

    def client(self, user: str) -> httpx.Client:
        """Airflow's REST API as one of the users; for readiness, tests and the CLI."""
        client = httpx.Client(base_url=self.address, timeout=30, trust_env=False)
        answer = client.post("/auth/token", json={"username": user, "password": self.settings.passwords()[user]})
        if answer.status_code != 201:
            client.close()
            raise Unavailable(f"Airflow at {self.address} did not let '{user}' in (status {answer.status_code}).")
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return client


def _airflow(*arguments: str, preload: Sequence[str] = ()) -> list[str]:
    # -P: nothing in the current directory can stand in for a module of Airflow's.
    return [sys.executable, "-P", "-m", preloaded.__name__, ",".join(preload), *arguments]


def _raise_import_error(client: httpx.Client, missing: set[str], *, since: datetime) -> None:
    """Errors of an earlier run are not looked at: the file may have been mended since."""
    for error in client.get("/api/v2/importErrors").json().get("import_errors", []):
        if datetime.fromisoformat(error["timestamp"]) > since:
            last = str(error["stack_trace"]).strip().splitlines()[-1].strip()
            raise Misconfigured(
                f"Airflow could not import '{error['filename']}', so that it does not know {_quoted(missing)}: {last}. "
                "Mend that, then start again."
            )


def _quoted(names: set[str]) -> str:
    return ", ".join(f"'{one}'" for one in sorted(names))


class _Health:
    """Airflow's own word on its components, asked at most five times a second for all of them."""

    def __init__(self, address: str) -> None:
        """Nothing is asked yet."""
        # No connection is kept: nothing is left to close when the parts have been stopped.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=address, timeout=5, trust_env=False, limits=limits)
        self._since: dict[str, datetime] = {}
        self._asked = 0.0
        self._answer: dict[str, dict[str, str | None]] = {}

    def expect_anew(self, component: str) -> None:
        """The component is about to start: heartbeats from before are those of an earlier life."""
        self._since[component] = datetime.now(UTC)
        self._asked = 0.0

    def answers(self) -> bool:
        """Whether the API server answers."""
        return bool(self._ask())

    def api_server(self) -> bool:
        """Also asks the side that tasks talk to: its first answer takes seconds, which no task shall wait for."""
        try:
            return self.answers() and self._client.get("/execution/health", timeout=30).status_code == 200
        except httpx.HTTPError:
            return False

    def has_begun(self, component: str) -> bool:
        """Whether ``scheduler``, ``dag_processor`` or ``triggerer`` has begun to work since it was last started."""
        about = self._ask().get(component, {})
        beat = about.get(f"latest_{component}_heartbeat")
        is_new = beat is not None and datetime.fromisoformat(beat) > self._since[component]
        return is_new and about.get("status") == "healthy"

    def is_unhealthy(self, component: str) -> bool:
        """Whether its heartbeat is known to be late; without an answer from the API server nothing is known."""
        answer = self._ask()
        is_known = answer.get("metadatabase", {}).get("status") == "healthy"
        return is_known and answer.get(component, {}).get("status") != "healthy"

    def _ask(self) -> dict[str, dict[str, str | None]]:
        now = time.monotonic()
        if now - self._asked > _HEALTH_CACHE_SECONDS:
            try:
                answer = self._client.get("/api/v2/monitor/health")
                self._answer = answer.json() if answer.status_code == 200 else {}
            except (httpx.HTTPError, ValueError):
                self._answer = {}
            self._asked = time.monotonic()
        return self._answer
