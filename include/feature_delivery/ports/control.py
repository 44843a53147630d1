"""The control plane, as tasks see it: permits, results, gates, upkeep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.upkeep import Found, ReapPlan
    from feature_delivery.domain.watching import Glance
    from feature_delivery.domain.work import GateAnswer, Result, Work
    from feature_delivery.ports.runs import TaskRef


class Control(Protocol):
    """Every call may be repeated; what the server refuses comes back as the same error that it raised there."""

    def take_permit(self, task: TaskRef) -> Work:
        """Return the leave for the step, with everything it needs to know.

        Raises:
            Refused: The rule of the step says no.
            Conflict: Another run carries the feature.
            NotFound: The run carries no feature.
        """

    def report(self, task: TaskRef, permit: int, result: Result) -> str:
        """Hand a result in; returns why the step counts as failed all the same, empty when it does not.

        Raises:
            Conflict: A newer attempt has begun: the result does not count.
            Refused: The permit is another task's, or has ended.
        """

    def ask_gate(self, task: TaskRef, event: Mapping[str, object] | None = None) -> GateAnswer:
        """Ask whether to go on, park or skip. ``event``: what ended an earlier parking, as Airflow hands it over."""

    def housekeeping(self) -> Mapping[str, int]:
        """Do what is due: deadlines, stranded runs, reconciliation, the outbox; returns how much of each."""

    def claim(self, project: ProjectName) -> Claim:
        """Return whose environments we look after, and the mark to leave where they are.

        Raises:
            Unavailable: The ledger may be a copy, or the project is another instance's.
        """

    def contested(self, project: ProjectName, found: str) -> None:
        """Tell of a mark that is none of those the claim admits; returns when it is our own of a moment ago.

        Raises:
            Unavailable: Another control plane works there: everything stops until an operator has looked.
        """

    def plan_reaping(self, project: ProjectName, found: Sequence[Found], *, left: str = "") -> ReapPlan:
        """Return which of the environments on the platform the ledger knows to be over: they may be destroyed.

        ``left``: our mark that is there now.
        """

    def reaped(self, project: ProjectName, *, name: str, generation: int) -> None:
        """Write down that an environment was destroyed and found gone."""


class Looks(Protocol):
    """What the probe has seen in watches under way, kept for whoever takes one over."""

    def keep(self, task: TaskRef, permit: int, looks: Sequence[Glance]) -> None:
        """Keep what the probe has seen in a watch under way, so that a process that takes over goes on from there.

        Raises:
            Refused: The task does not wait as a trigger, or the permit is another task's.
            Conflict: The watch is another try's by now.
        """

    def kept(self, task: TaskRef, permit: int) -> Sequence[Glance]:
        """Return all that was kept of the watch, by its moment.

        Raises:
            Refused, Conflict: As ``keep``.
        """
