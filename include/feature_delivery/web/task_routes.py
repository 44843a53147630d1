"""What tasks ask: permits, gates, the tracker.

The token counts only together with a task that is running. Who only asks what that task is to do, or whether it may go
on, changes nothing but what the task itself is about to change. Who tells something has to prove to be that task:
whoever has stolen the token, a task of another project too, speaks for nobody but themselves. A trigger, which has no
proof, can add looks to the watch that is deferred to it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from feature_delivery.bootstrap import settings
from feature_delivery.bootstrap.outside import tracker
from feature_delivery.domain.errors import Permanent, Refused, Unavailable
from feature_delivery.domain.marks import Claim
from feature_delivery.domain.names import ProjectName, feature_key
from feature_delivery.domain.process import Step
from feature_delivery.domain.upkeep import Found, ReapPlan
from feature_delivery.domain.watching import LOOKS_AT_ONCE, Glance
from feature_delivery.domain.work import GateAnswer, Result, Work
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.ports.tracker import Issue, IssueState, Tracker
from feature_delivery.services.control import marks
from feature_delivery.services.control.errands import for_issue
from feature_delivery.services.control.permits import note_refusal, take_permit
from feature_delivery.services.control.reap import plan_reaping, reaped
from feature_delivery.services.control.results import FACTS, apply_result
from feature_delivery.services.control.watches import keep_looks, kept_looks
from feature_delivery.web import native, rounds
from feature_delivery.web.access import task_proof, task_token
from feature_delivery.web.checked import checked
from feature_delivery.web.errors import problems
from feature_delivery.web.transaction import WebUnit, begin, session

router = APIRouter(prefix="/tasks", tags=["tasks"], dependencies=[Depends(task_token)])
RESPONSES = problems(401, 403, 404, 409)


Proof = Annotated[str, Depends(task_proof)]


class TaskClaim(BaseModel):
    """The task that asks, as it claims itself."""

    project: str = Field(max_length=40)
    run_id: str = Field(max_length=250)
    step: Step
    try_number: int = Field(ge=1)
    task_instance: str = Field(max_length=36)

    def ref(self) -> TaskRef:
        """Return the claim in the domain's words; the server still has to see whether it is true."""
        run = RunRef(ProjectName(self.project), self.run_id)
        return TaskRef(run=run, step=self.step, try_number=self.try_number, task_instance=self.task_instance)


class ResultBody(BaseModel):
    """A task's result under its permit."""

    task: TaskClaim
    result: Annotated[Result, Field(discriminator="kind")]


class ProblemAnswer(BaseModel):
    """Why the step counts as failed; empty when it counts as done."""

    problem: str


class LookBody(BaseModel):
    """One look of the probe; ``status``: ``null`` when nothing answered."""

    at: float = Field(ge=0, allow_inf_nan=False)
    status: int | None = Field(ge=100, le=999)
    seconds: float = Field(ge=0, allow_inf_nan=False)


class LooksBody(BaseModel):
    """What the probe has seen of production in a watch under way."""

    task: TaskClaim
    looks: list[LookBody] = Field(max_length=LOOKS_AT_ONCE)


class KeptAnswer(BaseModel):
    """All that was kept of a watch, by its moment."""

    looks: list[Glance]


class GateBody(BaseModel):
    """A task that asks at its gate; ``event``: what Airflow resumed it with."""

    task: TaskClaim
    event: dict[str, Any] | None = None


class Nothing(BaseModel):
    """Done; there is nothing to tell."""


class HousekeepingBody(BaseModel):
    """The running task of the housekeeping DAG."""

    task_instance: str = Field(max_length=36)


@router.post("/permits", responses=RESPONSES)
def permit(task: TaskClaim) -> Work:
    """Take the permit for the running task's effect."""
    project = settings.project(task.project)
    try:
        with begin() as unit:
            return take_permit(unit, project, task.ref())
    except Permanent as refusal:
        with suppress(Permanent), begin() as unit:
            note_refusal(unit, project, task.ref(), str(refusal))
        raise


@router.post("/permits/{permit_id}/results", responses=RESPONSES)
def result(permit_id: int, body: ResultBody, proof: Proof) -> ProblemAnswer:
    """Report what a permitted step found or did; the same again changes nothing."""
    project = settings.project(body.task.project)
    with _begin(body.task.task_instance, proof) as unit:
        # What moved production has happened, even if its task was cleared meanwhile.
        _must_run(body.task.step in FACTS or unit.runs.is_running(body.task.ref()), body.task)
        return ProblemAnswer(problem=apply_result(unit, project, body.task.ref(), permit_id, checked(body.result)))


@router.post("/permits/{permit_id}/looks", responses=RESPONSES)
def keep(permit_id: int, body: LooksBody) -> Nothing:
    """Keep what the probe has seen in a watch under way; the same again is told apart by its moment."""
    project = settings.project(body.task.project)
    looks = [Glance(at=one.at, status=one.status, seconds=one.seconds) for one in body.looks]
    with begin() as unit:
        keep_looks(unit, project, body.task.ref(), permit_id, looks)
    return Nothing()


@router.post("/permits/{permit_id}/looks/kept", responses=RESPONSES)
def kept(permit_id: int, task: TaskClaim) -> KeptAnswer:
    """Return what the probe has seen in a watch under way, for a process that takes it over."""
    project = settings.project(task.project)
    with begin() as unit:
        return KeptAnswer(looks=list(kept_looks(unit, project, task.ref(), permit_id)))


