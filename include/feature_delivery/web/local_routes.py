"""Pages of the local tracker and the local Git host, as REST: what people do there when no real ones are connected.

Everything said here is taken in at once, by the same services that take in what real hosts tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from feature_delivery.adapters.local_records import LocalComment
from feature_delivery.bootstrap.outside import local_host, local_tracker
from feature_delivery.domain.errors import NotFound, Unavailable
from feature_delivery.domain.names import CommitSha, FeatureKey, branch_name, commit_sha, feature_key
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import UNDER_WAY, Feature, FeatureState
from feature_delivery.ports.git_host import MergeRequest, RequestComment, ReviewKind
from feature_delivery.ports.tracker import Issue, IssueState
from feature_delivery.services.control.comments import hear
from feature_delivery.services.control.issues import observe_issue
from feature_delivery.services.control.requests import observe_request
from feature_delivery.web.access import CallerDep, Readable, json_only
from feature_delivery.web.errors import problems
from feature_delivery.web.transaction import WebUnit, begin, session

router = APIRouter(prefix="/projects/{project}", tags=["local host and tracker"], dependencies=[Depends(json_only)])
RESPONSES = problems(401, 403, 404, 409)


class IssueBody(BaseModel):
    """A new issue."""

    key: str
    title: str = Field(max_length=300)
    description: str = Field(default="", max_length=20_000)


class AssignBody(BaseModel):
    """Who takes the issue; empty: you."""

    assignee: str = Field(default="", max_length=80)


class MoveBody(BaseModel):
    """Where the issue goes."""

    state: IssueState


class TextBody(BaseModel):
    """A comment."""

    text: str = Field(min_length=1, max_length=20_000)


class CommentView(BaseModel):
    """One comment."""

    author: str
    text: str
    at: datetime


class IssueDetail(BaseModel):
    """An issue with its comments."""

    key: str
    title: str
    description: str
    state: IssueState
    assignee: str | None
    reporter: str
    url: str
    comments: list[CommentView]


class RequestBody(BaseModel):
    """A merge request to open; without a target it aims at pre-production."""

    source: str
    target: str = ""
    title: str = Field(default="", max_length=300)
    body: str = Field(default="", max_length=20_000)


class ReviewBody(BaseModel):
    """A review; ``commit``: the head that was looked at, the head of now when it is empty."""

    kind: ReviewKind
    comment: str = Field(default="", max_length=4000)
    commit: str = ""


class RequestDetail(BaseModel):
    """A merge request with its comments."""

    request: MergeRequest
    comments: list[CommentView]


@router.get("/issues", responses=RESPONSES)
def list_issues(project: Readable) -> list[Issue]:
    """List the issues of the local tracker, newest first."""
    return list(local_tracker(project, session).issues())


@router.post("/issues", status_code=201, responses=RESPONSES)
def create_issue(who: CallerDep, body: IssueBody) -> Issue:
    """Write an issue; one that is there keeps its words."""
    tracker = local_tracker(who.project, session)
    return tracker.create(feature_key(body.key), title=body.title, description=body.description, reporter=who.name)


@router.get("/issues/{key}", responses=RESPONSES)
def show_issue(project: Readable, key: str) -> IssueDetail:
    """Show an issue with its comments."""
    return _detail(project, feature_key(key))


@router.post("/issues/{key}/assign", responses=RESPONSES)
def assign_issue(who: CallerDep, key: str, body: AssignBody) -> Issue:
    """Take an issue, or give it to somebody: its feature starts."""
    person = body.assignee or who.name
    if why := who.project.unclear(person):
        raise Unavailable(why)
    if person not in who.project.people.persons:
        raise NotFound(f"{person!r} is nobody of {who.project.name}.")
    issue = local_tracker(who.project, session).assign(feature_key(key), person)
    _seen_issue(who.project, issue)
    return issue


@router.post("/issues/{key}/move", responses=RESPONSES)
def move_issue(who: CallerDep, key: str, body: MoveBody) -> Issue:
    """Bring an issue to a state; in progress counts as taken."""
    checked = feature_key(key)
    local_tracker(who.project, session).move(checked, body.state)
    issue = _issue(who.project, checked)
    _seen_issue(who.project, issue)
    return issue


@router.post("/issues/{key}/comments", status_code=201, responses=RESPONSES)
def comment_issue(who: CallerDep, key: str, body: TextBody) -> IssueDetail:
    """Write a comment on an issue."""
    checked = feature_key(key)
    local_tracker(who.project, session).write(checked, body.text, author=who.name)
    return _detail(who.project, checked)


@router.get("/requests", responses=RESPONSES)
def list_requests(project: Readable) -> list[MergeRequest]:
    """List the merge requests of the local host, open ones first."""
    return list(local_host(project, session).requests())


@router.post("/requests", status_code=201, responses=RESPONSES)
def open_request(who: CallerDep, body: RequestBody) -> MergeRequest:
    """Open a merge request, or find the open one."""
    source = branch_name(body.source)
    target = branch_name(body.target) if body.target else who.project.branches.preprod
    key = who.project.branches.key_of(source)
    request = local_host(who.project, session).open_request(
        key=feature_key(key or ""), source=source, target=target, title=body.title, body=body.body, author=who.name
    )
    _seen_request(who.project, request)
    return request


@router.get("/requests/{number}", responses=RESPONSES)
def show_request(project: Readable, number: int) -> RequestDetail:
    """Show a merge request with its comments."""
    host = local_host(project, session)
    return RequestDetail(request=host.request(number), comments=_comments(host.thread(number)))


@router.post("/requests/{number}/reviews", status_code=201, responses=RESPONSES)
def review(who: CallerDep, number: int, body: ReviewBody) -> MergeRequest:
    """Review a merge request; whether it counts is up to the project's policy."""
    commit: CommitSha | None = commit_sha(body.commit) if body.commit else None
    host = local_host(who.project, session)
    request = host.review(number, person=who.name, kind=body.kind, comment=body.comment, commit=commit)
    _seen_request(who.project, request)
    return request


