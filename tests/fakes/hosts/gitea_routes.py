"""What all routes of the fake Gitea need: who asks, what they may, how errors and pages look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.hosts.common import Answer, Call, Problem, paged
from tests.fakes.hosts.gitea_state import Issue, Repository, User

if TYPE_CHECKING:
    from tests.fakes.hosts.gitea import FakeGitea

DESCRIPTION = "https://git.shop.test/api/swagger"

_CATEGORIES = (
    (r"/repos/[^/]+/[^/]+/(issues|labels|milestones)(/|\Z)", "issue"),
    (r"/repos/", "repository"),
    (r"/orgs/", "organization"),
    (r"/users?(/|\Z)", "user"),
)


def no(status: int, message: str) -> Answer:
    """Return an error as Gitea shapes it."""
    body: dict[str, Any] = {"message": message, "url": DESCRIPTION}
    if status == 404:
        body = {"message": message or "The target couldn't be found.", "url": DESCRIPTION, "errors": []}
    return Answer(status, body)


def forbidden(message: str = "") -> Problem:
    """Return the refusal of a right; some routes say nothing at all."""
    return Problem(no(403, message) if message else Answer(403))


def page_of(items: Sequence[Any], sight: Sight, *, links: bool = True) -> Answer:
    """Return one page; not every route of the real server gives links to the others."""
    answer = paged(items, sight.call, base=sight.fake.server.url, most=sight.fake.page_size)
    headers = dict(answer.headers)
    headers.pop("X-Total", None)
    if not links:
        headers.pop("Link", None)
    return Answer(answer.status, answer.body, headers)


@dataclass(frozen=True)
class Sight:
    """One request as the routes see it; ``inner`` has the path below ``/api/v1``."""

    fake: FakeGitea
    call: Call
    inner: Call
    caller: User | None

    @property
    def user(self) -> User:
        """Who asks; nobody: 401."""
        if self.caller is None:
            raise Problem(no(401, "token is required"))
        return self.caller

    def check_scope(self) -> None:
        """Refuse what the token's scopes do not hold."""
        if self.caller is None:
            return
        category = next((name for pattern, name in _CATEGORIES if re.match(pattern, self.inner.path)), "")
        if not category:
            return
        wanted = f"{'read' if self.inner.method == 'GET' else 'write'}:{category}"
        if not {wanted, f"write:{category}", "all"} & self.caller.scopes:
            raise forbidden(f"token does not have at least one of required scope(s): [{wanted}]")

    def json(self) -> dict[str, Any]:
        """Return the body."""
        body = self.call.json()
        if not isinstance(body, dict):
            raise Problem(no(422, "json: cannot unmarshal"))
        return body

    def repository(self, owner: str, repo: str, right: str = "read") -> Repository:
        """Return the repository, when who asks has ``right``; one that they may not see is not there."""
        found = self.fake.repositories.get(f"{owner}/{repo}")
        if found is None or not found.may(self.caller, "read"):
            raise Problem(no(404, ""))
        if self.inner.method != "GET":
            _ = self.user
            if found.archived:
                raise Problem(no(423, f"{found.full_name} is archived"))
        if not found.may(self.caller, right):
            texts = {
                "write": "user should have a permission to write to a repo",
                "admin": "user should be an owner or a collaborator with admin write of a repository",
            }
            raise forbidden(texts[right])
        return found

    def issue(self, repository: Repository, index: str) -> Issue:
        """Return an issue or a request."""
        found = repository.issues.get(int(index)) if index.isdigit() else None
        if found is None:
            raise Problem(no(404, "issue does not exist"))
        return found

    def pull(self, repository: Repository, index: str) -> Issue:
        """Return a request."""
        found = repository.issues.get(int(index)) if index.isdigit() else None
        if found is None or not found.pull:
            raise Problem(no(404, ""))
        return found
