"""What the fake GitHub remembers, and how GitHub shows it: every answer has the fields that its description demands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.fakes.hosts.common import Answer, HostedRepository, Problem, timestamp


def _words(text: str) -> list[str]:
    return text.split()


USER_PAGES = _words("followers following gists starred subscriptions organizations repos events received_events")
REPOSITORY_PAGES = _words("""
    archive assignees blobs branches collaborators comments commits compare contents contributors deployments
    downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels
    languages merges milestones notifications pulls releases stargazers statuses subscribers subscription tags
    teams trees
""")
SHARED = _words("""
    id node_id number state locked title user body labels milestone assignee assignees created_at updated_at
    closed_at author_association
""")
LINKS = _words("self html issue comments review_comments review_comment commits statuses")


def number_of(text: str) -> int:
    """Return a number that always belongs to ``text``."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 1_000_000_000 + 1


@dataclass
class Account:
    """Somebody. ``role``: read, write or admin on the repository; empty: a stranger."""

    login: str
    role: str = "write"
    kind: str = "User"
    """``User`` or ``Bot``."""


@dataclass
class Token:
    """A token. ``rights``: of a fine-grained or App token (``issues`` -> ``write``); ``scopes``: of a classic one."""

    login: str
    scopes: str | None = "repo"
    rights: dict[str, str] | None = None
    ends: datetime | None = None


@dataclass
class Pull:
    """A pull request, besides what it has as an issue."""

    head: str
    base: str
    sha: str
    repository: HostedRepository | None
    """Where its head is; ``None``: a fork that was deleted."""
    owner: str
    merged_at: datetime | None = None
    merged_by: str = ""
    merge_commit: str | None = None
    reviewers: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)


@dataclass
class Item:
    """An issue or a pull request: they share numbers."""

    number: int
    title: str
    body: str | None
    user: str
    created: datetime
    updated: datetime
    touched: int = 0
    state: str = "open"
    reason: str | None = None
    closed: datetime | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    pull: Pull | None = None
    moved_to: str = ""
    """Where the issue was transferred to (``owner/name/number``)."""
    deleted: bool = False


@dataclass
class Comment:
    """A comment below an item, or (``line``) on a line of a pull request."""

    id: int
    on: int
    user: str | None
    body: str
    created: datetime
    updated: datetime
    line: bool = False
    commit: str = ""
    edited: datetime | None = None


@dataclass
class Review:
    """A review of a pull request."""

    id: int
    on: int
    user: str
    state: str
    body: str
    commit: str
    at: datetime
    edited: datetime | None = None


@dataclass
class Status:
    """A commit status."""

    id: int
    sha: str
    state: str
    description: str | None
    url: str | None
    context: str
    creator: str
    at: datetime


@dataclass
class Deployment:
    """A deployment with its statuses, oldest first."""

    id: int
    sha: str
    ref: str
    task: str
    environment: str
    description: str | None
    transient: bool
    production: bool
    creator: str
    at: datetime
    statuses: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Hook:
    """A webhook of the repository; ``form``: sent as a form, as GitHub does by default."""

    id: int
    url: str
    secret: str
    events: list[str]
    active: bool = True
    form: bool = False
    made: datetime | None = None


