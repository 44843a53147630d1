"""The directory that holds an instance's state: who runs it, its ports, its secrets."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from feature_delivery.domain.errors import Conflict, Misconfigured, Refused, Unavailable

if TYPE_CHECKING:
    from types import TracebackType

_LOCK_WAIT_SECONDS = 60
_SECRET_NAMES = ("database", "fernet", "api", "jwt", "task_token", "instance")


class Home:
    """An instance's directory while this process runs the instance: entering locks it, leaving unlocks it.

    Entered again it stays locked until it has been left as often: whoever changes files here before the instance
    starts enters it first.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is created before it is entered."""
        self.path = path.expanduser().absolute()
        self.airflow = self.path / "airflow"
        self.postgres = self.path / "postgres"
        self.logs = self.path / "logs"
        self.parts_lock = self.path / "parts.lock"
        self._lock: IO[str] | None = None
        self._depth = 0
        self._outside: Path | None = None

    def __enter__(self) -> Self:
        """Locks.

        Raises:
            Conflict: Another process runs this instance; the sentence names it and its address.
            Misconfigured: The directory cannot be made or written.
            Unavailable: Parts of an earlier run, whose supervisor was killed, do not end.
        """
        if self._lock is not None:
            self._depth += 1
            return self
        try:
            for directory in (self.path, self.airflow, self.logs):
                directory.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "instance.lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise Misconfigured(
                f"Could not write to '{self.path}': {error.strerror}. "
                "Set FEATURE_DELIVERY_HOME to a directory of yours with free space."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise Conflict(self._who_runs()) from error
        self._lock = lock
        try:
            self._await_parts_of_an_earlier_run()
            self.announce(address=None)
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlocks, where it was entered first."""
        if self._depth:
            self._depth -= 1
        else:
            self._unlock()

    def _unlock(self) -> None:
        if self._outside is not None:
            with contextlib.suppress(OSError):  # not empty: a server that could not be stopped still uses it
                self._outside.rmdir()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def _who_runs(self) -> str:
        about: dict[str, object] = {}
        with contextlib.suppress(OSError, ValueError):
            about = json.loads((self.path / "instance.lock").read_text("utf-8"))
        where = f" at {about['address']}" if about.get("address") else ""
        return (
            f"'{self.path}' is in use: process {about.get('pid', 'unknown')} runs it{where}. Stop that one first "
            "(Ctrl-C where it was started), or set FEATURE_DELIVERY_HOME to another directory."
        )

    def _await_parts_of_an_earlier_run(self) -> None:
        """Guards stop their parts when their supervisor dies; that takes some seconds."""
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        with self.parts_lock.open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise Unavailable(
                            f"Processes of an earlier run in '{self.path}' did not end within {_LOCK_WAIT_SECONDS} "
                            f"seconds. `fuser {self.parts_lock}` names them; end them, then start again."
                        ) from error
                    time.sleep(0.1)
                else:
                    return

    def announce(self, *, address: str | None) -> None:
        """Writes down who runs this instance and where it answers, for whoever tries to start it again."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.write(json.dumps({"pid": os.getpid(), "address": address}))
            self._lock.flush()

    def secrets(self) -> dict[str, str]:
        """What is made once for this instance: keys and passwords that nobody types, and its ``instance`` id."""
        path = self.path / "secrets.json"
        known = _read_json(path, advice=_OF_SECRETS)
        missing = [name for name in _SECRET_NAMES if name not in known]
        if missing:
            known |= {name: _new_secret(name) for name in missing}
            write_private(path, json.dumps(known, indent=2))
        return known

    def claim(self, instance: str) -> None:
        """Be this instance from now on, and here: an operator has said so."""
        known = self.secrets() | {"instance": instance, "place": self._here()}
        write_private(self.path / "secrets.json", json.dumps(known, indent=2))

    def must_not_be_a_copy(self) -> None:
        """Stop before anything is started in a copy of another home.

        Its database is a copy byte by byte, so that the ledger itself cannot tell: what tells is that the directory, or
        the machine, is not the one that the home was made in.

        Raises:
            Refused: It was made elsewhere, and nobody has said that it was moved.
        """
        if self.is_elsewhere():
            raise Refused(
                f"{str(self.path)!r} was made in another place or on another machine: it may be a copy whose original "
                "still runs. If it was moved, or the original has ended, say 'feature-delivery instance adopt --home "
                f"{self.path}'; else take a new home."
            )
        known = self.secrets()
        if "place" not in known:
            self.claim(known["instance"])

    def is_elsewhere(self) -> bool:
        """Say whether this home was made in another place than where it is."""
        here = self._here()
        return _read_json(self.path / "secrets.json", advice=_OF_SECRETS).get("place", here) != here

    def _here(self) -> str:
        """Return a word for this directory on this machine."""
        machine = b""
        with contextlib.suppress(OSError):
            machine = Path("/etc/machine-id").read_bytes().strip()
        return hashlib.sha256(machine + b"\0" + os.fsencode(self.path)).hexdigest()[:16]

    def port(self, name: str, *, preferred: int) -> int:
        """A free port: the one of the last start, else the preferred one, else the next free one; remembered."""
        path = self.path / "ports.json"
        known = _read_json(path, advice="Remove it to have it made anew.")
        candidates = [int(known[name])] if name in known else []
        candidates += range(preferred, min(preferred + 100, 65536))
        port = next((candidate for candidate in candidates if is_free(candidate)), None)
        if port is None:
            raise Unavailable(f"Ports {preferred} to {preferred + 99} are all taken on this machine. Name a free one.")
        if known.get(name) != str(port):
            write_private(path, json.dumps(known | {name: str(port)}))
        return port

    def short_directory(self) -> Path:
        """A directory for Unix sockets, whose path may have some 100 characters: here, or below ``/tmp``.

        Root's is below ``/run``, where nobody else makes any: its owner is changed to the server's later on.

        Raises:
            Misconfigured: Somebody else has made that directory below ``/tmp``, or others may write to it.
        """
        here = self.path / "run"
        plain = all(letter.isascii() and (letter.isalnum() or letter in "/._-") for letter in str(here))
        if plain and len(str(here)) <= 80:
            here.mkdir(exist_ok=True, mode=0o700)
            return here
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        above = Path("/run" if os.getuid() == 0 else "/tmp")  # noqa: S108 - owner and mode are checked
        there = above / f"feature-delivery-{os.getuid()}-{digest}"
        there.mkdir(exist_ok=True, mode=0o700)
        self._outside = there
        found = there.lstat()
        is_mine = os.getuid() == 0 or (found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077)
        if not stat.S_ISDIR(found.st_mode) or not is_mine:
            raise Misconfigured(f"'{there}' is not a directory of yours alone. Remove it, then start again.")
        return there


def _new_secret(name: str) -> str:
    match name:
        case "fernet":
            return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        case "instance":
            return secrets.token_hex(6)
        case _:
            return secrets.token_urlsafe(64)


_OF_SECRETS = (
    "Mend its owner, its mode or its disk, or bring it back from a backup. Do not remove it: the database and the "
    "Connections in it can be opened by what it holds alone."
)


def _read_json(path: Path, *, advice: str) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(f"Could not read '{path}': {error}. {advice}") from error


def write_private(path: Path, text: str) -> None:
    """Replaces a file at once, readable for its owner alone from the first byte on."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def is_free(port: int) -> bool:
    """Whether nobody listens on it: on the loopback address or on all."""
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - asks whether it is taken
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
