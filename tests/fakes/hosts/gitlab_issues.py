"""Issues and comments of the fake GitLab, with its quick actions: orders in comments that vanish from them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.fakes.hosts.common import Answer, Routes
from tests.fakes.hosts.gitlab_routes import Sight, names, no
from tests.fakes.hosts.gitlab_state import (
    DEVELOPER,
    GUEST,
    MAINTAINER,
    REPORTER,
    Issue,
    MergeRequest,
    Project,
    Thing,
    User,
    now,
)

if TYPE_CHECKING:
    from tests.fakes.hosts.gitlab import FakeGitLab

QUICK_ACTIONS = (
    "approve",
    "unapprove",
    "close",
    "reopen",
    "merge",
    "label",
    "assign",
    "status",
    "title",
    "confidential",
)
_COMMAND = re.compile(
    rf"^/(?P<name>{'|'.join(QUICK_ACTIONS)})(?: (?P<words>[^\n]*))?(?:\s*\n|$)", re.MULTILINE | re.IGNORECASE
)


class IssueRoutes:
    def __init__(self, fake: FakeGitLab) -> None:
        self._fake = fake

    def add_to(self, routes: Routes) -> None:
        place = "/projects/{id}/issues"
        for method, path, handler in (
            ("GET", place, self.listing),
            ("POST", place, self.create),
            ("GET", f"{place}/{{iid}}", self.show),
            ("PUT", f"{place}/{{iid}}", self.update),
            ("GET", "/users", self.users),
            ("GET", "/projects/{id}/labels", self.labels),
        ):
            routes.add(method, path, handler)
        for kind in ("issues", "merge_requests"):
            notes = f"/projects/{{id}}/{kind}/{{iid}}/notes"
            routes.add("GET", notes, self.notes)
            routes.add("POST", notes, self.write)
            routes.add("PUT", f"{notes}/{{note}}", self.rewrite)

    def listing(self, sight: Sight, id: str) -> Answer:  # noqa: A002 - the part of the path
        project = sight.project(id)
        if project.features.get("issues") == "disabled":
            raise no(404)
        found = [one for one in sight.listed(project.issues.values()) if sight.sees(project, one)]
        return sight.page(found, project.shown_issue)

    def show(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id)
        return Answer(200, project.shown_issue(sight.issue(project, iid)))

    def create(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id)
        body = sight.json("title")
        if project.features.get("issues") == "disabled":
            raise no(403)
        text, orders = extracted(str(body.get("description") or ""))
        issue = self._fake.write_issue(str(body["title"]), text, by=sight.user.username, project=project)
        if project.level(sight.user) >= REPORTER:
            self._fake.label(project, issue, add=names(body.get("labels", "")))
        self._obey(project, issue, orders, sight.user)
        return Answer(201, project.shown_issue(issue))

    def update(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        """Change an issue; labels and assignees of somebody with no right to them are left out without a word."""
        project = sight.project(id)
        issue = sight.issue(project, iid)
        may = project.level(sight.user) >= REPORTER
        if not may and issue.user is not sight.user:
            raise no(403)
        body = sight.json()
        before = project.shown_issue(issue)
        if body.get("state_event") in {"close", "reopen"}:
            closed = body["state_event"] == "close"
            issue.state, issue.closed = ("closed", now()) if closed else ("opened", None)
        if may:
            self._fake.label(
                project, issue, add=names(body.get("add_labels", "")), gone=names(body.get("remove_labels", ""))
            )
            if "assignee_ids" in body:
                ids = [one for one in body["assignee_ids"] if one]
                users = [user for user in self._fake.users.values() if user.id in ids and project.level(user)]
                issue.assignees = users if self._fake.premium else users[:1]
        issue.touch()
        self._fake.announcer.issue(project, issue, _action(before, issue), sight.user)
        return Answer(200, project.shown_issue(issue))

    def users(self, sight: Sight) -> Answer:
        wanted = sight.call.asked("username").lower()
        found = [user for user in self._fake.users.values() if user.username.lower() == wanted]
        return sight.page(found, lambda one: one.shown(self._fake.url))

    def labels(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id)
        return sight.page(project.labels, lambda one: {"id": 1, "name": one, "color": "#6699cc"})

    # --- comments -----------------------------------------------------------------------------------------------------

    def notes(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project, thing = self._thing(sight, id, iid)
        keep = {"only_comments": False, "only_activity": True}.get(sight.call.asked("activity_filter"))
        found = [one for one in thing.notes if keep is None or one.system is keep]
        found.sort(key=lambda one: (one.created, one.id), reverse=sight.call.asked("sort", "desc") == "desc")
        return sight.page(found, lambda one: project.shown_note(one, thing))

    def write(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        """Add a comment; one that was nothing but quick actions is not kept (202)."""
        project, thing = self._thing(sight, id, iid)
        text, orders = extracted(str(sight.json("body")["body"]))
        self._obey(project, thing, orders, sight.user)
        if not text:
            return Answer(202, {"commands_changes": {}, "summary": ["Commands applied"]})
        note = self._fake.note(project, thing, sight.user, text)
        return Answer(201, project.shown_note(note, thing))

    def rewrite(self, sight: Sight, id: str, iid: str, note: str) -> Answer:  # noqa: A002
        project, thing = self._thing(sight, id, iid)
        found = next((one for one in thing.notes if str(one.id) == note and not one.system), None)
        if found is None:
            raise no(404)
        if found.user is not sight.user and project.level(sight.user) < MAINTAINER:
            raise no(403)
        found.body, orders = extracted(str(sight.json("body")["body"]))
        self._obey(project, thing, orders, sight.user)
        found.updated = now()
        thing.touch()
        return Answer(200, project.shown_note(found, thing))

    def _thing(self, sight: Sight, id: str, iid: str) -> tuple[Project, Thing]:  # noqa: A002
        project = sight.project(id, GUEST if "/issues/" in sight.inner.path else REPORTER)
        look = sight.issue if "/issues/" in sight.inner.path else sight.request
        return project, look(project, iid)

    def _obey(self, project: Project, thing: Thing, orders: list[tuple[str, str]], by: User) -> None:
        """Carry out quick actions; what somebody may not do is left undone, and vanishes all the same."""
        may = project.level(by) >= DEVELOPER
        for order, words in orders:
            if not may:
                continue
            match order, thing:
                case "close", MergeRequest() if thing.state == "opened":
                    self._fake.close_request(project, thing, by)
                case "close", Issue():
                    thing.state, thing.closed = "closed", now()
                case "approve", MergeRequest() if not any(one.user is by for one in thing.approvals):
                    self._fake.approve(project, thing, by)
                case "merge", MergeRequest() if thing.state == "opened" and project.level(by) >= MAINTAINER:
                    self._fake.merge_by_hand(project, thing, self._fake.merge_method, by)
                case "title", _:
                    thing.title = words


def extracted(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the text without quick actions, and these."""
    text = text.replace("\r", "")
    orders = [(match["name"].lower(), match["words"] or "") for match in _COMMAND.finditer(text)]
    return _COMMAND.sub("", text).rstrip(), orders


def _action(before: dict[str, Any], issue: Issue) -> str:
    if before["state"] == issue.state:
        return "update"
    return "close" if issue.state == "closed" else "reopen"
