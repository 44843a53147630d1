"""One environment as its writers see it: its namespace, and who may change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes import apply, record
from feature_delivery.adapters.platforms.kubernetes.failures import LostRaceError
from feature_delivery.adapters.platforms.kubernetes.names import app_name, namespace_name
from feature_delivery.adapters.platforms.kubernetes.resources import NAMESPACE
from feature_delivery.domain.errors import Conflict, Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.ports.platform import EnvironmentKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.record import EnvironmentRecord
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.adapters.platforms.kubernetes.settings import Settings
    from feature_delivery.ports.platform import EnvironmentRef

PRODUCTION = EnvironmentKind.PRODUCTION


class Place:
    """An environment and somebody's right to change it.

    Nothing is locked: every change names the record that it was decided on, and is decided anew when another writer was
    quicker. Whoever works on a longer errand names its launch each time, and learns then that it was overtaken.
    """

    def __init__(self, settings: Settings, cluster: Cluster, ref: EnvironmentRef) -> None:
        """Nothing is asked yet.

        Raises:
            Refused: The environment's name is none.
            Misconfigured: It is production, and the project file names no namespace for that.
        """
        self.settings = settings
        self.cluster = cluster
        self.ref = ref
        self.title = f"{ref.project}/{ref.name}"
        self.app = app_name(ref.project)
        self.is_production = PRODUCTION in (ref.kind, ref.name)
        given = settings.config.production_namespace
        if self.is_production and not given:
            raise Misconfigured(
                f"Production of {ref.project!r} has no namespace. Name it 'platform.production.namespace'."
            )
        self.namespace = given if self.is_production else namespace_name(ref.project, ref.name)

    def namespace_object(self) -> Manifest | None:
        """Return the namespace as it is, or ``None``."""
        return self.cluster.get(NAMESPACE, self.namespace)

    def look(self) -> EnvironmentRecord | None:
        """Return the record, or ``None`` where there is no environment."""
        found = record.load(self.cluster, self.namespace, self.ref.project)
        return None if found is None else found[0]

    def change(
        self, change: Callable[[EnvironmentRecord], EnvironmentRecord], *, launch: str | None = None
    ) -> EnvironmentRecord:
        """Change the record; ``change`` is asked again when somebody else was quicker.

        Raises:
            Conflict: A newer generation has written, or ``launch`` is not the errand under way any more.
            NotFound: There is no such environment (any more).
        """
        for _ in range(apply.TRIES):
            found = record.load(self.cluster, self.namespace, self.ref.project)
            if found is None:
                raise NotFound(f"There is no environment {self.title}: it was never provisioned, or destroyed since.")
            known, read = found
            self.admit(known)
            if launch is not None and known.launch != launch:
                raise Conflict(f"Gave up on {self.title}: another deploy has taken over. Nothing of this one is left.")
            wanted = change(known)
            if wanted == known:
                return known
            try:
                record.replace(self.cluster, self.namespace, wanted, read=read)
            except LostRaceError as error:
                lost = error
            else:
                return wanted
        raise Unavailable(f"Could not change {self.title}: its record keeps changing. Try again.") from lost

    def read(self, *, launch: str | None = None) -> EnvironmentRecord:
        """Return the record that ``ref`` may change; raises as ``change`` does."""
        return self.change(lambda known: known, launch=launch)

    def admit(self, known: EnvironmentRecord) -> None:
        """Raise unless ``ref`` may change the environment."""
        ref = self.ref
        self.admit_instance(known.instance)
        if (known.project, known.name, known.kind, known.key) != (ref.project, ref.name, ref.kind, ref.key):
            raise Conflict(
                f"Did not touch {self.title}: it is the {known.kind} environment of {known.key or 'no feature'}, "
                f"not the {ref.kind} one of {ref.key or 'no feature'}."
            )
        if ref.generation < known.generation:
            raise Conflict(
                f"Did not touch {self.title}: generation {known.generation} has written here already, and this is "
                f"generation {ref.generation}. A newer attempt owns the environment; this one has nothing left to do."
            )

    def admit_instance(self, owner: str) -> None:
        """Raise unless what belongs to ``owner`` is ours to change."""
        if {owner, self.ref.instance} != {self.settings.instance}:
            raise Refused(
                f"Did not touch {self.title}: it belongs to the instance {owner!r}, asked for by "
                f"{self.ref.instance!r}, and this is {self.settings.instance!r}."
            )

    def apply(self, manifest: Manifest) -> Manifest:
        """Make an object of the environment what ``manifest`` says."""
        return apply.apply(self.cluster, manifest, self.ref)

    def remove(self, manifest: Manifest) -> None:
        """Delete an object of the environment."""
        apply.remove(self.cluster, manifest, self.ref)

    def stamped(self, manifest: Manifest) -> Manifest:
        """Return a manifest with the environment's labels and generation."""
        return apply.stamped(manifest, self.ref)
