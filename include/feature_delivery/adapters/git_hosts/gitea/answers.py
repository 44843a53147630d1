"""The parts of Gitea's and Forgejo's answers that we read, checked; whatever else is in them is left alone.

Lists without members come as ``null`` from some versions, and as ``[]`` from others.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Value = TypeVar("Value")


def _nothing_is_empty(value: Any) -> Any:
    return [] if value is None else value


def _nothing_is_no_text(value: Any) -> Any:
    return "" if value is None else value


Many = Annotated[list[Value], BeforeValidator(_nothing_is_empty)]
Text = Annotated[str, BeforeValidator(_nothing_is_no_text)]


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Version(Answer):
    """``GET /version``."""

    version: str


class User(Answer):
    """A person; who was deleted is called ``Ghost``."""

    login: str


class Label(Answer):
    """A label of a repository or of its organisation."""

    id: int
    name: str


class Team(Answer):
    """A team of an organisation."""

    name: str


class Permissions(Answer):
    """What the token's user may do."""

    admin: bool = False
    push: bool = False
    pull: bool = False


class Repository(Answer):
    """A repository. ``allow_manual_merge``: ``None`` from versions that do not tell."""

    archived: bool = False
    has_issues: bool = True
    has_pull_requests: bool = True
    allow_manual_merge: bool | None = None
    permissions: Permissions = Permissions()


class BranchInfo(Answer):
    """One side of a request. ``label``: the branch's name, also when it is gone (``ref`` is not its name then)."""

    label: Text = ""
    sha: Text = ""
    repo_id: int = -1


class PullRequest(Answer):
    """A request."""

    number: int
    title: str
    state: str
    merged: bool = False
    html_url: str
    user: User | None = None
    head: BranchInfo
    base: BranchInfo
    updated_at: datetime
    requested_reviewers: Many[User | None] = []
    requested_reviewers_teams: Many[Team] = []


class Review(Answer):
    """A review, or the request for one (``REQUEST_REVIEW``)."""

    id: int
    state: str
    user: User | None = None
    body: Text = ""
    commit_id: Text = ""
    dismissed: bool = False
    submitted_at: datetime


class Comment(Answer):
    """A comment on an issue or a request."""

    id: int
    body: Text = ""
    user: User | None = None
    created_at: datetime
    updated_at: datetime


class Status(Answer):
    """A commit status; Gitea keeps all that were ever posted, the highest ``id`` of a context is the one in force."""

    id: int
    context: Text = ""
    status: str
    description: Text = ""
    target_url: Text = ""


class Issue(Answer):
    """An issue. ``pull_request`` is there when it is a request."""

    id: int
    number: int
    title: str
    body: Text = ""
    state: str
    html_url: str
    user: User | None = None
    assignee: User | None = None
    assignees: Many[User] = []
    labels: Many[Label] = []
    updated_at: datetime
    pull_request: dict[str, Any] | None = None


class CommitOfBranch(Answer):
    """The commit a branch is at."""

    id: str


class Branch(Answer):
    """A branch, with what the token's user may do to it."""

    commit: CommitOfBranch
    protected: bool = False
    user_can_push: bool = True
    user_can_merge: bool = True
    effective_branch_protection_name: Text = ""


class CommitParent(Answer):
    """A parent of a commit."""

    sha: str


class Commit(Answer):
    """A commit in a listing."""

    sha: str
    parents: Many[CommitParent] = []


class Comparison(Answer):
    """What the second branch of a comparison has and the first one lacks."""

    total_commits: int = 0


class Protection(Answer):
    """A rule that protects branches. Only administrators of the repository see it."""

    rule_name: Text = ""
    branch_name: Text = ""
    require_signed_commits: bool = False
    protected_file_patterns: Text = ""


class Hook(Answer):
    """A webhook."""

    id: int
    active: bool = False
    config: dict[str, str] = Field(default_factory=dict)
    events: Many[str] = []
    branch_filter: Text = ""
