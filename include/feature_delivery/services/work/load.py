"""A load on the candidate in pre-production, compared with what production's release did under the same load.

It decides nothing by itself: it is evidence for the reviewers, shown on the merge request. So nothing that goes wrong
here stops a delivery; it is said instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error
from feature_delivery.domain.judging.evidence import FEWEST_BEFORE, Evidence
from feature_delivery.domain.judging.judge import judge
from feature_delivery.domain.judging.rules import MetricRule
from feature_delivery.domain.judging.series import Series, series
from feature_delivery.domain.plan import Suite
from feature_delivery.domain.suites import CaseState
from feature_delivery.domain.watching import Baseline
from feature_delivery.domain.work import Observed
from feature_delivery.services.work.environments import commit_for
from feature_delivery.services.work.observing import told

if TYPE_CHECKING:
    from feature_delivery.domain.plan import DeliveryPlan
    from feature_delivery.services.work.job import Job

WARM_UP_SHARE = 0.2
MOST_SAMPLES = 2000
MOST_PAGES = 20
UNDER_LOAD = MetricRule(name="answer under load", unit="seconds", tolerance=0.2, least_change=0.005, weight=2)
FAILED_UNDER_LOAD = MetricRule(
    name="failed under load", unit="ratio", limit=0.02, compared=False, critical=True, weight=2, counted=True
)


def put_load(job: Job) -> Observed:
    """Put the load on the candidate and judge it against the last release in production."""
    try:
        return _put(job)
    except Error as error:
        job.say(f"No load: {error}")
        return Observed(outcome="no_data", evidence=(f"No load was put on it: {error}",))


def _put(job: Job) -> Observed:
    commit = commit_for(job)
    plan = job.plan_at(commit)
    found = _by_suite(job) or _by_pages(job, plan)
    if found is None:
        return Observed(outcome="no_data", evidence=("This project wants no load in pre-production.",))
    source, answers, failures = found
    counted_from = answers.times[int(len(answers) * WARM_UP_SHARE)] if len(answers) else 0.0
    before = job.work.baseline
    known = (
        before.metrics.get(UNDER_LOAD.name, Series()) if before is not None and before.source == source else Series()
    )
    expected = max(1, len(answers.since(counted_from)))
    evidence = [
        Evidence(rule=FAILED_UNDER_LOAD, before=Series(), after=failures, counts_from=0.0, expected=len(failures))
    ]
    if len(known) >= FEWEST_BEFORE:
        evidence.append(
            Evidence(
                rule=UNDER_LOAD,
                before=known,
                after=answers,
                counts_from=counted_from,
                expected=expected,
                expected_before=len(known),
            )
        )
    said = judge(evidence, job.tools.rank_test, source=source)
    for line in told(said):
        job.say(line)
    reasons = said.reasons if known else (*said.reasons, "No release in production has been under this load yet.")
    return Observed(
        outcome=said.outcome,
        evidence=reasons,
        judgement=said,
        measured=Baseline(source=source, metrics={UNDER_LOAD.name: answers.since(counted_from)}, expected=expected),
    )


def _by_suite(job: Job) -> tuple[str, Series, Series] | None:
    """Run the shop's own load suite, as production has it: each test is a sample, the time it took its value."""
    work = job.work
    commit = work.production_commit
    if commit is None:
        return None
    plan = job.plan_at(commit).suites.get(Suite.LOAD)
    if plan is None:
        return None
    report = job.platform.run_suite(
        job.environment(),
        name=Suite.LOAD.value,
        suite=plan,
        release=job.release(commit_for(job)),
        variables={},
        say=job.say,
    )
    run = [case for case in report.cases if case.state is not CaseState.SKIPPED][:MOST_SAMPLES]
    places = [float(place) for place in range(len(run))]
    bad = [0.0 if case.state is CaseState.PASSED else 1.0 for case in run]
    times = [(at, case.seconds) for at, case in zip(places, run, strict=True) if case.state is CaseState.PASSED]
    if report.problem:
        job.say(report.problem)
    return "the shop's load suite", series(times), series(list(zip(places, bad, strict=True)))


def _by_pages(job: Job, plan: DeliveryPlan) -> tuple[str, Series, Series] | None:
    """Ask for the shop's health and its listed pages."""
    wanted = job.tools.project.choices.load_for.total_seconds()
    address = job.needs(job.work.environment, "an environment").address
    if wanted <= 0 or not address:
        return None
    paths = tuple(dict.fromkeys((plan.health.path, *plan.load_pages)))[:MOST_PAGES]
    job.say(f"Ask {address} for {', '.join(paths)} for {wanted:g} seconds")
    asked = job.tools.load.put(address, paths, seconds=wanted)[:MOST_SAMPLES]
    good = [(one.at, one.seconds) for one in asked if one.status is not None and one.status < 500]
    bad = [(one.at, 0.0 if one.status is not None and one.status < 500 else 1.0) for one in asked]
    return f"a load on {len(paths)} pages", series(good), series(bad)
