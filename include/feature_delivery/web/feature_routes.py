"""What people ask about features, and what they say: the same for board, CLI and REST."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from feature_delivery.bootstrap import settings
from feature_delivery.bootstrap.outside import repository, tracker
from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.freezes import freeze_at
from feature_delivery.domain.names import CommitSha, ProjectName, branch_name, commit_sha, feature_key
from feature_delivery.domain.process import Who
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import Feature, FeatureState, now
from feature_delivery.ports.tracker import Issue
from feature_delivery.services.control import adoption
from feature_delivery.services.control import decide as decisions
from feature_delivery.services.control.explain import Explanation, explain
from feature_delivery.services.control.flags import frozen_sentence
from feature_delivery.services.control.gates import run_of
from feature_delivery.services.control.start import TITLE_LIMIT, Start, start
from feature_delivery.services.control.status import FeatureLine, FeatureView, feature_line, feature_view
from feature_delivery.web.access import Caller, CallerDep, Readable, json_only, visible
from feature_delivery.web.errors import problems, shown
from feature_delivery.web.transaction import WebUnit, begin, session

router = APIRouter(prefix="/projects", tags=["people"], dependencies=[Depends(json_only)])
RESPONSES = problems(401, 403, 404, 409)
UNAUTHORIZED = (401, {"error": "Unauthorized", "message": "Not authenticated."})
NO_FEATURE = (
    404,
    {
        "error": "NotFound",
        "message": "shop has no feature 'SHOP-9' under delivery. Start it first: push a commit that main "
        "does not have to feature/SHOP-9-…, or start it by its key.",
    },
)
NO_PROJECT = (404, {"error": "NotFound", "message": "There is no project 'shoop'. Known: shop."})


def answers(*more: tuple[int, dict[str, str]]) -> dict[int | str, dict[str, Any]]:
    """Return what a route of people may answer, with sentences that they meet."""
    return shown(problems(401, 403, 404, 409), UNAUTHORIZED, *more)


def refused(sentence: str) -> tuple[int, dict[str, str]]:
    """Return the example of a rule that says no."""
    return 403, {"error": "Refused", "message": sentence}


def invalid(sentence: str) -> tuple[int, dict[str, str]]:
    """Return the example of a request that cannot be read."""
    return 422, {"error": "Invalid", "message": sentence}


START = answers(
    refused("mallory is nobody of shop: add them to 'people' in its project file."),
    NO_PROJECT,
    invalid("Field 'title': String should have at most 300 characters. Correct it and send it again."),
)
CANCEL = answers(
    refused("tess may not cancel a feature in shop: dora, max, olga may."),
    NO_FEATURE,
    invalid("Field 'reason': String should have at most 2000 characters. Correct it and send it again."),
)
ADOPT = answers(
    refused("max is no operator of shop: only an operator may adopt a commit."),
    NO_PROJECT,
    invalid("Field 'commit': Field required. Correct it and send it again."),
)
LIST_LIMIT = 500
_ANY: list[FeatureState] = []
_OLDER = "Only older features than that of this `run_id`: that of a full page's last one gives the next page."


def _examples(*samples: dict[str, JsonValue]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(samples)})


class StartBody(BaseModel):
    """What is to be delivered; the same fields as Airflow's trigger form.

    Without a key the tracker is asked for a new issue, where it gives out keys.
    """

    model_config = _examples(
        {"key": "SHOP-123", "title": "Gift cards"}, {"title": "Gift cards", "description": "As a customer …"}
    )

    key: str = ""
    title: str = Field(default="", max_length=TITLE_LIMIT)
    description: str = Field(default="", max_length=20_000)
    requester: str = Field(default="", max_length=80)
    branch: str | None = None
    commit: str | None = None


class Started(BaseModel):
    """The run that carries the feature; ``started``: by this very request."""

    model_config = _examples({"started": True, "run_id": "SHOP-123", "key": "SHOP-123"})

    started: bool
    run_id: str
    key: str


class ReasonBody(BaseModel):
    """Why."""

    model_config = _examples({"reason": "Rolled back by hand at the provider."})

    reason: str = Field(default="", max_length=2000)


class AdoptBody(BaseModel):
    """The foreign commit of production to accept."""

    model_config = _examples({"commit": "3f1c9a7e5d2b4c6f8a0e1d3b5c7f9a2e4d6b8c0f"})

    commit: str


class Sentence(BaseModel):
    """What was done, for people."""

    model_config = _examples({"message": "SHOP-123 is cancelled; what there is of it is torn down."})

    message: str


class Lock(BaseModel):
    """Who holds production, since when."""

    key: str
    since: datetime | None


class ProjectLine(BaseModel):
    """A project in a list."""

    name: str
    title: str


class FreezeLine(BaseModel):
    """The freeze window that is on: features wait for production until then."""

    name: str
    since: datetime
    until: datetime
    sentence: str


class ProjectView(BaseModel):
    """How production of a project stands."""

    name: str
    title: str
    production_branch: str
    production_commit: str | None
    lock: Lock | None
    queue: list[str]
    frozen_reason: str
    frozen_commit: str | None
    freeze: FreezeLine | None


@router.get("", responses=problems(401))
def list_projects(user: GetUserDep) -> list[ProjectLine]:
    """List the projects that you may see."""
    seen = visible(user)
    known = settings.projects().values()
    return [ProjectLine(name=project.name, title=project.title) for project in known if project.name in seen]


@router.get("/{project}", responses=RESPONSES)
def show_project(project: Readable) -> ProjectView:
    """Show how production of a project stands: who holds it, who queues, whether it is frozen."""
    with begin() as unit:
        row = unit.books.project(project.name)
        holder = unit.books.feature_by_id(row.lock_feature_id) if row is not None and row.lock_feature_id else None
        return ProjectView(
            name=project.name,
            title=project.title,
            production_branch=project.branches.production,
            production_commit=row.production_commit if row else None,
            lock=Lock(key=holder.key, since=row.lock_since) if holder is not None and row is not None else None,
            queue=[unit.books.feature_by_id(p.feature_id).key for p in unit.books.queue(project.name) if p.waiting],
            frozen_reason=row.frozen_reason if row else "",
            frozen_commit=row.frozen_commit if row else None,
            freeze=_freeze(project),
        )


def _freeze(project: ProjectConfig) -> FreezeLine | None:
    found = freeze_at(project.freezes, now())
    if found is None:
        return None
    sentence = frozen_sentence(project, found)
    return FreezeLine(name=found.name, since=found.since, until=found.until, sentence=sentence)


@router.get("/{project}/features", responses=RESPONSES)
def list_features(
    project: Readable,
    state: Annotated[list[FeatureState], Query(description="Only features in one of these states.")] = _ANY,
    limit: Annotated[int, Query(ge=1, le=LIST_LIMIT)] = LIST_LIMIT,
    before: Annotated[str, Query(max_length=100, description=_OLDER)] = "",
) -> list[FeatureLine]:
    """List the features of a project, newest first; no more than ``limit``."""
    with begin() as unit:
        last = unit.books.feature_of_run(project.name, before) if before else None
        if before and last is None:
            raise NotFound(f"No feature of {project.name} has the run {before!r}. Name one as this list does.")
        found = unit.books.features(project.name, state, limit=limit, before=last.id if last else None)
        return [feature_line(unit.books, project, feature) for feature in found]


@router.get("/{project}/features/{key}", responses=RESPONSES)
def show_feature(project: Readable, key: str) -> FeatureView:
    """Show everything about the newest delivery of a feature."""
    with begin() as unit:
        feature = feature_in(unit, project, key)
        run = run_of(feature)
        tasks, state = unit.runs.tasks(run), unit.runs.state(run)
        return feature_view(unit.books, project, feature, tasks=tasks, run_state=state)


@router.post("/{project}/features", status_code=201, responses=START)
def start_feature(who: CallerDep, body: StartBody) -> Started:
    """Start the delivery of a feature, or find it under way: however often it is asked for, there is one.

    Without a key a new issue is written first, each time anew.
    """
    project = who.project
    asked = Start(
        key=feature_key(body.key) if body.key else _new_issue(who, body).key,
        title=body.title.strip(),
        description=body.description.strip(),
        requester=body.requester.strip() or who.name,
        branch=branch_name(body.branch) if body.branch else None,
        commit=_commit(project, body.commit),
        by=who.name,
    )
    with begin() as unit:
        feature, new = start(unit, project, asked)
        return Started(started=new, run_id=feature.run_id, key=feature.key)


def _new_issue(who: Caller, body: StartBody) -> Issue:
    title = body.title.strip()
    if not title:
        raise Refused("A feature without an issue key needs a title: it is what the new issue is called.")
    return tracker(who.project, session).create_new(
        title=title, description=body.description.strip(), reporter=body.requester.strip() or who.name
    )


@router.post("/{project}/features/{key}/cancel", responses=CANCEL)
def cancel(who: CallerDep, key: str, body: ReasonBody) -> Sentence:
    """Give a feature up: everything of it is torn down."""
    who.must_be(Who.DEVELOPER, Who.MANAGER, Who.OPERATOR, what="cancel a feature")
    with begin() as unit:
        feature = feature_in(unit, who.project, key)
        decisions.cancel(unit, who.project, feature.run_id, body.reason, person=who.name)
    return Sentence(message=f"{feature.key} is cancelled; what there is of it is torn down.")


@router.post("/{project}/adopt", responses=ADOPT)
def adopt(who: CallerDep, body: AdoptBody) -> Sentence:
    """Accept a foreign commit as production's new head, and let promotions go on."""
    commit = commit_sha(body.commit)
    there = repository(who.project)
    head = there.heads().get(who.project.branches.production)
    if head != commit:
        at = head[:10] if head else "not there"
        raise Refused(f"{who.project.branches.production} is {at}, not {commit[:10]}: adopt what is there now.")
    with begin() as unit:
        promotions = adoption.in_doubt(unit, who.project)
    held = adoption.look(there, commit, promotions)
    with begin() as unit:
        said = adoption.adopt(unit, who.project, commit, person=who.name, held=held)
    return Sentence(message=f"Production is {commit[:10]}. {said}".strip())


@router.get("/{project}/commits/{sha}", responses=RESPONSES)
def explain_commit(project: Readable, sha: Annotated[str, Field(max_length=64)]) -> Explanation:
    """Explain a commit of production: its tree, tests, sign-offs, feature and predecessor."""
    with begin() as unit:
        return explain(unit.books, project, commit_sha(sha))


def feature_in(unit: WebUnit, project: ProjectConfig, key: str) -> Feature:
    """Return the newest delivery of an issue.

    Raises:
        NotFound: There is none.
    """
    feature = unit.books.feature(ProjectName(project.name), feature_key(key))
    if feature is None:
        branches = project.branches
        raise NotFound(
            f"{project.name} has no feature {key[:40]!r} under delivery. Start it first: push a commit that "
            f"{branches.production} does not have to {branches.feature_prefix}{key}-…, or start it by its key."
        )
    return feature


def _commit(project: ProjectConfig, text: str | None) -> CommitSha | None:
    """Return a wanted commit that exists.

    Raises:
        NotFound: The repository does not have it.
    """
    if not text:
        return None
    commit = commit_sha(text)
    repository(project).fetch(commit)
    return commit
