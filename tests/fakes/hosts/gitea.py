"""A Gitea (or Forgejo) over real HTTP that keeps state: a real bare repository, requests, reviews, issues, webhooks.

It answers as the real one does where that is surprising: an issue and a request share their numbers; a closed request
cannot be merged (404); a branch that is deleted closes its requests; a second review dismisses the first one of the
same person; every status that was posted is kept; pages are smaller than asked for; an unknown token is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from tests.fakes.hosts.gitea_events import Announcer
from tests.fakes.hosts.gitea_issues import IssueRoutes
from tests.fakes.hosts.gitea_pulls import PullRoutes
from tests.fakes.hosts.gitea_routes import Sight, no
from tests.fakes.hosts.gitea_settings import SettingRoutes
from tests.fakes.hosts.gitea_state import Hook, Issue, Label, Protection, Pull, Repository, User, now
from tests.support.git_world import git

TOKEN = "t0ken-of-the-b0t-7e57"
BOT = "delivery-bot"


class FakeGitea:
    """One server with one repository ``shop/cart``, forks of it, and the people who work there."""

    def __init__(self, server: HostServer, sender: WebhookSender, directory: Path, *, root: str = "") -> None:
        """``root``: the sub path that the server lives under, like ``/git``."""
        self.server, self.sender, self.root = server, sender, root
        self.url = f"{server.url}{root}"
        self.page_size = 50
        self.version = "11.0.3+gitea-1.22.0"
        self.users: dict[str, User] = {}
        self.announcer = Announcer(sender)
        self._directory = directory
        self.repositories: dict[str, Repository] = {}
        self.repository = self._repository("shop", "cart")
        self.bot = self.user(BOT, password=TOKEN, right="admin")
        server.host = self
        self._routes = Routes()
        for routes in (PullRoutes(self), IssueRoutes(self), SettingRoutes(self)):
            routes.add_to(self._routes)

    # --- what tests prepare ---------------------------------------------------------------------------------------

    def user(
        self, login: str, *, password: str = "", right: str = "write", repository: Repository | None = None
    ) -> User:
        """Find an account, or make one that has ``right`` in the repository."""
        if login not in self.users:
            self.users[login] = User(len(self.users) + 1, login, password or f"token-of-{login}")
            for one in [repository] if repository else self.repositories.values():
                one.rights.setdefault(login, right)
        return self.users[login]

    def fork(self, owner: str) -> Repository:
        """Fork the repository."""
        return self._repository(owner, self.repository.name, parent=self.repository)

    def issue(self, *, title: str, body: str = "", by: str = "mia", number: int | None = None) -> Issue:
        """Write an issue; with ``number`` as if so many had been written before."""
        made = Issue(number or self.repository.next_number(), next(self.repository.ids), self.user(by), title, body)
        self.repository.issues[made.number] = made
        self.announcer.issue(self.repository, made, "opened", made.user)
        return made

    def fork_request(self, owner: str, branch: str, *, title: str = "From a fork") -> Issue:
        """Open a request from a new branch of a fork."""
        fork = self.repositories.get(f"{owner}/{self.repository.name}") or self.fork(owner)
        commit = fork.git.push(branch, on="production", by=owner)
        return self.open_pull(fork, branch, "preprod", title=title, body="", by=self.user(owner), commit=commit)

    def hook(self, url: str, secret: str, *events: str) -> Hook:
        """Add a webhook."""
        made = Hook(len(self.repository.hooks) + 1, url, secret, list(events))
        self.repository.hooks.append(made)
        return made

    def protect(self, branch: str, **rules: Any) -> Protection:
        """Protect a branch."""
        made = Protection(branch, **rules)
        self.repository.protections.append(made)
        return made

    def person(self, login: str) -> Person:
        """Return somebody who works by the API, with their own token."""
        return Person(self, self.user(login))

    def _repository(self, owner: str, name: str, *, parent: Repository | None = None) -> Repository:
        account = self.user(owner)
        made = HostedRepository(self.server, self._directory, f"{owner}/{name}")
        if parent:
            with made.pushing(owner):
                _copy(parent.git, made, "refs/heads/*:refs/heads/*")
        self.server.repositories[f"{self.root}/{owner}/{name}".strip("/")] = made
        repository = Repository(len(self.repositories) + 1, account, name, made, self.url, parent=parent)
        repository.rights = dict.fromkeys(self.users, "write") if parent is None else {}
        self.repositories[repository.full_name] = repository
        return repository

    # --- what the server of all fakes asks -------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        found = re.match(re.escape(self.root) + r"/api/v1(?P<path>/.*)", call.path)
        if not found:
            return Answer(404, b"<!DOCTYPE html><html><title>Not found</title></html>", {"Content-Type": "text/html"})
        inner = Call(call.method, found["path"], call.query, call.headers, call.body)
        route = self._routes.find(inner)
        if route is None:
            return no(404, "")
        handler, parts = route
        sight = Sight(self, call, inner, self._caller(call))
        sight.check_scope()
        return handler(sight, **parts)

    def git_user(self, username: str, password: str) -> str | None:
        return next((one.login for one in self.users.values() if password and one.password == password), None)

    def pushed(self, repository: HostedRepository, changes: Sequence[RefChange], by: str) -> None:
        """Take in a push: announce it, move the requests from its branches, and see what it merged."""
        known = next((one for one in self.repositories.values() if one.git is repository), None)
        if known is None:
            return
        person = self.user(by)
        for change in changes:
            self.announcer.pushed(known, change, person)
            if change.branch:
                self._moved(known, change, person)

    def _moved(self, repository: Repository, change: RefChange, by: User) -> None:
        base = repository.parent or repository
        for issue in base.pulls:
            pull = issue.pull
            assert pull
            if issue.closed:
                continue
            if pull.head_repository is repository and pull.head_branch == change.branch:
                self._head_moved(base, issue, change, by)
            elif base is repository and pull.base_branch == change.branch:
                self._base_moved(base, issue, change, by)

    def _head_moved(self, base: Repository, issue: Issue, change: RefChange, by: User) -> None:
        assert issue.pull
        if change.deleted:
            self.close(base, issue, by)
            return
        issue.pull.last_head = change.after
        if issue.pull.head_repository is not base and issue.pull.head_repository:
            _copy(issue.pull.head_repository.git, base.git, f"{change.ref}:{base.pull_ref(issue.number)}")
        base.keep_head(issue.number, change.after)
        rule = base.protection(issue.pull.base_branch)
        for review in issue.pull.reviews:
            review.stale = review.commit != change.after
            if review.stale and review.state == "APPROVED" and rule and rule.dismiss_stale:
                review.dismissed = True
        issue.touch()
        self.announcer.pull(base, issue, "synchronized", by, kind="pull_request_sync")

    def _base_moved(self, base: Repository, issue: Issue, change: RefChange, by: User) -> None:
        assert issue.pull
        if change.deleted:
            self.close(base, issue, by)
        elif base.autodetect_manual_merge and base.git.is_ancestor(issue.pull.last_head, change.after):
            self.merged(base, issue, change.after, by)

    # --- what changes requests --------------------------------------------------------------------------------------

    def open_pull(
        self,
        head: Repository,
        branch: str,
        target: str,
        *,
        title: str,
        body: str,
        by: User,
        commit: str,
        labels: Sequence[Label] = (),
    ) -> Issue:
        """Open a request towards the repository, from where ``branch`` is: at ``commit``."""
        base = self.repository
        number = base.next_number()
        if head is not base:
            _copy(head.git, base.git, f"refs/heads/{branch}:{base.pull_ref(number)}")
        base.keep_head(number, commit)
        pull = Pull(head, branch, target, commit)
        issue = Issue(number, next(base.ids), by, title, body, pull=pull, labels=list(labels))
        base.issues[number] = issue
        self.announcer.pull(base, issue, "opened", by)
        return issue

    def close(self, repository: Repository, issue: Issue, by: User) -> None:
        issue.closed = now()
        issue.touch()
        self.announcer.changed(repository, issue, "closed", by)

    def reopen(self, repository: Repository, issue: Issue, by: User) -> None:
        issue.closed = None
        issue.touch()
        self.announcer.changed(repository, issue, "reopened", by)

    def merged(self, repository: Repository, issue: Issue, commit: str, by: User) -> None:
        assert issue.pull
        issue.pull.merged_commit, issue.pull.merged_by, issue.pull.merged_at = commit, by, now()
        self.close(repository, issue, by)

    def _caller(self, call: Call) -> User | None:
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        user = next((one for one in self.users.values() if one.password == value), None)
        if scheme.lower() not in {"token", "bearer"} or user is None:
            # Forgejo says it just so.
            raise Problem(no(401, f"access token does not exist [sha: {value}]"))
        return user


class Person:
    """Somebody who uses the API with a token of their own; every call fails loudly."""

    def __init__(self, fake: FakeGitea, user: User) -> None:
        self._fake, self._user = fake, user

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call something of the repository."""
        address = f"{self._fake.url}/api/v1/repos/{self._fake.repository.full_name}{path}"
        headers = {"Authorization": f"token {self._user.password}"}
        answer = httpx.request(method, address, json=body, headers=headers, trust_env=False, timeout=20)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def review(self, number: int, event: str, body: str = "", *, commit: str = "") -> int:
        """Write a review: ``APPROVED``, ``REQUEST_CHANGES`` or ``COMMENT``; returns its id."""
        asked = {"event": event, "body": body, "commit_id": commit}
        return int(self.call("POST", f"/pulls/{number}/reviews", asked)["id"])

    def dismiss(self, number: int, review: int) -> None:
        self.call("POST", f"/pulls/{number}/reviews/{review}/dismissals", {"message": "Not now."})

    def say(self, number: int, text: str) -> int:
        """Comment on an issue or a request; returns the comment's id."""
        return int(self.call("POST", f"/issues/{number}/comments", {"body": text})["id"])

    def open(self, source: str, target: str = "preprod", *, title: str = "A change") -> int:
        """Open a request; returns its number."""
        return int(self.call("POST", "/pulls", {"head": source, "base": target, "title": title})["number"])

    def ask_review(self, number: int, *logins: str) -> None:
        self.call("POST", f"/pulls/{number}/requested_reviewers", {"reviewers": list(logins)})

    def merge(self, number: int, how: str = "merge") -> None:
        self.call("POST", f"/pulls/{number}/merge", {"Do": how})


def _copy(source: HostedRepository, target: HostedRepository, refspec: str) -> None:
    git(target.directory, "fetch", "--quiet", "--force", str(source.directory), refspec)


@contextmanager
def fake_gitea(directory: Path, *, root: str = "") -> Iterator[FakeGitea]:
    """Run a fake server with the branches ``production`` and ``preprod``."""
    directory.mkdir(exist_ok=True)
    server = HostServer()
    sender = WebhookSender()
    fake = FakeGitea(server, sender, directory, root=root)
    with server.running(), sender.running():
        fake.repository.git.move("preprod", str(fake.repository.git.head("production")), by="shop")
        yield fake
