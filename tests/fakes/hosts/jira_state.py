"""What a fake Jira remembers: people, one workflow, the issues of the projects ``SHOP`` and ``ELSE``, and webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.hosts.common import Delivery, WebhookSender

RIGHTS = (
    "BROWSE_PROJECTS",
    "ADD_COMMENTS",
    "TRANSITION_ISSUES",
    "EDIT_ISSUES",
    "ASSIGN_ISSUES",
    "LINK_ISSUES",
    "CREATE_ISSUES",
    "MODIFY_REPORTER",
)
CATEGORIES = {"new": 2, "indeterminate": 4, "done": 3}


@dataclass(frozen=True)
class User:
    """A person: ``account`` on Cloud, ``name`` on Data Center. ``hidden``: the e-mail address is found, not shown."""

    account: str
    name: str
    shown: str
    email: str
    token: str
    hidden: bool = True
    assignable: bool = True


@dataclass(frozen=True)
class Status:
    id: str
    name: str
    category: str


@dataclass
class Screen:
    """One field on the screen of a transition."""

    name: str
    required: bool = False
    has_default: bool = False
    allowed: tuple[str, ...] = ()


@dataclass
class Transition:
    """``begin``: the statuses it leads away from; ``None``: every one."""

    id: str
    name: str
    begin: frozenset[str] | None
    to: str
    screen: dict[str, Screen] = field(default_factory=dict)


@dataclass
class Comment:
    id: int
    author: User
    body: Any
    properties: list[dict[str, Any]]
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Issue:
    number: int
    project: str
    summary: str
    description: Any
    reporter: User
    status: str
    type: str = "Story"
    assignee: User | None = None
    resolution: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    comments: list[Comment] = field(default_factory=list)
    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    moved_to: str = ""
    steps: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.project}-{self.number}"

    @property
    def id(self) -> str:
        return str(10_000 + self.number + (5_000 if self.project != "SHOP" else 0))


@dataclass
class Hook:
    """A webhook as an administrator has made it."""

    url: str
    secret: bytes
    events: frozenset[str]


def usual_statuses() -> dict[str, Status]:
    table = [("To Do", "new"), ("In Progress", "indeterminate"), ("In Review", "indeterminate"), ("Done", "done")]
    table.append(("Won't do", "done"))
    return {name: Status(str(10_001 + n), name, category) for n, (name, category) in enumerate(table)}


def usual_transitions() -> list[Transition]:
    """Return Jira's own: from everywhere to everywhere."""
    return [Transition(str(11 + 10 * n), f"To {name}", None, name) for n, name in enumerate(usual_statuses())]


