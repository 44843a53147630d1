"""A GitLab over real HTTP that keeps state: real bare repositories, merge requests, approvals, issues, webhooks.

It answers as the real one does where that is surprising: approvals name no commit and stay when somebody pushes;
requesting changes leaves a note of the system and, with those asked for a review, a state; a status that is said twice
is a 400; comments that begin with a quick action are carried out and not kept; a merge request whose branch is deleted
is closed; one whose head a push brings to its target is merged; the free edition takes one reviewer and one assignee
and drops the others without a word, as it does with labels of somebody who may not set them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.hosts.common import (
    Answer,
    Call,
    HostedRepository,
    HostServer,
    Problem,
    RefChange,
    Routes,
    WebhookSender,
)
from tests.fakes.hosts.gitlab_events import Announcer
from tests.fakes.hosts.gitlab_issues import IssueRoutes
from tests.fakes.hosts.gitlab_repository import RepositoryRoutes
from tests.fakes.hosts.gitlab_requests import RequestRoutes
from tests.fakes.hosts.gitlab_routes import Sight, no
from tests.fakes.hosts.gitlab_settings import SettingRoutes
from tests.fakes.hosts.gitlab_state import (
    DEVELOPER,
    MAINTAINER,
    Approval,
    Hook,
    Issue,
    MergeRequest,
    Note,
    Project,
    Protection,
    Reviewer,
    Thing,
    User,
    Version,
    now,
)
from tests.support.git_world import git

BOT, TOKEN = "delivery-bot", "glpat-t0ken-of-the-b0t-7e57"
PATH = "shop/web/cart"


class FakeGitLab:
    """One server with one project in a subgroup, forks of it, and the people who work there.

    Attributes:
        root: The sub path that the server lives under, like ``/gitlab``.
        premium: Several reviewers and assignees; scoped labels.
        tells_approval_times: As versions from 18 do.
        tells_hook_events: As versions from 17.3 do.
        moved: Old paths of projects and their new ones.
    """

    def __init__(self, server: HostServer, sender: WebhookSender, directory: Path, *, root: str = "") -> None:
        self.server, self.sender, self.root = server, sender, root
        self.url = self.url_in_links = f"{server.url}{root}"
        self.most_per_page = 100
        self.premium = False
        self.tells_approval_times = self.tells_hook_events = True
        self.merge_method = "merge"
        self.moved: dict[str, str] = {}
        self.protected_environments: set[str] = set()
        self.users: dict[str, User] = {}
        self.announcer = Announcer(sender)
        self._directory = directory
        self.projects: dict[str, Project] = {}
        self.project = self._project(PATH)
        self.bot = self.user(BOT, MAINTAINER, password=TOKEN)
        server.host = self
        self._routes = Routes()
        for routes in (RequestRoutes(self), IssueRoutes(self), RepositoryRoutes(self), SettingRoutes(self)):
            routes.add_to(self._routes)

    # --- what tests prepare ---------------------------------------------------------------------------------------

    def user(self, username: str, level: int = DEVELOPER, *, password: str = "") -> User:
        """Find an account, or make one with a role in the project (0: none)."""
        if username not in self.users:
            made = User(len(self.users) + 1, username, password or f"glpat-of-{username}")
            self.users[username] = made
            if level:
                self.project.members[username] = level
        return self.users[username]

    def person(self, username: str) -> Person:
        """Return somebody who works by the API, with their own token."""
        return Person(self, self.user(username))

    def hook(self, url: str, *events: str, token: str = "", signing: str = "") -> Hook:
        """Add a webhook."""
        made = Hook(len(self.project.hooks) + 1, url, token, signing, set(events))
        self.project.hooks.append(made)
        return made

    def protect(self, branch: str, **rule: Any) -> Protection:
        """Protect branches."""
        made = Protection(branch, **rule)
        self.project.protections.append(made)
        return made

    def fork(self, owner: str) -> Project:
        """Fork the project."""
        made = self._project(f"{owner}/{PATH.rpartition('/')[2]}")
        made.members = {owner: MAINTAINER}
        git(
            made.git.directory,
            "fetch",
            "--quiet",
            "--force",
            str(self.project.git.directory),
            "refs/heads/*:refs/heads/*",
        )
        return made

    def fork_request(self, owner: str, branch: str) -> MergeRequest:
        """Open a merge request from a new branch of a fork."""
        fork = self.projects.get(f"{owner}/{PATH.rpartition('/')[2]}") or self.fork(owner)
        fork.git.push(branch, on="production", by=owner)
        return self.open_request(
            fork, branch, "preprod", title="From a fork", description="", by=self.user(owner), target=self.project
        )

    def write_issue(
        self, title: str, description: str, *, by: str = "mia", iid: int | None = None, project: Project | None = None
    ) -> Issue:
        """Write an issue."""
        project = project or self.project
        number = iid or max(project.issues, default=0) + 1
        issue = Issue(next(project.ids), number, self.user(by), title, description)
        project.issues[number] = issue
        self.announcer.issue(project, issue, "open", issue.user)
        return issue

    def rules(self, project: Project, branch: str) -> list[Protection]:
        return [rule for rule in project.protections if fnmatchcase(branch, rule.name)]

    def may_push(self, project: Project, branch: str, user: User) -> bool:
        level = project.level(user)
        return level >= DEVELOPER and all(
            (rule.push and level >= rule.push) or user.username in rule.users for rule in self.rules(project, branch)
        )

    def _project(self, path: str) -> Project:
        repository = HostedRepository(self.server, self._directory, path)
        self.server.repositories[f"{self.root}/{path}".strip("/")] = repository
        made = Project(len(self.projects) + 100, path, repository, self.url)
        self.projects[path] = made
        return made

    # --- what the server of all fakes asks --------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        found = re.match(re.escape(self.root) + r"/api/v4(?P<path>/.*)", call.path)
        if not found:
            return Answer(404, b"<!DOCTYPE html><html><title>Not found</title></html>", {"Content-Type": "text/html"})
        inner = Call(call.method, found["path"], call.query, call.headers, call.body)
        user = self._caller(call)
        if inner.method != "GET" and "api" not in user.token.scopes:
            return Answer(
                403,
                {
                    "error": "insufficient_scope",
                    "error_description": "The request requires higher privileges than provided by the access token.",
                    "scope": "api",
                },
            )
        route = self._routes.find(inner)
        if route is None:
            return Answer(404, {"error": "404 Not Found"})
        handler, parts = route
        return handler(Sight(self, call, inner, user), **parts)

    def _caller(self, call: Call) -> User:
        value = call.headers.get("private-token") or call.headers.get("authorization", "").removeprefix("Bearer ")
        user = next((one for one in self.users.values() if one.password == value), None)
        if user is None:
            raise no(401)
        if user.token.state in {"expired", "revoked"}:
            told = (
                f"Token {'is expired' if user.token.state == 'expired' else 'was revoked'}. You have to re-authorize."
            )
            raise Problem(Answer(401, {"error": "invalid_token", "error_description": told}))
        if "api" not in user.token.scopes and "read_api" not in user.token.scopes:
            raise Problem(Answer(403, {"error": "insufficient_scope", "scope": "api read_api"}))
        return user

    def git_user(self, username: str, password: str) -> str | None:
        """Return who uses Git; GitLab takes any user name with a token."""
        return next((one.username for one in self.users.values() if password and one.password == password), None)

    def pushed(self, repository: HostedRepository, changes: Sequence[RefChange], by: str) -> None:
        """Take in a push: announce it, move the merge requests from its branches, see what it merged."""
        project = next((one for one in self.projects.values() if one.git is repository), None)
        if project is None:
            return
        person = self.user(by)
        for change in changes:
            self.announcer.pushed(project, change, person)
            for request in [*self.project.requests.values()] if change.branch else []:
                if request.state != "opened":
                    continue
                if (request.source, request.source_branch) == (project, change.branch):
                    self._head_moved(request, change, person)
                elif project is self.project and request.target_branch == change.branch:
                    self._target_moved(request, change, person)

    def _head_moved(self, request: MergeRequest, change: RefChange, by: User) -> None:
        if change.deleted:
            self.close_request(self.project, request, by)
            return
        if request.source is not self.project:
            _copy(request.source.git, self.project.git, change.after)
        self._new_version(request, change.after)
        if (self.project.approval_settings or {}).get("reset_approvals_on_push"):
            request.approvals.clear()
        request.touch()
        self.announcer.request(self.project, request, "update", by, changes={"oldrev": change.before})

    def _target_moved(self, request: MergeRequest, change: RefChange, by: User) -> None:
        """See whether the push brings the head: only what is new in it counts."""
        if change.created or change.deleted or not request.versions:
            return
        if request.versions[-1].head in self.project.git.ahead(change.after, change.before):
            self._merged(self.project, request, by, commit=None)

    # --- what changes merge requests --------------------------------------------------------------------------------

    def open_request(
        self,
        source: Project,
        branch: str,
        target_branch: str,
        *,
        title: str,
        description: str,
        by: User,
        target: Project,
        labels: Iterable[str] = (),
        reviewers: Iterable[User] = (),
    ) -> MergeRequest:
        iid = max(target.requests, default=0) + 1
        request = MergeRequest(
            next(target.ids),
            iid,
            by,
            title,
            description,
            source=source,
            source_branch=branch,
            target_branch=target_branch,
            reviewers=[Reviewer(user) for user in reviewers],
        )
        head = source.git.head(branch)
        assert head
        if source is not target:
            _copy(source.git, target.git, head)
        self._new_version(request, head)
        self.label(target, request, add=labels)
        target.requests[iid] = request
        self.announcer.request(target, request, "open", by)
        return request

    def _new_version(self, request: MergeRequest, head: str) -> None:
        aim = self.project.git.head(request.target_branch)
        base = self.project.git.world.merge_base(head, str(aim)) if aim else ""
        request.versions.append(Version(next(self.project.ids), head, base))

    def retarget(self, project: Project, request: MergeRequest, branch: str, by: User) -> None:
        """Point it elsewhere: a new version, with the same head."""
        before, request.target_branch = request.target_branch, branch
        self._system(project, request, by, f"changed target branch from `{before}` to `{branch}`")
        if request.versions:
            self._new_version(request, request.versions[-1].head)
        changes = {"target_branch": {"previous": before, "current": branch}}
        self.announcer.request(project, request, "update", by, changes=changes)

    def close_request(self, project: Project, request: MergeRequest, by: User) -> None:
        request.state, request.closed = "closed", now()
        self._system(project, request, by, "closed")
        self.announcer.request(project, request, "close", by)

    def reopen_request(self, project: Project, request: MergeRequest, by: User) -> None:
        request.state, request.closed = "opened", None
        self._system(project, request, by, "reopened")
        self.announcer.request(project, request, "reopen", by)

    def merge_by_hand(self, project: Project, request: MergeRequest, how: str, by: User) -> None:
        """Merge in GitLab's page: ``merge``, ``squash`` or ``rebase``."""
        head, aim = str(request.head), request.target_branch
        with project.git.pushing(by.username) as world:
            request.state = "locked"  # so that the push itself is not taken for a merge by hand
            if how == "merge":
                commit = world.merge(aim, head)
            else:
                tree = git(world.host, "rev-parse", f"{head}^{{tree}}")
                commit = world.commit_tree(tree, world.head(aim), message="Merged")
                world.branch(aim, commit)
            request.squash_commit = commit if how == "squash" else None
        self._merged(project, request, by, commit=commit)

    def _merged(self, project: Project, request: MergeRequest, by: User, *, commit: str | None) -> None:
        request.state, request.merged, request.merged_by, request.merge_commit = "merged", now(), by, commit
        self._system(project, request, by, "merged")
        self.announcer.request(project, request, "merge", by)

    def approve(self, project: Project, request: MergeRequest, by: User) -> None:
        request.approvals.append(Approval(by))
        if reviewer := request.reviewer(by):
            reviewer.state = "approved"
        self._system(project, request, by, "approved this merge request")
        self.announcer.request(project, request, "approved", by)

    def unapprove(self, project: Project, request: MergeRequest, by: User) -> None:
        request.approvals = [one for one in request.approvals if one.user is not by]
        if reviewer := request.reviewer(by):
            reviewer.state = "unapproved"
        self._system(project, request, by, "unapproved this merge request")
        self.announcer.request(project, request, "unapproved", by)

    def request_changes(self, iid: int, username: str, comment: str = "") -> None:
        """Finish a review with *Request changes*, which only GitLab's page can."""
        request, by = self.project.requests[iid], self.user(username)
        if comment:
            self.note(self.project, request, by, comment)
        if not request.reviewers or (self.premium and not request.reviewer(by)):
            request.reviewers.append(Reviewer(by))
        if reviewer := request.reviewer(by):
            reviewer.state = "requested_changes"
        request.approvals = [one for one in request.approvals if one.user is not by]
        self._system(self.project, request, by, "requested changes")
        self.announcer.request(self.project, request, "update", by, changes={"reviewers": {}})

    def ask_again(self, iid: int, username: str) -> None:
        """Ask somebody for another review."""
        reviewer = self.project.requests[iid].reviewer(self.user(username))
        assert reviewer
        reviewer.state = "unreviewed"
        self.project.requests[iid].touch()

    # --- what issues and merge requests share -----------------------------------------------------------------------

    def note(self, project: Project, thing: Thing, by: User, text: str) -> Note:
        """Add a comment as it is kept; quick actions were taken out before, by the API."""
        made = Note(next(project.ids), by, text)
        thing.notes.append(made)
        thing.touch()
        self.announcer.note(project, thing, made)
        return made

    def _system(self, project: Project, thing: Thing, by: User, text: str) -> None:
        thing.notes.append(Note(next(project.ids), by, text, system=True))
        thing.touch()

    def label(self, project: Project, thing: Thing, *, add: Iterable[str] = (), gone: Iterable[str] = ()) -> None:
        """Change labels; those that are missing are made; of a scope only the last one stays (larger editions)."""
        for name in add:
            known = next((one for one in project.labels if one.lower() == name.lower()), name)
            if known not in project.labels:
                project.labels.append(known)
            scope = known.rpartition("::")[0]
            if scope and self.premium:
                thing.labels = [one for one in thing.labels if one.rpartition("::")[0] != scope]
            if known not in thing.labels:
                thing.labels.append(known)
        without = {one.lower() for one in gone}
        thing.labels = [one for one in thing.labels if one.lower() not in without]


