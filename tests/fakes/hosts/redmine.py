"""A Redmine of ours over real HTTP, as version 5.0 behaves: silent where the real one is silent.

Workflow and permissions hang on roles. A status that the workflow does not allow, notes and assignees without the
permission are left out with a 204; a key that is not known makes the request a stranger's, who sees public projects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from feature_delivery.adapters.trackers.workflow import refusals
from feature_delivery.domain.login import Login
from tests.fakes.hosts.common import Answer, Call, HostServer, Problem, Routes, timestamp

STATUSES = {1: "New", 2: "In Progress", 3: "Resolved", 4: "Feedback", 5: "Closed", 6: "Rejected"}
CLOSED = {5, 6}
TYPES = {1: "Bug", 2: "Feature", 3: "Support"}
EVERYTHING = frozenset({"view_issues", "add_issues", "edit_issues", "add_issue_notes", "edit_own_issue_notes"})


@dataclass
class Role:
    """What its members may do; ``workflow``: from each status to which others."""

    id: int
    name: str
    permissions: frozenset[str] = EVERYTHING
    workflow: dict[int, set[int]] = field(default_factory=lambda: {one: {2, 3, 4, 5} for one in (1, 2, 3, 4)})


@dataclass
class User:
    """A person; ``role`` in the one project, ``None``: no member."""

    id: int
    login: str
    role: Role | None
    admin: bool = False

    @property
    def key(self) -> str:
        return f"key-of-{self.login}"

    @property
    def shown(self) -> dict[str, Any]:
        return {"id": self.id, "name": f"{self.login.capitalize()} Test"}


@dataclass
class Journal:
    id: int
    user: User
    notes: str


@dataclass
class Issue:
    id: int
    author: User
    subject: str
    description: str
    project: int = 1
    status: int = 1
    type: int = 1
    assignee: User | None = None
    journals: list[Journal] = field(default_factory=list)
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))


class FakeRedmine:
    """One server with the projects ``shop`` (1) and ``other`` (2). ``old``: it is of a version before 5.0."""

    def __init__(self, server: HostServer) -> None:
        self.server = server
        everywhere = {one: set(STATUSES) for one in STATUSES}
        self.developer, self.reporter = Role(4, "Developer"), Role(5, "Reporter", frozenset({"view_issues"}))
        self.manager = Role(3, "Manager", workflow=everywhere)
        self.users = {
            user.login: user
            for user in (
                User(1, "admin", None, admin=True),
                User(5, "bot", self.manager),
                User(6, "bob", self.manager),
                User(7, "mia", self.reporter),
                User(8, "eve", self.developer),
            )
        }
        self.issues: dict[int, Issue] = {}
        self.rest_enabled = True
        self.old = False
        self.projects = {1: ("shop", "Shop"), 2: ("other", "Other")}
        self.page = 100
        self._journals = 0
        self._routes = self._all_routes()
        server.host = self

    def login(self, user: str = "bot") -> Login:
        return Login(connection="redmine", url=self.server.url, secret=self.users[user].key)

    def give(self, number: int, *, subject: str = "Gift cards", project: int = 1, by: str = "mia") -> Issue:
        """Create an issue under this number, as people do on its pages."""
        issue = Issue(number, self.users[by], subject, "Sell them.", project=project)
        self.issues[number] = issue
        return issue

    def assign(self, number: int, person: str | None) -> None:
        """Give an issue to somebody, as people do."""
        self._assign(self.issues[number], str(self.users[person].id) if person else "")

    def move(self, number: int, status: int) -> None:
        """Set an issue's status, as people do."""
        issue = self.issues[number]
        issue.status, issue.updated = status, datetime.now(UTC)

    def note(self, number: int, text: str, *, by: str) -> None:
        """Write a note, as people do."""
        self._note(self.issues[number], text, self.users[by])

    # --- what FakeHost asks for -------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        found = self._routes.find(call)
        if found is None:
            return Answer(404, b"<h1>Page not found</h1>", {"Content-Type": "text/html"})
        handler, parts = found
        return handler(call, **parts)

    def git_user(self, username: str, password: str) -> str | None:
        return None

    def pushed(self, repository: Any, changes: Any, by: str) -> None:
        raise AssertionError("nobody pushes to Redmine")

    # --- routes -----------------------------------------------------------------------------------------------------

    def _all_routes(self) -> Routes:
        routes = Routes()
        table: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "/users/current.json", self._current),
            ("GET", "/users/{number}.json", self._user),
            ("GET", "/users.json", self._users),
            ("GET", "/roles/{number}.json", self._role),
            ("GET", "/issue_statuses.json", self._statuses),
            ("GET", "/trackers.json", self._trackers),
            ("GET", "/projects/{project}.json", self._project),
            ("GET", "/projects/{project}/memberships.json", self._memberships),
            ("GET", "/issues.json", self._list),
            ("POST", "/issues.json", self._create),
            ("GET", "/issues/{number}.json", self._show),
            ("PUT", "/issues/{number}.json", self._update),
            ("PUT", "/journals/{number}.json", self._edit),
        ]
        for method, pattern, handler in table:
            routes.add(method, pattern, handler)
        return routes

    def _who(self, call: Call, *, needed: bool = True) -> User | None:
        """Return whose key it is; a wrong one is nobody's, which only some requests mind."""
        key = call.headers.get("x-redmine-api-key", "")
        found = next((one for one in self.users.values() if one.key == key), None) if self.rest_enabled else None
        if found is None and needed:
            raise Problem(Answer(401, b"", {"Content-Type": "application/json"}))
        return found

    def _may(self, user: User | None, permission: str) -> bool:
        if user is None or (user.role is None and not user.admin):
            return permission == "view_issues"
        return user.admin or (user.role is not None and permission in user.role.permissions)

    def _refused(self) -> Problem:
        return Problem(Answer(403, b"", {"Content-Type": "application/json"}))

    def _missing(self) -> Problem:
        return Problem(Answer(404, b"", {"Content-Type": "application/json"}))

    def _current(self, call: Call) -> Answer:
        user = self._who(call)
        assert user
        body: dict[str, Any] = {"id": user.id, "login": user.login, "admin": user.admin, "api_key": user.key}
        if "memberships" in call.asked("include"):
            body["memberships"] = [self._membership(user)] if user.role else []
        return Answer(200, {"user": body})

    def _membership(self, user: User) -> dict[str, Any]:
        assert user.role
        name = self.projects[1][1]
        role = {"id": user.role.id, "name": user.role.name}
        return {"id": user.id, "project": {"id": 1, "name": name}, "roles": [role]}

    def _user(self, call: Call, number: str) -> Answer:
        self._who(call)
        found = [one for one in self.users.values() if str(one.id) == number]
        if not found:
            raise self._missing()
        return Answer(200, {"user": {"id": found[0].id, "login": found[0].login}})

    def _users(self, call: Call) -> Answer:
        user = self._who(call)
        if user is None or not user.admin:
            raise self._refused()
        name = call.asked("name")
        found = [{"id": one.id, "login": one.login} for one in self.users.values() if name in one.login]
        return Answer(200, {"users": found, "total_count": len(found), "offset": 0, "limit": 25})

    def _role(self, call: Call, number: str) -> Answer:
        self._who(call)
        role = next(one for one in (self.developer, self.manager, self.reporter) if str(one.id) == number)
        body = {"id": role.id, "name": role.name, "permissions": sorted(role.permissions)}
        return Answer(200, {"role": body})

    def _status(self, number: int) -> dict[str, Any]:
        return {"id": number, "name": STATUSES[number], "is_closed": number in CLOSED}

    def _statuses(self, call: Call) -> Answer:
        self._who(call)
        return Answer(200, {"issue_statuses": [self._status(number) for number in STATUSES]})

    def _trackers(self, call: Call) -> Answer:
        self._who(call)
        first = {"id": 1, "name": STATUSES[1]}
        return Answer(
            200, {"trackers": [{"id": number, "name": name, "default_status": first} for number, name in TYPES.items()]}
        )

    def _project_number(self, asked: str) -> int:
        for number, (identifier, _) in self.projects.items():
            if asked in {str(number), identifier}:
                return number
        raise self._missing()

    def _project(self, call: Call, project: str) -> Answer:
        self._who(call, needed=False)
        number = self._project_number(project)
        identifier, name = self.projects[number]
        body: dict[str, Any] = {"id": number, "identifier": identifier, "name": name}
        if "trackers" in call.asked("include"):
            body["trackers"] = [{"id": one, "name": type_} for one, type_ in TYPES.items()]
        return Answer(200, {"project": body})

    def _memberships(self, call: Call, project: str) -> Answer:
        self._who(call)
        self._project_number(project)
        found = [{**self._membership(one), "user": one.shown} for one in self.users.values() if one.role]
        return self._paged("memberships", found, call)

    def _paged(self, name: str, found: list[dict[str, Any]], call: Call) -> Answer:
        offset, limit = int(call.asked("offset") or 0), min(self.page, int(call.asked("limit") or 25))
        page = found[offset : offset + limit]
        return Answer(200, {name: page, "total_count": len(found), "offset": offset, "limit": limit})

    def _list(self, call: Call) -> Answer:
        self._who(call, needed=False)
        project = self._project_number(call.asked("project_id"))
        found = [issue for issue in self.issues.values() if issue.project == project]
        if call.asked("status_id") != "*":
            found = [issue for issue in found if issue.status not in CLOSED]
        if updated := call.asked("updated_on"):
            since = datetime.strptime(updated, ">=%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            found = [issue for issue in found if issue.updated.replace(microsecond=0) >= since]
        if call.asked("sort") == "updated_on:desc,id:desc":
            found.sort(key=lambda issue: (issue.updated.replace(microsecond=0), issue.id), reverse=True)
        return self._paged("issues", [self._shown(issue) for issue in found], call)

    def _shown(self, issue: Issue) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": issue.id,
            "project": {"id": issue.project, "name": self.projects[issue.project][1]},
            "tracker": {"id": issue.type, "name": TYPES[issue.type]},
            "status": {"id": issue.status, "name": STATUSES[issue.status]} if self.old else self._status(issue.status),
            "author": issue.author.shown,
            "subject": issue.subject,
            "description": issue.description or None,
            "updated_on": timestamp(issue.updated),
        }
        if issue.assignee:
            body["assigned_to"] = issue.assignee.shown
        return body

    def _show(self, call: Call, number: str) -> Answer:
        user = self._who(call, needed=False)
        issue = self._issue(number)
        if not self._may(user, "view_issues"):
            raise self._refused()
        body, include = self._shown(issue), call.asked("include")
        if "journals" in include:
            body["journals"] = [
                {"id": one.id, "user": one.user.shown, "notes": one.notes, "details": []} for one in issue.journals
            ]
        if "allowed_statuses" in include and not self.old:
            body["allowed_statuses"] = [self._status(one) for one in sorted(self._allowed(user, issue))]
        return Answer(200, {"issue": body})

    def _allowed(self, user: User | None, issue: Issue) -> set[int]:
        if user is not None and user.admin:
            return set(STATUSES)
        role = user.role if user else None
        return {issue.status} | (role.workflow.get(issue.status, set()) if role else set())

    def _issue(self, number: str) -> Issue:
        issue = self.issues.get(int(number)) if number.isdigit() else None
        if issue is None:
            raise self._missing()
        return issue

    def _create(self, call: Call) -> Answer:
        user = self._who(call)
        asked = call.json()["issue"]
        if user is None or not self._may(user, "add_issues"):
            raise self._refused()
        subject = asked.get("subject", "")
        if not subject or len(subject) > 255:
            return Answer(422, {"errors": ["Subject cannot be blank" if not subject else "Subject is too long"]})
        project = self._project_number(str(asked["project_id"]))
        issue = Issue(max(self.issues, default=0) + 1, user, subject, asked.get("description", ""), project=project)
        issue.type = asked.get("tracker_id", 1)
        self.issues[issue.id] = issue
        return Answer(201, {"issue": self._shown(issue)})

    def _update(self, call: Call, number: str) -> Answer:
        user, issue, asked = self._who(call), self._issue(number), call.json()["issue"]
        if user is None or not (self._may(user, "edit_issues") or self._may(user, "add_issue_notes")):
            raise self._refused()
        if self._may(user, "edit_issues"):
            if "assigned_to_id" in asked:
                self._assign(issue, str(asked["assigned_to_id"]))
            if "status_id" in asked and asked["status_id"] in self._allowed(user, issue):
                issue.status = asked["status_id"]
                issue.updated = datetime.now(UTC)
        if asked.get("notes") and self._may(user, "add_issue_notes"):
            self._note(issue, asked["notes"], user)
        return Answer(204)

    def _assign(self, issue: Issue, number: str) -> None:
        found = [one for one in self.users.values() if str(one.id) == number and one.role]
        if number and not found:
            raise Problem(Answer(422, {"errors": ["Assignee is invalid"]}))
        issue.assignee = found[0] if found else None
        issue.updated = datetime.now(UTC)

    def _note(self, issue: Issue, text: str, user: User) -> None:
        self._journals += 1
        issue.journals.append(Journal(self._journals, user, text))
        issue.updated = datetime.now(UTC)

    def _edit(self, call: Call, number: str) -> Answer:
        user = self._who(call)
        found = [one for issue in self.issues.values() for one in issue.journals if str(one.id) == number]
        if not found or self.old:
            raise self._missing()
        if user is None or found[0].user is not user or not self._may(user, "edit_own_issue_notes"):
            raise self._refused()
        found[0].notes = json.loads(call.body)["journal"]["notes"]
        return Answer(204)


@contextmanager
def fake_redmine() -> Iterator[FakeRedmine]:
    """Start one on a free port."""
    refusals.forget()  # of an earlier one at the same port
    server = HostServer()
    fake = FakeRedmine(server)
    with server.running():
        yield fake
