"""What the shop's ``delivery.yaml`` says: how its commit is installed, started, checked, migrated and tested."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from feature_delivery.domain.watching import ShopMetrics

Command = tuple[str, ...]
"""An argument list; never a shell string."""


class Suite(StrEnum):
    """The suites a shop may define; only ``load`` may be missing without a word at review."""

    SYNTAX = "syntax"
    UNIT = "unit"
    FUNCTIONAL = "functional"
    INTEGRATION = "integration"
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """How one suite runs.

    Attributes:
        command: Run in the checked-out commit, inside the environment's virtual environment.
        timeout: After it the whole process group is killed and the suite is red.
        junit: Where the command writes its JUnit XML, relative to the checkout; ``None``: the exit code alone
            decides and the suite counts as one test (for syntax checkers).
    """

    command: Command
    timeout: timedelta
    junit: str | None


@dataclass(frozen=True, slots=True)
class HealthPlan:
    """``path`` answers 200 within ``timeout`` of the start, or the release is not switched to."""

    path: str
    timeout: timedelta


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """``forward`` runs before the switch, ``back`` on a rollback.

    ``reversible`` is the shop's word; when false it rules out automatic rollback, and ``back`` never runs.
    """

    forward: Command | None
    back: Command | None
    reversible: bool

    @property
    def way_back(self) -> Command | None:
        """What takes the data back; ``None``: they stay as they are."""
        return self.back if self.reversible else None


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """One ``delivery.yaml``, validated.

    Attributes:
        install: Commands that fill the virtual environment; run again only when ``install_inputs`` changed.
        install_inputs: Files (relative) whose content decides whether ``install`` runs again.
        start: The shop's server; it listens on ``$PORT`` of ``$HOST``.
        metrics: What the shop calls its metrics; ``None``: by the conventions.
        load_pages: Pages that a load is put on when the shop brings no suite for it, besides its health.
        variables: Plain, not secret, environment variables of the shop.
    """

    install: tuple[Command, ...]
    install_inputs: tuple[str, ...]
    start: Command
    health: HealthPlan
    migration: MigrationPlan
    suites: dict[Suite, SuitePlan]
    variables: dict[str, str] = field(default_factory=dict)
    metrics_path: str | None = None
    metrics: ShopMetrics | None = None
    load_pages: tuple[str, ...] = ()
