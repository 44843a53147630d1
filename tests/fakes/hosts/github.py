"""A GitHub that keeps state: one repository with pull requests, reviews, statuses, deployments, issues and webhooks.

Branches are those of a real bare repository; pushes over HTTP count. Error codes are GitHub's (409, 422 and 405 as
documented), nobody approves what is their own, tokens have scopes or single rights, limits are kept and can be used
up. People act by methods (``open_pull``, ``review`` …), we by the API.
"""

from __future__ import annotations

import hmac
import itertools
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from feature_delivery.domain.names import CommitSha
from tests.fakes.hosts.common import (
    Answer,
    Call,
    Delivery,
    HostedRepository,
    HostServer,
    Problem,
    RefChange,
    WebhookSender,
)
from tests.fakes.hosts.github_api import GitHubApi
from tests.fakes.hosts.github_state import (
    Account,
    Comment,
    Deployment,
    Hook,
    Item,
    Pull,
    Review,
    Shapes,
    Status,
    Token,
    message,
)
from tests.support.git_world import git

BOT, BOT_TOKEN = "shop-bot", "ghp_thebotsowntoken0123456789"


class FakeGitHub:
    """One repository on a GitHub of its own; what is asked over HTTP goes to ``GitHubApi``."""

    def __init__(self, server: HostServer, directory: Path, full_name: str = "shop/cart") -> None:
        self.server = server
        self.repository = HostedRepository(server, directory, full_name)
        self.directory = directory
        self.owner, self.name = full_name.split("/")
        self.full_name = full_name
        self.shapes = Shapes(server.url)
        self.accounts: dict[str, Account] = {}
        self.tokens: dict[str, Token] = {}
        self.teams: set[str] = set()
        self.items: dict[int, Item] = {}
        self.comments: list[Comment] = []
        self.reviews: list[Review] = []
        self.statuses: list[Status] = []
        self.deployments: list[Deployment] = []
        self.labels: list[str] = ["bug"]
        self.hooks: list[Hook] = []
        self.sender = WebhookSender()
        self.protection: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, list[dict[str, Any]]] = {}
        self.rulesets: dict[int, dict[str, Any]] = {}
        self.more: dict[str, Any] = {}
        """Fields of the repository that are other than usual (``archived``, ``private`` …)."""
        self.calls_left = 5000
        self.calls_renewed = timedelta(minutes=30)
        self.ahead = timedelta()
        """How far the fake's clock is ahead of the real one."""
        self.graphql_says: str | None = None
        """The type of the error that GraphQL answers with."""
        self.reads_until_merged = 0
        """So many looks at a request still show it as open after its target holds its head."""
        self._numbers = itertools.count(1)
        self._ids = itertools.count(1001)
        self._touches = itertools.count(1)
        self._lag: dict[int, int] = {}
        self.add(BOT, role="write", token=BOT_TOKEN)
        self.api = GitHubApi(self)
        server.host = self

    # --- people ---

    def add(self, login: str, *, role: str = "write", token: str = "", kind: str = "User", **rights: Any) -> Account:
        """Let somebody in; ``rights``: more for the token (``scopes``, ``rights``)."""
        account = self.accounts[login] = Account(login, role, kind)
        self.shapes.kinds[login] = kind
        if token:
            self.tokens[token] = Token(login, **rights)
        return account

    def somebody(self, login: str) -> Account:
        return self.accounts.get(login) or self.add(login)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def next_id(self) -> int:
        return next(self._ids)

    def touch(self, item: Item) -> None:
        item.updated, item.touched = self.now(), next(self._touches)

    def open_pull(self, by: str, head: str, base: str, *, title: str = "A change", body: str = "") -> Item:
        """Open a pull request from a branch here."""
        self.somebody(by)
        sha = self.repository.head(head)
        assert sha, f"push {head} first"
        pull = Pull(head, base, sha, self.repository, self.owner)
        item = self.new_item(by, title, body, pull)
        self.tell("pull_request", self.pull_event("opened", item, by))
        return item

    def open_pull_from_fork(self, by: str, head: str, base: str) -> Item:
        """Open a pull request from a branch of ``by``'s own copy, with one commit of theirs."""
        self.somebody(by)
        place = self.directory / by
        place.mkdir()
        fork = HostedRepository(self.server, place, f"{by}/{self.name}")
        pull = Pull(head, base, fork.push(head, by=by), fork, by)
        item = self.new_item(by, "From a fork", "", pull)
        self.tell("pull_request", self.pull_event("opened", item, by))
        return item

    def review(
        self, number: int, by: str, state: str, body: str = "", *, commit: str | None = None, at: datetime | None = None
    ) -> Review:
        """Review: ``APPROVED``, ``CHANGES_REQUESTED``, ``COMMENTED``."""
        self.somebody(by)
        item = self.pull(number)
        assert item.pull
        made = Review(self.next_id(), number, by, state, body, commit or item.pull.sha, at or self.now())
        self.reviews.append(made)
        self.touch(item)
        self.tell("pull_request_review", self.review_event("submitted", item, made, by))
        return made

    def dismiss(self, review: Review, by: str = "dave") -> None:
        item = self.pull(review.on)
        review.state = "DISMISSED"
        self.touch(item)
        self.tell("pull_request_review", self.review_event("dismissed", item, review, by))

    def write(self, number: int, by: str | None, body: str, *, line: bool = False) -> Comment:
        """Comment below an item, or on a line of a pull request."""
        item = self.item(number)
        if by:
            self.somebody(by)
        now = self.now()
        made = Comment(self.next_id(), number, by, body, now, now, line, item.pull.sha if item.pull else "")
        self.comments.append(made)
        self.touch(item)
        if not line:
            self.tell("issue_comment", self.comment_event("created", item, made, by or "ghost"))
        return made

    def open_issue(self, by: str, title: str, body: str | None = None) -> Item:
        self.somebody(by)
        item = self.new_item(by, title, body, None)
        self.tell("issues", self.issue_event("opened", item, by))
        return item

    def merge(self, number: int, by: str, *, method: str = "merge") -> CommitSha:
        """Merge by the button. ``squash`` and ``rebase`` put one commit with the request's changes on the target."""
        self.somebody(by)
        item = self.pull(number)
        assert item.pull
        base, head = str(self.repository.head(item.pull.base)), item.pull.sha
        tree = git(self.repository.directory, "merge-tree", "--write-tree", base, head)
        parents = (base, head) if method == "merge" else (base,)
        with self.repository.pushing(by) as world:
            made = world.branch(item.pull.base, world.commit_tree(tree, *parents, message=f"{item.title} (#{number})"))
        if item.state == "open":  # squashed: the target does not hold the head
            self._show_merged(item, by)
        return made

    # --- what is here ---

    def new_item(self, by: str, title: str, body: str | None, pull: Pull | None) -> Item:
        now = self.now()
        item = Item(next(self._numbers), title, body, by, now, now, next(self._touches), pull=pull)
        self.items[item.number] = item
        return item

    def item(self, number: int) -> Item:
        if (found := self.items.get(number)) is None:
            raise Problem(message(404, "Not Found"))
        return found

    def pull(self, number: int) -> Item:
        if (found := self.item(number)).pull is None:
            raise Problem(message(404, "Not Found"))
        return found

    def close(self, item: Item, by: str, reason: str | None = None) -> None:
        item.state, item.closed, item.reason = "closed", self.now(), None if item.pull else reason or "completed"
        self.touch(item)
        event = ("pull_request", self.pull_event) if item.pull else ("issues", self.issue_event)
        self.tell(event[0], event[1]("closed", item, by))

    def reopen(self, item: Item, by: str) -> None:
        item.state, item.closed, item.reason = "open", None, None if item.pull else "reopened"
        self.touch(item)
        event = ("pull_request", self.pull_event) if item.pull else ("issues", self.issue_event)
        self.tell(event[0], event[1]("reopened", item, by))

    def texts(self, number: int) -> list[str]:
        """Return the comments below an item as readers see them: HTML comments are hidden."""
        found = [one.body for one in self.comments if one.on == number and not one.line]
        return [text.split("<!--", maxsplit=1)[0].rstrip() for text in found]

    # --- pushes ---

    def git_user(self, username: str, password: str) -> str | None:
        token = self.tokens.get(password)
        if token is None or (token.ends is not None and token.ends < self.now()):
            return None
        return token.login if self._pushes(token) else None

    def _pushes(self, token: Token) -> bool:
        if token.rights is not None:
            return token.rights.get("contents") == "write"
        return "repo" in (token.scopes or "") and self.accounts[token.login].role in {"write", "admin"}

    def pushed(self, repository: HostedRepository, changes: Sequence[RefChange], by: str) -> None:
        """See what follows from a push: heads move, requests are merged or closed, webhooks are sent."""
        self.somebody(by)
        for change in changes:
            if repository is self.repository:
                self._tell_of_push(change, by)
        for item in [one for one in self.items.values() if one.pull and one.state == "open"]:
            assert item.pull
            moved = [one for one in changes if item.pull.repository is repository and one.branch == item.pull.head]
            if moved and not moved[0].deleted:
                item.pull.sha = moved[0].after
                self.touch(item)
                self.tell("pull_request", self.pull_event("synchronize", item, by))
            merged = repository is self.repository and any(one.branch == item.pull.base for one in changes)
            if merged and self._holds(item):
                self._lag[item.number] = self.reads_until_merged
                if not self.reads_until_merged:
                    self._show_merged(item, by)
            elif moved and moved[0].deleted:
                self.close(item, by)

    def _holds(self, item: Item) -> bool:
        assert item.pull
        base = self.repository.head(item.pull.base)
        held = base is not None and self.repository.holds(item.pull.sha)
        return held and self.repository.is_ancestor(item.pull.sha, str(base))

    def _show_merged(self, item: Item, by: str) -> None:
        assert item.pull
        item.pull.merged_at, item.pull.merged_by = self.now(), by
        item.pull.merge_commit = self.repository.head(item.pull.base)
        self.close(item, by)

    def looked_at(self, item: Item) -> None:
        """Count a look at a request whose merge is not shown yet."""
        if item.number in self._lag and item.state == "open":
            self._lag[item.number] -= 1
            if self._lag[item.number] < 0:
                self._show_merged(item, item.user)

    # --- webhooks ---

    def add_hook(self, url: str, secret: str, events: Sequence[str] = ("*",), *, form: bool = False) -> Hook:
        hook = Hook(self.next_id(), url, secret, list(events), form=form, made=self.now())
        self.hooks.append(hook)
        return hook

    def tell(self, event: str, payload: Mapping[str, Any]) -> None:
        """Send an event to whoever wants it, signed."""
        for hook in self.hooks:
            if hook.active and {event, "*"} & set(hook.events):
                self.sender.send(self._delivery(hook, event, payload))

    def _delivery(self, hook: Hook, event: str, payload: Mapping[str, Any]) -> Delivery:
        body = json.dumps(payload).encode()
        if hook.form:
            body = urlencode({"payload": body.decode()}).encode()
        guid = str(uuid.uuid4())
        headers = {
            "User-Agent": "GitHub-Hookshot/fa1e",
            "Accept": "*/*",
            "Content-Type": "application/x-www-form-urlencoded" if hook.form else "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid,
            "X-GitHub-Hook-ID": str(hook.id),
            "X-GitHub-Hook-Installation-Target-Type": "repository",
        }
        if hook.secret:
            for name, algorithm in (("X-Hub-Signature", "sha1"), ("X-Hub-Signature-256", "sha256")):
                digest = hmac.new(hook.secret.encode(), body, algorithm).hexdigest()
                headers[name] = f"{algorithm}={digest}"
        return Delivery(hook.id, guid, event, hook.url, headers, body)

    def event(self, by: str, **parts: Any) -> dict[str, Any]:
        return {**parts, "repository": self.shown_repository("admin"), "sender": self.shapes.user(by)}

    def pull_event(self, action: str, item: Item, by: str) -> dict[str, Any]:
        shown = self.shown_pull(item, full=True)
        return self.event(by, action=action, number=item.number, pull_request=shown)

    def review_event(self, action: str, item: Item, review: Review, by: str) -> dict[str, Any]:
        shown = self.shapes.review(review, self.full_name)
        shown["state"] = review.state.lower()  # in webhooks GitHub writes it so
        return self.event(by, action=action, review=shown, pull_request=self.shown_pull(item, full=False))

    def comment_event(self, action: str, item: Item, comment: Comment, by: str) -> dict[str, Any]:
        shown = self.shapes.comment(comment, self.full_name)
        return self.event(by, action=action, issue=self.shapes.issue(item, self.full_name), comment=shown)

    def issue_event(self, action: str, item: Item, by: str) -> dict[str, Any]:
        return self.event(by, action=action, issue=self.shapes.issue(item, self.full_name))

    def _tell_of_push(self, change: RefChange, by: str) -> None:
        kind, name = ("branch", change.branch) if change.branch else ("tag", change.ref.removeprefix("refs/tags/"))
        commit = None
        if not change.deleted:
            text, email, at = self.repository.described(change.after)
            person = {"name": by, "email": email, "username": by}
            commit = {"id": change.after, "message": text, "timestamp": at, "author": person, "committer": person}
        pushed = {
            "ref": change.ref,
            "before": change.before,
            "after": change.after,
            "created": change.created,
            "deleted": change.deleted,
            "forced": not (change.created or change.deleted or self._follows(change)),
            "base_ref": None,
            "compare": f"{self.server.url}/{self.full_name}/compare",
            "commits": [commit] if commit else [],
            "head_commit": commit,
            "pusher": {"name": by, "email": f"{by}@shop.test"},
        }
        if change.created or change.deleted:
            event = "create" if change.created else "delete"
            more = {"master_branch": "production", "description": None} if change.created else {}
            self.tell(event, self.event(by, ref=name, ref_type=kind, pusher_type="user", **more))
        self.tell("push", self.event(by, **pushed))

    def _follows(self, change: RefChange) -> bool:
        return self.repository.is_ancestor(change.before, change.after)

    # --- shapes ---

    def shown_repository(self, permissions: str) -> dict[str, Any]:
        return self.shapes.repository(self.repository, of=self.full_name, permissions=permissions, **self.more)

    def shown_pull(self, item: Item, *, full: bool) -> dict[str, Any]:
        assert item.pull
        head = None
        if item.pull.repository is not None:
            head = self.shapes.repository(item.pull.repository, of=self.full_name, permissions="read")
        base = self.repository.head(item.pull.base) or item.pull.sha
        return self.shapes.pull(item, self.full_name, self.shown_repository("read"), head, base=base, full=full)

    def answer(self, call: Call) -> Answer:
        return self.api.answer(call)
