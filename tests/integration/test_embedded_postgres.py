"""The real PostgreSQL from its wheel, under a supervisor."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import create_engine, text

from feature_delivery.cli.embedded.home import Home
from feature_delivery.cli.embedded.postgres import EmbeddedPostgres
from feature_delivery.cli.embedded.supervisor import Supervisor
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def running_postgres(path: Path) -> Iterator[EmbeddedPostgres]:
    with Home(path) as home:
        server = EmbeddedPostgres(
            home.postgres, socket_directory=home.short_directory(), password=home.secrets()["database"]
        )
        supervisor = Supervisor(logs=home.logs, lock=home.parts_lock)
        try:
            supervisor.start(server.part())
            supervisor.wait_ready()
            yield server
        finally:
            supervisor.stop()


def query(server: EmbeddedPostgres, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(server.address)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def postmaster(server: EmbeddedPostgres) -> psutil.Process:
    return psutil.Process(int((server.directory / "data" / "postmaster.pid").read_text().splitlines()[0]))


def test_nothing_of_it_lies_where_shops_may_write(tmp_path: Path) -> None:
    """In the machine's shared memory, for one, which the fence leaves open to processes of the same user."""
    with running_postgres(tmp_path) as server:
        opened = {entry.path for entry in postmaster(server).memory_maps(grouped=True)}
        assert not [path for path in opened if path.startswith("/dev/shm/PostgreSQL")]  # noqa: S108
        assert any(Path(path).is_relative_to(server.directory / "data" / "pg_dynshmem") for path in opened)


@pytest.mark.parametrize("name", ["plain", "with spaces, commas and a 'quote'", "x" * 120])
def test_data_outlives_a_stop_whatever_the_path_is_called(tmp_path: Path, name: str) -> None:
    with running_postgres(tmp_path / name) as server:
        query(server, "CREATE TABLE fact AS SELECT 42 AS answer")
    with running_postgres(tmp_path / name) as server:
        assert query(server, "SELECT answer FROM fact") == [(42,)]


def test_a_killed_server_is_started_again_with_what_was_committed(tmp_path: Path) -> None:
    with running_postgres(tmp_path) as server:
        query(server, "CREATE TABLE fact AS SELECT 42 AS answer")
        old = postmaster(server)
        old.kill()
        old.wait(30)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not has_come_back(server, old):
            time.sleep(0.05)
        assert query(server, "SELECT answer FROM fact") == [(42,)]


def has_come_back(server: EmbeddedPostgres, old: psutil.Process) -> bool:
    try:
        return postmaster(server).pid != old.pid and server.is_ready()
    except (OSError, IndexError, psutil.NoSuchProcess):
        return False


def test_a_process_file_whose_number_is_somebody_elses_does_not_stop_the_start(tmp_path: Path) -> None:
    with running_postgres(tmp_path) as server:
        data = server.directory / "data"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n5432\n/tmp\n\n 1 1\nready\n")
        with running_postgres(tmp_path) as server:
            assert query(server, "SELECT 1") == [(1,)]
        assert stranger.poll() is None, "the stranger is left alone"
        stranger.kill()


def test_a_kill_amid_the_creation_leaves_nothing_half_made(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with running_postgres(tmp_path) as server:
        assert query(server, "SELECT 1") == [(1,)]


def test_the_applications_role_is_no_superuser_and_needs_its_password(tmp_path: Path) -> None:
    with running_postgres(tmp_path) as server:
        assert query(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]
        assert query(server, "SHOW fsync") == [("on",)]
        assert query(server, "SHOW synchronous_commit") == [("on",)]
        assert query(server, "SHOW listen_addresses") == [("",)]
        user, _, rest = server.address.partition("//")[2].partition(":")
        wrong = create_engine(f"postgresql+psycopg2://{user}:wrong@{rest.partition('@')[2]}")
        with pytest.raises(Exception, match="password authentication failed"):
            wrong.connect()


def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    with running_postgres(tmp_path) as server:
        version = server.directory / "data" / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(Misconfigured, match="PostgreSQL 9 wrote it, this is 18"), running_postgres(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which lends PostgreSQL another user")
def test_root_opens_no_directory_wider_for_the_servers_user(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with running_postgres(closed / "home") as server:
        assert query(server, "SELECT 1") == [(1,)]
        assert postmaster(server).username() != "root"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_an_ordinary_user_runs_it_as_itself() -> None:
    nobody = pwd.getpwnam("nobody")
    become = ["setpriv", "--reuid", "nobody", "--regid", str(nobody.pw_gid), "--clear-groups"]
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = next((one for one in (sys.executable, f"/usr/bin/{name}") if may_run(become, one)), None)
    if python is None:
        pytest.skip(f"user nobody may not run {sys.executable}, whose directories are closed to others")
    home = Path("/tmp") / f"feature-delivery-test-{os.getpid()}"  # noqa: S108 - pytest's own is closed to others
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    test = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parents[2]), *sys.path]!r}
from tests.integration.test_embedded_postgres import postmaster, query, running_postgres
with running_postgres(Path({str(home / "home")!r})) as server:
    print(query(server, "SELECT 1"), postmaster(server).username())
"""
    command = [*become, python, "-c"]
    try:
        done = subprocess.run([*command, test], capture_output=True, text=True, check=False, timeout=120, cwd="/")
        assert done.stdout.strip() == "[(1,)] nobody", done.stderr
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)


def may_run(become: list[str], python: str) -> bool:
    return subprocess.run([*become, "test", "-x", python], check=False, timeout=10).returncode == 0


def test_signals_do_not_end_it_but_its_supervisor_does(tmp_path: Path) -> None:
    with running_postgres(tmp_path) as server:
        process = postmaster(server)
        os.kill(os.getsid(process.pid), signal.SIGINT)
        assert query(server, "SELECT 1") == [(1,)]
    assert not process.is_running()
