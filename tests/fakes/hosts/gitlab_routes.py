"""What all routes of the fake GitLab need: who asks, what they may, how errors and pages look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from tests.fakes.hosts.common import Answer, Call, Problem, paged
from tests.fakes.hosts.gitlab_state import GUEST, Issue, MergeRequest, Project, Thing, User

if TYPE_CHECKING:
    from tests.fakes.hosts.gitlab import FakeGitLab

Kind = TypeVar("Kind", bound=Thing)


def no(status: int, message: Any = "") -> Problem:
    """Return an error as GitLab shapes it; without a message as it says it itself."""
    usual = {401: "401 Unauthorized", 403: "403 Forbidden", 404: "404 Not found", 405: "405 Method Not Allowed"}
    return Problem(Answer(status, {"message": message or usual[status]}))


def missing(what: str) -> Problem:
    return no(404, f"404 {what} Not Found")


@dataclass(frozen=True)
class Sight:
    """One request as the routes see it; ``inner`` has the path below ``/api/v4``."""

    fake: FakeGitLab
    call: Call
    inner: Call
    user: User

    def json(self, *needed: str) -> dict[str, Any]:
        """Return the body, which must hold what is ``needed``."""
        body = self.call.json()
        if not isinstance(body, dict):
            raise Problem(Answer(400, {"error": "invalid body"}))
        lacking = [name for name in needed if not body.get(name)]
        if lacking:
            raise Problem(Answer(400, {"error": ", ".join(f"{name} is missing" for name in lacking)}))
        return body

    def project(self, wanted: str, level: int = GUEST) -> Project:
        """Return the project, when who asks has the role; one that they may not see is not there."""
        found = next(
            (one for one in self.fake.projects.values() if wanted in {str(one.id), one.path}),
            None,
        )
        if found is None and wanted in self.fake.moved:
            raise Problem(
                Answer(
                    302,
                    {"message": "Moved"},
                    {"Location": f"{self.fake.url}/api/v4/projects/{self.fake.moved[wanted]}"},
                )
            )
        if found is None or not found.level(self.user):
            raise missing("Project")
        if found.level(self.user) < level or (found.archived and self.inner.method != "GET"):
            raise no(403)
        return found

    def request(self, project: Project, iid: str) -> MergeRequest:
        if project.features.get("merge_requests") == "disabled":
            raise no(403)
        found = project.requests.get(int(iid)) if iid.isdigit() else None
        if found is None:
            raise no(404)
        return found

    def issue(self, project: Project, iid: str) -> Issue:
        found = project.issues.get(int(iid)) if iid.isdigit() else None
        if found is None or not self.sees(project, found):
            raise no(404)
        return found

    def sees(self, project: Project, issue: Issue) -> bool:
        """Say whether who asks is shown the issue: guests see confidential ones of their own only."""
        if project.features.get("issues") == "disabled":
            return False
        return not issue.confidential or project.level(self.user) > GUEST or issue.user is self.user

    def page(self, items: Sequence[Any], show: Callable[[Any], Any]) -> Answer:
        answer = paged(
            items, self.call, base=self.fake.url_in_links, show=show, default=20, most=self.fake.most_per_page
        )
        headers = {name: value for name, value in answer.headers.items() if name != "X-Total-Count"}
        return Answer(answer.status, answer.body, headers)

    def listed(self, things: Iterable[Kind]) -> list[Kind]:
        """Return what of the things was asked for, in the order that was asked for."""
        state, after = self.call.asked("state", "all"), self.call.asked("updated_after")
        earliest = datetime.fromisoformat(after) if after else None
        found = [one for one in things if state in {"all", one.state} and (earliest is None or one.updated >= earliest)]
        key = {"updated_at": lambda one: (one.updated, one.id)}.get(
            self.call.asked("order_by", "created_at"), lambda one: (one.created, one.id)
        )
        return sorted(found, key=key, reverse=self.call.asked("sort", "desc") == "desc")


def names(value: Any) -> list[str]:
    """Return what GitLab takes as a list of names: with commas, or a list."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [part.strip() for part in parts if part.strip()]
