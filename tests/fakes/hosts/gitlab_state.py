"""What the fake GitLab remembers, and how it shows it: the shapes, nulls and oddities are those of the real server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.fakes.hosts.common import HostedRepository

GUEST, REPORTER, DEVELOPER, MAINTAINER = 10, 20, 30, 40


def now() -> datetime:
    """Return this moment; GitLab stores microseconds and shows milliseconds."""
    return datetime.now(UTC)


def shown_time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


@dataclass
class Token:
    """What a token may do and how long."""

    scopes: tuple[str, ...] = ("api",)
    expires: date = field(default_factory=lambda: now().date() + timedelta(days=200))
    state: str = "active"


@dataclass
class User:
    """An account; ``password`` is its token, for the API and for Git."""

    id: int
    username: str
    password: str
    token: Token = field(default_factory=Token)
    is_admin: bool = False

    def shown(self, url: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "username": self.username,
            "public_email": None,
            "name": self.username.title(),
            "state": "active",
            "locked": False,
            "avatar_url": None,
            "web_url": f"{url}/{self.username}",
        }

    def hooked(self) -> dict[str, Any]:
        """Return the account as webhooks show it."""
        return {
            "id": self.id,
            "name": self.username.title(),
            "username": self.username,
            "avatar_url": None,
            "email": "[REDACTED]",
        }


@dataclass
class Note:
    id: int
    user: User
    body: str
    system: bool = False
    kind: str | None = None
    internal: bool = False
    created: datetime = field(default_factory=now)
    updated: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.updated = self.created


@dataclass
class Thing:
    """An issue or a merge request: what both have."""

    id: int
    iid: int
    user: User
    title: str
    description: str
    labels: list[str] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    state: str = "opened"
    created: datetime = field(default_factory=now)
    updated: datetime = field(default_factory=now)
    closed: datetime | None = None

    def touch(self) -> None:
        self.updated = now()


@dataclass
class Issue(Thing):
    confidential: bool = False


@dataclass
class Version:
    id: int
    head: str
    base: str
    created: datetime = field(default_factory=now)


@dataclass
class Approval:
    user: User
    at: datetime = field(default_factory=now)


@dataclass
class Reviewer:
    user: User
    state: str = "unreviewed"
    created: datetime = field(default_factory=now)


@dataclass
class MergeRequest(Thing):
    source: Project = field(kw_only=True)
    source_branch: str = field(kw_only=True)
    target_branch: str = field(kw_only=True)
    versions: list[Version] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    reviewers: list[Reviewer] = field(default_factory=list)
    merged: datetime | None = None
    merged_by: User | None = None
    merge_commit: str | None = None
    squash_commit: str | None = None

    @property
    def head(self) -> str | None:
        """The head of the source branch, also when it moves after the merge; of one that is gone the last known."""
        return self.source.git.head(self.source_branch) or (self.versions[-1].head if self.versions else None)

    def reviewer(self, user: User) -> Reviewer | None:
        return next((one for one in self.reviewers if one.user is user), None)


@dataclass
class Status:
    """A commit status: a job in a pipeline of one branch."""

    id: int
    sha: str
    ref: str
    name: str
    state: str
    user: User
    description: str | None = None
    url: str | None = None
    pipeline: int = 1
    created: datetime = field(default_factory=now)


@dataclass
class Environment:
    id: int
    name: str
    tier: str
    url: str | None = None
    state: str = "available"
    created: datetime = field(default_factory=now)


@dataclass
class Deployment:
    id: int
    environment: Environment
    sha: str
    ref: str
    status: str
    user: User
    deployable: dict[str, Any] | None = None
    created: datetime = field(default_factory=now)


@dataclass
class Protection:
    """A rule for branches; ``push``: the role it takes, 0 for nobody; ``users``: besides."""

    name: str
    push: int = MAINTAINER
    users: tuple[str, ...] = ()
    force: bool = False
    code_owners: bool = False


@dataclass
class Hook:
    """A webhook. ``signing``: GitLab's newer token, ``whsec_`` and base64."""

    id: int
    url: str
    token: str = ""
    signing: str = ""
    events: set[str] = field(default_factory=set)
    branch_filter: str = ""
    alert_status: str = "executable"
    disabled_until: datetime | None = None
    logged: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Project:
    """A project with its repository. ``features``: the access levels of its parts, where they are not as usual."""

    id: int
    path: str
    git: HostedRepository
    url: str
    members: dict[str, int] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    requests: dict[int, MergeRequest] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    environments: list[Environment] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    protections: list[Protection] = field(default_factory=list)
    hooks: list[Hook] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    features: dict[str, str] = field(default_factory=dict)
    approval_settings: dict[str, Any] | None = None
    push_rules: dict[str, Any] | None = None
    archived: bool = False
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    def level(self, user: User | None) -> int:
        if user is None:
            return 0
        return 50 if user.is_admin else self.members.get(user.username, 0)

    # --- shapes -----------------------------------------------------------------------------------------------------

    def shown(self) -> dict[str, Any]:
        parts = ("issues", "merge_requests", "builds", "repository", "environments")
        return {
            "id": self.id,
            "description": None,
            "name": self.path.rpartition("/")[2].title(),
            "path": self.path.rpartition("/")[2],
            "path_with_namespace": self.path,
            "created_at": "2026-01-01T00:00:00.000Z",
            "default_branch": "production",
            "web_url": f"{self.url}/{self.path}",
            "http_url_to_repo": f"{self.url}/{self.path}.git",
            "visibility": "private",
            "archived": self.archived,
            **{f"{part}_access_level": self.features.get(part, "enabled") for part in parts},
            "permissions": {"project_access": None, "group_access": None},
        }

    def thing(self, thing: Thing, kind: str) -> dict[str, Any]:
        return {
            "id": thing.id,
            "iid": thing.iid,
            "project_id": self.id,
            "title": thing.title,
            "description": thing.description or None,
            "state": thing.state,
            "created_at": shown_time(thing.created),
            "updated_at": shown_time(thing.updated),
            "closed_at": shown_time(thing.closed),
            "closed_by": None,
            "author": thing.user.shown(self.url),
            "assignees": [user.shown(self.url) for user in thing.assignees],
            "assignee": thing.assignees[0].shown(self.url) if thing.assignees else None,
            "labels": sorted(thing.labels),
            "milestone": None,
            "user_notes_count": sum(not note.system for note in thing.notes),
            "upvotes": 0,
            "downvotes": 0,
            "web_url": f"{self.url}/{self.path}/-/{kind}/{thing.iid}",
        }

    def shown_issue(self, issue: Issue) -> dict[str, Any]:
        return {
            **self.thing(issue, "issues"),
            "type": "ISSUE",
            "issue_type": "issue",
            "confidential": issue.confidential,
            "moved_to_id": None,
            "due_date": None,
        }

    def shown_request(self, request: MergeRequest, *, whole: bool = True) -> dict[str, Any]:
        draft = request.title.lower().startswith(("draft:", "[draft]", "(draft)"))
        last = request.versions[-1] if request.versions else None
        body = {
            **self.thing(request, "merge_requests"),
            "merged_by": request.merged_by.shown(self.url) if request.merged_by else None,
            "merge_user": request.merged_by.shown(self.url) if request.merged_by else None,
            "merged_at": shown_time(request.merged),
            "target_branch": request.target_branch,
            "source_branch": request.source_branch,
            "reviewers": [one.user.shown(self.url) for one in request.reviewers],
            "source_project_id": request.source.id,
            "target_project_id": self.id,
            "draft": draft,
            "work_in_progress": draft,
            "merge_status": "can_be_merged",
            "detailed_merge_status": "mergeable",
            "sha": request.head,
            "merge_commit_sha": request.merge_commit,
            "squash_commit_sha": request.squash_commit,
            "discussion_locked": None,
            "should_remove_source_branch": None,
            "force_remove_source_branch": None,
            "has_conflicts": False,
        }
        if whole:
            refs = {"base_sha": last.base, "head_sha": last.head, "start_sha": last.base} if last else None
            body |= {"changes_count": "1", "diff_refs": refs, "merge_error": None, "user": {"can_merge": True}}
        return body

    def shown_note(self, note: Note, thing: Thing) -> dict[str, Any]:
        return {
            "id": note.id,
            "type": note.kind,
            "body": note.body,
            "author": note.user.shown(self.url),
            "created_at": shown_time(note.created),
            "updated_at": shown_time(note.updated),
            "system": note.system,
            "noteable_id": thing.id,
            "noteable_type": "MergeRequest" if isinstance(thing, MergeRequest) else "Issue",
            "project_id": self.id,
            "resolvable": note.kind is not None,
            "confidential": note.internal,
            "internal": note.internal,
            "noteable_iid": thing.iid,
            "commands_changes": {},
        }

    def shown_status(self, status: Status) -> dict[str, Any]:
        return {
            "id": status.id,
            "sha": status.sha,
            "ref": status.ref,
            "status": status.state,
            "name": status.name,
            "target_url": status.url,
            "description": status.description,
            "created_at": shown_time(status.created),
            "started_at": None,
            "finished_at": None,
            "allow_failure": False,
            "coverage": None,
            "pipeline_id": status.pipeline,
            "author": status.user.shown(self.url),
        }

    def shown_environment(self, environment: Environment, *, whole: bool = True) -> dict[str, Any]:
        body = {
            "id": environment.id,
            "name": environment.name,
            "slug": environment.name.replace("/", "-")[:24],
            "external_url": environment.url,
            "created_at": shown_time(environment.created),
            "updated_at": shown_time(environment.created),
        }
        return {**body, "tier": environment.tier, "state": environment.state, "auto_stop_at": None} if whole else body

    def shown_deployment(self, deployment: Deployment) -> dict[str, Any]:
        return {
            "id": deployment.id,
            "iid": deployment.id,
            "ref": deployment.ref,
            "sha": deployment.sha,
            "created_at": shown_time(deployment.created),
            "updated_at": shown_time(deployment.created),
            "user": deployment.user.shown(self.url),
            "environment": self.shown_environment(deployment.environment, whole=False),
            "deployable": deployment.deployable,
            "status": deployment.status,
        }

    def shown_protection(self, rule: Protection, user_id: Callable[[str], int]) -> dict[str, Any]:
        def level(access: int, description: str, user: int | None = None) -> dict[str, Any]:
            return {"id": 1, "access_level": access, "access_level_description": description, "user_id": user}

        names = {0: "No one", DEVELOPER: "Developers + Maintainers", MAINTAINER: "Maintainers"}
        return {
            "id": 1,
            "name": rule.name,
            "push_access_levels": [
                level(rule.push, names[rule.push]),
                *(level(MAINTAINER, name.title(), user_id(name)) for name in rule.users),
            ],
            "merge_access_levels": [level(MAINTAINER, "Maintainers")],
            "allow_force_push": rule.force,
            "unprotect_access_levels": [],
            "code_owner_approval_required": rule.code_owners,
            "inherited": False,
        }

    def shown_hook(self, hook: Hook) -> dict[str, Any]:
        every = ("push", "merge_requests", "note", "issues", "tag_push", "pipeline", "confidential_issues")
        return {
            "id": hook.id,
            "url": hook.url,
            "created_at": "2026-01-01T00:00:00.000Z",
            "project_id": self.id,
            **{f"{name}_events": name in hook.events for name in every},
            "enable_ssl_verification": True,
            "alert_status": hook.alert_status,
            "disabled_until": shown_time(hook.disabled_until),
            "push_events_branch_filter": hook.branch_filter or None,
            "branch_filter_strategy": "wildcard",
        }
