"""What the rule of a step may look at, and which environment a step is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.domain.names import environment_name
from feature_delivery.domain.process import CHECKS, Step
from feature_delivery.domain.records import Feature, Promotion
from feature_delivery.ports.platform import EnvironmentKind

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit

DEVELOPMENT_STEPS = frozenset(
    {Step.RESERVE_DEVELOPMENT, Step.PROVISION_DEVELOPMENT, Step.DEPLOY_DEVELOPMENT, *CHECKS, Step.DESTROY_DEVELOPMENT}
)
PREPROD_STEPS = frozenset(
    {
        Step.RESERVE_PREPROD,
        Step.PROVISION_PREPROD,
        Step.DEPLOY_PREPROD,
        Step.TEST_PREPROD,
        Step.TEST_LOAD,
        Step.REFRESH_CANDIDATE,
        Step.RELEASE_PREPROD,
        Step.DESTROY_PREPROD,
    }
)
PRODUCTION_STEPS = frozenset(
    {
        Step.DEPLOY_PRODUCTION,
        Step.TEST_PRODUCTION,
        Step.OBSERVE_PRODUCTION,
        Step.DEPLOY_ROLLBACK,
        Step.TEST_ROLLBACK,
    }
)
ROLLBACK_STEPS = frozenset(
    {Step.RESTORE_BRANCH, Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK, Step.NOTIFY_ROLLBACK, Step.RELEASE_PREPROD}
)
WRITES = frozenset(
    {
        Step.PROVISION_DEVELOPMENT,
        Step.DEPLOY_DEVELOPMENT,
        Step.DESTROY_DEVELOPMENT,
        Step.PROVISION_PREPROD,
        Step.DEPLOY_PREPROD,
        Step.REFRESH_CANDIDATE,
        Step.RELEASE_PREPROD,
        Step.DESTROY_PREPROD,
        Step.DEPLOY_PRODUCTION,
        Step.DEPLOY_ROLLBACK,
    }
)
"""Steps that change an environment: their permit is worth a new generation."""
DESTRUCTIONS = frozenset({Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD, Step.RELEASE_PREPROD})
"""Steps that remove an environment; one that is gone already, or has passed to another delivery, is done."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the rule of a step may look at."""

    unit: Unit
    project: ProjectConfig
    feature: Feature
    step: Step

    @property
    def promotion(self) -> Promotion | None:
        """The promotion of the current attempt."""
        return self.unit.books.promotion(self.feature, self.feature.attempt_number)

    @property
    def holds_production(self) -> bool:
        """Say whether the feature holds production's lock."""
        row = self.unit.books.project(self.project.name)
        return row is not None and row.lock_feature_id == self.feature.id


def environment_of(scene: Scene) -> tuple[str, EnvironmentKind]:
    """Return name and kind of the environment a step is about."""
    if scene.step in DEVELOPMENT_STEPS:
        kind = EnvironmentKind.DEVELOPMENT
    elif scene.step in PREPROD_STEPS:
        kind = EnvironmentKind.PREPROD
    else:
        kind = EnvironmentKind.PRODUCTION
    shared = kind is EnvironmentKind.PRODUCTION
    return environment_name(kind, None if shared else scene.feature.key), kind
