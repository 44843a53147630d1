"""What the fake Gitea remembers, and how it shows it: the shapes, nulls and oddities are those of the real server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.hosts.common import HostedRepository, timestamp
from tests.support.git_world import git

SCOPES = frozenset({"write:repository", "write:issue", "write:user", "write:organization"})
RIGHTS = ("none", "read", "write", "admin")


def now() -> datetime:
    """Return this moment as Gitea stores it: to the second."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class User:
    """An account. ``password`` is also its token; ``scopes``: what the token may do."""

    id: int
    login: str
    password: str
    scopes: frozenset[str] = SCOPES

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "login": self.login,
            "login_name": "",
            "full_name": "",
            "email": f"{self.login}@shop.test",
            "avatar_url": "",
            "html_url": f"http://git.shop.test/{self.login}",
            "language": "",
            "is_admin": False,
            "last_login": "0001-01-01T00:00:00Z",
            "created": "2026-01-01T00:00:00Z",
            "restricted": False,
            "active": False,
            "prohibit_login": False,
            "location": "",
            "website": "",
            "description": "",
            "visibility": "public",
            "followers_count": 0,
            "following_count": 0,
            "starred_repos_count": 0,
            "username": self.login,
        }


@dataclass
class Label:
    id: int
    name: str
    color: str

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "exclusive": False,
            "is_archived": False,
            "color": self.color.removeprefix("#"),
            "description": "",
            "url": f"http://git.shop.test/labels/{self.id}",
        }


@dataclass
class Comment:
    id: int
    user: User
    body: str
    created: datetime = field(default_factory=now)
    updated: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.updated = self.created


@dataclass
class Review:
    id: int
    user: User | None
    state: str
    body: str = ""
    commit: str = ""
    official: bool = True
    dismissed: bool = False
    stale: bool = False
    team: str = ""
    created: datetime = field(default_factory=now)


@dataclass
class Pull:
    """What makes an issue a request."""

    head_repository: Repository | None
    head_branch: str
    base_branch: str
    last_head: str
    merged_commit: str = ""
    merged_by: User | None = None
    merged_at: datetime | None = None
    reviews: list[Review] = field(default_factory=list)


@dataclass
class Issue:
    number: int
    id: int
    user: User
    title: str
    body: str
    pull: Pull | None = None
    closed: datetime | None = None
    blocked: bool = False
    assignees: list[User] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    created: datetime = field(default_factory=now)
    updated: datetime = field(default_factory=now)

    @property
    def state(self) -> str:
        return "closed" if self.closed else "open"

    def touch(self) -> None:
        self.updated = now()


@dataclass
class Status:
    id: int
    commit: str
    context: str
    state: str
    description: str
    url: str
    creator: User
    created: datetime = field(default_factory=now)


@dataclass
class Hook:
    id: int
    url: str
    secret: str
    events: list[str]
    active: bool = True
    branch_filter: str = "*"
    content_type: str = "json"

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "gitea",
            "branch_filter": self.branch_filter,
            # The secret is never shown again.
            "config": {"content_type": self.content_type, "url": self.url},
            "url": self.url,
            "content_type": self.content_type,
            "metadata": None,
            "events": self.events,
            "authorization_header": "",
            "active": self.active,
            "updated_at": "2026-01-01T00:00:00Z",
            "created_at": "2026-01-01T00:00:00Z",
        }


@dataclass
class Protection:
    """A rule for branches of one name. ``None`` in a whitelist: everybody who may write."""

    branch: str
    push: frozenset[str] | None = None
    merge: frozenset[str] | None = None
    signed: bool = False
    files: str = ""
    dismiss_stale: bool = False

    def shown(self) -> dict[str, Any]:
        return {
            "branch_name": self.branch,
            "rule_name": self.branch,
            "enable_push": True,
            "enable_push_whitelist": self.push is not None,
            "push_whitelist_usernames": sorted(self.push or ()),
            "push_whitelist_teams": [],
            "push_whitelist_deploy_keys": False,
            "enable_merge_whitelist": self.merge is not None,
            "merge_whitelist_usernames": sorted(self.merge or ()),
            "merge_whitelist_teams": [],
            "enable_status_check": False,
            "status_check_contexts": None,
            "required_approvals": 0,
            "dismiss_stale_approvals": self.dismiss_stale,
            "require_signed_commits": self.signed,
            "protected_file_patterns": self.files,
            "unprotected_file_patterns": "",
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        }