@router.post("/gates", responses=RESPONSES)
def gate(body: GateBody) -> GateAnswer:
    """Ask at a gate: go on, skip, or park."""
    project = settings.project(body.task.project)
    with begin() as unit:
        return native.ask(unit, project, body.task.ref(), body.event)


@router.post("/housekeeping", responses=RESPONSES)
def housekeeping(body: HousekeepingBody, proof: Proof) -> dict[str, int]:
    """Do one round of everything the control plane does by itself; returns how much there was to do."""
    with _begin(body.task_instance, proof) as unit:
        _must_live(unit, body.task_instance)
    return rounds.housekeeping()


class ReaperBody(HousekeepingBody):
    """What the platform lists; ``left``: our mark that is there now."""

    found: list[Found]
    left: str = Field(default="", max_length=64)


class ContestedBody(HousekeepingBody):
    """A running task of the project, or of housekeeping, and the mark that it found where the project runs."""

    found: str = Field(max_length=64)


class ReapedBody(HousekeepingBody):
    """One environment that is gone."""

    name: str = Field(max_length=63)
    generation: int


@router.post("/reaper/{project}/plan", responses=RESPONSES)
def plan(project: str, body: ReaperBody, proof: Proof) -> ReapPlan:
    """Say what of the platform's listing may be destroyed."""
    config = settings.project(project)
    with _begin(body.task_instance, proof) as unit:
        _must_live(unit, body.task_instance)
        if body.left:
            marks.left(unit, config.name, body.left)
        return plan_reaping(unit, config, body.found)


@router.post("/reaper/{project}/claim", responses=RESPONSES)
def claim(project: str, body: HousekeepingBody, proof: Proof) -> Claim:
    """Say whose environments are looked after, and which mark to leave where they are."""
    config = settings.project(project)
    with _begin(body.task_instance, proof) as unit:
        _must_live(unit, body.task_instance)
        return marks.claim(unit, config.name)


@router.post("/marks/{project}/contested", responses=RESPONSES)
def contested(project: str, body: ContestedBody, proof: Proof) -> Nothing:
    """Hear of a mark that nobody expected: everything stops, unless it is our own."""
    config = settings.project(project)
    with _begin(body.task_instance, proof) as unit:
        if not unit.runs.is_alive(body.task_instance):
            _must_live(unit, body.task_instance, project=config.name)
        why = marks.contested(unit, config.name, body.found)
    if why:
        raise Unavailable(why)
    return Nothing()


@router.post("/reaper/{project}/reaped", responses=RESPONSES)
def gone(project: str, body: ReapedBody, proof: Proof) -> Nothing:
    """Write down that an environment was destroyed and found gone."""
    config = settings.project(project)
    with _begin(body.task_instance, proof) as unit:
        _must_live(unit, body.task_instance)
        reaped(unit, config, body.name, body.generation)
    return Nothing()


class IssueBody(BaseModel):
    """A running task of the project that works on an issue of the tracker."""

    task_instance: str = Field(max_length=36)
    key: str


class NewIssueBody(IssueBody):
    """An issue to find or to create."""

    title: str = Field(max_length=300)
    description: str = ""
    reporter: str = Field(default="", max_length=80)


class CommentBody(IssueBody):
    """A comment, written once per marker."""

    text: str
    marker: str = Field(max_length=200)


class MoveBody(IssueBody):
    """Where an issue is to be moved."""

    state: IssueState


@router.post("/tracker/{project}/issues/find", responses=RESPONSES)
def find_issue(project: str, body: IssueBody, proof: Proof) -> Issue | None:
    """Find an issue of the tracker."""
    return _tracker(project, body, proof).find(feature_key(body.key))


@router.post("/tracker/{project}/issues/create", responses=RESPONSES)
def create_issue(project: str, body: NewIssueBody, proof: Proof) -> Issue:
    """Find an issue of the tracker, or create it."""
    return _tracker(project, body, proof).create(
        feature_key(body.key), title=body.title, description=body.description, reporter=body.reporter
    )


@router.post("/tracker/{project}/issues/comment", responses=RESPONSES)
def comment_issue(project: str, body: CommentBody, proof: Proof) -> Nothing:
    """Write a comment; the same marker again changes nothing."""
    text = for_issue(settings.project(project), body.text)
    _tracker(project, body, proof).comment(feature_key(body.key), text, marker=body.marker)
    return Nothing()


@router.post("/tracker/{project}/issues/move", responses=RESPONSES)
def move_issue(project: str, body: MoveBody, proof: Proof) -> Nothing:
    """Bring an issue to a state."""
    _tracker(project, body, proof).move(feature_key(body.key), body.state)
    return Nothing()


def _tracker(project: str, body: IssueBody, proof: str) -> Tracker:
    config = settings.project(project)
    with _begin(body.task_instance, proof) as unit:
        _must_live(unit, body.task_instance, project=config.name)
    return tracker(config, session)


@contextmanager
def _begin(task_instance: str, proof: str) -> Iterator[WebUnit]:
    """Open a transaction for the task instance that asks.

    Raises:
        Refused: It is another one, or none.
    """
    with begin() as unit:
        if not unit.runs.proves(task_instance, proof):
            raise Refused("This is not the task that it says it is: Airflow knows of no such proof.")
        yield unit


def _must_live(unit: WebUnit, task_instance: str, *, project: ProjectName | None = None) -> None:
    if not unit.runs.is_alive(task_instance, project=project):
        raise Refused("No such task is running: only a running task may ask for this.")


def _must_run(running: bool, task: TaskClaim) -> None:  # noqa: FBT001 - one word says it
    if not running:
        raise Refused(f"{task.step} of {task.run_id} is not running: only the running task may report.")
