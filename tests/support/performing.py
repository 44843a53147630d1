"""What task processes do in the simulated world: permit, effect and report as moves of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Conflict, Permanent, Refused, Temporary
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.domain.process import CHECKS, GATES, Step
from feature_delivery.domain.work import (
    BranchesDeleted,
    BranchReady,
    CandidateBuilt,
    Deployed,
    Done,
    EnvironmentReady,
    Failed,
    Moved,
    Observed,
    Registered,
    Result,
    SuiteDone,
    Work,
)
from feature_delivery.ports.repository import Held, MergeConflictError, PastDelivery
from feature_delivery.ports.runs import TaskRef
from feature_delivery.services.control.gates import open_gate
from feature_delivery.services.control.permits import note_refusal, take_permit
from feature_delivery.services.control.results import apply_result
from feature_delivery.services.work.perform import CONFIRMED

if TYPE_CHECKING:
    from tests.support.world import World

S = Step
TRIES = 4
"""Temporary errors are retried so often."""


@dataclass
class Process:
    """One process of one try. A zombie was killed for the scheduler's eyes, and may still go on for a while."""

    task: TaskRef
    moves: Iterator[str]
    zombie: bool = False
    at: str = "started"


@dataclass
class FakePlace:
    generation: int
    commit: CommitSha | None = None
    history: list[tuple[int, CommitSha]] = field(default_factory=list)


@dataclass
class FakePlaces:
    """The platform: it remembers the highest generation of each name, beyond its destruction."""

    places: dict[str, FakePlace] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, generation: int) -> None:
        if generation < self.seen.get(name, 0):
            raise Conflict(f"A newer generation has written to {name}.")
        self.seen[name] = generation

    def provision(self, name: str, generation: int) -> None:
        self.write(name, generation)
        self.places.setdefault(name, FakePlace(generation))

    def deploy(self, name: str, generation: int, commit: CommitSha) -> None:
        self.write(name, generation)
        if name not in self.places:
            raise Refused(f"{name} is not there.")
        place = self.places[name]
        place.commit = commit
        place.history.append((generation, commit))

    def destroy(self, name: str, generation: int) -> None:
        assert name != "production", "production was to be torn down"
        self.write(name, generation)
        self.places.pop(name, None)


def process(world: World, task: TaskRef) -> Process:
    moves = _gate(world, task) if task.step in GATES else _work(world, task)
    return Process(task=task, moves=moves)


def _gate(world: World, task: TaskRef) -> Iterator[str]:
    yield "asks"
    try:
        with world.begin() as unit:
            answer = open_gate(unit, world.project, task)
    except Permanent as error:
        world.say(f"{task.step} refused: {error}")
        world.runs.report(task, "failed")
        return
    yield "answered"
    if answer.over:
        world.runs.report(task, "skipped")
    elif answer.outcome:
        world.runs.report(task, "success")
    else:
        world.runs.report(task, "awaiting_input")


def _work(world: World, task: TaskRef) -> Iterator[str]:
    yield "takes its permit"
    try:
        try:
            with world.begin() as unit:
                work = take_permit(unit, world.project, task)
        except Permanent as error:
            with suppress(Permanent), world.begin() as unit:
                note_refusal(unit, world.project, task, str(error))
            raise
        world.granted(task, work)
        yield "performs"
        problem, verdict = "", work.verdict
        for result in _reported(perform(world, task, work)):
            yield f"reports {result.kind}"
            with world.begin() as unit:
                problem = apply_result(unit, world.project, task, work.permit, result)
            world.reported(task, work, result)
            if problem:
                break
            yield "goes on"
    except Temporary as error:
        world.say(f"{task.step} again later: {error}")
        if task.try_number % TRIES:
            world.runs.retry(task)
        else:
            world.runs.report(task, "failed")
        return
    except Permanent as error:
        world.say(f"{task.step} stopped: {error}")
        world.runs.report(task, "failed")
        return
    yield "ends"
    if task.step is S.DECIDE_ROLLBACK:
        world.runs.branch(task, verdict)
    world.runs.report(task, "failed" if problem else "success")


def _reported(results: Iterator[Result]) -> Iterator[Result]:
    """Turn what cannot be done into the result that says so."""
    try:
        yield from results
    except Permanent as error:
        yield Failed(reason=str(error))