class Shapes:
    """GitHub's JSON. ``base``: where the API is."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.kinds: dict[str, str] = {}

    def user(self, login: str | None) -> dict[str, Any] | None:
        if login is None:
            return None
        url = f"{self.base}/users/{login}"
        return {
            "login": login,
            "id": number_of(login),
            "node_id": f"U_{number_of(login)}",
            "avatar_url": f"{self.base}/avatars/{number_of(login)}",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.base}/{login}",
            **{f"{page}_url": f"{url}/{page}" for page in USER_PAGES},
            "type": self.kinds.get(login, "User"),
            "site_admin": False,
        }

    def repository(self, repository: HostedRepository, *, of: str, permissions: str, **more: Any) -> dict[str, Any]:
        """``of``: the full name of the repository it is a fork of, if it is not that one itself."""
        name = repository.full_name
        url, page = f"{self.base}/repos/{name}", f"{self.base}/{name}"
        ladder = ["pull", "triage", "push", "maintain", "admin"]
        level = {"read": 1, "write": 3, "admin": 5}.get(permissions, 0)
        made = timestamp()
        return {
            "id": number_of(name),
            "node_id": f"R_{number_of(name)}",
            "name": name.split("/")[1],
            "full_name": name,
            "owner": self.user(name.split("/", maxsplit=1)[0]),
            "private": False,
            "html_url": page,
            "description": None,
            "fork": name != of,
            "url": url,
            **{f"{part}_url": f"{url}/{part}" for part in REPOSITORY_PAGES},
            "git_url": f"git://host/{name}.git",
            "ssh_url": f"git@host:{name}.git",
            "clone_url": repository.url,
            "svn_url": page,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            **dict.fromkeys(("forks", "stargazers", "watchers", "open_issues", "network", "subscribers"), 0),
            **{f"{part}_count": 0 for part in ("forks", "stargazers", "watchers", "open_issues", "network")},
            "subscribers_count": 0,
            "size": 0,
            "default_branch": "production",
            **dict.fromkeys(("has_issues", "has_projects", "has_wiki", "has_downloads"), True),
            **dict.fromkeys(("has_pages", "has_discussions", "archived", "disabled"), False),
            "license": None,
            "pushed_at": made,
            "created_at": made,
            "updated_at": made,
            "permissions": {part: index < level for index, part in enumerate(ladder)},
            **more,
        }

    def label(self, name: str) -> dict[str, Any]:
        return {
            "id": number_of(f"label {name}"),
            "node_id": f"L_{number_of(name)}",
            "url": f"{self.base}/labels/{number_of(name)}",
            "name": name,
            "color": "1f6feb",
            "default": False,
            "description": "",
        }

    def issue(self, item: Item, name: str, *, comments: int = 0) -> dict[str, Any]:
        url = f"{self.base}/repos/{name}/issues/{item.number}"
        page = f"{self.base}/{name}/{'pull' if item.pull else 'issues'}/{item.number}"
        shown = {
            "id": number_of(f"{name} {item.number}"),
            "node_id": f"I_{item.number}",
            "url": url,
            "repository_url": f"{self.base}/repos/{name}",
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "html_url": page,
            "number": item.number,
            "title": item.title,
            "user": self.user(item.user),
            "labels": [self.label(label) for label in item.labels],
            "state": item.state,
            "state_reason": item.reason,
            "locked": False,
            "assignee": self.user(item.assignees[0]) if item.assignees else None,
            "assignees": [self.user(login) for login in item.assignees],
            "milestone": None,
            "comments": comments,
            "created_at": timestamp(item.created),
            "updated_at": timestamp(item.updated),
            "closed_at": timestamp(item.closed) if item.closed else None,
            "author_association": "CONTRIBUTOR",
            "active_lock_reason": None,
            "body": item.body,
            "performed_via_github_app": None,
        }
        if item.pull is None:
            return shown
        link = f"{self.base}/repos/{name}/pulls/{item.number}"
        merged = timestamp(item.pull.merged_at) if item.pull.merged_at else None
        parts = {"url": link, "html_url": page, "diff_url": f"{page}.diff", "patch_url": f"{page}.patch"}
        return {**shown, "pull_request": {**parts, "merged_at": merged}}

    def pull(
        self, item: Item, name: str, repository: dict[str, Any], head: Any, *, base: str, full: bool
    ) -> dict[str, Any]:
        pull = item.pull
        assert pull
        url, page = f"{self.base}/repos/{name}/pulls/{item.number}", f"{self.base}/{name}/pull/{item.number}"
        issue = self.issue(item, name)
        shown = {
            **{part: issue[part] for part in SHARED},
            "url": url,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "issue_url": issue["url"],
            "commits_url": f"{url}/commits",
            "review_comments_url": f"{url}/comments",
            "review_comment_url": f"{self.base}/repos/{name}/pulls/comments{{/number}}",
            "comments_url": issue["comments_url"],
            "statuses_url": f"{self.base}/repos/{name}/statuses/{pull.sha}",
            "merged_at": timestamp(pull.merged_at) if pull.merged_at else None,
            "merge_commit_sha": pull.merge_commit,
            "requested_reviewers": [self.user(login) for login in pull.reviewers],
            "requested_teams": [self.team(slug, name.split("/", maxsplit=1)[0]) for slug in pull.teams],
            "draft": False,
            "auto_merge": None,
            "head": self._part(pull.head, pull.sha, pull.owner, head),
            "base": self._part(pull.base, base, name.split("/", maxsplit=1)[0], repository),
            "_links": {link: {"href": url} for link in LINKS},
        }
        if not full:
            return shown
        return {
            **shown,
            "merged": pull.merged_at is not None,
            "mergeable": item.state == "open" or None,
            "rebaseable": None,
            "mergeable_state": "clean",
            "merged_by": self.user(pull.merged_by) if pull.merged_by else None,
            "maintainer_can_modify": False,
            **dict.fromkeys(("comments", "review_comments", "commits", "additions", "deletions", "changed_files"), 1),
        }

    def _part(self, ref: str, sha: str, owner: str, repository: Any) -> dict[str, Any]:
        return {"label": f"{owner}:{ref}", "ref": ref, "sha": sha, "user": self.user(owner), "repo": repository}

    def team(self, slug: str, owner: str) -> dict[str, Any]:
        url = f"{self.base}/organizations/{number_of(owner)}/team/{number_of(slug)}"
        return {
            "id": number_of(slug),
            "node_id": f"T_{number_of(slug)}",
            "url": url,
            "html_url": f"{self.base}/orgs/{owner}/teams/{slug}",
            "members_url": f"{url}/members{{/member}}",
            "repositories_url": f"{url}/repos",
            "name": slug,
            "slug": slug,
            "description": None,
            "privacy": "closed",
            "permission": "push",
            "parent": None,
            "type": "organization",
            "organization_id": number_of(owner),
        }

    def comment(self, comment: Comment, name: str) -> dict[str, Any]:
        owner = f"{self.base}/repos/{name}"
        shown = {
            "id": comment.id,
            "node_id": f"C_{comment.id}",
            "url": f"{owner}/{'pulls' if comment.line else 'issues'}/comments/{comment.id}",
            "html_url": f"{self.base}/{name}/issues/{comment.on}#comment-{comment.id}",
            "user": self.user(comment.user),
            "created_at": timestamp(comment.created),
            "updated_at": timestamp(comment.updated),
            "author_association": "CONTRIBUTOR",
            "body": comment.body,
        }
        if not comment.line:
            return {**shown, "issue_url": f"{owner}/issues/{comment.on}", "performed_via_github_app": None}
        pull = f"{owner}/pulls/{comment.on}"
        return {
            **shown,
            "pull_request_review_id": None,
            "diff_hunk": "@@ -1 +1 @@",
            "path": "README",
            "commit_id": comment.commit,
            "original_commit_id": comment.commit,
            "pull_request_url": pull,
            "_links": {part: {"href": pull} for part in ("self", "html", "pull_request")},
        }

    def review(self, review: Review, name: str) -> dict[str, Any]:
        url = f"{self.base}/repos/{name}/pulls/{review.on}"
        return {
            "id": review.id,
            "node_id": f"PRR_{review.id}",
            "user": self.user(review.user),
            "body": review.body,
            "state": review.state,
            "html_url": f"{self.base}/{name}/pull/{review.on}#pullrequestreview-{review.id}",
            "pull_request_url": url,
            "_links": {"html": {"href": url}, "pull_request": {"href": url}},
            "submitted_at": timestamp(review.at),
            "commit_id": review.commit,
            "author_association": "CONTRIBUTOR",
        }

    def status(self, status: Status, name: str) -> dict[str, Any]:
        return {
            "url": f"{self.base}/repos/{name}/statuses/{status.sha}",
            "avatar_url": f"{self.base}/avatars/{number_of(status.creator)}",
            "id": status.id,
            "node_id": f"S_{status.id}",
            "state": status.state,
            "description": status.description,
            "target_url": status.url,
            "context": status.context,
            "created_at": timestamp(status.at),
            "updated_at": timestamp(status.at),
            "creator": self.user(status.creator),
        }

    def deployment(self, one: Deployment, name: str) -> dict[str, Any]:
        url = f"{self.base}/repos/{name}/deployments/{one.id}"
        return {
            "url": url,
            "id": one.id,
            "node_id": f"D_{one.id}",
            "sha": one.sha,
            "ref": one.ref,
            "task": one.task,
            "payload": {},
            "original_environment": one.environment,
            "environment": one.environment,
            "description": one.description,
            "creator": self.user(one.creator),
            "created_at": timestamp(one.at),
            "updated_at": timestamp(one.at),
            "statuses_url": f"{url}/statuses",
            "repository_url": f"{self.base}/repos/{name}",
            "transient_environment": one.transient,
            "production_environment": one.production,
        }

    def hook(self, hook: Hook, name: str) -> dict[str, Any]:
        url = f"{self.base}/repos/{name}/hooks/{hook.id}"
        made = timestamp(hook.made)
        secret = {"secret": "********"} if hook.secret else {}
        return {
            "type": "Repository",
            "id": hook.id,
            "name": "web",
            "active": hook.active,
            "events": hook.events,
            "config": {
                "content_type": "form" if hook.form else "json",
                "insecure_ssl": "0",
                "url": hook.url,
                **secret,
            },
            "updated_at": made,
            "created_at": made,
            "url": url,
            "test_url": f"{url}/test",
            "ping_url": f"{url}/pings",
            "deliveries_url": f"{url}/deliveries",
            "last_response": {"code": None, "status": "unused", "message": None},
        }


def message(status: int, text: str, errors: Sequence[Any] = (), **headers: str) -> Answer:
    """Return an error as GitHub writes it."""
    body: dict[str, Any] = {"message": text, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
    if errors:
        body["errors"] = list(errors)
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def invalid(resource: str, field: str = "", code: str = "invalid", text: str = "") -> Problem:
    """Return *Validation Failed* about a field."""
    parts = {"resource": resource, "field": field, "code": code, "message": text}
    return Problem(message(422, "Validation Failed", [{name: value for name, value in parts.items() if value}]))
