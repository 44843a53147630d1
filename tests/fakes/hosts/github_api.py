"""The fake GitHub's REST API: who may, pull requests and reviews; the rest is in ``github_api_more``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.fakes.hosts.common import Answer, Call, Problem, Routes, paged, timestamp
from tests.fakes.hosts.github_api_more import AppRoutes, IssueRoutes, RecordRoutes
from tests.fakes.hosts.github_state import Account, Item, Pull, Token, invalid, message

if TYPE_CHECKING:
    from tests.fakes.hosts.github import FakeGitHub

ROOT = "/repos/{owner}/{repo}"
OPEN_TO_APPS = ("/app", "/installation")
EVENTS = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


class Actor:
    """Who asks, by which token."""

    def __init__(self, account: Account, token: Token) -> None:
        self.account, self.token, self.login = account, token, account.login

    def may(self, right: str, level: str = "write") -> bool:
        """Say whether the token has the right: by itself, or by its scope and its account's role."""
        rights = self.token.rights
        if rights is not None:
            return rights.get(right) in {"write", "admin", level}
        if right in {"administration", "repository_hooks"}:
            return self.account.role == "admin"
        if level == "read":
            return bool(self.account.role)
        return "repo" in (self.token.scopes or "") and self.account.role in {"write", "admin"}

    def need(self, right: str, level: str = "write") -> None:
        if self.may(right, level):
            return
        if self.token.rights is None:
            # Classic tokens see nothing where they may do nothing.
            raise Problem(message(404, "Not Found"))
        kind = "integration" if self.account.kind == "Bot" else "personal access token"
        wanted = {"X_Accepted_GitHub_Permissions": f"{right}={level}"}
        raise Problem(message(403, f"Resource not accessible by {kind}", **wanted))


