"""Tokens, members and settings of the fake GitLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.hosts.common import Answer, Routes
from tests.fakes.hosts.gitlab_routes import Sight, no
from tests.fakes.hosts.gitlab_state import MAINTAINER, REPORTER, shown_time

if TYPE_CHECKING:
    from tests.fakes.hosts.gitlab import FakeGitLab


class SettingRoutes:
    def __init__(self, fake: FakeGitLab) -> None:
        self._fake = fake

    def add_to(self, routes: Routes) -> None:
        for path, handler in (
            ("/user", self.user),
            ("/personal_access_tokens/self", self.token),
            ("/projects/{id}", self.project),
            ("/projects/{id}/members/all/{user}", self.member),
            ("/projects/{id}/protected_branches", self.protections),
            ("/projects/{id}/approvals", self.approvals),
            ("/projects/{id}/push_rule", self.push_rule),
            ("/projects/{id}/hooks", self.hooks),
            ("/projects/{id}/hooks/{hook}/events", self.hook_events),
        ):
            routes.add("GET", path, handler)

    def user(self, sight: Sight) -> Answer:
        admin = {"is_admin": True} if sight.user.is_admin else {}
        return Answer(200, {**sight.user.shown(self._fake.url), "email": f"{sight.user.username}@shop.test", **admin})

    def token(self, sight: Sight) -> Answer:
        token = sight.user.token
        if token.state == "oauth":
            raise no(404)
        body = {
            "id": 1,
            "name": "deliveries",
            "revoked": False,
            "created_at": "2026-01-01T00:00:00.000Z",
            "description": None,
            "scopes": [*token.scopes],
            "user_id": sight.user.id,
            "last_used_at": None,
            "active": True,
            "expires_at": token.expires.isoformat(),
        }
        return Answer(200, body)

    def project(self, sight: Sight, id: str) -> Answer:  # noqa: A002 - the part of the path
        return Answer(200, sight.project(id).shown())

    def member(self, sight: Sight, id: str, user: str) -> Answer:  # noqa: A002
        project = sight.project(id)
        found = next((one for one in self._fake.users.values() if str(one.id) == user), None)
        if found is None or found.username not in project.members:
            raise no(404)
        level = project.members[found.username]
        return Answer(200, {**found.shown(self._fake.url), "access_level": level, "expires_at": None})

    def protections(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        return sight.page(
            project.protections, lambda one: project.shown_protection(one, lambda name: self._fake.users[name].id)
        )

    def approvals(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        if project.approval_settings is None:
            raise no(404)
        return Answer(200, project.approval_settings)

    def push_rule(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        if project.push_rules is None:
            raise no(404)
        return Answer(200, {"id": 1, "project_id": project.id, **project.push_rules})

    def hooks(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, MAINTAINER)
        return sight.page(project.hooks, project.shown_hook)

    def hook_events(self, sight: Sight, id: str, hook: str) -> Answer:  # noqa: A002
        project = sight.project(id, MAINTAINER)
        found = next((one for one in project.hooks if str(one.id) == hook), None)
        if found is None or not self._fake.tells_hook_events:
            raise no(404)
        self._fake.announcer.log_answers(project)
        return sight.page(
            found.logged[::-1],
            lambda one: {
                "id": 1,
                "url": found.url,
                "trigger": one[0],
                "request_headers": {},
                "request_data": {},
                "response_status": one[1],
                "execution_duration": 0.1,
                "created_at": shown_time(None),
            },
        )