class State:
    """All of it; ``cloud``: people and texts are Cloud's."""

    def __init__(self, *, cloud: bool) -> None:
        self.cloud = cloud
        self.users = {
            name: User(account or name, name, f"{name.capitalize()} Test", f"{name}@shop.test", f"token-of-{name}")
            for name, account in (("bot", "557058:b07"), ("mia", ""), ("bob", ""), ("eve", ""))
        }
        self.statuses = usual_statuses()
        self.transitions = usual_transitions()
        self.types = ["Story", "Bug", "Sub-task"]
        self.resolutions = ["Done", "Won't do"]
        self.issues: dict[str, Issue] = {}
        self.rights = set(RIGHTS)
        self.hooks: list[Hook] = []
        self.sender = WebhookSender()
        self.searches: dict[str, tuple[list[Issue], int]] = {}
        self.comments = 20_000

    def login_of(self, user: User) -> str:
        return user.account if self.cloud else user.name

    def give(self, number: int, *, project: str = "SHOP", by: str = "mia", text: str = "Sell them.") -> Issue:
        """Let somebody write the issue *Gift cards*."""
        issue = Issue(number, project, "Gift cards", self.body(text), self.users[by], "To Do")
        self.issues[issue.key] = issue
        self.tell("jira:issue_created", issue, self.users[by])
        return issue

    def body(self, text: str) -> Any:
        paragraph = {"type": "paragraph", "content": [{"type": "text", "text": text}]}
        return {"type": "doc", "version": 1, "content": [paragraph]} if self.cloud else text

    def assign(self, key: str, person: User | None, *, by: str = "bob") -> None:
        issue = self.issues[key]
        issue.assignee = person
        self.touch(issue, self.users[by])

    def move(self, key: str, status: str, *, by: str = "bob") -> None:
        """Put an issue into a status, whatever the workflow says, as an administrator may."""
        issue = self.issues[key]
        issue.status = status
        issue.steps.append(status)
        self.touch(issue, self.users[by])

    def write(self, key: str, text: str, *, by: str) -> Comment:
        return self.comment(self.issues[key], self.body(text), [], self.users[by])

    def comment(self, issue: Issue, body: Any, properties: list[dict[str, Any]], author: User) -> Comment:
        self.comments += 1
        made = Comment(self.comments, author, body, properties)
        issue.comments.append(made)
        issue.updated = made.created
        self.tell("comment_created", issue, author, made)
        return made

    def touch(self, issue: Issue, by: User) -> None:
        issue.updated = datetime.now(UTC)
        self.tell("jira:issue_updated", issue, by)

    # --- what is shown ----------------------------------------------------------------------------------------------

    def user(self, user: User | None) -> dict[str, Any] | None:
        if user is None:
            return None
        shown: dict[str, Any] = {"displayName": user.shown, "active": True, "timeZone": "Asia/Tokyo"}
        if not self.cloud:
            return {**shown, "name": user.name, "key": f"JIRAUSER{len(user.name)}", "emailAddress": user.email}
        shown |= {"accountId": user.account, "accountType": "atlassian"}
        return shown if user.hidden else {**shown, "emailAddress": user.email}

    def status(self, name: str) -> dict[str, Any]:
        status = self.statuses[name]
        category = {"id": CATEGORIES[status.category], "key": status.category, "name": status.category}
        return {"self": "", "id": status.id, "name": status.name, "statusCategory": category}

    def type(self, name: str) -> dict[str, Any]:
        return {"id": str(101 + self.types.index(name)), "name": name, "subtask": name == "Sub-task"}

    def fields(self, issue: Issue, wanted: str = "") -> dict[str, Any]:
        every: dict[str, Any] = {
            "summary": issue.summary,
            "description": issue.description,
            "status": self.status(issue.status),
            "issuetype": self.type(issue.type),
            "assignee": self.user(issue.assignee),
            "reporter": self.user(issue.reporter),
            "resolution": {"name": issue.resolution} if issue.resolution else None,
            "updated": jira_time(issue.updated),
            "project": {"key": issue.project},
            **issue.values,
        }
        names = [name for name in wanted.split(",") if name]
        return {name: every.get(name) for name in names} if names and "*all" not in names else every

    def shown(self, issue: Issue, wanted: str = "") -> dict[str, Any]:
        return {"id": issue.id, "self": "", "key": issue.moved_to or issue.key, "fields": self.fields(issue, wanted)}

    def shown_comment(self, comment: Comment, *, properties: bool = False) -> dict[str, Any]:
        author = self.user(comment.author)
        body: dict[str, Any] = {
            "id": str(comment.id),
            "author": author,
            "body": comment.body,
            "updateAuthor": author,
            "created": jira_time(comment.created),
            "updated": jira_time(comment.created),
        }
        return {**body, "properties": comment.properties} if properties else body

    # --- webhooks ---------------------------------------------------------------------------------------------------

    def tell(self, event: str, issue: Issue, user: User, comment: Comment | None = None) -> None:
        """Send an event to every webhook that asked for it, signed."""
        at = datetime.now(UTC)
        payload: dict[str, Any] = {
            "timestamp": int(at.timestamp() * 1000),
            "webhookEvent": event,
            "issue": self.shown(issue),
        }
        if comment is None:
            payload |= {"user": self.user(user), "issue_event_type_name": "issue_generic"}
        else:
            payload["comment"] = self.shown_comment(comment)
        body = json.dumps(payload).encode()
        for number, hook in enumerate(self.hooks, start=1):
            if event in hook.events:
                delivery = uuid.uuid4().hex
                headers = {
                    "Content-Type": "application/json; charset=UTF-8",
                    "User-Agent": "Atlassian Webhook HTTP Client",
                    "X-Atlassian-Webhook-Identifier": delivery,
                    "X-Hub-Signature": "sha256=" + hmac.new(hook.secret, body, hashlib.sha256).hexdigest(),
                }
                self.sender.send(Delivery(number, delivery, event, hook.url, headers, body))


def jira_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}+0000"