class Person:
    """Somebody who uses the API with a token of their own; every call fails loudly."""

    def __init__(self, fake: FakeGitLab, user: User) -> None:
        self._fake, self._user = fake, user

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call something of the project."""
        address = f"{self._fake.url}/api/v4/projects/{self._fake.project.id}{path}"
        headers = {"PRIVATE-TOKEN": self._user.password}
        answer = httpx.request(method, address, json=body, headers=headers, trust_env=False, timeout=20)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def approve(self, number: int, **given: str) -> None:
        self.call("POST", f"/merge_requests/{number}/approve", given)

    def unapprove(self, number: int) -> None:
        self.call("POST", f"/merge_requests/{number}/unapprove", {})

    def say(self, number: int, text: str, *, on: str = "merge_requests") -> Any:
        return self.call("POST", f"/{on}/{number}/notes", {"body": text})

    def open(self, source: str, target: str = "preprod", *, title: str = "A change") -> int:
        """Open a merge request; returns its number."""
        asked = {"source_branch": source, "target_branch": target, "title": title}
        return int(self.call("POST", "/merge_requests", asked)["iid"])


def _copy(source: HostedRepository, target: HostedRepository, commit: str) -> None:
    git(target.directory, "fetch", "--quiet", str(source.directory), f"{commit}:refs/keep-around/{commit}")


@contextmanager
def fake_gitlab(directory: Path, *, root: str = "") -> Iterator[FakeGitLab]:
    """Run a fake server with the branches ``production`` and ``preprod``."""
    directory.mkdir(exist_ok=True)
    server = HostServer()
    sender = WebhookSender()
    fake = FakeGitLab(server, sender, directory, root=root)
    with server.running(), sender.running():
        fake.project.git.move("preprod", str(fake.project.git.head("production")), by=BOT)
        yield fake
