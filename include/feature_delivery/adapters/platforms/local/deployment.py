"""One deploy: check out, install, migrate, start, wait for health, switch, retire what ran before.

Nothing is visible at the address before the switch, which is one atomic rename; a deploy that ends anywhere before it
(refused, overtaken, killed) leaves the old release serving. What a kill leaves behind is swept by the next deploy.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.local import forwarding, health, processes
from feature_delivery.adapters.platforms.local.databases import databases_in, warning
from feature_delivery.adapters.platforms.local.installation import Installer, inputs_of
from feature_delivery.adapters.platforms.local.layout import drop_staging, new_staging, remove_tree
from feature_delivery.adapters.platforms.local.logs import ending
from feature_delivery.adapters.platforms.local.place import release_role
from feature_delivery.adapters.platforms.local.state import EnvironmentRecord, ReleaseRecord, load, save
from feature_delivery.domain.errors import Error, Permanent, Refused, Unavailable
from feature_delivery.domain.names import commit_sha

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    import psutil

    from feature_delivery.adapters.platforms.local.place import Place
    from feature_delivery.domain.plan import Command, DeliveryPlan
    from feature_delivery.ports.platform import Release

_PORT_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25


class _PortTakenError(Exception):
    """Somebody took the release's port between our choice and its start."""


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts a release beside the current one and switches to it once it is healthy."""

    place: Place
    launch: str
    say: Callable[[str], None]

    def start(self, release: ReleaseRecord) -> ReleaseRecord:
        """Return ``release`` as it runs now, healthy, not yet switched to.

        Raises:
            Refused: It ended, or was not healthy in time.
        """
        for _ in range(_PORT_TRIES):
            with self.place.changing(launch=self.launch) as record:
                release = release.model_copy(update={"launch": self.launch, "port": forwarding.free_port()})
                process = self.place.start(record, release, log=self.log_of(release))
                release = release.model_copy(update={"process": process})
            try:
                self._await_health(release)
            except _PortTakenError:
                self.say(f"Port {release.port} was taken by somebody else meanwhile; start again on another one.")
                self.place.stop_release(release)
            else:
                return release
        raise Unavailable(f"Could not start a release in {self.place.title}: its ports are always taken. Try again.")

    def log_of(self, release: ReleaseRecord) -> Path:
        """Return where the release's server writes to."""
        return self.place.layout.logs / f"{release.name}.log"

    def _await_health(self, release: ReleaseRecord) -> None:
        plan, port = release.plan.health, release.port or 0
        self.say(f"Wait until {plan.path} answers 200, at most {plan.timeout.total_seconds():g} seconds.")
        end, pause = time.monotonic() + plan.timeout.total_seconds(), _FIRST_PAUSE
        found: int | str = "it was not asked"
        # A look that has no time left for an answer would hide what the one before it has found.
        while (left := end - time.monotonic()) > _FIRST_PAUSE:
            if not processes.lives(release.process):
                self._judge_early_end(release)
            found = health.answer(port, plan.path, timeout_seconds=min(left, health.REQUEST_SECONDS))
            if found == 200:
                if forwarding.listens(self._processes(release), port=port):
                    return
                found = "somebody else answers on its port"
            time.sleep(min(pause, max(end - time.monotonic(), 0)))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        if found == "somebody else answers on its port":
            raise _PortTakenError
        why = f"{plan.path} did not answer 200 within {plan.timeout.total_seconds():g} seconds (last: {found})"
        raise self._refusal(release, f"{why}. {self._advice(release, found)}".strip(" ."))

    def _advice(self, release: ReleaseRecord, found: int | str) -> str:
        others = forwarding.listening_elsewhere(self._processes(release), port=release.port or 0)
        if found == health.NOTHING_LISTENS and others:
            ports = " and ".join(map(str, others))
            return f"It listens on port {ports} instead: let it listen on $HOST and $PORT of its environment."
        return health.advice(found)

    def _judge_early_end(self, release: ReleaseRecord) -> None:
        taken = not forwarding.is_free(release.port or 0)
        if taken and not forwarding.listens(self._processes(release), port=release.port or 0):
            raise _PortTakenError
        raise self._refusal(release, "it ended before it was healthy; the start command has to stay in the foreground")

    def _processes(self, release: ReleaseRecord) -> list[psutil.Process]:
        return processes.members(self.place.home, release_role(release.launch), leader=release.process)

    def _refusal(self, release: ReleaseRecord, why: str) -> Refused:
        with self.place.changing(launch=self.launch):  # Overtaken, and stopped for that? Then this is no verdict.
            log = self.log_of(release)
        return Refused(f"Could not start {release.commit[:12]} in {self.place.title}: {why}. {ending(log)}")

    def retire(self, old: ReleaseRecord, forwarder: str | None) -> None:
        """Let a release that was switched away from finish its requests, then stop it."""
        seconds = self.place.settings.drain_timeout.total_seconds()
        if processes.lives(old.process):
            forwarding.drain(forwarder, port=old.port, timeout_seconds=seconds)
        self.place.stop_release(old)


