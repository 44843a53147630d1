"""What an environment is and runs: ``environment.json``, changed under a lock that a crash frees."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from feature_delivery.adapters.platforms.local.layout import FRESH_STATE
from feature_delivery.adapters.platforms.records import IdentifiedRecord, Record
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.names import CommitSha
from feature_delivery.domain.plan import DeliveryPlan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from feature_delivery.adapters.platforms.local.layout import Layout

_LOCK_PAUSE = 0.05


class ReleaseRecord(Record):
    """A release on disk.

    Attributes:
        name: Its directory in ``releases/``.
        venv: Its virtual environment's directory.
        bound: That one is for this release alone. So is one of which a record does not say it: what was said of it
            lay where the release could change it.
        launch: Marks the processes of this start of it; a revived release has another one.
        process: Identity of its first process.
        port: Where that one listens.
    """

    name: str
    commit: CommitSha
    venv: str
    plan: DeliveryPlan
    bound: bool = True
    launch: str = ""
    process: str | None = None
    port: int | None = None


class EnvironmentRecord(IdentifiedRecord):
    """The content of ``environment.json``.

    Attributes:
        port: The stable one, the forwarder's.
        forwarder: Identity of its process.
        current: What answers at the address.
        previous: What was switched away from; its files are kept.
        unsettled: A release whose forward migration was begun and neither switched to nor taken back: written before
            the migration runs, so that a rollback finds the files that can take it back.
        launch: The deploy under way. Whoever began last owns the environment; the others find it out before they
            change anything.
        taken_back: Name of the release whose migration was taken back already by a deploy that has not come to its end;
            see ``is_taken_back``.
        leaving: Destruction has begun; nothing is here any more, although some files may be.
    """

    layout: Literal[1] = 1
    port: int
    forwarder: str | None = None
    current: ReleaseRecord | None = None
    previous: ReleaseRecord | None = None
    unsettled: ReleaseRecord | None = None
    launch: str = ""
    taken_back: str = ""
    leaving: bool = False

    @property
    def address(self) -> str:
        """Where people and suites reach the environment; the same over all its releases."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def kept(self) -> tuple[ReleaseRecord, ...]:
        """The releases whose files must stay."""
        return tuple(release for release in (self.current, self.previous, self.unsettled) if release is not None)

    def is_taken_back(self, release: ReleaseRecord) -> bool:
        """Say whether the release's migration was taken back already; all releases of a commit have the same one."""
        commit, _, _ = self.taken_back.partition("-")
        return commit == release.name.partition("-")[0]


def load(layout: Layout) -> EnvironmentRecord | None:
    """Return the record, or ``None`` when there is no such environment (or one that is leaving).

    Raises:
        Refused: Something lies there that is no environment of ours.
    """
    record = load_any(layout)
    return None if record is None or record.leaving else record


def load_any(layout: Layout) -> EnvironmentRecord | None:
    """Return the record, that of a leaving environment too."""
    try:
        content = _read(layout)
        if content is None:
            return None
        record = EnvironmentRecord.model_validate_json(content)
    except (NotADirectoryError, IsADirectoryError, ValidationError) as error:
        if not layout.directory.exists():
            raise  # Something above is no directory: the root is set wrongly.
        raise foreign(layout, "its environment.json cannot be understood") from error
    if (record.project, record.name) != (layout.project, layout.name):
        raise foreign(layout, f"its environment.json describes {record.project}/{record.name}")
    return record


def _read(layout: Layout) -> bytes | None:
    """Return the content of the record; ``None`` when there is no environment, or hardly the beginning of one."""
    while True:
        try:
            return layout.state_file.read_bytes()
        except FileNotFoundError as error:
            if not layout.directory.exists() or layout.is_leftover():
                return None
            if not layout.state_file.exists():
                raise foreign(layout, "it has no environment.json") from error
            # Somebody created the environment between our two looks.


def foreign(layout: Layout, why: str) -> Refused:
    """Return the refusal to touch a directory that is not provably ours."""
    return Refused(
        f"Did not touch {str(layout.directory)!r}: {why}, so it may belong to somebody else. "
        "Look at it and remove it by hand."
    )


def save(layout: Layout, record: EnvironmentRecord) -> None:
    """Replace the record in one step: readers see the old one or the new one, after a crash too."""
    replace_whole(layout.state_file, record.model_dump_json(indent=1), fresh=layout.state_file.with_name(FRESH_STATE))


def replace_whole(path: Path, text: str, *, fresh: Path) -> None:
    """Put ``text`` in the place of a file in one step, by the file ``fresh`` beside it, which is on the disk first."""
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


@contextmanager
def locked(layout: Layout, *, timeout_seconds: float, create: bool = False) -> Iterator[bool]:
    """Hold the environment's lock; the kernel frees it when its holder dies.

    Yields whether it is held: without ``create`` an environment that is not there cannot be locked, and whatever
    appears at its place meanwhile is not ours to change.

    Raises:
        Unavailable: Somebody else holds it all the time.
    """
    end = time.monotonic() + timeout_seconds
    while True:
        descriptor = _open(layout.lock_file, create=create)
        if descriptor is None:
            yield False
            return
        try:
            if lock_until(descriptor, end) and _is(descriptor, layout.lock_file):
                yield True
                return
        finally:
            os.close(descriptor)
        if time.monotonic() >= end:
            raise Unavailable(
                f"Could not change {layout.project}/{layout.name}: another process has been changing it for "
                f"{timeout_seconds:g} seconds. Try again."
            )


def _open(path: Path, *, create: bool) -> int | None:
    while True:
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not (path.exists() or path.with_name("environment.json").exists()):
                return None  # Not ours: not even a lock may be left in it.
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            if not create:
                return None


def lock_until(descriptor: int, end: float) -> bool:
    """Wait for an open file's lock until a moment of ``time.monotonic``; says whether it is held now."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_LOCK_PAUSE)
        else:
            return True


def _is(descriptor: int, path: Path) -> bool:
    """Say whether the locked file is still the one at ``path``; a destruction may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
