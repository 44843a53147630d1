"""Operators: a task takes its permit, does its step, hands the result in.

The steps themselves are in ``services/work``; an operator only gives them Airflow's context, log and retries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseBranchOperator, BaseOperator, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from feature_delivery.domain.errors import Error, Permanent, RateLimited, Refused, Temporary
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import TEARDOWNS, Step
from feature_delivery.domain.project import WATCHED_HERE
from feature_delivery.orchestration.link import link, task_ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.domain.watching import Seen, WatchPlan
    from feature_delivery.domain.work import Work

RETRIES = 5
RETRY_DELAY = timedelta(seconds=5)
LONGEST_RETRY_DELAY = timedelta(minutes=5)
RATE_LIMIT_DELAY = timedelta(minutes=1)
REAPING_PATIENCE = timedelta(seconds=75)
"""So long a round waits for a namespace that it has deleted: pods that end slowly take most of a minute to go."""

WATCH_SLACK = timedelta(minutes=10)
"""A triggerer that died is replaced by then."""


def retry_policy() -> ExceptionRetryPolicy:
    """Return the one mapping of errors to retries: temporary again with back-off, permanent never."""
    return ExceptionRetryPolicy(
        [
            RetryRule(RateLimited, RetryAction.RETRY, retry_delay=RATE_LIMIT_DELAY, reason="Asked to wait."),
            RetryRule(Temporary, RetryAction.RETRY, reason="Trying again later may help."),
            RetryRule(Permanent, RetryAction.FAIL, reason="Trying again changes nothing."),
            RetryRule(AirflowTaskTimeout, RetryAction.FAIL, reason="It would take too long again."),
        ]
    )


def retry_arguments() -> dict[str, Any]:
    """Return the retries that every task of a delivery has."""
    return {
        "retries": RETRIES,
        "retry_delay": RETRY_DELAY,
        "retry_exponential_backoff": 2,
        "max_retry_delay": LONGEST_RETRY_DELAY,
        "retry_policy": retry_policy(),
    }


def is_last_try(context: Context) -> bool:
    """Say whether Airflow tries no more after this one."""
    ti = context["ti"]
    return int(ti.try_number) > int(ti.max_tries)


def attempt_step(
    operator: BaseOperator,
    context: Context,
    *,
    project: str,
    step: Step,
    watched: tuple[WatchPlan, Seen] | None = None,
    waits: Waits | None = None,
) -> Work:
    """Do the operator's step under its permit and return the permit.

    Args:
        operator: Whose log tells of it.
        context: Airflow's.
        project: Name of the project.
        step: The step.
        watched: See ``services.work.job``.
        waits: How to wait for a cluster.

    Raises:
        Error: As the step raises it.
    """
    from feature_delivery.bootstrap.settings import project as read_project  # noqa: PLC0415 - tasks need these,
    from feature_delivery.bootstrap.tools import ProjectTools  # noqa: PLC0415 - DAG files do not
    from feature_delivery.services.work.perform import carry_out  # noqa: PLC0415

    task = task_ref(context, project=project, step=step)
    with link(context) as way:
        way.proof.begin()
        return carry_out(
            way.control,
            task,
            ProjectTools(read_project(project), task, way.channel, waits=waits),
            say=lambda line: operator.log.info("%s", line),
            last_try=is_last_try(context),
            time_limit=AirflowTaskTimeout,
            watched=watched,
        )


@contextmanager
def ending_in_a_sentence(context: Context) -> Iterator[None]:
    """End the task with the one sentence and no stack of ours when no other try can help.

    The log is read by people who did not write this code.

    Raises:
        AirflowFailException: It failed for good.
        Temporary: Airflow tries again.
    """
    try:
        yield
    except Temporary as error:
        if is_last_try(context):
            raise AirflowFailException(str(error)) from None
        raise
    except Error as error:
        raise AirflowFailException(str(error)) from None


class StepOperator(BaseOperator):
    """Does one step of a delivery.

    Retry-safe because each try takes a permit of its own and every step finds what is there first. If killed, what it
    began is found by the next try; its permit is worth nothing to anybody else. Templated: nothing.

    Args:
        step: The step; its last word is the task id, the words before are task groups.
        project: Name of the project; its file is read when the task runs, not when the DAG file is parsed.
    """

    ui_color: ClassVar[str] = "#e8f0fe"

    def __init__(self, *, step: Step, project: str, **kwargs: Any) -> None:
        """Store the values."""
        super().__init__(**kwargs)
        self.step = step
        self.project = project

    def execute(self, context: Context) -> None:
        """Take the permit, do the step, report."""
        with ending_in_a_sentence(context):
            attempt_step(self, context, project=self.project, step=Step(self.step))


class ReserveOperator(StepOperator):
    """The setup of an environment: an instant row in the ledger, so that teardown knows of what is built afterwards.

    It ends well when it has no permit, too: nothing is reserved then, the provisioning after it is refused and says
    why. A *failed* setup would fail every task in its scope, gates included, and end the run instead of parking it.
    Retry-safe and kill-safe as ``StepOperator``.
    """

    def execute(self, context: Context) -> None:
        """Reserve, or say why not."""
        with ending_in_a_sentence(context):
            try:
                attempt_step(self, context, project=self.project, step=Step(self.step))
            except Refused as error:
                self.log.info("Nothing was reserved. %s", error)


class ObserveOperator(StepOperator):
    """Watches production for the project's window and judges what was seen.

    A short window is watched here; a longer one by a trigger, so that no worker waits, and the task comes back to
    judge. Retry-safe because each try watches anew and takes a permit of its own. If a triggerer is killed while it
    watches, another one goes on with what was seen; if killed later, the next try watches again. Templated: nothing.

    Args:
        watches_here_up_to: Windows up to this long are watched on the worker: parking would take longer.
    """

    def __init__(self, *, window: timedelta, watches_here_up_to: timedelta = WATCHED_HERE, **kwargs: Any) -> None:
        """Store the values."""
        super().__init__(**kwargs)
        self.window = window
        self.watches_here_up_to = watches_here_up_to

    def execute(self, context: Context) -> None:
        """Watch here, or have it watched."""
        if self.window <= self.watches_here_up_to:
            super().execute(context)
            return
        plan = self._plan(context)
        if plan is None:
            super().execute(context)  # there is nothing to look at, which is said at once
            return
        from feature_delivery.orchestration.watching import WatchTrigger, as_json  # noqa: PLC0415 - triggers are heavy

        content = as_json(plan)
        self.log.info("Watch production for %s; no worker waits meanwhile.", self.window)
        self.defer(
            trigger=WatchTrigger(content),
            method_name="judge",
            kwargs={"plan": content},
            timeout=self.window + WATCH_SLACK,
        )

    def judge(self, context: Context, event: dict[str, Any], plan: dict[str, Any]) -> None:
        """Judge what was seen."""
        from feature_delivery.domain.watching import Seen, WatchPlan  # noqa: PLC0415 - as above
        from feature_delivery.orchestration.watching import from_json  # noqa: PLC0415

        watched = (from_json(WatchPlan, plan), from_json(Seen, event))
        with ending_in_a_sentence(context):
            attempt_step(self, context, project=self.project, step=Step(self.step), watched=watched)

    def _plan(self, context: Context) -> WatchPlan | None:
        from feature_delivery.bootstrap.settings import project as read_project  # noqa: PLC0415 - as above
        from feature_delivery.bootstrap.tools import ProjectTools  # noqa: PLC0415
        from feature_delivery.services.work.perform import plan_watch  # noqa: PLC0415

        task = task_ref(context, project=self.project, step=Step(self.step))
        with ending_in_a_sentence(context), link(context) as way:
            tools = ProjectTools(read_project(self.project), task, way.channel)
            return plan_watch(
                way.control,
                task,
                tools,
                say=lambda line: self.log.info("%s", line),
                last_try=is_last_try(context),
                time_limit=AirflowTaskTimeout,
            )


class DecideRollbackOperator(BaseBranchOperator):
    """Follows the verdict: on to the end, or back.

    The verdict is the ledger's, not the state of the gate before: a gate marked successful by hand decides nothing.
    Retry-safe because it only reads. If killed, it reads again. Templated: nothing.
    """

    ui_color: ClassVar[str] = "#fef3e0"

    def __init__(self, *, project: str, **kwargs: Any) -> None:
        """Store the value."""
        super().__init__(**kwargs)
        self.step = Step.DECIDE_ROLLBACK
        self.project = project

    def choose_branch(self, context: Context) -> list[str]:
        """Return the tasks that the verdict leads to."""
        with ending_in_a_sentence(context):
            work = attempt_step(self, context, project=self.project, step=Step.DECIDE_ROLLBACK)
        self.log.info("The verdict on %s is: %s", work.key, work.verdict)
        return followed(work.verdict)


def followed(verdict: str) -> list[str]:
    """Return the tasks that a verdict leads to; everything else right after the decision is skipped."""
    if verdict == DecisionKind.KEEP:
        return [step.value for step in (*sorted(TEARDOWNS), Step.CLOSE_ISSUE)]
    return [Step.RESTORE_BRANCH.value]


class HousekeepingOperator(BaseOperator):
    """Does what is due and reaps what is over, in every project.

    Retry-safe because it looks anew each time; it has no retries, for the next run is a minute away. If killed, what
    it left is found then. Templated: nothing.
    """

    def execute(self, context: Context) -> None:
        """Have the control plane do its rounds, then reap project by project."""
        from feature_delivery.bootstrap import tools  # noqa: PLC0415 - as above
        from feature_delivery.bootstrap.settings import survey  # noqa: PLC0415
        from feature_delivery.services.apart import Apart  # noqa: PLC0415
        from feature_delivery.services.work.reap import reap  # noqa: PLC0415

        known = survey()
        failures = list(known.faults.values())
        with ending_in_a_sentence(context), link(context) as way:
            # Rounds that fail, for a Git host that is slow perhaps, keep nobody's environments from being looked at;
            # nor does one project's cluster that is away keep any other's.
            with Apart(self.log, "do the rounds of the control plane") as trouble:
                self._tell(way.control.housekeeping())
            failures += [trouble.sentence] if trouble.sentence else []
            for project in known.projects.values():
                platform_of = partial(tools.platform, project, patience=REAPING_PATIENCE)
                with Apart(self.log, f"look at the environments of {project.name}") as trouble:
                    failures += reap(way.control, project.name, platform_of, say=self._say)
                failures += [f"{project.name}: {trouble.sentence}"] if trouble.sentence else []
        if failures:
            raise AirflowFailException(" ".join(failures))

    def _tell(self, counts: Mapping[str, int]) -> None:
        from feature_delivery.domain.upkeep import ROUND_UNDER_WAY  # noqa: PLC0415 - as above

        if ROUND_UNDER_WAY in counts:
            self.log.info("The rounds of the control plane are left to an API server that is at them already.")
            return
        for what, count in counts.items():
            if count:
                self.log.info("%s: %s", what, count)

    def _say(self, line: str) -> None:
        self.log.info("%s", line)
