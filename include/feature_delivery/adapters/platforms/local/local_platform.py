"""The platform on this machine: environments as directories, releases as processes, addresses as ports."""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.local import forwarding, health, marks, processes
from feature_delivery.adapters.platforms.local.deployment import Deployment, revive
from feature_delivery.adapters.platforms.local.layout import FRESH_STATE, layout_of, remove_tree, sweep_staging
from feature_delivery.adapters.platforms.local.place import Place
from feature_delivery.adapters.platforms.local.state import EnvironmentRecord, load, load_any, save
from feature_delivery.adapters.platforms.local.suites import SuiteRun
from feature_delivery.domain.errors import Conflict, Error, NotFound, Refused, Unavailable
from feature_delivery.domain.names import PROJECT_PATTERN, ProjectName, project_name
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, EnvironmentStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from feature_delivery.adapters.platforms.local.settings import Settings
    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.plan import DeliveryPlan, SuitePlan
    from feature_delivery.domain.suites import SuiteReport
    from feature_delivery.ports.platform import Release

_STATUS_SECONDS = 3.0
_GONE_ROUNDS = 3
_ADVICE = {
    errno.ENOSPC: "Free some space on the disk",
    errno.EDQUOT: "Free some of your disk quota",
    errno.EFBIG: "Raise the limit on file sizes",
    errno.EACCES: "Give this user the right to write there",
    errno.EPERM: "Give this user the right to write there",
    errno.EROFS: "Mount the file system writable",
    errno.EMFILE: "Raise the limit on open files",
}


