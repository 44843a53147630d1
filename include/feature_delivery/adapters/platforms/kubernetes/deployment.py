"""One deploy: take over, migrate, apply, wait for the rollout, switch the record; or bring back what ran before.

The cluster itself keeps the old version serving until the new one is ready (``maxUnavailable: 0``), and a deploy that
is interrupted anywhere is taken up where it stood: its release has the same id, so that what is there already is found.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.building import build
from feature_delivery.adapters.platforms.kubernetes.errands import Errands
from feature_delivery.adapters.platforms.kubernetes.manifests.backing import BACKING
from feature_delivery.adapters.platforms.kubernetes.migrations import Migrations, is_migrated
from feature_delivery.adapters.platforms.kubernetes.provisioning import mark
from feature_delivery.adapters.platforms.kubernetes.release import make_release, services_of, workloads_in
from feature_delivery.adapters.platforms.kubernetes.resources import resource_of
from feature_delivery.adapters.platforms.kubernetes.rollout import Outcome
from feature_delivery.adapters.platforms.kubernetes.waiting import Rollout, still_serves
from feature_delivery.adapters.platforms.lines import clean
from feature_delivery.domain.errors import Error, NotFound, Permanent, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.adapters.platforms.kubernetes.place import Place
    from feature_delivery.adapters.platforms.kubernetes.record import EnvironmentRecord, ReleaseRecord
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.adapters.platforms.kubernetes.rollout import Judgement
    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.domain.plan import DeliveryPlan
    from feature_delivery.ports.platform import Release

_LAST_LINES = 12


class Deployment:
    """One deploy of one release."""

    def __init__(
        self,
        place: Place,
        release: Release,
        *,
        waits: Waits,
        say: Callable[[str], None],
        migrate_back: DeliveryPlan | None,
    ) -> None:
        """Nothing happens before ``run``.

        Raises:
            Refused: The commit's own manifests are wrong.
        """
        self.place = place
        self.release = release
        self.waits = waits
        self.say = say
        self.migrate_back = migrate_back
        self.target = make_release(place, release, say=say)
        self.short = self.target.commit[:12]
        self.launch = f"{self.target.id}@{place.ref.generation}"
        self._name_pods(str(place.ref.generation))

    def run(self) -> None:
        """Do it, or leave everything as it was.

        Raises:
            Refused: The release cannot be migrated or rolled out; what ran before is back.
            Conflict: A newer attempt has taken over.
        """
        record = self._take_over()
        if self._runs_already(record):
            self.say(f"{self.short} runs in {self.place.title} already.")
            self._settle()
            return
        try:
            self._serve(record)
        except (Refused, NotFound) as error:
            self._give_up(error)
            raise
        self._settle()
        self.say(f"{self.short} has taken over in {self.place.title}.")

    def _serve(self, record: EnvironmentRecord) -> None:
        if record.failed:
            # A try before this one had begun to bring back what ran before, and was interrupted.
            raise Refused(record.failed)
        self._build(record)
        self._prepare_data(record)
        self._roll_out(self.target)

    def _take_over(self) -> EnvironmentRecord:
        generation = self.place.ref.generation

        def mine(known: EnvironmentRecord) -> EnvironmentRecord:
            resumed = known.launch.startswith(f"{self.target.id}@")
            kept = {} if resumed else {"begun": generation, "failed": ""}
            return known.changed(generation=generation, launch=self.launch, **kept)

        record = self.place.change(mine)
        self._name_pods(str(record.begun))
        return record

    def _name_pods(self, token: str) -> None:
        self.errands = Errands(self.place, self.waits, self.say, token=token)
        self.migrations = Migrations(self.place, self.waits, self.say, launch=self.launch, token=token)

    def _runs_already(self, record: EnvironmentRecord) -> bool:
        current = record.current
        if current is None or current.id != self.target.id or record.unsettled is not None:
            return False
        if current.id in {record.taken_back, record.going_back}:
            return False
        return still_serves(self.place.cluster, self._rollout(current))

    def _build(self, record: EnvironmentRecord) -> None:
        """Have the image built, once for each deploy: one that is taken up again finds it."""
        settings = self.place.settings
        command, built = settings.config.build, self.target.id
        if not command or record.built == built:
            return
        image = settings.config.image.replace("{commit}", self.target.commit)
        build(command, self.release, image=image, limit=settings.build_timeout, say=self.say)
        self.place.change(lambda known: known.changed(built=built), launch=self.launch)

    def _prepare_data(self, record: EnvironmentRecord) -> None:
        """Bring backing services up and the data to what the release expects."""
        self._start_services()
        if self.migrate_back is not None:
            self.migrations.take_back(record, self.target, self.migrate_back)
        elif services_of(self.place) or not is_migrated(record, self.target):
            # A backing service that was moved to another node has lost its data, whatever the record says.
            self.migrations.forward(self.migrations.finish(record), self.target)
        self._seed()

    def _start_services(self) -> None:
        services = services_of(self.place)
        if not services:
            return
        names = " and ".join(service.name for service in services)
        self.say(f"Wait until {names} answer{'s' if len(services) == 1 else ''}.")
        workloads = tuple(("apps/v1", "Deployment", service.name) for service in services)
        seconds = self.place.settings.start_allowance.total_seconds()
        rollout = Rollout(self.place.cluster.name, self.place.namespace, BACKING, workloads, seconds)
        found = self.waits.rollout(self.place.cluster, rollout)
        if found.outcome is Outcome.FAILED:
            raise self._refusal(f"{names} did not start: {found.reason}", found)

    def _seed(self) -> None:
        seeds = [service for service in services_of(self.place) if service.seed]
        if not seeds or self.place.read(launch=self.launch).seeded:
            return
        for service in seeds:
            title = f"Fill {service.name}: {' '.join(service.seed)}"
            self.errands.must(self.target, service.seed, doing=f"seed {service.name} with", role="seed", title=title)
        self.place.change(lambda known: known.changed(seeded=True), launch=self.launch)
        self.errands.clear()

    def _roll_out(self, release: ReleaseRecord) -> None:
        """Apply the release's objects and wait until they run."""
        # Whatever becomes of this deploy, the next one knows what it may have left.
        wanted = release.manifests
        self.place.change(
            lambda known: known.changed(rest=_rest(known, wanted, kept=known.current)), launch=self.launch
        )
        for manifest in wanted:
            self.place.apply(manifest)
        rollout = self._rollout(release)
        self.say(f"Wait for the rollout of {release.commit[:12]} in {self.place.namespace}.")
        found = self.waits.rollout(self.place.cluster, rollout)
        # Overtaken, and failed for that? Then this is no verdict on the release.
        self.place.read(launch=self.launch)
        if found.outcome is Outcome.FAILED:
            raise self._refusal(found.reason, found)

    def _rollout(self, release: ReleaseRecord) -> Rollout:
        objects = workloads_in(release.manifests)
        allowed = release.plan.health.timeout + 2 * self.place.settings.start_allowance
        return Rollout(
            connection=self.place.cluster.name,
            namespace=self.place.namespace,
            release=release.id,
            workloads=tuple((each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in objects),
            seconds=allowed.total_seconds(),
        )

    def _refusal(self, why: str, found: Judgement) -> Refused:
        said = self._last_words(found)
        return Refused(f"Could not start {self.short} in {self.place.title}: {why}. {said}".rstrip())

    def _last_words(self, found: Judgement) -> str:
        if not found.pod:
            return ""
        for previous in (False, True):
            with suppress(Error):
                text = self.place.cluster.log(
                    self.place.namespace, found.pod, container=found.container, tail=_LAST_LINES, previous=previous
                )
                if text.strip():
                    return "It ended with:\n" + "\n".join(map(clean, text.rstrip().split("\n")))
        return "It wrote nothing."

    def _settle(self) -> None:
        """Write down that the release serves, and remove what only its predecessor had."""

        def switched(known: EnvironmentRecord) -> EnvironmentRecord:
            old = known.current
            previous = old if old is not None and old.commit != self.target.commit else known.previous
            over = {"unsettled": None, "migrated": False, "launch": ""}
            over |= {"taken_back": "", "going_back": "", "back_token": ""}
            rest = _rest(known, old.manifests if old is not None else [], kept=self.target)
            return known.changed(current=self.target, previous=previous, rest=rest, **over)

        self._sweep(self.place.change(switched, launch=self.launch))
        mark(self.place, self.target.commit, say=self.say)

    def _sweep(self, record: EnvironmentRecord) -> None:
        """Remove what no release needs; it is written down until it is gone."""
        for manifest in record.rest:
            self.say(f"Remove {manifest['kind']} {manifest['metadata']['name']}: this release has none.")
            try:
                self.place.remove(manifest)
            except Refused as error:
                # Somebody else has an object of that name, for which ours was refused: nothing of ours is there.
                self.say(str(error))
        if record.rest:
            self.place.change(lambda known: known.changed(rest=()), launch=record.launch)

    def _give_up(self, error: Error) -> None:
        """Bring back what ran before; what fails here is mended by the next deploy, and must not hide ``error``.

        Raises:
            Temporary: The data are on their way back, and nobody knows how that ended: the next try goes on there, and
                ends with ``error``.
        """
        migrated = False
        with suppress(Error):
            record = self.place.read(launch=self.launch)
            old = record.current
            if old is not None:
                for manifest in old.manifests:
                    self.place.apply(manifest)
            self._sweep(record)
            migrated = record.migrated and record.unsettled is not None and record.unsettled.id == self.target.id
            if not migrated:
                self._let_go()
        if migrated:
            with suppress(Permanent):
                self.migrations.undo(record, self.target, error)
                self._let_go()

    def _let_go(self) -> None:
        self.place.change(lambda known: known.changed(launch="", failed=""), launch=self.launch)


def _rest(known: EnvironmentRecord, more: list[Manifest], *, kept: ReleaseRecord | None) -> tuple[Manifest, ...]:
    """Return what has yet to be removed with ``more`` added to it, and without what ``kept`` has.

    A volume claim holds data: whoever drops it from the manifests removes it by hand.
    """
    needed = {_identity(manifest) for manifest in kept.manifests} if kept is not None else set()
    found: dict[tuple[str, str], Manifest] = {}
    for manifest in (*known.rest, *more):
        if manifest["kind"] != "PersistentVolumeClaim" and _identity(manifest) not in needed:
            meta = {field: manifest["metadata"][field] for field in ("name", "namespace")}
            named = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": meta}
            found.setdefault(_identity(manifest), named)
    return tuple(found.values())


def _identity(manifest: Manifest) -> tuple[str, str]:
    return resource_of(manifest).kind, manifest["metadata"]["name"]