class Deployment:
    """One deploy of one release."""

    def __init__(
        self, place: Place, release: Release, *, say: Callable[[str], None], migrate_back: DeliveryPlan | None
    ) -> None:
        """Nothing happens before ``run``."""
        self.place = place
        self.release = release
        self.say = say
        self.migrate_back = migrate_back
        self.launch = secrets.token_hex(4)
        self.starter = Starter(place, self.launch, say)
        commit = commit_sha(release.commit)
        self.short = commit[:12]
        self.target = ReleaseRecord(
            name=f"{self.short}-{self.launch}", commit=commit, venv="", plan=release.plan, launch=self.launch
        )

    def run(self) -> None:
        """Do it, or leave everything as it was."""
        if self._is_there():
            self.say(f"{self.short} runs in {self.place.title} already.")
            return
        migrated = False
        try:
            self._check_out()
            self._install()
            checkout = self.place.layout.releases / self.target.name
            before = databases_in(checkout)
            migrated = self._migrate()
            self.target = self.starter.start(self.target)
            if made := databases_in(checkout) - before:
                self.say(warning(made))
            old, record = self._switch()
        except OSError as error:
            overtaken = self._is_overtaken()
            self._give_up(error, migrated=migrated)
            if overtaken is not None:
                # Files that vanish under our hands are the doing of whoever took over.
                raise overtaken from error
            raise
        except BaseException as error:
            self._give_up(error, migrated=migrated)
            raise
        self.say(f"{record.address} is {self.short} now.")
        if old is not None:
            self.starter.retire(old, record.forwarder)
        self._tidy()

    def _tidy(self) -> None:
        """Remove the files that nothing uses any more, unless another deploy is under way: that one does it."""
        with self.place.locked() as held:
            settled = load(self.place.layout) if held else None
            if settled is not None and not settled.launch:
                self.place.remove_unused(settled, say=self.say)

    def _is_overtaken(self) -> Error | None:
        try:
            with self.place.changing(launch=self.launch):
                return None
        except Permanent as error:
            return error

    def _is_there(self) -> bool:
        """Take the environment over; say whether it runs the release already, and well."""
        with self.place.changing() as record:
            current = record.current
            same = current is not None and (current.commit, current.plan) == (self.target.commit, self.release.plan)
            done = (
                current is not None
                and same
                and record.unsettled is None
                and not record.is_taken_back(current)
                and processes.lives(current.process)
                and health.answer(current.port or 0, current.plan.health.path) == 200
            )
            launch = "" if done else self.launch
            mine = record.changed(generation=self.place.ref.generation, launch=launch)
            save(self.place.layout, mine)
            self.place.sweep(self.place.ensure_forwarder(mine), suites=not done, say=self.say)
            return done

    def _check_out(self) -> None:
        """Fill a directory of nobody's, then move it in whole."""
        self.say(f"Check {self.short} out.")
        staging = new_staging(self.place.layout, launch=self.launch)
        try:
            self.release.checkout(staging)
            with self.place.changing(launch=self.launch):
                staging.rename(self.place.layout.releases / self.target.name)
        finally:
            drop_staging(self.place.layout, staging)

    def _install(self) -> None:
        checkout = self.place.layout.releases / self.target.name
        installer = Installer(self.place.layout, self.place.settings, self._run_install, self.say)
        inputs = inputs_of(checkout, self.release.plan)
        with self.place.changing(launch=self.launch) as record:
            found = installer.find(record, inputs)
        self.target = self.target.model_copy(update={"venv": found or f"venv-{inputs}-{self.launch}"})
        if found is None:
            bound = installer.install(self.target)
        else:
            bound = False
            self.say("The install inputs have not changed: use the virtual environment that is there.")
        self.target = self.target.model_copy(update={"bound": bound})

    def _run_install(self, command: Command, extra: dict[str, str]) -> None:
        self._run("install", self.target, command, extra=extra)

    def _run(
        self, doing: str, release: ReleaseRecord, command: Command, *, extra: dict[str, str] | None = None
    ) -> None:
        """Run one command of ``release``; raise when it fails."""
        timeout: timedelta = self.place.settings.install_timeout
        outcome = self.place.run(
            release,
            command,
            role=f"{doing.split(maxsplit=1)[0]}:{self.launch}",
            log=self.place.layout.logs / f"{self.target.name}.build.log",
            timeout=timeout,
            say=self.say,
            launch=self.launch,
            extra=extra,
        )
        if outcome.code == 0:
            return
        if not self.place.has_room():
            raise Unavailable(
                f"Could not {doing} {release.commit[:12]} in {self.place.title}: the disk is full. Free some."
            )
        raise Refused(
            f"Could not {doing} {release.commit[:12]} in {self.place.title}: {' '.join(command)!r} "
            f"{outcome.because(timeout)}. {outcome.last_words}"
        )

    def _migrate(self) -> bool:
        """Bring the data to what the release expects; say whether its forward migration has run."""
        if self.migrate_back is not None:
            self._take_migration_back(self.migrate_back)
            return False
        forward = self.release.plan.migration.forward
        if forward is None:
            return False
        # First: one that ends half way, or is killed, has changed data that only this release can take back.
        with self.place.changing(launch=self.launch) as record:
            save(self.place.layout, record.changed(unsettled=self.target, taken_back=""))
        self.say(f"Migrate: {' '.join(forward)}")
        self._run("migrate", self.target, forward)
        return True

    def _take_migration_back(self, plan: DeliveryPlan) -> None:
        """Run the backward migration of the release that goes, in its own checkout: only that one knows it."""
        with self.place.changing(launch=self.launch) as record:
            current = record.current
            leaving = record.unsettled or (current if current and current.commit != self.target.commit else None)
        back = plan.migration.way_back
        if leaving is not None and record.is_taken_back(leaving):
            return
        if leaving is not None and back is not None:
            self.say(f"Take the migration of {leaving.commit[:12]} back: {' '.join(back)}")
            try:
                self._run("migrate back", leaving, back)
            except Refused as error:
                raise Refused(
                    f"{error}\n{leaving.commit[:12]} goes on serving. Mend its data by hand until that command "
                    "succeeds, then deploy again."
                ) from error
        taken_back = leaving.name if leaving is not None else ""
        with self.place.changing(launch=self.launch) as record:
            save(self.place.layout, record.changed(unsettled=None, taken_back=taken_back))

    def _switch(self) -> tuple[ReleaseRecord | None, EnvironmentRecord]:
        with self.place.changing(launch=self.launch) as record:
            old = record.current
            previous = old if old is not None and old.commit != self.target.commit else record.previous
            over = {"unsettled": None, "taken_back": "", "launch": ""}
            switched = record.changed(current=self.target, previous=previous, **over)
            save(self.place.layout, switched)
            return old, switched

    def _give_up(self, error: BaseException, *, migrated: bool) -> None:
        """Take everything back; what fails here is swept by the next deploy, and must not hide ``error``."""
        with suppress(Error, OSError):
            known = load(self.place.layout)
            if known is not None and known.current is not None and known.current.name == self.target.name:
                return  # Interrupted just after the switch: it serves. Whoever comes next retires the old one.
            self.place.stop_release(self.target)
            if migrated:
                self._undo_migration(error, serving=known.current if known is not None else None)
            with self.place.locked() as held:
                record = load(self.place.layout) if held else None
                if record is None:
                    return
                if record.launch == self.launch:
                    record = record.changed(launch="")
                    self.place.remove_unused(record, say=self.say)  # First: on a full disk this makes the room to save.
                    save(self.place.layout, record)
                elif self.target.name not in {release.name for release in record.kept}:
                    remove_tree(self.place.layout.releases / self.target.name, inside=self.place.layout.root)

    def _undo_migration(self, error: BaseException, *, serving: ReleaseRecord | None) -> None:
        """Bring the data back that were migrated for this release, where that is possible: the old one goes on.

        Not where that is of the same commit: the migration is its own, and has added nothing for this one.
        """
        if serving is not None and serving.commit == self.target.commit:
            error.add_note("Its migration stays: the same commit goes on serving, and needs it.")
            with suppress(Error, OSError):
                self._settle()
            return
        back = self.release.plan.migration.way_back
        if back is None or not isinstance(error, Error):
            error.add_note("Its migration has run and stays; the old release goes on with migrated data.")
            return
        try:
            self._run("migrate back", self.target, back)
            self._settle()
        except (Error, OSError) as failure:
            self.say(f"The migration of {self.short} could not be taken back: {failure}")
        else:
            self.say(f"The migration of {self.short} was taken back.")

    def _settle(self) -> None:
        with self.place.changing(launch=self.launch) as record:
            save(self.place.layout, record.changed(unsettled=None))


def revive(place: Place, *, say: Callable[[str], None]) -> None:
    """Start the current release again when it does not answer; the address stays.

    Raises:
        Refused: It does not become healthy.
    """
    launch = secrets.token_hex(4)
    with place.changing() as found:
        record = place.ensure_forwarder(found)
        current = record.current
        if current is None:
            return
        if processes.lives(current.process) and health.answer(current.port or 0, current.plan.health.path) == 200:
            return
        say(f"{current.commit[:12]} does not answer in {place.title}: start it again.")
        record = record.changed(generation=place.ref.generation, launch=launch)
        save(place.layout, record)
        place.stop_release(current)
        place.sweep(record, suites=False, say=say)
    starter = Starter(place, launch, say)
    fresh = current.model_copy(update={"launch": launch, "process": None, "port": None})
    try:
        fresh = starter.start(fresh)
        with place.changing(launch=launch) as record:
            save(place.layout, record.changed(current=fresh, launch=""))
    except BaseException:
        place.stop_release(fresh)
        raise