def perform(world: World, task: TaskRef, work: Work) -> Iterator[Result]:  # noqa: C901, PLR0912 - one arm per step
    step = task.step
    if work.done and step in CONFIRMED:
        yield Done()
        return
    if step is not S.PROMOTE and step is not S.RESTORE_BRANCH and world.mishap(task):
        yield Failed(reason=f"{step} met a mishap.")
        return
    match step:
        case S.REGISTER_FEATURE:
            yield Registered(title="A feature", description="", issue_url="", taken=False)
        case S.CREATE_BRANCH:
            yield _branch(world, work)
        case S.PROVISION_DEVELOPMENT | S.PROVISION_PREPROD:
            assert work.environment is not None
            world.check_row(work)
            world.platform.provision(work.environment.name, work.environment.generation)
            yield EnvironmentReady(address="http://there")
        case S.DEPLOY_DEVELOPMENT | S.DEPLOY_PREPROD | S.DEPLOY_PRODUCTION | S.DEPLOY_ROLLBACK:
            yield _deploy(world, step, work)
        case S.CHECK_SYNTAX | S.CHECK_UNIT | S.CHECK_FUNCTIONAL | S.TEST_PREPROD | S.TEST_PRODUCTION | S.TEST_ROLLBACK:
            yield _suite(world, step, work)
        case S.BUILD_CANDIDATE:
            yield _build(world, work)
        case S.REFRESH_CANDIDATE:
            yield from _refresh(world, work)
        case S.PROMOTE:
            yield _promote(world, work)
        case S.RESTORE_BRANCH:
            yield _restore(world, work)
        case S.OBSERVE_PRODUCTION:
            yield Observed(outcome=world.observation(), evidence=("looked",))
        case S.DELETE_BRANCHES:
            yield _delete(world, work)
        case S.DESTROY_DEVELOPMENT | S.DESTROY_PREPROD | S.RELEASE_PREPROD:
            if work.environment is not None:
                world.before_destroy(work)
                world.platform.destroy(work.environment.name, work.environment.generation)
            yield Done()
        case _:
            yield Done()


def _delete(world: World, work: Work) -> Result:
    repository, shipped = world.repository, work.promotion if work.branch_leases else None
    if any(branch in repository.branches for branch in {**work.branch_leases, **dict.fromkeys(work.own_branches)}):
        production = repository.branches[world.project.branches.production]
        if shipped is not None and not repository.is_ancestor(shipped.candidate, production):
            return Failed(reason="Production does not hold what has shipped.")
        world.witness.before_delete(work)
    deleted = [branch for branch in work.own_branches if world.repository.branches.pop(branch, None)]
    kept: list[BranchName] = []
    for branch, commit in work.branch_leases.items():
        gone = world.repository.delete_branch(branch, expect=commit)
        (deleted if gone else kept).append(branch)
    return BranchesDeleted(deleted=tuple(deleted), kept=tuple(kept))


def _branch(world: World, work: Work) -> Result:
    repository, production = world.repository, world.repository.branches[world.project.branches.production]
    branch = work.branch or world.project.branches.feature(work.key, "")
    created = repository.create_branch(branch, production)
    head = repository.branches[branch]
    ahead = repository.ahead(head, production)
    authors = tuple(sorted({email for commit in ahead for email in commit.authors}))
    return BranchReady(
        branch=BranchName(branch), head=head, production=production, created=created, ahead=bool(ahead), authors=authors
    )


def target(step: Step, work: Work) -> CommitSha:
    if step is S.DEPLOY_DEVELOPMENT or step in CHECKS:
        assert work.commit is not None
        return work.commit
    if step in {S.DEPLOY_ROLLBACK, S.TEST_ROLLBACK}:
        assert work.promotion is not None
        assert work.promotion.restored is not None
        return work.promotion.restored
    if step in {S.DEPLOY_PRODUCTION, S.TEST_PRODUCTION}:
        assert work.promotion is not None
        return work.promotion.candidate
    assert work.candidate is not None
    return work.candidate.commit


def _deploy(world: World, step: Step, work: Work) -> Result:
    commit = target(step, work)
    place = work.environment
    assert place is not None
    if place.name == "production":
        world.platform.provision(place.name, place.generation)
    if "bad deploy" in world.repository.files(commit).values() and step is S.DEPLOY_PRODUCTION:
        return Failed(reason="It never became healthy.")
    world.platform.deploy(place.name, place.generation, commit)
    return Deployed(address="http://there", commit=commit)