class LocalPlatform:
    """Implements ``Platform`` with real processes; see ``layout.py`` for what lies where."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is touched; the root is made by the first ``provision``."""
        self.settings = replace(settings, root=settings.root.expanduser().absolute().resolve())

    def provision(self, ref: EnvironmentRef) -> EnvironmentStatus:
        """Find or create the environment, empty but reachable at its address."""
        with self._translated("provision", ref) as place:
            load_any(place.layout)  # Refuses what is not ours before a lock is left in it.
            sweep_staging(place.layout)
            while True:
                with place.locked(create=True):
                    record = load_any(place.layout)
                    if record is None or not record.leaving:
                        record = self._create(place) if record is None else self._adopt(place, record)
                        break
                    place.admit(record)
                    self._remove(place, record)  # An interrupted destruction; the lock goes with it, so once more.
        return self._status(record)

    def deploy(
        self,
        ref: EnvironmentRef,
        release: Release,
        *,
        say: Callable[[str], None],
        migrate_back: DeliveryPlan | None = None,
    ) -> EnvironmentStatus:
        """Install, migrate, start, wait for health, switch; keep the previous release, stop it."""
        with self._translated("deploy to", ref) as place:
            Deployment(place, release, say=say, migrate_back=migrate_back).run()
            record = load(place.layout)
        if record is None:
            raise Conflict(f"{place.title} was destroyed just after the deploy.")
        return self._status(record)

    def run_suite(
        self,
        ref: EnvironmentRef,
        *,
        name: str,
        suite: SuitePlan,
        release: Release,
        variables: Mapping[str, str],
        say: Callable[[str], None],
    ) -> SuiteReport:
        """Run ``suite`` in a copy of the release, against the environment's address."""
        with self._translated("run a suite in", ref) as place:
            return SuiteRun(place, name=name, suite=suite, commit=release.commit, variables=variables, say=say).run()

    def status(self, ref: EnvironmentRef) -> EnvironmentStatus | None:
        """Return what is there, or ``None``; the generation is not checked."""
        with self._translated("look at", ref) as place:
            return self._look(place.layout.project, place.layout.name)

    def destroy(self, ref: EnvironmentRef) -> None:
        """Stop and remove everything of the environment and verify that it is gone; gone already is done."""
        with self._translated("destroy", ref) as place:
            self._refuse_production(ref.kind, place)
            load_any(place.layout)
            # Created where nothing is, too: processes may have survived their directory.
            with place.locked(create=True):
                record = load_any(place.layout)
                if record is not None:
                    place.admit(record)
                    self._refuse_production(record.kind, place)
                self._remove(place, record)
            sweep_staging(place.layout)
            with suppress(OSError):
                place.layout.directory.parent.rmdir()

    def claim(self, project: ProjectName, claim: Claim) -> str:
        """Leave our mark in the root, unless another's is there."""
        try:
            seconds = self.settings.lock_timeout.total_seconds()
            return marks.leave(self.settings.root, project, claim, timeout_seconds=seconds)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Unavailable(f"Could not leave a mark in {str(self.settings.root)!r}: {reason}. Try again.") from error

    def list(self, project: ProjectName) -> tuple[EnvironmentStatus, ...]:
        """Return every environment of the project found on this machine, foreign ones marked."""
        directory = self.settings.root / project_name(project)
        if directory.is_symlink() or not directory.is_dir():
            return ()
        names = sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))
        found = (self._look(project, name) for name in names)
        return tuple(status for status in found if status is not None)

    def revive(self, ref: EnvironmentRef, *, say: Callable[[str], None]) -> EnvironmentStatus:
        """Start the current release and the forwarder again where they do not answer.

        Raises:
            Refused: The release does not become healthy any more.
        """
        with self._translated("revive", ref) as place:
            revive(place, say=say)
            record = load(place.layout)
        if record is None:
            raise NotFound(f"There is no environment {place.title}.")
        return self._status(record)

    def keep_running(self, ref: EnvironmentRef, *, say: Callable[[str], None]) -> bool:
        """Start the current release and the forwarder again when one of them has ended; says whether one had."""
        with self._translated("keep running", ref) as place:
            record = load(place.layout)
            if record is None or record.leaving or record.current is None:
                return False
            if processes.lives(record.current.process) and processes.belongs(record.forwarder, place.home):
                return False
            revive(place, say=say)
        return True

    def resume(self, project: ProjectName, *, say: Callable[[str], None]) -> tuple[EnvironmentStatus, ...]:
        """Start again all of our environments that do not answer, after a restart of the machine or of us.

        One that cannot be started is said and shows as not healthy; it does not keep the others down.
        """
        for status in self.list(project):
            if not status.foreign and not (status.healthy and status.commit):
                try:
                    self.revive(status.ref, say=say)
                except Error as error:
                    say(str(error))
        return self.list(project)

    def projects(self) -> tuple[ProjectName, ...]:
        """Return every project that has environments on this machine."""
        root = self.settings.root
        names = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else ()
        return tuple(ProjectName(name) for name in names if re.fullmatch(PROJECT_PATTERN, name))

    def stop_all(self, project: ProjectName) -> None:
        """Stop every process of our environments and keep their files: ``resume`` brings them back."""
        for status in self.list(project):
            if not status.foreign:
                with self._translated("stop", status.ref) as place, place.locked() as held:
                    if held:
                        place.stop_everything(load_any(place.layout))

    def _create(self, place: Place) -> EnvironmentRecord:
        """Make a new environment, or nothing at all."""
        ref, layout = place.ref, place.layout
        if ref.instance != self.settings.instance:
            raise Refused(
                f"Did not create {place.title}: it would belong to {ref.instance!r}, "
                f"and this is {self.settings.instance!r}."
            )
        record = EnvironmentRecord(
            instance=ref.instance,
            project=layout.project,
            name=layout.name,
            kind=ref.kind,
            key=ref.key,
            generation=ref.generation,
            port=0,
        )
        try:
            # First of all, so that whatever happens from here on is known to be ours.
            save(layout, record)
            layout.directory.chmod(0o700)
            layout.make()
            port, process = forwarding.start_forwarder(layout, self.settings, port=None)
            record = record.changed(port=port, forwarder=process)
            save(layout, record)
        except BaseException:
            self._remove(place, record)
            raise
        return record

    def _adopt(self, place: Place, record: EnvironmentRecord) -> EnvironmentRecord:
        place.admit(record)
        place.layout.make()
        place.stop_orphans()
        record = place.ensure_forwarder(record.changed(generation=place.ref.generation))
        save(place.layout, record)
        return record

    def _remove(self, place: Place, record: EnvironmentRecord | None) -> None:
        """Stop and remove everything; call it under the lock. The record and the lock go last.

        So an interrupted removal leaves a directory that still says whose it is, and is taken up again.
        """
        layout = place.layout
        if record is not None and not record.leaving and layout.state_file.exists():
            with suppress(OSError):  # A full disk must not keep us from freeing it.
                save(layout, record.changed(leaving=True, generation=max(record.generation, place.ref.generation)))
        last = {layout.state_file.name, layout.lock_file.name, FRESH_STATE}
        for _ in range(_GONE_ROUNDS):
            place.stop_everything(record)
            entries = list(layout.directory.iterdir()) if layout.directory.is_dir() else []
            for entry in entries:
                if entry.name not in last:
                    remove_tree(entry, inside=layout.root)
            if not layout.directory.is_dir() or {entry.name for entry in layout.directory.iterdir()} <= last:
                break
        else:
            raise Unavailable(f"Could not destroy {place.title}: something keeps writing to it. Try again.")
        layout.state_file.with_name(FRESH_STATE).unlink(missing_ok=True)
        layout.state_file.unlink(missing_ok=True)
        layout.lock_file.unlink(missing_ok=True)
        with suppress(OSError):  # From here on somebody may be creating it anew; that one stays.
            layout.directory.rmdir()

    def _refuse_production(self, kind: EnvironmentKind, place: Place) -> None:
        if kind is EnvironmentKind.PRODUCTION or place.layout.name == EnvironmentKind.PRODUCTION.value:
            raise Refused(f"Did not destroy {place.title}: production is never torn down.")

    def _look(self, project: ProjectName, name: str) -> EnvironmentStatus | None:
        """Return the status of whatever has this name; what cannot be understood is foreign."""
        try:
            record = load_any(layout_of(self.settings.root, project, name))
        except Refused:
            # Nobody may take it for something that can be torn down, so it passes for production.
            ref = EnvironmentRef(
                instance="", project=project, name=name, kind=EnvironmentKind.PRODUCTION, key=None, generation=0
            )
            return EnvironmentStatus(ref, address="", commit=None, previous=None, healthy=False, foreign=True)
        return None if record is None else self._status(record)

    def _status(self, record: EnvironmentRecord) -> EnvironmentStatus:
        current = None if record.leaving else record.current
        healthy = current is not None and self._answers(record.port, current.plan.health.path)
        return EnvironmentStatus(
            ref=record.ref,
            address=record.address,
            commit=current.commit if current else None,
            previous=record.previous.commit if record.previous else None,
            healthy=healthy,
            foreign=record.instance != self.settings.instance,
            unsettled=record.unsettled.commit if record.unsettled else None,
            metrics_path=(current.plan.metrics_path or "") if current else "",
            health_path=current.plan.health.path if current else "",
        )

    def _answers(self, port: int, path: str) -> bool:
        return health.answer(port, path, timeout_seconds=_STATUS_SECONDS) == 200

    @contextmanager
    def _translated(self, doing: str, ref: EnvironmentRef) -> Iterator[Place]:
        """Turn what the operating system says into a sentence of ours."""
        place = Place(self.settings, ref)
        try:
            yield place
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            where = f" at {error.filename!r}" if error.filename else ""
            advice = _ADVICE.get(error.errno or 0, "Look at the machine")
            raise Unavailable(f"Could not {doing} {place.title}: {reason}{where}. {advice}, then try again.") from error
