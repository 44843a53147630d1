"""Starting the delivery of a feature: one run per feature, however it is asked for and however often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Conflict, Refused, Unavailable
from feature_delivery.domain.names import (
    BranchName,
    CommitSha,
    FeatureKey,
    branch_name,
    commit_sha,
    feature_key,
    run_id,
)
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import Feature, FeatureState, GateState, now
from feature_delivery.ports.runs import RunRef
from feature_delivery.services.control import brake, pushers
from feature_delivery.services.control.history import milestone, notify, record

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What somebody asked to be delivered; the same fields as the DAG's params."""

    key: FeatureKey
    title: str = ""
    description: str = ""
    requester: str = ""
    branch: BranchName | None = None
    commit: CommitSha | None = None
    by: str = ""


TITLE_LIMIT = 300


def parse_start(conf: Mapping[str, object]) -> Start:
    """Return a run's conf as a ``Start``.

    Raises:
        Refused: A name in it is not acceptable.
    """

    def text(name: str) -> str:
        value = conf.get(name)
        return value.strip() if isinstance(value, str) else ""

    if len(text("title")) > TITLE_LIMIT:
        raise Refused(f"The title is longer than {TITLE_LIMIT} characters. Shorten it.")
    return Start(
        key=feature_key(text("feature")),
        title=text("title"),
        description=text("description"),
        requester=text("requester"),
        branch=branch_name(text("branch")) if text("branch") else None,
        commit=commit_sha(text("commit")) if text("commit") else None,
        by=text("started_by"),
    )


def start(unit: Unit, project: ProjectConfig, asked: Start) -> tuple[Feature, bool]:
    """Find the feature under delivery, or start it; says whether it was started now.

    Two starts at once meet at the project's lock: the second finds what the first made.

    Raises:
        Unavailable: The ledger may be a copy, or the project is another instance's.
    """
    brake.must_not_be_held(unit.books, project.name)
    unit.books.lock_project(project.name)
    feature = unit.books.feature(project.name, asked.key)
    if feature is not None and feature.state is FeatureState.ACTIVE:
        return feature, False
    run = run_id(asked.key, feature.delivery + 1 if feature is not None else 1)
    made = _new(unit, project, asked, before=feature, run=run)
    unit.runs.start(RunRef(project.name, made.run_id), conf=_conf(made, by=asked.by), note=_note(made))
    return made, True


def start_again(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Make the run of a feature under way anew, which somebody has deleted; the caller has seen that there is none.

    Deleting a run gives nothing up and frees nothing: that is what cancelling is for. The new run goes through its
    steps as if all of them had been cleared; what is done already is found.
    """
    unit.books.lock_project(project.name)
    for gate in unit.books.gates(feature):
        gate.ended = True
        if gate.state is GateState.OPEN:
            gate.state = GateState.CLOSED
    feature.rewind_to = feature.run_after = None
    unit.runs.start(RunRef(project.name, feature.run_id), conf=_conf(feature, by=""), note=_note(feature))
    text = f"The run of {feature.key} was deleted in Airflow. It is made anew; to give a feature up, cancel it."
    record(unit, feature, "run_restored", text)
    to = project.people.with_role(Who.OPERATOR, Who.MANAGER)
    notify(unit, feature, f"run_restored:{now():%Y%m%d%H%M%S}", text, to=to)


def _conf(feature: Feature, *, by: str) -> dict[str, object]:
    return {
        "feature": feature.key,
        "title": feature.title,
        "description": feature.description,
        "requester": feature.requester,
        "branch": feature.branch or "",
        "commit": feature.wanted_commit or "",
        "started_by": by,
    }


def _note(feature: Feature) -> str:
    return f"{feature.key} {feature.title}".strip()[:900]


def adopt_run(unit: Unit, project: ProjectConfig, run: RunRef) -> Feature:
    """Register the feature of a run that was started in Airflow itself (its form, its REST).

    Who started it is what Airflow knows of it, not what the conf says.

    Raises:
        Refused: The conf names no acceptable key, or the run was started by nobody of the project.
        Unavailable: Whether it was started by somebody of the project is not known at the moment.
        Conflict: Another run carries the same feature already.
    """
    by = unit.runs.started_by(run)
    if by and (why := project.unclear(by)):
        raise Unavailable(why)
    if by and by not in project.people.persons:
        raise Refused(project.stranger(by))
    asked = replace(parse_start(unit.runs.conf(run)), by=by)
    known = unit.books.feature(project.name, asked.key)
    if known is not None and known.state is FeatureState.ACTIVE:
        raise Conflict(
            f"{asked.key} is under delivery already, in run {known.run_id!r} of {project.dag_id}: "
            f"follow that run, or cancel it first with 'feature-delivery cancel {asked.key}'."
        )
    return _new(unit, project, asked, before=known, run=run.run_id)


def _new(unit: Unit, project: ProjectConfig, asked: Start, *, before: Feature | None, run: str) -> Feature:
    """Register a feature. ``before``: the delivery before it; its branch may hold what was pushed for that one."""
    given_up = before if before is not None and before.state.ended_without_shipping else None
    feature = Feature(
        project=project.name,
        key=asked.key,
        delivery=before.delivery + 1 if before is not None else 1,
        run_id=run,
        title=asked.title,
        description=asked.description,
        requester=asked.requester,
        branch=asked.branch,
        wanted_commit=asked.commit,
        pushers=[*given_up.pushers] if given_up is not None else [],
        strangers=[*given_up.strangers] if given_up is not None else [],
    )
    unit.books.add(feature)
    pushers.begun(unit, project, feature)
    by = asked.by or asked.requester or "somebody"
    milestone(unit, project, feature, "started", f"{by} started the delivery of {asked.key}.", person=asked.by)
    return feature
