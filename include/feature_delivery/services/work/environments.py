"""Environments: reserved, provisioned, deployed to, destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import NotFound, Unavailable
from feature_delivery.domain.process import Step
from feature_delivery.domain.work import Deployed, Done, EnvironmentReady

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.plan import DeliveryPlan
    from feature_delivery.services.work.job import Job


def reserve(job: Job) -> Done:
    """Confirm the ledger's row, which the permit has written: from here on teardown knows of the environment."""
    return Done(note=job.environment().name)


def provision(job: Job) -> EnvironmentReady:
    """Find or create the environment, empty but reachable."""
    status = job.platform.provision(job.environment())
    job.say(f"{status.ref.name} is reachable at {status.address}")
    return EnvironmentReady(address=status.address)


def commit_for(job: Job) -> CommitSha:
    """Return the commit that the step's environment runs or shall run."""
    work = job.work
    match work.step:
        case Step.DEPLOY_PREPROD | Step.TEST_PREPROD | Step.TEST_LOAD | Step.REFRESH_CANDIDATE:
            return job.needs(work.candidate, "a candidate").commit
        case Step.DEPLOY_PRODUCTION | Step.TEST_PRODUCTION | Step.OBSERVE_PRODUCTION:
            return job.needs(work.promotion, "a promotion").candidate
        case Step.DEPLOY_ROLLBACK | Step.TEST_ROLLBACK:
            return job.needs(job.needs(work.promotion, "a promotion").restored, "a restored commit")
        case _:
            return job.needs(work.commit, "a commit")


def deploy(job: Job) -> Deployed:
    """Bring the step's commit to its environment."""
    return deploy_commit(job, commit_for(job))


def deploy_commit(job: Job, commit: CommitSha, *, migrate_back: DeliveryPlan | None = None) -> Deployed:
    """Bring ``commit`` to the environment of the permit."""
    ref = job.environment()
    job.say(f"Deploy {commit[:10]} to {ref.name}")
    release = job.release(commit)
    status = job.platform.deploy(ref, release, say=job.say, migrate_back=migrate_back)
    job.say(f"{commit[:10]} answers at {status.address}")
    return Deployed(
        address=status.address,
        commit=commit,
        metrics_path=release.plan.metrics_path or "",
        health_path=release.plan.health.path,
    )


def deploy_production(job: Job) -> Deployed:
    """Bring the promoted candidate to production; production's own environment is made at the first deploy."""
    job.platform.provision(job.environment())
    return deploy(job)


def deploy_rollback(job: Job) -> Deployed:
    """Bring the restored commit to production, and the data back when the candidate's migration is in force.

    A candidate that never became healthy was not switched to and its migration was taken back at once: doing it again
    would take back what belongs to the release before.
    """
    ref, promotion = job.environment(), job.needs(job.work.promotion, "a promotion")
    job.platform.provision(ref)
    status = job.platform.status(ref)
    back = None
    if status is not None and promotion.candidate in {status.commit, status.unsettled}:
        back = _way_back(job, promotion.candidate)
    return deploy_commit(job, commit_for(job), migrate_back=back)


def _way_back(job: Job, candidate: CommitSha) -> DeliveryPlan | None:
    plan = job.plan_at(candidate)
    if plan.migration.way_back is not None:
        return plan
    if plan.migration.forward is not None:
        job.say(f"{candidate[:10]} has a migration without a way back: data stays as it is.")
    return None


def destroy(job: Job) -> Done:
    """Remove the environment and see that it is gone; gone already is done."""
    if job.work.environment is None:
        job.say("There is nothing to destroy.")
        return Done(note="nothing was there")
    ref = job.environment()
    try:
        job.platform.destroy(ref)
    except NotFound:
        job.say(f"{ref.name} is gone already.")
    if job.platform.status(ref) is not None:
        raise Unavailable(f"{ref.name} is still there after it was destroyed. It is tried again.")
    job.say(f"{ref.name} is gone.")
    return Done(note=f"{ref.name} is gone")
