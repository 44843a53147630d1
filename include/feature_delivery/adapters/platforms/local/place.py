"""One environment as its writers see it: who may change it, under which lock, and what must not be left in it."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.local import forwarding, processes
from feature_delivery.adapters.platforms.local.commands import Outcome, Running
from feature_delivery.adapters.platforms.local.fencing import fenced
from feature_delivery.adapters.platforms.local.layout import Layout, layout_of, remove_tree
from feature_delivery.adapters.platforms.local.logs import prune
from feature_delivery.adapters.platforms.local.processes import Marks
from feature_delivery.adapters.platforms.local.state import EnvironmentRecord, ReleaseRecord, load, locked, save
from feature_delivery.adapters.platforms.local.variables import handed, of_ours, variables_for
from feature_delivery.domain.errors import Conflict, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    import psutil

    from feature_delivery.adapters.platforms.local.settings import Limits, Settings
    from feature_delivery.domain.plan import Command
    from feature_delivery.ports.platform import EnvironmentRef

_LOGS_KEPT = 40
_LITTLE_BYTES = 256 * 1024


def release_role(launch: str) -> str:
    """Return the mark of a release's processes."""
    return f"release:{launch}"


class Place:
    """An environment and somebody's right to change it.

    The lock is held for moments only, never while something builds: a newer generation takes over by writing its
    generation and launch into the record. Whoever works on a longer errand names its launch each time that it
    changes anything or starts a process, and learns then that it was overtaken.
    """

    def __init__(self, settings: Settings, ref: EnvironmentRef) -> None:
        """Nothing is touched yet; a name that could leave the root is refused."""
        self.settings = settings
        self.ref = ref
        self.layout: Layout = layout_of(settings.root, ref.project, ref.name)
        self.title = f"{ref.project}/{ref.name}"
        self.home = str(self.layout.directory)

    @property
    def limits(self) -> Limits | None:
        """What a command may use; ``None`` where the operator wants no fence."""
        return None if self.settings.fence == "off" else self.settings.limits

    @contextmanager
    def locked(self, *, create: bool = False) -> Iterator[bool]:
        """Hold the lock, whatever lies here; says whether there was one to hold."""
        with locked(self.layout, timeout_seconds=self.settings.lock_timeout.total_seconds(), create=create) as held:
            yield held

    @contextmanager
    def changing(self, *, launch: str | None = None) -> Iterator[EnvironmentRecord]:
        """Hold the lock, with the record as it is now.

        Raises:
            Conflict: A newer generation has written, or ``launch`` is not the errand under way any more.
            NotFound: There is no such environment (any more).
        """
        with self.locked() as held:
            record = load(self.layout) if held else None
            if record is None:
                raise NotFound(f"There is no environment {self.title}: it was never provisioned, or destroyed since.")
            self.admit(record)
            if launch is not None and record.launch != launch:
                raise Conflict(f"Gave up on {self.title}: another deploy has taken over. Nothing of this one is left.")
            yield record

    def admit(self, record: EnvironmentRecord) -> None:
        """Raise unless ``ref`` may change the environment."""
        ref = self.ref
        if {record.instance, ref.instance} != {self.settings.instance}:
            raise Refused(
                f"Did not touch {self.title}: it belongs to the instance {record.instance!r}, asked for by "
                f"{ref.instance!r}, and this is {self.settings.instance!r}."
            )
        if (record.kind, record.key) != (ref.kind, ref.key):
            raise Conflict(
                f"Did not touch {self.title}: it is the {record.kind} environment of {record.key or 'no feature'}, "
                f"not the {ref.kind} one of {ref.key or 'no feature'}."
            )
        if ref.generation < record.generation:
            raise Conflict(
                f"Did not touch {self.title}: generation {record.generation} has written here already, and this is "
                f"generation {ref.generation}. A newer attempt owns the environment; this one has nothing left to do."
            )

    def start(self, record: EnvironmentRecord, release: ReleaseRecord, *, log: Path) -> str | None:
        """Start a release's server; call it under the lock. Return its identity, ``None`` when it ended at once."""
        variables = variables_for(
            self.layout,
            record,
            release,
            role=release_role(release.launch),
            alone=True,
            extra={"PORT": str(release.port)},
        )
        checkout = self.layout.releases / release.name
        command = self.fenced(release.plan.start, release, variables, checkout, serves=True)
        with handed(variables) as given:
            return processes.launch(
                command, variables=of_ours(variables), directory=checkout, log=log, given=given, kept=True
            )

    def fenced(
        self,
        command: Sequence[str],
        release: ReleaseRecord,
        variables: Mapping[str, str],
        directory: Path,
        *,
        installs: bool = False,
        serves: bool = False,
    ) -> tuple[str, ...]:
        """Return ``command`` as it is started: behind a fence around what belongs to the environment."""
        return fenced(
            command,
            layout=self.layout,
            settings=self.settings,
            release=release,
            variables=variables,
            directory=directory,
            installs=installs,
            serves=serves,
        )

    def run(
        self,
        release: ReleaseRecord,
        command: Command,
        *,
        role: str,
        log: Path,
        timeout: timedelta,
        say: Callable[[str], None],
        launch: str | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a command in a release's checkout; only its start is under the lock."""
        with self.changing(launch=launch) as record:
            variables = variables_for(self.layout, record, release, role=role, extra=extra)
            checkout = self.layout.releases / release.name
            behind = self.fenced(command, release, variables, checkout, installs=role.startswith("install:"))
            running = Running(behind, variables=variables, directory=checkout, log=log, limits=self.limits)
        outcome = running.finish(timeout=timeout, say=say)
        with self.changing(launch=launch):
            return outcome

    def ensure_forwarder(self, record: EnvironmentRecord) -> EnvironmentRecord:
        """Return the record with a forwarder that runs; call it under the lock."""
        if processes.belongs(record.forwarder, self.home):
            return record
        port, process = forwarding.start_forwarder(self.layout, self.settings, port=record.port)
        record = record.changed(port=port, forwarder=process)
        save(self.layout, record)
        return record

    def stop_release(self, release: ReleaseRecord) -> None:
        """Stop every process of one start of a release."""
        processes.stop(
            lambda: processes.members(self.home, release_role(release.launch), leader=release.process),
            grace_seconds=self.settings.stop_timeout.total_seconds(),
        )

    def stop_everything(self, record: EnvironmentRecord | None) -> None:
        """Stop every process that belongs here, the forwarder too.

        A release is found by its recorded process as well: an earlier version started it without a keeper, or that
        one was killed.
        """
        releases = record.kept if record is not None else ()

        def all_of_it() -> list[psutil.Process]:
            recorded = {one for release in releases for one in processes.session_of(release.process)}
            return list(recorded.union(process for process, _ in processes.marked(self.home)))

        processes.stop(all_of_it, grace_seconds=self.settings.stop_timeout.total_seconds())

    def stop_orphans(self) -> None:
        """Stop suites and commands that nobody waits for any more: the task that did was killed."""
        processes.stop_marked(
            self.home,
            lambda marks: bool(marks.owner) and not processes.lives(marks.owner),
            grace_seconds=self.settings.stop_timeout.total_seconds(),
        )

    def sweep(self, record: EnvironmentRecord, *, suites: bool, say: Callable[[str], None]) -> None:
        """Stop and remove what belongs to no release that is kept; call it under the lock.

        That is what killed tasks left behind, and what an overtaken deploy is still doing.

        Args:
            record: What is kept.
            suites: Stop the suites that somebody is waiting for, too: another release is about to come.
            say: Told of files that stay.

        Raises:
            Unavailable: A process cannot be stopped.
        """
        serving = release_role(record.current.launch) if record.current else ""

        def surplus(marks: Marks) -> bool:
            if marks.role in {forwarding.ROLE, serving}:
                return False
            if marks.role.startswith(("suite:", "command:")):
                return suites or not processes.lives(marks.owner)
            return True

        processes.stop_marked(self.home, surplus, grace_seconds=self.settings.stop_timeout.total_seconds())
        self.remove_unused(record, say=say)

    def remove_unused(self, record: EnvironmentRecord, *, say: Callable[[str], None]) -> None:
        """Remove the files of releases that are not kept; call it under the lock.

        What cannot be removed is said and stays: files of another user's must not keep a release from coming or
        going. The next deploy tries again.
        """
        kept = record.kept
        running = {marks.role for _, marks in processes.marked(self.home)}
        names = {release.name for release in kept} | {release.venv for release in kept}
        unused = [entry for entry in _entries(self.layout.releases) if entry.name not in names]
        unused += [entry for entry in self.layout.directory.glob("venv-*") if entry.name not in names]
        unused += [entry for entry in _entries(self.layout.suites) if f"suite:{entry.name}" not in running]
        for entry in unused:
            try:
                remove_tree(entry, inside=self.layout.root)
            except (OSError, Refused) as error:
                say(f"Could not remove {str(entry)!r}, which nothing uses any more: {error}. Remove it by hand.")
        prune(self.layout.logs, keep=_LOGS_KEPT)

    def has_room(self) -> bool:
        """Say whether the disk still takes anything: an install that fails on a full one is not the commit's fault."""
        with suppress(OSError):
            free = os.statvfs(self.layout.directory)
            return free.f_bavail * free.f_frsize > _LITTLE_BYTES and (free.f_favail > 0 or free.f_files == 0)
        return True


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() and not directory.is_symlink() else []
