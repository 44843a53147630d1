"""The parts of Redmine's answers that we read, checked; whatever else is in them is left alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _text(value: Any) -> Any:
    """Read a text: ``null`` is none, and Redmine ends lines as browsers do."""
    if value is None:
        return ""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_text)]


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Named(Answer):
    """Something with an id and a name: a person, a project, a role, a tracker."""

    id: int
    name: Text = ""


class Status(Answer):
    """A status of issues; ``is_closed`` is missing where an old Redmine shows it in an issue."""

    id: int
    name: str
    is_closed: bool | None = None


class Journal(Answer):
    """One entry of an issue's history. ``user``: ``None`` when nobody may know."""

    id: int
    user: Named | None = None
    notes: Text = ""


class Issue(Answer):
    """An issue. ``allowed_statuses``: where we may move it, its own status included; since Redmine 5.0, when asked."""

    id: int
    project: Named
    tracker: Named
    status: Status
    author: Named | None = None
    assigned_to: Named | None = None
    subject: str
    description: Text = ""
    updated_on: datetime
    journals: list[Journal] = []
    allowed_statuses: list[Status] | None = None


class IssueBox(Answer):
    """``GET /issues/1.json``."""

    issue: Issue


class Issues(Answer):
    """A page of issues."""

    issues: list[Issue]
    total_count: int


class Statuses(Answer):
    """``GET /issue_statuses.json``."""

    issue_statuses: list[Status]


class Tracker(Answer):
    """What Redmine calls a tracker: a type of issue."""

    id: int
    name: str
    default_status: Named | None = None


class Trackers(Answer):
    """``GET /trackers.json``."""

    trackers: list[Tracker]


class Project(Answer):
    """A project. ``trackers``: when asked for."""

    id: int
    identifier: str
    name: Text = ""
    trackers: list[Named] = []


class ProjectBox(Answer):
    """``GET /projects/shop.json``."""

    project: Project


class Membership(Answer):
    """A person's (or a group's) place in a project."""

    project: Named
    user: Named | None = None
    roles: list[Named] = []


class Memberships(Answer):
    """A page of a project's members."""

    memberships: list[Membership]
    total_count: int


class User(Answer):
    """A person. ``login``: missing where only administrators may know it."""

    id: int
    login: Text = ""
    admin: bool = False
    memberships: list[Membership] = []


class UserBox(Answer):
    """``GET /users/1.json``."""

    user: User


class Users(Answer):
    """A page of people."""

    users: list[User]


class Role(Answer):
    """What the members with a role may do."""

    id: int
    name: str
    permissions: list[str] = []


class RoleBox(Answer):
    """``GET /roles/1.json``."""

    role: Role


def reasons(content: Any) -> list[str]:
    """Return the sentences of an error: ``{"errors": ["Assignee is invalid"]}``."""
    errors = content.get("errors") if isinstance(content, dict) else None
    return [one for one in errors if isinstance(one, str)] if isinstance(errors, list) else []
