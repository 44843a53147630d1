"""Merge requests of the fake GitLab: opening, changing, approving, merging, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.hosts.common import Answer, Routes
from tests.fakes.hosts.gitlab_routes import Sight, missing, names, no
from tests.fakes.hosts.gitlab_state import (
    DEVELOPER,
    MAINTAINER,
    REPORTER,
    Approval,
    MergeRequest,
    Project,
    Reviewer,
    User,
    shown_time,
)

if TYPE_CHECKING:
    from tests.fakes.hosts.gitlab import FakeGitLab

PLACE = "/projects/{id}/merge_requests"


class RequestRoutes:
    def __init__(self, fake: FakeGitLab) -> None:
        self._fake = fake

    def add_to(self, routes: Routes) -> None:
        one = f"{PLACE}/{{iid}}"
        for method, path, handler in (
            ("GET", PLACE, self.listing),
            ("POST", PLACE, self.create),
            ("GET", one, self.show),
            ("PUT", one, self.update),
            ("PUT", f"{one}/merge", self.merge),
            ("GET", f"{one}/versions", self.versions),
            ("GET", f"{one}/reviewers", self.reviewers),
            ("GET", f"{one}/approvals", self.approvals),
            ("POST", f"{one}/approve", self.approve),
            ("POST", f"{one}/unapprove", self.unapprove),
        ):
            routes.add(method, path, handler)

    def listing(self, sight: Sight, id: str) -> Answer:  # noqa: A002 - the part of the path
        project = sight.project(id, REPORTER)
        branch = sight.call.asked("source_branch")
        found = [one for one in sight.listed(project.requests.values()) if branch in {"", one.source_branch}]
        return sight.page(found, lambda one: project.shown_request(one, whole=False))

    def show(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        return Answer(200, project.shown_request(sight.request(project, iid)))

    def create(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        source = sight.project(id, DEVELOPER)
        body = sight.json("source_branch", "target_branch", "title")
        target = sight.project(str(body.get("target_project_id", source.id)), REPORTER)
        here = [source.git.head(body["source_branch"]), target.git.head(body["target_branch"])]
        if source is target and body["source_branch"] == body["target_branch"]:
            raise no(422, ["You can't use same project/branch for source and target"])
        if here[0] is None:
            raise no(400, {"base": [f'Source branch "{body["source_branch"]}" does not exist']})
        if here[1] is None:
            raise no(400, {"base": [f'Target branch "{body["target_branch"]}" does not exist']})
        for other in target.requests.values():
            same = (other.source, other.source_branch, other.target_branch) == (
                source,
                body["source_branch"],
                body["target_branch"],
            )
            if same and other.state == "opened":
                raise no(409, [f"Another open merge request already exists for this source branch: !{other.iid}"])
        if len(body["title"]) > 255:
            raise no(400, {"title": ["is too long (maximum is 255 characters)"]})
        request = self._fake.open_request(
            source,
            body["source_branch"],
            body["target_branch"],
            title=body["title"],
            description=str(body.get("description") or ""),
            by=sight.user,
            target=target,
            labels=names(body.get("labels", "")),
            reviewers=self._reviewers(target, body.get("reviewer_ids") or []),
        )
        return Answer(201, target.shown_request(request))

    def _reviewers(self, project: Project, ids: list[int]) -> list[User]:
        """Return who can be asked; the free edition takes the first one only, whoever else is named."""
        users = [user for user in self._fake.users.values() if user.id in ids and project.level(user)]
        users.sort(key=lambda user: ids.index(user.id))
        return users if self._fake.premium else users[:1]

    def update(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        request = sight.request(project, iid)
        if project.level(sight.user) < DEVELOPER and request.user is not sight.user:
            raise no(403)
        body = sight.json()
        match body.get("state_event"):
            case "close" if request.state == "opened":
                self._fake.close_request(project, request, sight.user)
            case "reopen" if request.state == "closed":
                self._fake.reopen_request(project, request, sight.user)
        if (aim := body.get("target_branch")) and aim != request.target_branch:
            if request.state != "opened":
                raise no(400, {"target_branch": ["cannot be changed"]})
            self._fake.retarget(project, request, aim, sight.user)
        for field in ("title", "description"):
            if field in body:
                setattr(request, field, body[field])
        if "add_labels" in body:
            self._fake.label(project, request, add=names(body["add_labels"]))
        if "reviewer_ids" in body:
            users = self._reviewers(project, body["reviewer_ids"])
            request.reviewers = [request.reviewer(user) or Reviewer(user) for user in users]
        request.touch()
        return Answer(200, project.shown_request(request))

    def merge(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        request = sight.request(project, iid)
        if project.level(sight.user) < MAINTAINER:
            raise no(401)
        if request.state != "opened" or project.shown_request(request)["draft"]:
            raise no(405)
        body = sight.json()
        if body.get("sha") not in {None, request.head}:
            raise no(409, f"SHA does not match HEAD of source branch: {request.head}")
        how = "squash" if body.get("squash") else self._fake.merge_method
        self._fake.merge_by_hand(project, request, how, sight.user)
        return Answer(200, project.shown_request(request))

    def versions(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        request = sight.request(project, iid)
        newest_first = request.versions[::-1]
        return sight.page(
            newest_first,
            lambda one: {
                "id": one.id,
                "head_commit_sha": one.head,
                "base_commit_sha": one.base,
                "start_commit_sha": one.base,
                "created_at": shown_time(one.created),
                "merge_request_id": request.id,
                "state": "collected",
                "real_size": "1",
                "patch_id_sha": None,
            },
        )

    def reviewers(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        found = sight.request(project, iid).reviewers
        return Answer(
            200,
            [
                {"user": one.user.shown(project.url), "state": one.state, "created_at": shown_time(one.created)}
                for one in found
            ],
        )

    def approvals(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        return Answer(200, self._shown_approvals(project, sight.request(project, iid), sight.user))

    def approve(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        request = sight.request(project, iid)
        if project.level(sight.user) < DEVELOPER or any(one.user is sight.user for one in request.approvals):
            raise no(401)
        wanted = sight.json().get("sha")
        if wanted not in {None, request.head}:
            raise no(409, f"SHA does not match HEAD of source branch: {request.head}")
        self._fake.approve(project, request, sight.user)
        return Answer(201, self._shown_approvals(project, request, sight.user))

    def unapprove(self, sight: Sight, id: str, iid: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        request = sight.request(project, iid)
        if not any(one.user is sight.user for one in request.approvals):
            raise missing("Approval")
        self._fake.unapprove(project, request, sight.user)
        return Answer(201, self._shown_approvals(project, request, sight.user))

    def _shown_approvals(self, project: Project, request: MergeRequest, user: User) -> dict[str, Any]:
        def shown(one: Approval) -> dict[str, Any]:
            # Versions before 18 do not say when.
            told = {"approved_at": shown_time(one.at)} if self._fake.tells_approval_times else {}
            return {"user": one.user.shown(project.url), **told}

        return {
            "user_has_approved": any(one.user is user for one in request.approvals),
            "user_can_approve": request.user is not user,
            "approved": bool(request.approvals),
            "approved_by": [shown(one) for one in request.approvals],
        }