class GitHubApi:
    """Answers requests."""

    def __init__(self, fake: FakeGitHub) -> None:
        self.fake = fake
        self.routes = Routes()
        self.app = AppRoutes(fake, self.routes)
        RecordRoutes(fake, self.routes)
        IssueRoutes(fake, self.routes)
        add = self.routes.add
        add("GET", "/user", self.user)
        add("POST", "/graphql", self.last_edit)
        add("GET", ROOT, self.repository)
        add("GET", f"{ROOT}/pulls", self.pulls)
        add("POST", f"{ROOT}/pulls", self.open)
        add("GET", f"{ROOT}/pulls/{{number}}", self.pull)
        add("PATCH", f"{ROOT}/pulls/{{number}}", self.change)
        add("PUT", f"{ROOT}/pulls/{{number}}/merge", self.merge)
        add("GET", f"{ROOT}/pulls/{{number}}/reviews", self.reviews)
        add("POST", f"{ROOT}/pulls/{{number}}/reviews", self.review)
        add("PUT", f"{ROOT}/pulls/{{number}}/reviews/{{review}}/dismissals", self.dismiss)
        add("GET", f"{ROOT}/pulls/{{number}}/comments", self.lines)
        add("POST", f"{ROOT}/pulls/{{number}}/requested_reviewers", self.request_reviews)

    def answer(self, call: Call) -> Answer:
        if (limited := self._limit()) is not None:
            return limited
        try:
            answered = self._answer(call)
        except Problem as problem:
            answered = problem.answer
        reset = int(time.time() + self.fake.calls_renewed.total_seconds())
        limits = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": str(self.fake.calls_left)}
        headers = {"Date": _http_date(), **limits, "X-RateLimit-Reset": str(reset), **answered.headers}
        return Answer(answered.status, answered.body, headers)

    def _limit(self) -> Answer | None:
        if self.fake.calls_left <= 0:
            reset = int(time.time() + self.fake.calls_renewed.total_seconds())
            limits = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": str(reset), "Date": _http_date()}
            return message(403, "API rate limit exceeded for user ID 1.", **limits)
        self.fake.calls_left -= 1
        return None

    def _answer(self, call: Call) -> Answer:
        found = self.routes.find(call)
        actor = None if self.app.is_apps(call) else self._actor(call)
        if found is None:
            return message(404, "Not Found")
        handler, parts = found
        owner, repo = parts.pop("owner", self.fake.owner), parts.pop("repo", self.fake.name)
        if f"{owner}/{repo}".lower() != self.fake.full_name.lower():
            return message(404, "Not Found")
        if "number" in parts:
            return handler(call, actor, **{**parts, "number": int(parts["number"]) if parts["number"].isdigit() else 0})
        return handler(call, actor, **parts)

    def _actor(self, call: Call) -> Actor:
        scheme, _, secret = call.headers.get("authorization", "").partition(" ")
        if not secret:
            raise Problem(message(401, "Requires authentication"))
        token = self.fake.tokens.get(secret) if scheme.lower() in {"token", "bearer"} else None
        if token is None or (token.ends is not None and token.ends < self.fake.now()):
            raise Problem(message(401, "Bad credentials"))
        return Actor(self.fake.accounts[token.login], token)

    def user(self, call: Call, actor: Actor) -> Answer:
        if actor.account.kind == "Bot":
            raise Problem(message(403, "Resource not accessible by integration"))
        scopes = {} if actor.token.rights is not None else {"X-OAuth-Scopes": actor.token.scopes or ""}
        return Answer(200, self.fake.shapes.user(actor.login), scopes)

    def last_edit(self, call: Call, actor: Actor) -> Answer:
        """Answer the one question that GraphQL is asked here."""
        asked = call.json()
        assert "... on Comment { lastEditedAt }" in asked["query"]
        if self.fake.graphql_says is not None:
            return Answer(200, {"data": {"node": None}, "errors": [{"type": self.fake.graphql_says, "message": "No."}]})
        kind, _, which = asked["variables"]["id"].partition("_")
        among = self.fake.comments if kind == "C" else self.fake.reviews
        found = next(one for one in among if str(one.id) == which)
        return Answer(200, {"data": {"node": {"lastEditedAt": timestamp(found.edited) if found.edited else None}}})

    def repository(self, call: Call, actor: Actor) -> Answer:
        if not actor.account.role:
            raise Problem(message(404, "Not Found"))
        return Answer(200, self.fake.shown_repository(actor.account.role))

    # --- pull requests ---

    def _shown(self, item: Item, *, full: bool = True) -> dict[str, Any]:
        return self.fake.shown_pull(item, full=full)

    def pulls(self, call: Call, actor: Actor) -> Answer:
        actor.need("pull_requests", "read")
        state, head, base = call.asked("state", "open"), call.asked("head"), call.asked("base")
        found = [one for one in self.fake.items.values() if one.pull]
        for one in found:
            self.fake.looked_at(one)
        found = [one for one in found if state in {"all", one.state}]
        if ":" in head:
            found = [one for one in found if one.pull and f"{one.pull.owner}:{one.pull.head}".lower() == head.lower()]
        if base:
            found = [one for one in found if one.pull and one.pull.base == base]
        sort = call.asked("sort", "created")
        found.sort(key=lambda one: (one.updated, one.touched) if sort == "updated" else (one.created, one.number))
        if call.asked("direction", "desc" if sort == "created" else "asc") == "desc":
            found.reverse()
        return paged(found, call, base=self.fake.server.url, show=lambda one: self._shown(one, full=False))

    def pull(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("pull_requests", "read")
        item = self.fake.pull(number)
        self.fake.looked_at(item)
        return Answer(200, self._shown(item))

    def open(self, call: Call, actor: Actor) -> Answer:
        actor.need("pull_requests")
        given, repository = call.json(), self.fake.repository
        for name in ("head", "base", "title"):
            if not given.get(name):
                raise invalid("PullRequest", name, "missing_field")
        if len(given["title"]) > 256:
            raise invalid("PullRequest", "title", "custom", "title is too long (maximum is 256 characters)")
        head, base = given["head"].removeprefix(f"{self.fake.owner}:"), given["base"]
        sha, target = repository.head(head), repository.head(base)
        for field, there in (("head", sha), ("base", target)):
            if there is None:
                raise invalid("PullRequest", field)
        opened = [one.pull for one in self.fake.items.values() if one.pull and one.state == "open"]
        if any((one.head, one.base, one.owner) == (head, base, self.fake.owner) for one in opened):
            text = f"A pull request already exists for {self.fake.owner}:{head}."
            raise invalid("PullRequest", code="custom", text=text)
        if not repository.ahead(str(sha), str(target)):
            raise invalid("PullRequest", code="custom", text=f"No commits between {base} and {head}")
        pull = Pull(head, base, str(sha), repository, self.fake.owner)
        item = self.fake.new_item(actor.login, given["title"], given.get("body"), pull)
        self.fake.tell("pull_request", self.fake.pull_event("opened", item, actor.login))
        return Answer(201, self._shown(item))

    def change(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("pull_requests")
        item, given = self.fake.pull(number), call.json()
        assert item.pull
        if (base := given.get("base")) and base != item.pull.base:
            if item.state != "open":
                raise invalid(
                    "PullRequest", "base", "custom", "Cannot change the base branch of a closed pull request."
                )
            if (target := self.fake.repository.head(base)) is None:
                raise invalid("PullRequest", "base", "custom", f"Proposed base branch '{base}' was not found")
            if not self.fake.repository.ahead(item.pull.sha, target):
                text = f"There are no new commits between base branch '{base}' and head branch '{item.pull.head}'"
                raise invalid("PullRequest", "", "custom", text)
            item.pull.base = base
        item.title, item.body = given.get("title", item.title), given.get("body", item.body)
        self.fake.touch(item)
        if given.get("state") == "closed" and item.state == "open":
            self.fake.close(item, actor.login)
        elif given.get("state") == "open" and item.state == "closed":
            if item.pull.merged_at or self.fake.repository.head(item.pull.head) is None:
                raise invalid("PullRequest", "state", "custom", "state cannot be changed.")
            self.fake.reopen(item, actor.login)
        return Answer(200, self._shown(item))

    def merge(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("contents")
        item, given = self.fake.pull(number), call.json()
        assert item.pull
        if item.state != "open":
            return message(405, "Pull Request is not mergeable")
        if given.get("sha", item.pull.sha) != item.pull.sha:
            return message(409, "Head branch was modified. Review and try the merge again.")
        method = given.get("merge_method", "merge")
        if method not in {"merge", "squash", "rebase"}:
            raise invalid("PullRequest", "merge_method")
        sha = self.fake.merge(number, actor.login, method=method)
        return Answer(200, {"sha": sha, "merged": True, "message": "Pull Request successfully merged"})

    # --- reviews ---

    def reviews(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("pull_requests", "read")
        self.fake.pull(number)
        found = [one for one in self.fake.reviews if one.on == number]
        shown = [self.fake.shapes.review(one, self.fake.full_name) for one in found]
        return paged(shown, call, base=self.fake.server.url)

    def review(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("pull_requests")
        item, given = self.fake.pull(number), call.json()
        state = EVENTS.get(given.get("event", ""))
        assert item.pull
        if state is None:
            raise invalid("PullRequestReview", "event", "invalid")
        if item.user == actor.login and state != "COMMENTED":
            word = "approve" if state == "APPROVED" else "request changes on"
            return message(422, "Unprocessable Entity", [f"Can not {word} your own pull request"])
        if state != "APPROVED" and not given.get("body"):
            return message(422, "Unprocessable Entity", ["Body is required"])
        made = self.fake.review(number, actor.login, state, given.get("body", ""), commit=given.get("commit_id"))
        return Answer(200, self.fake.shapes.review(made, self.fake.full_name))

    def dismiss(self, call: Call, actor: Actor, number: int, review: str) -> Answer:
        actor.need("pull_requests")
        found = next((one for one in self.fake.reviews if (one.on, str(one.id)) == (number, review)), None)
        if found is None:
            raise Problem(message(404, "Not Found"))
        if found.state not in {"APPROVED", "CHANGES_REQUESTED"} or not call.json().get("message"):
            return message(422, "Unprocessable Entity", ["Can not dismiss a commented pull request review"])
        self.fake.dismiss(found, actor.login)
        return Answer(200, self.fake.shapes.review(found, self.fake.full_name))

    def lines(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("pull_requests", "read")
        self.fake.pull(number)
        found = [one for one in self.fake.comments if one.on == number and one.line]
        found = [one for one in found if _not_before(one.updated, call.asked("since"))]
        shown = [self.fake.shapes.comment(one, self.fake.full_name) for one in found]
        return paged(shown, call, base=self.fake.server.url)

    def request_reviews(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("pull_requests")
        item, given = self.fake.pull(number), call.json()
        assert item.pull
        users, teams = given.get("reviewers") or [], given.get("team_reviewers") or []
        if any(login.lower() == item.user.lower() for login in users):
            return message(422, "Review cannot be requested from pull request author.")
        known = {name.lower() for name, account in self.fake.accounts.items() if account.role}
        if any(login.lower() not in known for login in users) or set(teams) - self.fake.teams:
            return message(
                422,
                "Reviews may only be requested from collaborators. One or more of the users or teams you specified is "
                f"not a collaborator of the {self.fake.full_name} repository.",
            )
        item.pull.reviewers = list(dict.fromkeys([*item.pull.reviewers, *users]))
        item.pull.teams = list(dict.fromkeys([*item.pull.teams, *teams]))
        self.fake.touch(item)
        return Answer(201, self._shown(item, full=False))


def _not_before(at: Any, since: str) -> bool:
    return not since or at.strftime("%Y-%m-%dT%H:%M:%SZ") >= since


def _http_date() -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
