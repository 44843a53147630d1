"""The runs of deliveries, as the control plane steers them. One implementation: Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.process import Step


ON_ITS_WAY = frozenset({"running", "queued", "scheduled", "restarting", "up_for_retry"})
"""States of a gate's task that may still park."""

AT_THE_GATE = ON_ITS_WAY | {"awaiting_input"}
"""States of a gate's task that is parked there, or may be soon."""


@dataclass(frozen=True, slots=True)
class RunRef:
    """One run: the feature ``run_id`` of ``project``."""

    project: ProjectName
    run_id: str


@dataclass(frozen=True, slots=True)
class TaskRef:
    """One try of one task, as the task itself claims it; only the server can say whether it is true."""

    run: RunRef
    step: Step
    try_number: int
    task_instance: str


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run has ended, in the orchestrator's words (``success``, ``failed``), and when."""

    state: str
    at: datetime


class Runs(Protocol):
    """Every method works inside the ledger's transaction; ``lock`` comes first, before any ledger row is locked.

    The run's own row is the mutex of everything that concerns its feature: with it, opening a gate and deciding at
    it can never miss each other.
    """

    def lock(self, run: RunRef) -> bool:
        """Lock the run for this transaction; ``False`` when there is none."""

    def start(self, run: RunRef, *, conf: Mapping[str, object], note: str) -> None:
        """Create the run; it must not exist."""

    def conf(self, run: RunRef) -> Mapping[str, object]:
        """Return what the run was started with."""

    def started_by(self, run: RunRef) -> str:
        """Return the user who started the run in the orchestrator itself; empty when a program did."""

    def is_running(self, task: TaskRef) -> bool:
        """Say whether exactly this try of this task is running now."""

    def is_deferred(self, task: TaskRef) -> bool:
        """Say whether exactly this try of this task waits as a trigger now."""

    def states(self, run: RunRef) -> dict[Step, str]:
        """Return the state of every task of the run, in the orchestrator's words (``success``, ``failed`` …)."""

    def end(self, run: RunRef) -> RunEnd | None:
        """Return how the run has ended; ``None`` while it goes on, and when there is none."""

    def parked(self, projects: Collection[ProjectName]) -> dict[RunRef, frozenset[Step]]:
        """Return the runs of ``projects`` with a gate's task that is parked, and which ones; one query."""

    def end_gate(self, run: RunRef, gate: Step) -> bool:
        """End the parked task of ``gate`` successfully; ``False`` when it is not parked (yet, or any more)."""

    def end_watch(self, run: RunRef) -> bool:
        """End the deferred watch on production successfully; ``False`` when none is deferred."""

    def shelve(self, run: RunRef, *, until: datetime) -> None:
        """Hide the run from the scheduler; an answer still ends its parked task."""

    def unshelve(self, run: RunRef) -> None:
        """Show the run to the scheduler again, with the date it had before."""

    def rewind(self, run: RunRef, *, to: Step) -> None:
        """Clear ``to`` and everything after it, running tasks included, and unshelve."""

    def stop(self, run: RunRef) -> None:
        """Skip everything unfinished, let teardown follow (again, if it had run), and unshelve.

        Setups become ``success``, not skipped: a rewind has cleared them while what they reserved is still there, and
        no teardown runs for a setup that was skipped or failed. Teardowns that have ended are cleared.
        """

    def tear_down_again(self, run: RunRef) -> None:
        """Let the teardowns run once more that have failed; nothing else of the run is touched."""

    def unshelve_stranded(self, projects: Collection[ProjectName]) -> int:
        """Unshelve every shelved run of ``projects`` without a parked task; return how many."""
