"""``DirectControl``: the control plane in this process, for ``--direct`` and for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Permanent, Unavailable
from feature_delivery.services.control import deadlines, gates, marks, permits, reap, results

if TYPE_CHECKING:
    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.upkeep import Found, ReapPlan
    from feature_delivery.domain.work import GateAnswer, Result, Work
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.runs import TaskRef


class DirectControl:
    """Implements ``Control`` over transactions of the ledger; answers given in Airflow's pages are the web app's."""

    def __init__(
        self, begin: Callable[[], AbstractContextManager[Unit]], project: Callable[[ProjectName], ProjectConfig]
    ) -> None:
        """``begin`` opens a transaction, ``project`` reads a project file."""
        self._begin = begin
        self._project = project

    def take_permit(self, task: TaskRef) -> Work:
        """See ``Control.take_permit``."""
        project = self._project(task.run.project)
        try:
            with self._begin() as unit:
                return permits.take_permit(unit, project, task)
        except Permanent as refusal:
            with suppress(Permanent), self._begin() as unit:
                permits.note_refusal(unit, project, task, str(refusal))
            raise

    def report(self, task: TaskRef, permit: int, result: Result) -> str:
        """See ``Control.report``."""
        project = self._project(task.run.project)
        with self._begin() as unit:
            return results.apply_result(unit, project, task, permit, result)

    def ask_gate(self, task: TaskRef, event: Mapping[str, object] | None = None) -> GateAnswer:
        """See ``Control.ask_gate``."""
        project = self._project(task.run.project)
        with self._begin() as unit:
            if event and (event.get("error_type") == "timeout" or event.get("timedout")):
                deadlines.expire(unit, project, task.run.run_id)
            return gates.open_gate(unit, project, task)

    def housekeeping(self) -> Mapping[str, int]:
        """There is nothing to look after: whoever works directly does so while nothing else runs."""
        return {}

    def claim(self, project: ProjectName) -> Claim:
        """See ``Control.claim``."""
        with self._begin() as unit:
            return marks.claim(unit, project)

    def contested(self, project: ProjectName, found: str) -> None:
        """See ``Control.contested``."""
        with self._begin() as unit:
            why = marks.contested(unit, project, found)
        if why:
            raise Unavailable(why)

    def plan_reaping(self, project: ProjectName, found: Sequence[Found], *, left: str = "") -> ReapPlan:
        """See ``Control.plan_reaping``."""
        config = self._project(project)
        with self._begin() as unit:
            if left:
                marks.left(unit, project, left)
            return reap.plan_reaping(unit, config, found)

    def reaped(self, project: ProjectName, *, name: str, generation: int) -> None:
        """See ``Control.reaped``."""
        config = self._project(project)
        with self._begin() as unit:
            reap.reaped(unit, config, name, generation)