@router.post("/requests/{number}/comments", status_code=201, responses=RESPONSES)
def comment_request(who: CallerDep, number: int, body: TextBody) -> RequestDetail:
    """Write a comment on a merge request."""
    host = local_host(who.project, session)
    host.write(number, body.text, author=who.name)
    _heard(who.project, host.request(number), host.comments(number))
    return RequestDetail(request=host.request(number), comments=_comments(host.thread(number)))


def _comments(found: Iterable[LocalComment]) -> list[CommentView]:
    return [CommentView(author=one.author, text=one.text, at=one.at) for one in found]


def _detail(project: ProjectConfig, key: FeatureKey) -> IssueDetail:
    issue = _issue(project, key)
    comments = _comments(local_tracker(project, session).comments(key))
    return IssueDetail(**asdict(issue), comments=comments)


def _issue(project: ProjectConfig, key: FeatureKey) -> Issue:
    issue = local_tracker(project, session).find(key)
    if issue is None:
        raise NotFound(f"The local tracker of {project.name} has no issue {key}. Create it, or correct the key.")
    return issue


def _seen_issue(project: ProjectConfig, issue: Issue) -> None:
    with begin() as unit:
        feature = unit.books.feature(project.name, issue.key)
        if feature is not None and feature.state is FeatureState.ACTIVE:
            observe_issue(unit, project, feature.run_id, issue)


def _seen_request(project: ProjectConfig, request: MergeRequest) -> None:
    with begin() as unit:
        feature = _feature_of(unit, project, request)
        if feature is not None:
            observe_request(unit, project, feature.run_id, request)


def _heard(project: ProjectConfig, request: MergeRequest, comments: Sequence[RequestComment]) -> None:
    with begin() as unit:
        feature = _feature_of(unit, project, request)
        if feature is not None:
            hear(unit, project, feature.run_id, request.number, comments)


def _feature_of(unit: WebUnit, project: ProjectConfig, request: MergeRequest) -> Feature | None:
    known = unit.books.features(project.name, UNDER_WAY)
    return next((feature for feature in known if feature.branch == request.source), None)
