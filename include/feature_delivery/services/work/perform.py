"""Carries a step out: permit, work, result, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error, Permanent, Refused, Temporary
from feature_delivery.domain.process import GATES, Step
from feature_delivery.domain.watching import Kept
from feature_delivery.domain.work import Done, Failed, Result, Work
from feature_delivery.services.work import candidates, closing, environments, intake, load, production, suites
from feature_delivery.services.work.claiming import claim_for
from feature_delivery.services.work.job import Job, Tools

if TYPE_CHECKING:
    from feature_delivery.domain.watching import Seen, WatchPlan
    from feature_delivery.ports.control import Control
    from feature_delivery.ports.runs import TaskRef

Say = Callable[[str], None]


def confirm(job: Job) -> Done:
    """Do nothing: the permit itself is all that the step is about."""
    return Done(note=job.work.verdict)


PERFORM: dict[Step, Callable[[Job], Result]] = {
    Step.REGISTER_FEATURE: intake.register_feature,
    Step.CREATE_BRANCH: intake.create_branch,
    Step.RESERVE_DEVELOPMENT: environments.reserve,
    Step.PROVISION_DEVELOPMENT: environments.provision,
    Step.DEPLOY_DEVELOPMENT: environments.deploy,
    Step.CHECK_SYNTAX: suites.run_suite,
    Step.CHECK_UNIT: suites.run_suite,
    Step.CHECK_FUNCTIONAL: suites.run_suite,
    Step.NOTIFY_REVIEWERS: production.notify,
    Step.BUILD_CANDIDATE: candidates.build_candidate,
    Step.RESERVE_PREPROD: environments.reserve,
    Step.PROVISION_PREPROD: environments.provision,
    Step.DEPLOY_PREPROD: environments.deploy,
    Step.TEST_PREPROD: suites.run_suite,
    Step.TEST_LOAD: load.put_load,
    Step.NOTIFY_TESTERS: production.notify,
    Step.NOTIFY_MANAGER: production.notify,
    Step.REFRESH_CANDIDATE: candidates.refresh_candidate,
    Step.PROMOTE: production.promote,
    Step.DEPLOY_PRODUCTION: environments.deploy_production,
    Step.TEST_PRODUCTION: suites.run_suite,
    Step.OBSERVE_PRODUCTION: production.observe,
    Step.DECIDE_ROLLBACK: confirm,
    Step.RESTORE_BRANCH: production.restore_branch,
    Step.DEPLOY_ROLLBACK: environments.deploy_rollback,
    Step.TEST_ROLLBACK: suites.run_suite,
    Step.NOTIFY_ROLLBACK: production.notify,
    Step.RELEASE_PREPROD: environments.destroy,
    Step.DELETE_BRANCHES: closing.delete_branches,
    Step.DESTROY_DEVELOPMENT: environments.destroy,
    Step.DESTROY_PREPROD: environments.destroy,
    Step.CLOSE_ISSUE: closing.close_issue,
}
"""What each step does; gates do nothing, they wait."""

assert PERFORM.keys() == set(Step) - GATES

CONFIRMED = frozenset({Step.RESTORE_BRANCH, Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK})
"""Steps that a rollback without Airflow has done: when the run comes to them, production may have moved on."""

UNSURE = frozenset({Step.PROMOTE, Step.RESTORE_BRANCH})
"""Steps that must not be called failed while nobody knows whether the branch has moved: production stays locked."""


@dataclass(slots=True)
class _Reports:
    """Hands results in and remembers whether the control plane has called the step failed."""

    control: Control
    task: TaskRef
    permit: int
    problem: str = field(default="", init=False)

    def __call__(self, result: Result) -> str:
        self.problem = self.control.report(self.task, self.permit, result)
        return self.problem


def perform(
    work: Work,
    tools: Tools,
    *,
    report: Callable[[Result], str],
    say: Say,
    watched: tuple[WatchPlan, Seen] | None = None,
) -> Result:
    """Do the step that ``work`` permits and return what came of it; nothing is reported but interim results."""
    if work.done and work.step in CONFIRMED:
        say(f"{work.key} is rolled back already: there is nothing left for {work.step} to do.")
        return Done(note="done already")
    return PERFORM[work.step](Job(work=work, tools=tools, report=report, say=say, watched=watched))


def plan_watch(
    control: Control,
    task: TaskRef,
    tools: Tools,
    *,
    say: Say,
    last_try: bool,
    time_limit: type[BaseException] = TimeoutError,
) -> WatchPlan | None:
    """Take a permit to watch production and return how it is watched; what is seen is judged under another one.

    What the probe sees is kept under the first one meanwhile. What is reported, and raised, is as in ``carry_out``.
    """
    work = control.take_permit(task)
    with _telling(_Reports(control, task, work.permit), task.step, last_try=last_try, time_limit=time_limit):
        plan = production.watch_plan(Job(work=work, tools=tools, report=lambda _result: "", say=say))
    if plan is None or not plan.probes:
        return plan
    keep = Kept(
        run_id=task.run.run_id,
        try_number=task.try_number,
        task_instance=task.task_instance,
        permit=work.permit,
    )
    return replace(plan, keep=keep)


def carry_out(
    control: Control,
    task: TaskRef,
    tools: Tools,
    *,
    say: Say,
    last_try: bool,
    time_limit: type[BaseException] = TimeoutError,
    watched: tuple[WatchPlan, Seen] | None = None,
) -> Work:
    """Take the permit, do the step, hand the result in; return the permit when all went well.

    A temporary error is raised for the next try, which takes a permit of its own. What cannot be mended by trying
    again is reported as failed before it is raised, so that the gate after this step says why it waits.

    Args:
        control: The control plane.
        task: This try of this task.
        tools: The project's adapters.
        say: One line for the task log.
        last_try: Nobody tries again after this.
        watched: See ``Job``.
        time_limit: What the orchestrator raises in here when the step has taken too long; it is not tried again.

    Raises:
        Temporary: Try again; on the last try it has been reported.
        Permanent: The step failed, or its result does not count; trying again changes nothing.
    """
    work = control.take_permit(task)
    reports = _Reports(control, task, work.permit)
    with _telling(reports, task.step, last_try=last_try, time_limit=time_limit):
        claim_for(control, tools, work)
        result = perform(work, tools, report=reports, say=say, watched=watched)
    if problem := reports(result):
        raise Refused(problem)
    return work


@contextmanager
def _telling(reports: _Reports, step: Step, *, last_try: bool, time_limit: type[BaseException]) -> Iterator[None]:
    """Report the step as failed where what goes wrong inside cannot be mended by another try; it is raised anyway."""
    try:
        yield
    except Temporary as error:
        if last_try and step not in UNSURE:
            _tell(reports, str(error))
        raise
    except Permanent as error:
        _tell(reports, str(error))
        raise
    except time_limit:
        if step not in UNSURE:
            _tell(reports, f"{step} took longer than its time limit and was stopped. Look at its log.")
        raise
    except Exception as error:
        # A fault of ours: it goes on as it is, and the people at the gate learn where to look.
        if last_try and step not in UNSURE:
            with suppress(Error):
                _tell(reports, f"It ended with {type(error).__name__}, which nobody expected. See its log.")
        raise


def _tell(reports: _Reports, reason: str) -> None:
    """Report the failure once; when it does not count any more, what superseded it is the better reason."""
    if not reports.problem:
        reports(Failed(reason=reason))
