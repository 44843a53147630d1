"""The parts of GitLab's answers that we read, checked; whatever else is in them is left alone."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

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


class User(Answer):
    """A person, or an account of a program."""

    id: int
    username: str


class Me(User):
    """Whose the token is; administrators of the server may do everything and are members of nothing."""

    is_admin: bool = False


class Member(User):
    """Somebody in a project, by whatever way. ``access_level``: 20 reports, 30 develops, 40 maintains, 50 owns."""

    access_level: int


class DiffRefs(Answer):
    """The commits that a merge request is about."""

    head_sha: Text = ""


class MergeRequestAnswer(Answer):
    """A merge request; ``diff_refs`` is not in listings. ``sha``: head of the source branch."""

    iid: int
    title: str
    state: str
    web_url: str
    author: User | None = None
    source_branch: str
    target_branch: str
    source_project_id: int | None = None
    target_project_id: int
    sha: Text = ""
    diff_refs: DiffRefs | None = None
    updated_at: datetime


class Version(Answer):
    """One state of a merge request's difference: GitLab makes one for every push."""

    id: int
    head_commit_sha: Text = ""
    created_at: datetime


class Approval(Answer):
    """Who has approved; versions before 18 do not say when."""

    user: User
    approved_at: datetime | None = None


class Approvals(Answer):
    """Every approval that counts now."""

    approved_by: Many[Approval] = []


class Reviewer(Answer):
    """Somebody asked for a review, and where they are with it (``requested_changes``, ``approved``, ...)."""

    user: User
    state: Text = ""
    created_at: datetime | None = None


class Note(Answer):
    """A comment of a person, or (``system``) GitLab's own record of what somebody did."""

    id: int
    body: Text = ""
    author: User | None = None
    created_at: datetime
    updated_at: datetime
    system: bool = False


class CommitStatus(Answer):
    """A commit status: GitLab keeps it as a job of a pipeline."""

    id: int
    name: Text = ""
    status: str
    ref: Text = ""
    description: Text = ""
    target_url: Text = ""
    author: User | None = None


class Environment(Answer):
    """A place that is deployed to."""

    id: int
    name: str
    state: Text = ""
    external_url: Text = ""


class Deployment(Answer):
    """One deployment. ``deployable``: the job that made it, which alone may change it then."""

    id: int
    sha: str
    status: str
    deployable: dict[str, Any] | None = None


class Commit(Answer):
    """A commit."""

    id: str


class Ref(Answer):
    """A branch or a tag that holds a commit."""

    type: str
    name: str


class Branch(Answer):
    """A branch; ``can_push``: whether the token's account may."""

    name: str
    commit: Commit
    protected: bool = False
    can_push: bool = True


class AccessLevel(Answer):
    """Who may do something with a protected branch, in words."""

    access_level: int | None = None
    access_level_description: Text = ""


class ProtectedBranch(Answer):
    """A rule that protects branches; ``name`` may hold stars."""

    name: str
    push_access_levels: Many[AccessLevel] = []
    allow_force_push: bool = False
    code_owner_approval_required: bool = False


class Project(Answer):
    """The project."""

    path_with_namespace: str
    default_branch: Text = ""
    archived: bool = False
    merge_requests_access_level: Text = "enabled"
    issues_access_level: Text = "enabled"
    builds_access_level: Text = "enabled"


class TokenInfo(Answer):
    """The token itself."""

    scopes: Many[str] = []
    expires_at: date | None = None
    active: bool = True
    granular: bool = False


class ApprovalSettings(Answer):
    """What the project says of approvals; not every edition of GitLab has it."""

    reset_approvals_on_push: bool = True


class PushRules(Answer):
    """What commits must be like to be pushed; not every edition of GitLab has it."""

    reject_unsigned_commits: bool | None = None
    reject_non_dco_commits: bool | None = None
    commit_committer_check: bool | None = None
    member_check: bool | None = None
    commit_message_regex: Text = ""
    author_email_regex: Text = ""
    branch_name_regex: Text = ""


class Hook(Answer):
    """A webhook. ``alert_status``: ``executable``, ``temporarily_disabled`` or ``disabled``."""

    id: int
    url: str
    push_events: bool = False
    merge_requests_events: bool = False
    note_events: bool = False
    issues_events: bool = False
    confidential_issues_events: bool | None = None
    push_events_branch_filter: Text = ""
    alert_status: Text = ""
    disabled_until: datetime | None = None


class HookEvent(Answer):
    """One delivery of a webhook; ``response_status``: HTTP's, or words where there was no answer."""

    trigger: Text = ""
    response_status: Text = ""


class IssueAnswer(Answer):
    """An issue."""

    iid: int
    title: str
    description: Text = ""
    state: str
    web_url: str
    author: User | None = None
    assignees: Many[User] = []
    labels: Many[str] = []
    updated_at: datetime
