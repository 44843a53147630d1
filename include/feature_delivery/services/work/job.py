"""What a step has at hand, and what several steps ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from feature_delivery.domain.errors import Misconfigured, Refused, Unavailable
from feature_delivery.domain.names import run_id
from feature_delivery.domain.work import Failed, Result, Work
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, Release
from feature_delivery.services.delivery_file import read_delivery_file

if TYPE_CHECKING:
    from pathlib import Path

    from feature_delivery.domain.judging.judge import RankTest
    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.domain.plan import DeliveryPlan
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.watching import Seen, WatchPlan
    from feature_delivery.ports.load import Load
    from feature_delivery.ports.measuring import Measuring
    from feature_delivery.ports.platform import Platform
    from feature_delivery.ports.probe import Probe
    from feature_delivery.ports.repository import Repository
    from feature_delivery.ports.tracker import Issues

DELIVERY_FILE = "delivery.yaml"

DELIVERS, TAKES_BACK = "Deliver", "Take back"
"""How the subjects of our own commits on production begin."""

T = TypeVar("T")


class Tools(Protocol):
    """The adapters of one project, each made when it is first asked for."""

    @property
    def project(self) -> ProjectConfig:
        """The project file."""

    @property
    def repository(self) -> Repository:
        """The Git repository."""

    def platform(self, instance: str) -> Platform:
        """Where commits run; only environments of ``instance`` may be touched."""

    @property
    def tracker(self) -> Issues:
        """The issue tracker."""

    @property
    def probe(self) -> Probe:
        """How services are looked at."""

    @property
    def measuring(self) -> Measuring | None:
        """The project's monitoring; ``None``: it names none."""

    @property
    def load(self) -> Load:
        """What puts a load on a service."""

    @property
    def rank_test(self) -> RankTest:
        """What tells chance from change."""


@dataclass(frozen=True, slots=True)
class Job:
    """One permitted step.

    Attributes:
        report: Hands an interim result in; returns why it does not count, or an empty text.
        say: One line for the task log.
        watched: How production was watched and what was seen, when that was done before the job.
    """

    work: Work
    tools: Tools
    report: Callable[[Result], str]
    say: Callable[[str], None]
    watched: tuple[WatchPlan, Seen] | None = None

    @property
    def repository(self) -> Repository:
        """The Git repository."""
        return self.tools.repository

    @property
    def platform(self) -> Platform:
        """Where commits run, for the installation that the permit's environment belongs to."""
        return self.tools.platform(self.needs(self.work.environment, "an environment").instance)

    @property
    def branch(self) -> BranchName:
        """The feature's branch, which every step after the intake needs."""
        return self.needs(self.work.branch, "a branch")

    def needs(self, value: T | None, what: str) -> T:
        """Return a part of the permit without which the step makes no sense."""
        if value is None:
            raise Refused(f"{self.work.step} of {self.work.key} has a permit without {what}. Clear the task before it.")
        return value

    def environment(self) -> EnvironmentRef:
        """Return the environment of the permit, with the right to change it."""
        found = self.needs(self.work.environment, "an environment")
        return EnvironmentRef(
            instance=found.instance,
            project=self.work.project,
            name=found.name,
            kind=EnvironmentKind(found.kind),
            key=None if found.shared else self.work.key,
            generation=found.generation,
            delivery=run_id(self.work.key, self.work.delivery),
        )

    def plan_at(self, commit: CommitSha) -> DeliveryPlan:
        """Return what a commit says about itself.

        Raises:
            Refused: It has no ``delivery.yaml``.
            Misconfigured: Its ``delivery.yaml`` is wrong.
        """
        content = self.repository.read_file(commit, DELIVERY_FILE)
        if content is None:
            raise Refused(
                f"Commit {commit[:10]} has no {DELIVERY_FILE}, so nobody knows how to run it. "
                "Write one with 'feature-delivery init' and commit it."
            )
        return read_delivery_file(content, where=f"{DELIVERY_FILE} at {commit[:10]}")

    def release(self, commit: CommitSha) -> Release:
        """Return a commit as platforms take it."""

        def checkout(directory: Path) -> None:
            self.repository.checkout(commit, directory)

        return Release(commit=commit, plan=self.plan_at(commit), checkout=checkout)

    def heads(self) -> dict[BranchName, CommitSha]:
        """Return every branch of the host; production is among them.

        Raises:
            Misconfigured: There is no production branch.
        """
        heads = self.repository.heads()
        production = self.tools.project.branches.production
        if production not in heads:
            raise Misconfigured(
                f"The repository of {self.work.project} has no branch {production!r}. "
                "Push it, or name another one as 'branches.production' in the project file."
            )
        return heads

    def production(self, heads: dict[BranchName, CommitSha]) -> CommitSha | Failed:
        """Return where production is, or the failure when somebody pushed there by hand.

        Raises:
            Unavailable: A delivery has moved it and has not told the ledger yet; that is over in a moment.
        """
        name = self.tools.project.branches.production
        head, known = heads[name], self.work.production_commit
        if known is None or head == known:
            return head
        self.repository.fetch(head)
        commit = self.repository.commit(head)
        ours = commit.subject.startswith((f"{DELIVERS} ", f"{TAKES_BACK} "))
        if ours and known in commit.parents:
            raise Unavailable(
                f"{name} is at {head[:10]}, where another delivery has moved it without having said so yet. "
                f"If that does not change, look at the features in production, then clear {self.work.step}."
            )
        return Failed(
            reason=f"{name} holds {head[:10]} ({commit.subject[:80]!r}), which no delivery brought there. A DevOps "
            f"engineer looks at it, then adopts it with 'feature-delivery adopt {head}'.",
            cause="foreign",
            commit=head,
        )
