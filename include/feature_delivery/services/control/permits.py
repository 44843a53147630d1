"""Permits: the ledger's leave for one step of one attempt to have one effect.

Every task with an effect takes its permit first. The rule of a step looks at nothing but the ledger, so it does not
matter how the task came to run: in its turn, cleared by hand weeks later, or after its gate was marked successful.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import GATES, TEARDOWNS, Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    Environment,
    EnvironmentState,
    Feature,
    PermitRecord,
    Promotion,
    PromotionState,
    now,
)
from feature_delivery.domain.work import Work
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control import brake, start
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.history import show_later
from feature_delivery.services.control.permitted_work import done_already, work_of
from feature_delivery.services.control.rules import rule
from feature_delivery.services.control.scene import (
    DESTRUCTIONS,
    DEVELOPMENT_STEPS,
    PREPROD_STEPS,
    PRODUCTION_STEPS,
    WRITES,
    Scene,
    environment_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit
    from feature_delivery.ports.runs import TaskRef


SHOWN_AS_MERGED_WITHIN = timedelta(minutes=2)
"""So long branches stay for the host's sake; a request that is shown otherwise then ships nothing less."""


def take_permit(unit: Unit, project: ProjectConfig, task: TaskRef) -> Work:
    """Grant the running task its permit, in one transaction with the state that the permit changes.

    Raises:
        Refused: The rule of the step says no; the sentence says what changed and what to do.
        Unavailable: The ledger may be a copy; an earlier delivery of the issue still has the environment, which is
            being torn down; the host has not shown the merge request as merged yet.
        Conflict: The feature is under delivery in another run.
        NotFound: No such run or feature.
    """
    step = task.step
    brake.must_not_be_held(unit.books, project.name)
    if step is Step.REGISTER_FEATURE:
        unit.runs.lock(task.run)
        unit.books.lock_project(project.name)
        if unit.runs.is_running(task) and unit.books.feature_of_run(project.name, task.run.run_id) is None:
            start.adopt_run(unit, project, task.run)
    feature = enter(unit, project, task.run.run_id)
    if not unit.runs.is_running(task):
        raise Refused(f"{step} of {feature.key} is not running: a permit goes to the running task only.")
    scene = Scene(unit, project, feature, step)
    if why_not := rule(scene):
        raise Refused(f"{step} of {feature.key} has no permit: {why_not}")
    if step is Step.DELETE_BRANCHES and (why_later := request_still_open(unit.books, project, feature)):
        raise Unavailable(why_later)
    if step in TEARDOWNS and (why_not := brake.keeps_alive(unit.books, project.name)):
        # Not waited for on a worker: whoever releases the brake has it done again.
        raise Refused(f"{step} of {feature.key} has no permit now: {why_not}")
    permits = unit.books.permits(feature)
    if (held := _held(scene, task, permits)) is not None:
        return work_of(scene, *held)
    environment = _environment(scene)
    for older in permits:
        if older.step is step and older.state == "granted":
            older.state, older.reason = "void", f"A newer try of {step} took over."
    permit = PermitRecord(
        feature_id=feature.id,
        attempt=feature.attempt_number,
        step=step,
        try_number=task.try_number,
        task_instance=task.task_instance,
        generation=environment.generation if environment else 0,
    )
    unit.books.add(permit)
    if step is Step.PROMOTE:
        _intend(scene)
    show_later(unit, feature)
    return work_of(scene, permit, environment)


def request_still_open(books: Books, project: ProjectConfig, feature: Feature) -> str:
    """Return why the branches should not be deleted yet; empty when they may go.

    A host takes some moments to see that a request was merged, and shows it as closed when its branch goes before.
    """
    if project.host.kind == "local":
        return ""
    young = now() - SHOWN_AS_MERGED_WITHIN
    for entry in books.outbox(feature):
        if entry.kind is Errand.REQUEST_STATE and entry.sent_at is None and entry.created_at > young:
            number = entry.payload.get("number")
            return f"Merge request {number} of {feature.key} is not shown as merged yet: its branch goes after that."
    return ""


def note_refusal(unit: Unit, project: ProjectConfig, task: TaskRef, reason: str) -> None:
    """Remember why a running task got no permit, so that the gate it stops before can say so.

    Called in a transaction of its own: the one that refused has been taken back.
    """
    feature = enter(unit, project, task.run.run_id)
    if task.step in GATES or not unit.runs.is_running(task):
        return
    unit.books.add(
        PermitRecord(
            feature_id=feature.id,
            attempt=feature.attempt_number,
            step=task.step,
            try_number=task.try_number,
            task_instance=task.task_instance,
            state="failed",
            reason=reason,
            ended_at=now(),
        )
    )


def _held(
    scene: Scene, task: TaskRef, permits: Iterable[PermitRecord]
) -> tuple[PermitRecord, Environment | None] | None:
    """Return the permit that this very try has already, with its environment: it is called back after it had deferred.

    What it waited for is named by the generation: with a new one each time it would begin that anew, and never end. And
    whoever asks in its name changes nothing for it.
    """
    mine = (scene.step, task.task_instance, task.try_number, scene.feature.attempt_number, "granted")
    for permit in permits:
        if (permit.step, permit.task_instance, permit.try_number, permit.attempt, permit.state) == mine:
            environment = None
            if scene.step in DEVELOPMENT_STEPS | PREPROD_STEPS | PRODUCTION_STEPS:
                environment = scene.unit.books.environment(scene.project.name, environment_of(scene)[0])
            if environment is None or permit.generation == environment.generation:
                return permit, environment
    return None


def _environment(scene: Scene) -> Environment | None:
    """Return the environment of the step, with a new generation when the step writes to it."""
    step, books = scene.step, scene.unit.books
    if step not in DEVELOPMENT_STEPS | PREPROD_STEPS | PRODUCTION_STEPS:
        return None
    name, kind = environment_of(scene)
    found = books.environment(scene.project.name, name)
    gone = found is None or found.state is EnvironmentState.DESTROYED
    if gone and step in DESTRUCTIONS:
        return None
    if found is not None and not gone and kind is not EnvironmentKind.PRODUCTION:
        if found.feature_id != scene.feature.id and step in DESTRUCTIONS:
            return None  # the name has passed to a later delivery of the same issue
        if found.feature_id != scene.feature.id:
            raise Unavailable(
                f"Environment {name} still belongs to an earlier delivery of {scene.feature.key}, which is being torn "
                "down. This is tried again; look at that run's teardown if it lasts."
            )
    if gone:
        found = Environment(
            project=scene.project.name,
            name=name,
            kind=kind,
            feature_id=None if kind is EnvironmentKind.PRODUCTION else scene.feature.id,
            generation=found.generation if found else 0,
        )
        books.add(found)
    assert found is not None
    if step in WRITES and not done_already(step, scene.promotion):
        found.generation += 1
    return found


def _intend(scene: Scene) -> None:
    """Write the promotion down before the branch moves, so that a crash between is recognised."""
    feature, books = scene.feature, scene.unit.books
    candidate = books.candidate(feature, feature.attempt_number)
    assert candidate is not None
    known = scene.promotion
    if known is not None and known.state in OPEN_PROMOTIONS:
        return
    if known is not None and known.state is PromotionState.INTENDED:
        assert known.candidate == candidate.commit, "nothing builds a candidate while a promotion is intended"
        return
    books.add(
        Promotion(
            project=scene.project.name,
            feature_id=feature.id,
            attempt=feature.attempt_number,
            before=candidate.base,
            candidate=candidate.commit,
            tree=candidate.tree,
        )
    )
