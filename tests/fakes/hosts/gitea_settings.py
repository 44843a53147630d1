"""The routes of the fake Gitea for the server, its users, and the settings of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.hosts.common import Answer, Routes
from tests.fakes.hosts.gitea_routes import Sight, no, page_of
from tests.fakes.hosts.gitea_state import Hook

if TYPE_CHECKING:
    from tests.fakes.hosts.gitea import FakeGitea

BASE = "/repos/{owner}/{repo}"


class SettingRoutes:
    def __init__(self, fake: FakeGitea) -> None:
        self._fake = fake

    def add_to(self, routes: Routes) -> None:
        routes.add("GET", "/version", self.version)
        routes.add("GET", "/user", self.myself)
        routes.add("GET", "/users/{login}", self.person)
        routes.add("GET", BASE, self.repository)
        routes.add("PATCH", BASE, self.edit)
        routes.add("GET", f"{BASE}/branches/{{name*}}", self.branch)
        routes.add("GET", f"{BASE}/branch_protections", self.protections)
        routes.add("GET", f"{BASE}/hooks", self.hooks)
        routes.add("POST", f"{BASE}/hooks", self.create_hook)

    def version(self, _sight: Sight) -> Answer:
        return Answer(200, {"version": self._fake.version})

    def myself(self, sight: Sight) -> Answer:
        return Answer(200, sight.user.shown())

    def person(self, _sight: Sight, login: str) -> Answer:
        found = self._fake.users.get(login)
        return Answer(200, found.shown()) if found else no(404, "GetUserByName")

    def repository(self, sight: Sight, owner: str, repo: str) -> Answer:
        return Answer(200, sight.repository(owner, repo).shown(sight.caller))

    def edit(self, sight: Sight, owner: str, repo: str) -> Answer:
        """Change settings; those about merging are only looked at when it is said that there are requests."""
        repository, asked = sight.repository(owner, repo, "admin"), sight.json()
        if asked.get("has_pull_requests"):
            repository.allow_manual_merge = bool(asked.get("allow_manual_merge", repository.allow_manual_merge))
            repository.autodetect_manual_merge = bool(
                asked.get("autodetect_manual_merge", repository.autodetect_manual_merge)
            )
        return Answer(200, repository.shown(sight.caller))

    def branch(self, sight: Sight, owner: str, repo: str, name: str) -> Answer:
        repository = sight.repository(owner, repo)
        at = repository.git.head(name)
        if at is None:
            return no(404, "branch does not exist")
        message, email, when = repository.git.described(at)
        who = {"name": "Dev", "email": email, "username": ""}
        rule = repository.protection(name)
        return Answer(
            200,
            {
                "name": name,
                "commit": {
                    "id": at,
                    "message": message,
                    "url": f"{repository.url}/{repository.full_name}/commit/{at}",
                    "author": who,
                    "committer": who,
                    "verification": None,
                    "timestamp": when,
                    "added": None,
                    "removed": None,
                    "modified": None,
                },
                "protected": rule is not None,
                "required_approvals": 0,
                "enable_status_check": False,
                "status_check_contexts": [],
                "user_can_push": repository.may_push(sight.user, name),
                "user_can_merge": repository.may_merge(sight.user, name),
                "effective_branch_protection_name": name if rule else "",
            },
        )

    def protections(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository = sight.repository(owner, repo, "admin")
        return Answer(200, [one.shown() for one in repository.protections])

    def hooks(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository = sight.repository(owner, repo, "admin")
        return page_of([one.shown() for one in repository.hooks], sight)

    def create_hook(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository, asked = sight.repository(owner, repo, "admin"), sight.json()
        config = asked["config"]
        made = Hook(
            len(repository.hooks) + 1,
            str(config["url"]),
            str(config.get("secret", "")),
            [str(one) for one in asked.get("events") or ["push"]],
            active=bool(asked.get("active", False)),
            branch_filter=str(asked.get("branch_filter", "*")),
            content_type=str(config["content_type"]),
        )
        repository.hooks.append(made)
        return Answer(201, made.shown())