def _suite(world: World, step: Step, work: Work, commit: CommitSha | None = None) -> SuiteDone:
    commit = commit or target(step, work)
    files = world.repository.files(commit)
    assert work.environment is not None
    place = world.platform.places.get(work.environment.name)
    if place is None or place.commit != commit:
        raise Conflict(f"{work.environment.name} does not run {commit[:10]}.")
    where = "checks" if step in CHECKS else "production" if work.environment.shared else "preprod"
    red = f"red in {where}" if f"red {where}" in files.values() else ""
    world.suite_ran(step, commit, red=bool(red))
    name = step.value.rpartition(".")[2] if step in CHECKS else "integration"
    executed = 0 if "no tests" in files.values() else 10
    return SuiteDone(suite=name, commit=commit, tests=10, executed=executed, failed=1 if red else 0, seconds=1, red=red)


def _build(world: World, work: Work) -> Result:
    branches, repository = world.project.branches, world.repository
    production = repository.branches[branches.production]
    assert work.commit is not None
    if production != work.production_commit:
        return Failed(reason=f"Production is at {production[:10]}: foreign.", cause="foreign", commit=production)
    for branch, commit in work.other_branches.items():
        if repository.is_ancestor(commit, work.commit) and not repository.is_ancestor(commit, production):
            return Failed(reason=f"It is built upon {branch}, which has not shipped.")
    past = tuple(PastDelivery(before=p.before, candidate=p.candidate, restored=p.restored) for p in work.past)
    try:
        made = repository.build_candidate(production=production, feature=work.commit, past=past, message=work.key)
    except MergeConflictError as error:
        return Failed(reason=str(error), cause="conflict")
    except Refused as error:
        return Failed(reason=str(error))
    branch = branches.candidate(work.key)
    repository.publish_candidate(branch, made.commit, over=repository.heads().get(branch))
    return CandidateBuilt(commit=made.commit, tree=made.tree, base=made.base, feature=made.feature)


def _refresh(world: World, work: Work) -> Iterator[Result]:
    if work.done:
        yield Done()
        return
    production = world.repository.branches[world.project.branches.production]
    assert work.candidate is not None
    candidate = work.candidate.commit
    if work.candidate.base == production and work.candidate.integration_green:
        yield Done()
        return
    if work.candidate.base != production:
        built = _build(world, work)
        yield built
        if not isinstance(built, CandidateBuilt):
            return
        candidate = built.commit
    assert work.environment is not None
    world.platform.provision(work.environment.name, work.environment.generation)
    world.platform.deploy(work.environment.name, work.environment.generation, candidate)
    yield Deployed(address="http://there", commit=candidate)
    yield _suite(world, S.TEST_PREPROD, work, candidate)
    yield Done()


def _promote(world: World, work: Work) -> Result:
    assert work.promotion is not None
    branch = world.project.branches.production
    at = world.repository.branches[branch]
    try:
        world.repository.promote(branch, old=work.promotion.before, new=work.promotion.candidate)
    except Conflict as error:
        cause = "stale" if at == work.production_commit else "foreign"
        return Failed(reason=str(error), cause=cause, commit=at)  # type: ignore[arg-type]
    if at != work.promotion.candidate:
        world.promoted(work)
    return Moved(commit=work.promotion.candidate)


def _restore(world: World, work: Work) -> Result:
    promotion, branch, repository = work.promotion, world.project.branches.production, world.repository
    assert promotion is not None
    at = repository.branches[branch]
    if promotion.restored is not None and repository.is_ancestor(promotion.restored, at):
        return Moved(commit=promotion.restored)
    # The restoration is built from its inputs alone, so that a killed try's own push is recognised.
    plain = repository.build_restoration(
        head=promotion.candidate, before=promotion.before, promoted=promotion.candidate, message=f"Take back {work.key}"
    )
    if at == plain.sha:
        return Moved(commit=plain.sha)
    found = repository.held(at, before=promotion.before, candidate=promotion.candidate)
    if at == promotion.before or found is Held.TAKEN_BACK:
        return Moved(commit=at)
    try:
        made = repository.build_restoration(
            head=at, before=promotion.before, promoted=promotion.candidate, message=f"Take back {work.key}"
        )
        repository.promote(branch, old=at, new=made.sha)
    except (MergeConflictError, Refused, Conflict) as error:
        return Failed(reason=str(error))
    world.restored(work, made.sha)
    return Moved(commit=made.sha)
