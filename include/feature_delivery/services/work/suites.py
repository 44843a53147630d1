"""Suites: production's copy of the commands, run on the files of the commit under test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.plan import Suite, SuitePlan
from feature_delivery.domain.process import Step
from feature_delivery.domain.suites import CaseState, SuiteReport, TestCase, why_red
from feature_delivery.domain.work import CaseLine, SuiteDone
from feature_delivery.services.work.environments import commit_for
from feature_delivery.services.work.job import DELIVERY_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.domain.names import CommitSha
    from feature_delivery.services.work.job import Job

SUITE_OF: dict[Step, Suite] = {
    Step.CHECK_SYNTAX: Suite.SYNTAX,
    Step.CHECK_UNIT: Suite.UNIT,
    Step.CHECK_FUNCTIONAL: Suite.FUNCTIONAL,
    Step.TEST_PREPROD: Suite.INTEGRATION,
    Step.REFRESH_CANDIDATE: Suite.INTEGRATION,
    Step.TEST_PRODUCTION: Suite.INTEGRATION,
    Step.TEST_ROLLBACK: Suite.INTEGRATION,
}

CASES_REPORTED = 200
"""What failed first, then what was skipped, then the rest: more than this nobody is shown anywhere."""

MESSAGE_LIMIT = 2000
SHOWN = 50


def run_suite(job: Job) -> SuiteDone:
    """Run the step's suite on the step's commit."""
    return run_suite_on(job, commit_for(job))


def run_suite_on(job: Job, commit: CommitSha) -> SuiteDone:
    """Run the step's suite on ``commit``, which the environment of the permit runs already.

    A red suite is a result; what keeps the suite from running at all is an error.
    """
    suite = SUITE_OF[job.work.step]
    report = job.platform.run_suite(
        job.environment(),
        name=suite.value,
        suite=exam(job, suite),
        release=job.release(commit),
        variables={},
        say=job.say,
    )
    red = why_red(report, production_executed=job.work.executed_in_production.get(suite.value)) or ""
    show(report, red, job.say)
    return SuiteDone(
        suite=suite.value,
        commit=commit,
        tests=len(report.cases),
        executed=report.executed,
        failed=report.count(CaseState.FAILED, CaseState.ERROR),
        seconds=report.seconds,
        red=red,
        cases=tuple(_line(case) for case in _telling(report)[:CASES_REPORTED]),
    )


def exam(job: Job, suite: Suite) -> SuitePlan:
    """Return how ``suite`` runs: what production says, never what the commit under test says about itself.

    Raises:
        Refused: Production has no ``delivery.yaml`` yet, or does not define the suite.
    """
    commit = examiner(job)
    if job.repository.read_file(commit, DELIVERY_FILE) is None:
        name = job.tools.project.branches.production
        raise Refused(
            f"{name!r} has no {DELIVERY_FILE} yet, and a branch may not write its own exam. Adopt the repository "
            f"first: commit one to {name!r} ('feature-delivery init' writes it), then clear {job.work.step}."
        )
    plan = job.plan_at(commit).suites.get(suite)
    if plan is None:
        raise Refused(f"{DELIVERY_FILE} of production ({commit[:10]}) defines no {suite} suite. Add it there.")
    return plan


def examiner(job: Job) -> CommitSha:
    """Return the commit of production whose word counts; a candidate in production is still under test."""
    work = job.work
    if work.step is Step.TEST_PRODUCTION:
        return job.needs(work.promotion, "a promotion").before
    return work.production_commit or job.heads()[job.tools.project.branches.production]


def show(report: SuiteReport, red: str, say: Callable[[str], None]) -> None:
    """Print the result as a table: what did not pass first."""
    width = max((len(case.name) for case in report.cases), default=4)
    width = min(width, 100)
    lines = [f"{'test':<{width}}  {'result':<8}{'seconds':>9}"]
    cases = _telling(report)
    lines += [f"{case.name[:width]:<{width}}  {case.state:<8}{case.seconds:>9.2f}" for case in cases[:SHOWN]]
    if len(cases) > SHOWN:
        lines.append(f"… and {len(cases) - SHOWN} more")
    for line in lines:
        say(line)
    for case in cases[:SHOWN]:
        if case.message and case.state in {CaseState.FAILED, CaseState.ERROR}:
            say(f"{case.name}: {case.message}")
    say(
        f"{report.suite}: {len(report.cases)} tests, {report.count(CaseState.PASSED)} passed, "
        f"{report.count(CaseState.FAILED, CaseState.ERROR)} failed, {report.count(CaseState.SKIPPED)} skipped, "
        f"{report.seconds:.1f} s on {report.commit[:10]}. {red or 'Green.'}"
    )


def _telling(report: SuiteReport) -> list[TestCase]:
    order = {CaseState.ERROR: 0, CaseState.FAILED: 0, CaseState.SKIPPED: 1, CaseState.PASSED: 2}
    return sorted(report.cases, key=lambda case: order[case.state])


def _line(case: TestCase) -> CaseLine:
    return CaseLine(
        name=case.name[:300], state=case.state.value, seconds=case.seconds, message=case.message[:MESSAGE_LIMIT]
    )
