"""The platform on a Kubernetes cluster: environments as namespaces, releases as rollouts, suites as pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes import marks, provisioning, record, rights
from feature_delivery.adapters.platforms.kubernetes.deployment import Deployment
from feature_delivery.adapters.platforms.kubernetes.names import (
    ENVIRONMENT,
    FEATURE,
    GENERATION,
    INSTANCE,
    KIND,
    MANAGED_BY,
    MANAGER,
    PROJECT,
    label_value,
    selector,
)
from feature_delivery.adapters.platforms.kubernetes.place import Place
from feature_delivery.adapters.platforms.kubernetes.release import address, workloads_in
from feature_delivery.adapters.platforms.kubernetes.resources import NAMESPACE, resource_of
from feature_delivery.adapters.platforms.kubernetes.rollout import serves
from feature_delivery.adapters.platforms.kubernetes.suites import SuiteRun
from feature_delivery.adapters.platforms.kubernetes.waiting import WaitsHere
from feature_delivery.domain.errors import Conflict, Refused
from feature_delivery.domain.names import FeatureKey, ProjectName, project_name
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, EnvironmentStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.record import EnvironmentRecord
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.adapters.platforms.kubernetes.settings import Settings
    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.plan import DeliveryPlan, SuitePlan
    from feature_delivery.domain.suites import SuiteReport
    from feature_delivery.ports.platform import Release


class KubernetesPlatform:
    """Implements ``Platform``; production may be on a cluster of its own."""

    def __init__(
        self, settings: Settings, cluster: Cluster, *, production: Cluster | None = None, waits: Waits | None = None
    ) -> None:
        """Nothing is asked yet; ``waits``: how to wait, here by default."""
        self.settings = settings
        self._cluster = cluster
        self._production = production or cluster
        self._waits = waits or WaitsHere(look_every=settings.look_every)

    def provision(self, ref: EnvironmentRef) -> EnvironmentStatus:
        """Find or create the environment, empty but reachable at its address."""
        place = self._place(ref)
        return self._status(place, provisioning.provision(place))

    def deploy(
        self,
        ref: EnvironmentRef,
        release: Release,
        *,
        say: Callable[[str], None],
        migrate_back: DeliveryPlan | None = None,
    ) -> EnvironmentStatus:
        """Migrate, roll out, wait until it is ready; what ran before serves meanwhile, and goes on when it fails."""
        place = self._place(ref)
        place.read()
        Deployment(place, release, waits=self._waits, say=say, migrate_back=migrate_back).run()
        found = place.look()
        if found is None:
            raise Conflict(f"{place.title} was destroyed just after the deploy.")
        return self._status(place, found)

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
        """Run ``suite`` in a pod of the release that is deployed, against the environment's address."""
        run = SuiteRun(
            self._place(ref),
            name=name,
            suite=suite,
            commit=release.commit,
            variables=variables,
            waits=self._waits,
            say=say,
        )
        return run.run()

    def keep_running(self, ref: EnvironmentRef, *, say: Callable[[str], None]) -> bool:  # noqa: ARG002 - the port's
        """Nothing to do: the cluster starts again what has ended."""
        return False

    def status(self, ref: EnvironmentRef) -> EnvironmentStatus | None:
        """Return what is there, or ``None``; the generation is not checked."""
        place = self._place(ref)
        if place.is_production:
            found = place.look() if place.namespace_object() is not None else None
            return None if found is None else self._status(place, found)
        return self._look(place, place.namespace_object())

    def destroy(self, ref: EnvironmentRef) -> None:
        """Delete the environment's namespace and see that it is gone; gone already is done."""
        place = self._place(ref)
        found = place.look()
        if place.is_production or (found is not None and found.kind is EnvironmentKind.PRODUCTION):
            raise Refused(f"Did not destroy {place.title}: production is never torn down.")
        if place.namespace == self.settings.config.production_namespace:
            raise Refused(f"Did not destroy {place.title}: its namespace is production's, and that is never torn down.")
        provisioning.destroy(place)

    def claim(self, project: ProjectName, claim: Claim) -> str:
        """Leave our mark in production's namespace, unless another's is there; nothing is shared without one."""
        namespace = self.settings.config.production_namespace
        return marks.leave(self._production, namespace, project, claim) if namespace else ""

    def list(self, project: ProjectName) -> tuple[EnvironmentStatus, ...]:
        """Return every environment of the project found on the clusters, foreign ones marked."""
        return tuple(sorted(self._found(project_name(project)), key=lambda status: status.ref.name))

    def examine(self) -> Sequence[Finding]:
        """Look at version, rights and production's namespace of each cluster."""
        return rights.examine(self.settings, self._cluster, self._production)

    def _place(self, ref: EnvironmentRef) -> Place:
        is_production = EnvironmentKind.PRODUCTION in (ref.kind, ref.name)
        return Place(self.settings, self._production if is_production else self._cluster, ref)

    def _found(self, project: ProjectName) -> Iterator[EnvironmentStatus]:
        labels = selector({MANAGED_BY: MANAGER, PROJECT: label_value(project)})
        for one in self._cluster.list(NAMESPACE, labels=labels):
            ref = ref_of(one)
            if ref.project != project or one["metadata"]["name"] == self.settings.config.production_namespace:
                continue
            place = Place(self.settings, self._cluster, ref)
            if place.namespace != one["metadata"]["name"]:
                # Its labels say that it is ours, its name does not: for people to look at.
                yield self._foreign(ref)
                continue
            status = self._look(place, one)
            if status is not None:
                yield status
        if self.settings.config.production_namespace:
            ref = EnvironmentRef(
                instance=self.settings.instance,
                project=project,
                name=EnvironmentKind.PRODUCTION.value,
                kind=EnvironmentKind.PRODUCTION,
                key=None,
                generation=0,
            )
            found = self.status(ref)
            if found is not None:
                yield found

    def _look(self, place: Place, found: Manifest | None) -> EnvironmentStatus | None:
        """Return the status of a namespace of ours; one that cannot be understood is foreign."""
        if found is None:
            return None
        ref = ref_of(found)
        if not ref.instance:
            return self._foreign(place.ref)
        try:
            known = record.load(place.cluster, place.namespace, ref.project)
        except Refused:
            return self._foreign(ref)
        # The namespace is there and the record is not: an interrupted start, or the end of a destruction.
        return self._status(place, known[0] if known else record.fresh_record(ref))

    def _foreign(self, ref: EnvironmentRef) -> EnvironmentStatus:
        # Nobody may take it for something that can be torn down, so it passes for production.
        odd = EnvironmentRef(
            instance="", project=ref.project, name=ref.name, kind=EnvironmentKind.PRODUCTION, key=None, generation=0
        )
        return EnvironmentStatus(odd, address="", commit=None, previous=None, healthy=False, foreign=True)

    def _status(self, place: Place, found: EnvironmentRecord) -> EnvironmentStatus:
        current = None if found.leaving else found.current
        return EnvironmentStatus(
            ref=found.ref,
            address=address(place),
            commit=current.commit if current else None,
            previous=found.previous.commit if found.previous else None,
            healthy=current is not None and self._serves(place, current.manifests),
            foreign=found.instance != self.settings.instance,
            unsettled=found.unsettled.commit if found.unsettled else None,
            metrics_path=(current.plan.metrics_path or "") if current else "",
            health_path=current.plan.health.path if current else "",
        )

    def _serves(self, place: Place, manifests: Sequence[Manifest]) -> bool:
        """Say whether every workload has a pod whose health path answers: that is what readiness asks."""
        for each in workloads_in(manifests):
            found = place.cluster.get(resource_of(each), each["metadata"]["name"], namespace=place.namespace)
            if found is None or not serves(found):
                return False
        return True


def ref_of(namespace: Manifest) -> EnvironmentRef:
    """Return the environment that a namespace says it stands for; without our annotations it is nobody's."""
    said = namespace["metadata"].get("annotations") or {}
    kind = said.get(KIND, "")
    generation = said.get(GENERATION, "0")
    if kind not in set(EnvironmentKind) or INSTANCE not in said:
        return EnvironmentRef(
            instance="",
            project=ProjectName(said.get(PROJECT, "")),
            name=said.get(ENVIRONMENT, namespace["metadata"]["name"]),
            kind=EnvironmentKind.PRODUCTION,
            key=None,
            generation=0,
        )
    return EnvironmentRef(
        instance=said[INSTANCE],
        project=ProjectName(said.get(PROJECT, "")),
        name=said.get(ENVIRONMENT, ""),
        kind=EnvironmentKind(kind),
        key=FeatureKey(said[FEATURE]) if said.get(FEATURE) else None,
        generation=int(generation) if generation.isdigit() else 0,
    )