@dataclass
class Repository:
    """One repository. ``tells_settings``: newer servers say in its answer what kinds of merges are allowed."""

    id: int
    owner: User
    name: str
    git: HostedRepository
    url: str
    parent: Repository | None = None
    private: bool = True
    archived: bool = False
    has_issues: bool = True
    has_pull_requests: bool = True
    allow_manual_merge: bool = False
    autodetect_manual_merge: bool = False
    tells_settings: bool = False
    owned_by_organisation: bool = False
    rights: dict[str, str] = field(default_factory=dict)
    teams: dict[str, int] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    organisation_labels: list[Label] = field(default_factory=list)
    issues: dict[int, Issue] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    hooks: list[Hook] = field(default_factory=list)
    protections: list[Protection] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    @property
    def pulls(self) -> list[Issue]:
        return [issue for issue in self.issues.values() if issue.pull]

    def may(self, user: User | None, right: str) -> bool:
        if user is None:
            return right == "read" and not self.private
        if user.login == self.owner.login:
            return True
        has = self.rights.get(user.login, "none" if self.private else "read")
        return RIGHTS.index(has) >= RIGHTS.index(right)

    def protection(self, branch: str) -> Protection | None:
        return next((one for one in self.protections if one.branch == branch), None)

    def may_push(self, user: User, branch: str) -> bool:
        rule = self.protection(branch)
        listed = rule is None or rule.push is None or user.login in rule.push
        return self.may(user, "write") and listed

    def may_merge(self, user: User, branch: str) -> bool:
        rule = self.protection(branch)
        if rule is None or rule.merge is None:
            return self.may(user, "write")
        return user.login in rule.merge

    def next_number(self) -> int:
        return max(self.issues, default=0) + 1

    def pull_ref(self, number: int) -> str:
        return f"refs/pull/{number}/head"

    def keep_head(self, number: int, commit: str) -> None:
        git(self.git.directory, "update-ref", self.pull_ref(number), commit)

    def head_of(self, pull: Pull) -> str:
        """Return where the source branch is; the last commit known when it, or its repository, is gone."""
        head = pull.head_repository.git.head(pull.head_branch) if pull.head_repository else None
        return head or pull.last_head

    def shown(self, user: User | None) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": self.id,
            "owner": self.owner.shown(),
            "name": self.name,
            "full_name": self.full_name,
            "description": "",
            "empty": False,
            "private": self.private,
            "fork": self.parent is not None,
            "template": False,
            "parent": self.parent.shown(user) if self.parent else None,
            "mirror": False,
            "size": 89,
            "html_url": f"{self.url}/{self.full_name}",
            "url": f"{self.url}/api/v1/repos/{self.full_name}",
            "clone_url": f"{self.url}/{self.full_name}.git",
            "ssh_url": f"git@git.shop.test:{self.full_name}.git",
            "default_branch": "production",
            "archived": self.archived,
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": timestamp(),
            "permissions": {right: self.may(user, needs) for right, needs in _PERMISSIONS},
            "has_issues": self.has_issues,
            "has_pull_requests": self.has_pull_requests,
            "has_wiki": True,
            "allow_merge_commits": True,
            "allow_squash_merge": True,
            "allow_rebase": True,
            "default_merge_style": "merge",
            "object_format_name": "sha1",
        }
        if self.tells_settings:
            shown["allow_manual_merge"] = self.allow_manual_merge
            shown["autodetect_manual_merge"] = self.autodetect_manual_merge
        return shown

    def shown_issue(self, issue: Issue) -> dict[str, Any]:
        kind = "pulls" if issue.pull else "issues"
        return {
            "id": issue.id,
            "url": f"{self.url}/api/v1/repos/{self.full_name}/issues/{issue.number}",
            "html_url": f"{self.url}/{self.full_name}/{kind}/{issue.number}",
            "number": issue.number,
            "user": issue.user.shown(),
            "original_author": "",
            "original_author_id": 0,
            "title": issue.title,
            "body": issue.body,
            "ref": "",
            "assets": [],
            "labels": [label.shown() for label in issue.labels],
            "milestone": None,
            "assignee": issue.assignees[0].shown() if issue.assignees else None,
            "assignees": [user.shown() for user in issue.assignees] or None,
            "state": issue.state,
            "is_locked": False,
            "comments": len(issue.comments),
            "created_at": timestamp(issue.created),
            "updated_at": timestamp(issue.updated),
            "closed_at": timestamp(issue.closed) if issue.closed else None,
            "due_date": None,
            "pull_request": self._meta(issue),
            "repository": {
                "id": self.id,
                "name": self.name,
                "owner": self.owner.login,
                "full_name": self.full_name,
            },
            "pin_order": 0,
        }

    def _meta(self, issue: Issue) -> dict[str, Any] | None:
        if issue.pull is None:
            return None
        at = issue.pull.merged_at
        return {
            "merged": at is not None,
            "merged_at": timestamp(at) if at else None,
            "draft": False,
            "html_url": f"{self.url}/{self.full_name}/pulls/{issue.number}",
        }

    def shown_pull(self, issue: Issue, user: User | None) -> dict[str, Any]:
        pull = issue.pull
        assert pull
        whole = self.shown_issue(issue)
        kept = ("id", "number", "user", "title", "body", "labels", "milestone", "assignee", "assignees", "state")
        there = pull.head_repository is not None and pull.head_repository.git.head(pull.head_branch) is not None
        page = f"{self.url}/{self.full_name}/pulls/{issue.number}"
        teams = [one.team for one in pull.reviews if one.state == "REQUEST_REVIEW" and one.team]
        return {
            **{name: whole[name] for name in kept},
            "url": page,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "draft": False,
            "is_locked": False,
            "comments": whole["comments"],
            "requested_reviewers": [
                one.user.shown() for one in pull.reviews if one.state == "REQUEST_REVIEW" and one.user
            ]
            or None,
            "requested_reviewers_teams": [self.shown_team(name) for name in teams] or None,
            "mergeable": True,
            "merged": pull.merged_at is not None,
            "merged_at": timestamp(pull.merged_at) if pull.merged_at else None,
            "merge_commit_sha": pull.merged_commit or None,
            "merged_by": pull.merged_by.shown() if pull.merged_by else None,
            "allow_maintainer_edit": False,
            "base": {
                "label": pull.base_branch,
                "ref": pull.base_branch,
                "sha": self.git.head(pull.base_branch) or "",
                "repo_id": self.id,
                "repo": self.shown(user),
            },
            "head": {
                "label": pull.head_branch,
                # When the branch is gone, this is no branch's name any more.
                "ref": pull.head_branch if there else self.pull_ref(issue.number),
                "sha": self.head_of(pull),
                "repo_id": pull.head_repository.id if pull.head_repository else -1,
                "repo": pull.head_repository.shown(user) if pull.head_repository else None,
            },
            "merge_base": "",
            "due_date": None,
            "created_at": timestamp(issue.created),
            "updated_at": timestamp(issue.updated),
            "closed_at": timestamp(issue.closed) if issue.closed else None,
            "pin_order": 0,
        }

    def shown_team(self, name: str) -> dict[str, Any]:
        return {"id": self.teams[name], "name": name, "description": "", "permission": "write"}

    def shown_comment(self, issue: Issue, comment: Comment) -> dict[str, Any]:
        page = f"{self.url}/{self.full_name}/{'pulls' if issue.pull else 'issues'}/{issue.number}"
        return {
            "id": comment.id,
            "html_url": f"{page}#issuecomment-{comment.id}",
            "pull_request_url": page if issue.pull else "",
            "issue_url": "" if issue.pull else page,
            "user": comment.user.shown(),
            "original_author": "",
            "original_author_id": 0,
            "body": comment.body,
            "assets": [],
            "created_at": timestamp(comment.created),
            "updated_at": timestamp(comment.updated),
        }

    def shown_review(self, issue: Issue, review: Review) -> dict[str, Any]:
        page = f"{self.url}/{self.full_name}/pulls/{issue.number}"
        return {
            "id": review.id,
            "user": review.user.shown() if review.user else None,
            "team": self.shown_team(review.team) if review.team else None,
            "state": review.state,
            "body": review.body,
            "commit_id": review.commit,
            "stale": review.stale,
            "official": review.official,
            "dismissed": review.dismissed,
            "comments_count": 0,
            "submitted_at": timestamp(review.created),
            "updated_at": timestamp(review.created),
            "html_url": f"{page}#issuecomment-{review.id}",
            "pull_request_url": page,
        }

    def shown_status(self, status: Status) -> dict[str, Any]:
        return {
            "id": status.id,
            "status": status.state,
            "target_url": status.url,
            "description": status.description,
            "url": f"{self.url}/api/v1/repos/{self.full_name}/statuses/{status.commit}",
            "context": status.context,
            "creator": status.creator.shown(),
            "created_at": timestamp(status.created),
            "updated_at": timestamp(status.created),
        }

    def shown_commit(self, commit: str) -> dict[str, Any]:
        message, email, at = self.git.described(commit)
        parents = git(self.git.directory, "rev-list", "--parents", "-n", "1", commit).split()[1:]
        who = {"name": "Dev", "email": email, "date": at}
        url = f"{self.url}/api/v1/repos/{self.full_name}/git/commits"
        return {
            "url": f"{url}/{commit}",
            "sha": commit,
            "created": at,
            "html_url": f"{self.url}/{self.full_name}/commit/{commit}",
            "commit": {"url": f"{url}/{commit}", "author": who, "committer": who, "message": message},
            "author": None,
            "committer": None,
            "parents": [{"url": f"{url}/{one}", "sha": one, "created": "0001-01-01T00:00:00Z"} for one in parents],
        }


_PERMISSIONS = (("admin", "admin"), ("push", "write"), ("pull", "read"))
