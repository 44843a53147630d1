"""Where commits run: environments, their releases, the suites inside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.names import CommitSha, FeatureKey, ProjectName
    from feature_delivery.domain.plan import DeliveryPlan, SuitePlan
    from feature_delivery.domain.suites import SuiteReport


class EnvironmentKind(StrEnum):
    """What an environment is for; ``production`` is never torn down, whatever the input."""

    DEVELOPMENT = "development"
    PREPROD = "preprod"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class EnvironmentRef:
    """One environment, and the right to change it.

    Attributes:
        instance: Id of the Airflow installation that owns it; objects of another one are never touched.
        name: A DNS label, unique in the project (``development-shop-1``, ``production``).
        key: The feature it belongs to; ``None`` for production.
        generation: Grows with every permit to write. The platform remembers the highest it has seen and refuses a
            lower one, so that a stalled task of an older attempt cannot write over a newer one.
        delivery: The run that asks for it, for people who look at the platform; decides nothing.
    """

    instance: str
    project: ProjectName
    name: str
    kind: EnvironmentKind
    key: FeatureKey | None
    generation: int
    delivery: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    """A commit to run. ``checkout(directory)`` fills an existing, empty directory with its files."""

    commit: CommitSha
    plan: DeliveryPlan
    checkout: Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """What the platform itself sees of an environment, not what the ledger thinks.

    Attributes:
        commit: The commit that answers at ``address`` now, ``None`` before the first deploy.
        previous: The release that was switched away from and is kept.
        healthy: The health path answered 200 just now.
        unsettled: A commit whose migration was begun, and which was neither switched to nor migrated back.
        metrics_path: Where on ``address`` the commit has its metrics; empty: it has none.
        health_path: Where it says whether it is well; empty: nothing is deployed.
    """

    ref: EnvironmentRef
    address: str
    commit: CommitSha | None
    previous: CommitSha | None
    healthy: bool
    foreign: bool = False
    unsettled: CommitSha | None = None
    metrics_path: str = ""
    health_path: str = ""


class Platform(Protocol):
    """Every call is safe to repeat; a lower generation than the one seen raises ``Conflict``."""

    def provision(self, ref: EnvironmentRef) -> EnvironmentStatus:
        """Find or create the environment, empty but reachable at its address."""

    def deploy(
        self,
        ref: EnvironmentRef,
        release: Release,
        *,
        say: Callable[[str], None],
        migrate_back: DeliveryPlan | None = None,
    ) -> EnvironmentStatus:
        """Install, migrate, start, wait for health, switch; keep the previous release, stop it.

        A release that does not become healthy is removed again; what ran before goes on serving.

        Args:
            ref: The environment; it must have been provisioned.
            release: What to run.
            say: Progress for the task log, one line each.
            migrate_back: Plan of the release that is being rolled back: its ``migration.back`` runs instead of
                ``release``'s forward migration. Only for a release that is there or ``unsettled``.

        Raises:
            Refused: The commit cannot be installed, migrated or started, or never became healthy; the sentence ends
                with the last lines of its log.
            Conflict: A newer generation has written here.
            Temporary: The platform itself has a problem (a full disk, no free port).
        """

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
        """Run ``suite`` against the environment with ``BASE_URL`` and ``JUNIT_XML`` set; a red suite is a result.

        The files under test are the release's; the command is whatever ``suite`` says (production's copy).

        Raises:
            Conflict: The environment does not run ``release.commit`` or a newer generation has written.
        """

    def keep_running(self, ref: EnvironmentRef, *, say: Callable[[str], None]) -> bool:
        """Start the deployed release again when it has ended; says whether it had.

        One that lives is left alone, however slowly it answers. A platform that starts again by itself does nothing.

        Raises:
            Refused: The release does not become healthy any more.
            Conflict: A newer generation has written here.
        """

    def status(self, ref: EnvironmentRef) -> EnvironmentStatus | None:
        """Return what is there, or ``None``; the generation is not checked."""

    def destroy(self, ref: EnvironmentRef) -> None:
        """Stop and remove everything of the environment and verify that it is gone; gone already is done.

        Raises:
            Refused: The environment is production, or belongs to another instance.
        """

    def claim(self, project: ProjectName, claim: Claim) -> str:
        """Leave ``claim``'s mark where all of the project's environments are found, unless another's is there.

        Returns:
            The mark that is there and that ``claim`` does not admit; empty: ours is there now.
        """

    def list(self, project: ProjectName) -> tuple[EnvironmentStatus, ...]:
        """Return every environment of the project found on the platform, foreign ones marked."""
