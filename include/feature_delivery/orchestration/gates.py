"""Gates: sensors that ask once and park. They cost nothing while a feature waits, for hours or for weeks.

A parked task is in ``awaiting_input``: no worker, no trigger, no pool slot. Whatever resolves the gate ends the task
from outside; the sensor comes back here only with an answer from Airflow's own page, or with its time-out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from feature_delivery.domain.process import Step
from feature_delivery.orchestration.link import link, task_ref
from feature_delivery.orchestration.operators import ending_in_a_sentence

if TYPE_CHECKING:
    from airflow.sdk import Context


class FlagSensor(BaseSensorOperator):
    """Waits for a flag that is raised outside of Airflow's tasks.

    Retry-safe because asking changes nothing that asking again does not find. If killed before it parks, the next try
    asks anew, and a decision made meanwhile is in the ledger. Templated: nothing.

    Args:
        step: The gate; its last word is the task id.
        project: Name of the project.
    """

    ui_color: ClassVar[str] = "#fff8dc"

    def __init__(self, *, step: Step, project: str, **kwargs: Any) -> None:
        """Store the values."""
        super().__init__(**kwargs)
        self.step = step
        self.project = project

    def execute(self, context: Context) -> None:
        """Go on when the flag is up, skip when the feature is over, else park."""
        self._ask(context, None)

    def resume(self, context: Context, event: Mapping[str, object] | None = None) -> None:
        """Hand in what ended the parking, and ask again: the ledger says what it means."""
        self._ask(context, event or {})

    def _ask(self, context: Context, event: Mapping[str, object] | None) -> None:
        task = task_ref(context, project=self.project, step=Step(self.step))
        with ending_in_a_sentence(context), link(context) as way:
            answer = way.control.ask_gate(task, event)
        if answer.over:
            raise AirflowSkipException(answer.waits_for or "The feature is over.")
        if answer.outcome:
            self.log.info("Go on: %s", answer.outcome)
            return
        self.log.info("Wait for: %s", answer.waits_for)
        raise TaskAwaitingInput(method_name="resume", timeout=timedelta(seconds=answer.timeout_seconds))


class ApprovalSensor(FlagSensor):
    """The ``FlagSensor`` whose flag is a policy over decisions of people: so many of a role, none of them an author.

    Answers given on Airflow's *Required Actions* page count when the policy allows; one that does not count is recorded
    with its reason and the gate parks again.
    """

    ui_color: ClassVar[str] = "#ffe9a8"
