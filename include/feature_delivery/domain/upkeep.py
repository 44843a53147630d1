"""What travels between housekeeping and the control plane: environments found, environments nobody needs."""

from __future__ import annotations

from dataclasses import dataclass

from feature_delivery.domain.names import CommitSha, FeatureKey

ROUND_UNDER_WAY = "another round is under way"
"""The one count that a round of housekeeping gives which had nothing to do, since the one before has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One environment as the platform lists it.

    Attributes:
        commit: What answers at ``address``; ``None``: nothing does.
        metrics_path, health_path: Where on it Prometheus finds both; empty: the commit does not say.
    """

    name: str
    kind: str
    key: FeatureKey | None
    instance: str
    foreign: bool
    address: str = ""
    commit: CommitSha | None = None
    metrics_path: str = ""
    health_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """One environment that may go, with the generation that its destruction is worth."""

    name: str
    kind: str
    key: FeatureKey | None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapPlan:
    """What is to be done about a project's environments.

    ``destroy``: may go now. ``report``: sentences for people about everything left alone. ``needed``: names of those
    that must run and that nobody is changing just now.
    """

    instance: str
    destroy: tuple[Doomed, ...]
    report: tuple[str, ...]
    needed: tuple[str, ...] = ()
