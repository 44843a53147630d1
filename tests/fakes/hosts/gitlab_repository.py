"""What the fake GitLab has on commits and branches: statuses as a state machine, deployments, environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.hosts.common import Answer, Problem, Routes
from tests.fakes.hosts.gitlab_routes import Sight, missing, no
from tests.fakes.hosts.gitlab_state import (
    DEVELOPER,
    MAINTAINER,
    REPORTER,
    Deployment,
    Environment,
    Project,
    Status,
    User,
)

if TYPE_CHECKING:
    from tests.fakes.hosts.gitlab import FakeGitLab

_GOING = frozenset({"pending", "running"})
_EVENTS = {"pending": "enqueue", "running": "run", "success": "success", "failed": "drop", "canceled": "cancel"}
_TURNS = {"running": frozenset({"created", "blocked"})}


class RepositoryRoutes:
    def __init__(self, fake: FakeGitLab) -> None:
        self._fake = fake

    def add_to(self, routes: Routes) -> None:
        place, commit = "/projects/{id}", "/projects/{id}/repository/commits/{sha}"
        for method, path, handler in (
            ("GET", f"{place}/repository/branches/{{branch}}", self.branch),
            ("GET", f"{place}/repository/merge_base", self.merge_base),
            ("GET", f"{commit}/statuses", self.statuses),
            ("GET", f"{commit}/refs", self.refs),
            ("GET", f"{commit}/merge_requests", self.requests),
            ("POST", f"{place}/statuses/{{sha}}", self.set_status),
            ("GET", f"{place}/environments", self.environments),
            ("POST", f"{place}/environments", self.create_environment),
            ("PUT", f"{place}/environments/{{environment}}", self.update_environment),
            ("POST", f"{place}/environments/{{environment}}/stop", self.stop_environment),
            ("GET", f"{place}/deployments", self.deployments),
            ("POST", f"{place}/deployments", self.create_deployment),
            ("PUT", f"{place}/deployments/{{deployment}}", self.update_deployment),
        ):
            routes.add(method, path, handler)

    # --- branches and commits ---------------------------------------------------------------------------------------

    def branch(self, sight: Sight, id: str, branch: str) -> Answer:  # noqa: A002 - the part of the path
        project = sight.project(id, REPORTER)
        head = project.git.head(branch)
        if head is None:
            raise missing("Branch")
        rules = self._fake.rules(project, branch)
        body = {
            "name": branch,
            "commit": {"id": head, "short_id": head[:8], "title": "A change"},
            "merged": False,
            "protected": bool(rules),
            "developers_can_push": all(rule.push == DEVELOPER for rule in rules),
            "developers_can_merge": not rules,
            "can_push": self._fake.may_push(project, branch, sight.user),
            "default": branch == "production",
            "web_url": f"{project.url}/{project.path}/-/tree/{branch}",
        }
        return Answer(200, body)

    def merge_base(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        wanted = sight.call.query.get("refs[]", [])
        commits = [project.git.head(one) or (one if project.git.holds(one) else None) for one in wanted]
        if len(wanted) < 2 or not all(commits):
            raise no(
                400, f"Could not find ref: {', '.join(one for one, at in zip(wanted, commits, strict=True) if not at)}"
            )
        base = project.git.world.merge_base(str(commits[0]), str(commits[1]))
        if not base:
            raise missing("Merge Base")
        return Answer(200, {"id": base, "short_id": base[:8], "title": "A change"})

    def refs(self, sight: Sight, id: str, sha: str) -> Answer:  # noqa: A002
        project = self._with_commit(sight, id, sha)
        found = [name for name, head in sorted(project.git.heads().items()) if project.git.is_ancestor(sha, head)]
        return sight.page(found, lambda name: {"type": "branch", "name": name})

    def requests(self, sight: Sight, id: str, sha: str) -> Answer:  # noqa: A002
        project = self._with_commit(sight, id, sha)
        found = [one for one in project.requests.values() if any(version.head == sha for version in one.versions)]
        return sight.page(found, lambda one: project.shown_request(one, whole=False))

    def _with_commit(self, sight: Sight, id: str, sha: str, level: int = REPORTER) -> Project:  # noqa: A002
        project = sight.project(id, level)
        if not project.git.holds(sha):
            raise missing("Commit")
        return project

    # --- statuses ---------------------------------------------------------------------------------------------------

    def statuses(self, sight: Sight, id: str, sha: str) -> Answer:  # noqa: A002
        project = self._with_commit(sight, id, sha)
        name = sight.call.asked("name")
        latest = {
            (one.pipeline, one.name, one.ref): one
            for one in project.statuses
            if one.sha == sha and name in {"", one.name}
        }
        return sight.page(list(latest.values()), project.shown_status)

    def set_status(self, sight: Sight, id: str, sha: str) -> Answer:  # noqa: A002
        """Go on with a job that has not ended, else begin another one."""
        project = self._with_commit(sight, id, sha, DEVELOPER)
        body = sight.json("state")
        state, name = body["state"], body.get("name") or body.get("context") or "default"
        if state not in {*_EVENTS, "skipped"}:
            raise Problem(Answer(400, {"error": "state does not have a valid value"}))
        if project.features.get("builds") == "disabled":
            raise no(403)
        pipelines = [one for one in project.statuses if one.sha == sha and body.get("ref") in {None, one.ref}]
        ref = body.get("ref") or (pipelines[-1].ref if pipelines else self._first_branch(project, sha))
        if ref is None:
            raise missing("References for commit")
        if not self._fake.may_push(project, ref, sight.user):
            raise no(403)
        self._check(body, name)
        pipeline = pipelines[-1].pipeline if pipelines else next(project.ids)
        job = next(
            (
                one
                for one in reversed(project.statuses)
                if (one.pipeline, one.name, one.ref, one.user) == (pipeline, name, ref, sight.user)
                and one.state in _GOING
            ),
            None,
        )
        if job is None:
            job = Status(next(project.ids), sha, ref, name, state, sight.user, pipeline=pipeline)
            project.statuses.append(job)
        elif state in {job.state, "pending"}:
            event = _EVENTS[state]
            raise no(
                400,
                f"Cannot transition status via :{event} from :{job.state} "
                f'(Reason(s): Status cannot transition via "{event}")',
            )
        job.state = state
        job.description = body.get("description", job.description)
        job.url = body.get("target_url", job.url)
        return Answer(201, project.shown_status(job))

    def _first_branch(self, project: Project, sha: str) -> str | None:
        return next(
            (name for name, head in sorted(project.git.heads().items()) if project.git.is_ancestor(sha, head)), None
        )

    def _check(self, body: dict[str, Any], name: str) -> None:
        long = "is too long (maximum is 255 characters)"
        faults = {key: [long] for key in ("description", "target_url") if len(str(body.get(key) or "")) > 255}
        if len(name) > 255:
            faults["name"] = [long]
        url = body.get("target_url")
        if url is not None and not str(url).startswith(("http://", "https://")):
            faults["target_url"] = ["is blocked: Only allowed schemes are http, https"]
        if faults:
            raise no(400, faults)

    # --- environments and deployments -------------------------------------------------------------------------------

    def environments(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        name = sight.call.asked("name")
        found = [one for one in project.environments if name in {"", one.name}]
        return sight.page(found, project.shown_environment)

    def create_environment(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, DEVELOPER)
        body = sight.json("name")
        if any(one.name == body["name"] for one in project.environments):
            raise no(400, {"name": ["has already been taken"], "slug": ["has already been taken"]})
        self._check_url(body)
        made = Environment(next(project.ids), body["name"], body.get("tier", "other"), body.get("external_url"))
        project.environments.append(made)
        return Answer(201, project.shown_environment(made))

    def update_environment(self, sight: Sight, id: str, environment: str) -> Answer:  # noqa: A002
        project = sight.project(id, DEVELOPER)
        found, body = self._environment(project, environment), sight.json()
        self._check_url(body)
        found.url = body.get("external_url", found.url)
        return Answer(200, project.shown_environment(found))

    def stop_environment(self, sight: Sight, id: str, environment: str) -> Answer:  # noqa: A002
        project = sight.project(id, DEVELOPER)
        found = self._environment(project, environment)
        found.state = "stopped"
        return Answer(200, project.shown_environment(found))

    def _environment(self, project: Project, wanted: str) -> Environment:
        found = next((one for one in project.environments if str(one.id) == wanted), None)
        if found is None:
            raise no(404)
        return found

    def _check_url(self, body: dict[str, Any]) -> None:
        url = body.get("external_url")
        if url is not None and (len(url) > 255 or not url.startswith(("http://", "https://"))):
            raise no(400, {"external_url": ["is blocked: Only allowed schemes are http, https"]})

    def deployments(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, REPORTER)
        name = sight.call.asked("environment")
        found = [one for one in project.deployments if name in {"", one.environment.name}]
        found.sort(key=lambda one: one.id, reverse=sight.call.asked("sort", "asc") == "desc")
        return sight.page(found, project.shown_deployment)

    def create_deployment(self, sight: Sight, id: str) -> Answer:  # noqa: A002
        project = sight.project(id, DEVELOPER)
        body = sight.json("environment", "sha", "ref", "status")
        if "tag" not in body:
            raise Problem(Answer(400, {"error": "tag is missing"}))
        if body["status"] not in {"running", "success", "failed", "canceled"}:
            raise Problem(Answer(400, {"error": "status does not have a valid value"}))
        place = next((one for one in project.environments if one.name == body["environment"]), None)
        if place is None:
            place = Environment(next(project.ids), body["environment"], "other")
            project.environments.append(place)
        if self._protected(project, place, sight.user):
            raise no(403)
        made = Deployment(next(project.ids), place, body["sha"], body["ref"], body["status"], sight.user)
        project.deployments.append(made)
        self._settle(made)
        return Answer(201, project.shown_deployment(made))

    def update_deployment(self, sight: Sight, id: str, deployment: str) -> Answer:  # noqa: A002
        project = sight.project(id, DEVELOPER)
        found = next((one for one in project.deployments if str(one.id) == deployment), None)
        if found is None:
            raise no(404)
        if found.deployable:
            raise no(403, "403 Forbidden - Deployments created using GitLab CI can not be updated using the API")
        status = sight.json("status")["status"]
        if status == found.status or found.status not in _TURNS.get(status, {found.status}):
            raise no(400, {"status": [f'cannot transition via "{status}"']})
        found.status = status
        self._settle(found)
        return Answer(200, project.shown_deployment(found))

    def _settle(self, deployment: Deployment) -> None:
        if deployment.status == "success":
            deployment.environment.state = "available"

    def _protected(self, project: Project, place: Environment, user: User) -> bool:
        return place.name in self._fake.protected_environments and project.level(user) < MAINTAINER
