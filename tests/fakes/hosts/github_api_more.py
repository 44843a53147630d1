"""The rest of the fake GitHub's REST API: branches, statuses, deployments; issues; hooks; Apps."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt

from tests.fakes.hosts.common import Answer, Call, Problem, Routes, paged, timestamp
from tests.fakes.hosts.github_state import Deployment, Item, Status, Token, invalid, message, number_of

if TYPE_CHECKING:
    from tests.fakes.hosts.github import FakeGitHub
    from tests.fakes.hosts.github_api import Actor

ROOT = "/repos/{owner}/{repo}"
DEPLOYMENT_STATES = {"error", "failure", "inactive", "in_progress", "queued", "pending", "success"}


class RecordRoutes:
    """Branches and what is said of commits."""

    def __init__(self, fake: FakeGitHub, routes: Routes) -> None:
        self.fake = fake
        add = routes.add
        add("GET", f"{ROOT}/branches/{{branch}}", self.branch)
        add("GET", f"{ROOT}/branches/{{branch}}/protection", self.protection)
        add("GET", f"{ROOT}/rules/branches/{{branch}}", self.rules)
        add("GET", f"{ROOT}/rulesets/{{ruleset}}", self.ruleset)
        add("GET", f"{ROOT}/commits/{{sha}}/statuses", self.statuses)
        add("POST", f"{ROOT}/statuses/{{sha}}", self.post_status)
        add("GET", f"{ROOT}/deployments", self.deployments)
        add("POST", f"{ROOT}/deployments", self.deploy)
        add("GET", f"{ROOT}/deployments/{{id}}/statuses", self.deployment_statuses)
        add("POST", f"{ROOT}/deployments/{{id}}/statuses", self.tell)
        add("GET", f"{ROOT}/hooks", self.hooks)
        add("GET", f"{ROOT}/hooks/{{id}}/deliveries", self.deliveries)

    def _page(self, items: list[Any], call: Call) -> Answer:
        return paged(items, call, base=self.fake.server.url)

    def branch(self, call: Call, actor: Actor, branch: str) -> Answer:
        actor.need("contents", "read")
        sha = self.fake.repository.head(branch)
        if sha is None:
            return message(404, "Branch not found")
        url = f"{self.fake.server.url}/repos/{self.fake.full_name}/branches/{branch}"
        person = {"name": "Dev", "email": "dev@shop.test", "date": timestamp()}
        git = {"url": url, "message": "A change", "author": person, "committer": person, "comment_count": 0}
        tree = {"sha": sha, "url": url}
        commit: dict[str, Any] = {
            "sha": sha,
            "node_id": "C_1",
            "url": url,
            "html_url": url,
            "comments_url": url,
            "parents": [],
            "commit": {**git, "tree": tree},
            **dict.fromkeys(("author", "committer"), self.fake.shapes.user("dev")),
        }
        shielded = branch in self.fake.protection
        shown = {
            "name": branch,
            "commit": commit,
            "_links": {"html": url, "self": url},
            "protection_url": url,
            "protected": shielded or branch in self.fake.rules,
            "protection": {"enabled": shielded},
        }
        return Answer(200, shown)

    def protection(self, call: Call, actor: Actor, branch: str) -> Answer:
        if not actor.may("administration", "read"):
            actor.need("administration", "read")
        if branch not in self.fake.protection:
            return message(404, "Branch not protected")
        url = f"{self.fake.server.url}{call.path}"
        return Answer(200, {"url": url, **self.fake.protection[branch]})

    def rules(self, call: Call, actor: Actor, branch: str) -> Answer:
        return self._page(self.fake.rules.get(branch, []), call)

    def ruleset(self, call: Call, actor: Actor, ruleset: str) -> Answer:
        found = self.fake.rulesets.get(int(ruleset))
        return Answer(200, found) if found else message(404, "Not Found")

    def statuses(self, call: Call, actor: Actor, sha: str) -> Answer:
        actor.need("statuses", "read")
        found = [one for one in reversed(self.fake.statuses) if one.sha == sha]
        return self._page([self.fake.shapes.status(one, self.fake.full_name) for one in found], call)

    def post_status(self, call: Call, actor: Actor, sha: str) -> Answer:
        actor.need("statuses")
        given = call.json()
        if not self.fake.repository.holds(sha):
            return message(422, f"No commit found for SHA: {sha}")
        if given.get("state") not in {"error", "failure", "pending", "success"}:
            raise invalid("Status", "state", "missing_field")
        if len(given.get("description") or "") > 140:
            raise invalid("Status", "description", "custom", "description is too long (maximum is 140 characters)")
        _web_page("Status", "target_url", given.get("target_url"))
        context = given.get("context") or "default"
        if sum((one.sha, one.context) == (sha, context) for one in self.fake.statuses) >= 1000:
            text = "This SHA and context has reached the maximum number of statuses."
            raise invalid("Status", code="custom", text=text)
        made = Status(
            self.fake.next_id(),
            sha,
            given["state"],
            given.get("description"),
            given.get("target_url"),
            context,
            actor.login,
            self.fake.now(),
        )
        self.fake.statuses.append(made)
        shown = self.fake.shapes.status(made, self.fake.full_name)
        self.fake.tell("status", self.fake.event(actor.login, **shown, sha=sha, name=self.fake.full_name, branches=[]))
        return Answer(201, shown)

    def deployments(self, call: Call, actor: Actor) -> Answer:
        actor.need("deployments", "read")
        found = self.fake.deployments[::-1]
        for field in ("sha", "ref", "task", "environment"):
            if wanted := call.asked(field):
                found = [one for one in found if getattr(one, field) == wanted]
        return self._page([self.fake.shapes.deployment(one, self.fake.full_name) for one in found], call)

    def deploy(self, call: Call, actor: Actor) -> Answer:
        actor.need("deployments")
        given, repository = call.json(), self.fake.repository
        ref = given.get("ref", "")
        sha = repository.head(ref) or (ref if len(ref) == 40 and repository.holds(ref) else None)
        if sha is None:
            return message(422, f"No ref found for: {ref}")
        contexts = given.get("required_contexts")
        latest = {one.context: one.state for one in self.fake.statuses if one.sha == sha}
        wanted = latest if contexts is None else contexts
        if any(latest.get(name) != "success" for name in wanted):
            return message(409, "Conflict: Commit status checks failed for " + ref)
        made = Deployment(
            self.fake.next_id(),
            str(sha),
            ref,
            given.get("task", "deploy"),
            given.get("environment", "production"),
            given.get("description"),
            bool(given.get("transient_environment")),
            bool(given.get("production_environment", given.get("environment", "production") == "production")),
            actor.login,
            self.fake.now(),
        )
        self.fake.deployments.append(made)
        shown = self.fake.shapes.deployment(made, self.fake.full_name)
        self.fake.tell("deployment", self.fake.event(actor.login, action="created", deployment=shown))
        return Answer(201, shown)

    def _deployment(self, text: str) -> Deployment:
        found = next((one for one in self.fake.deployments if str(one.id) == text), None)
        if found is None:
            raise Problem(message(404, "Not Found"))
        return found

    def deployment_statuses(self, call: Call, actor: Actor, id: str) -> Answer:  # noqa: A002
        actor.need("deployments", "read")
        return self._page(self._deployment(id).statuses[::-1], call)

    def tell(self, call: Call, actor: Actor, id: str) -> Answer:  # noqa: A002
        actor.need("deployments")
        one, given = self._deployment(id), call.json()
        if given.get("state") not in DEPLOYMENT_STATES:
            raise invalid("DeploymentStatus", "state")
        _web_page("DeploymentStatus", "environment_url", given.get("environment_url"))
        if given["state"] == "success" and given.get("auto_inactive", True) and not one.transient:
            for other in self.fake.deployments:
                if other.id < one.id and other.environment == one.environment and not other.production:
                    other.statuses.append(self._status(other, {"state": "inactive"}, actor))
        shown = self._status(one, given, actor)
        one.statuses.append(shown)
        return Answer(201, shown)

    def _status(self, one: Deployment, given: dict[str, Any], actor: Actor) -> dict[str, Any]:
        number, url = self.fake.next_id(), f"{self.fake.server.url}/repos/{self.fake.full_name}"
        return {
            "url": f"{url}/deployments/{one.id}/statuses/{number}",
            "id": number,
            "node_id": f"DS_{number}",
            "state": given["state"],
            "creator": self.fake.shapes.user(actor.login),
            "description": given.get("description", ""),
            "environment": one.environment,
            "environment_url": given.get("environment_url", ""),
            "target_url": given.get("target_url", ""),
            "deployment_url": f"{url}/deployments/{one.id}",
            "repository_url": url,
            "created_at": timestamp(self.fake.now()),
            "updated_at": timestamp(self.fake.now()),
        }

    def hooks(self, call: Call, actor: Actor) -> Answer:
        actor.need("repository_hooks", "read")
        return self._page([self.fake.shapes.hook(one, self.fake.full_name) for one in self.fake.hooks], call)

    def deliveries(self, call: Call, actor: Actor, id: str) -> Answer:  # noqa: A002
        actor.need("repository_hooks", "read")
        sent = [one for one in self.fake.sender.deliveries[::-1] if str(one.hook) == id and one.reason]
        shown = [
            {
                "id": number_of(one.id),
                "guid": one.id,
                "delivered_at": timestamp(one.at),
                "redelivery": False,
                "duration": 0.1,
                "status": one.reason,
                "status_code": one.status,
                "event": one.event,
                "action": None,
                "installation_id": None,
                "repository_id": number_of(self.fake.full_name),
            }
            for one in sent
        ]
        return self._page(shown, call)


class IssueRoutes:
    """Issues, their comments and labels; those of pull requests too."""

    def __init__(self, fake: FakeGitHub, routes: Routes) -> None:
        self.fake = fake
        self.labels_given: dict[str, str] = {}
        add = routes.add
        add("GET", f"{ROOT}/issues", self.issues)
        add("POST", f"{ROOT}/issues", self.open)
        add("GET", f"{ROOT}/issues/{{number}}", self.issue)
        add("PATCH", f"{ROOT}/issues/{{number}}", self.change)
        add("GET", f"{ROOT}/issues/{{number}}/comments", self.comments)
        add("POST", f"{ROOT}/issues/{{number}}/comments", self.comment)
        add("PATCH", f"{ROOT}/issues/comments/{{id}}", self.edit)
        add("POST", f"{ROOT}/issues/{{number}}/labels", self.label)
        add("DELETE", f"{ROOT}/issues/{{number}}/labels/{{name}}", self.unlabel)
        add("GET", f"{ROOT}/labels", self.labels)
        add("POST", f"{ROOT}/labels", self.new_label)
        add("GET", f"{ROOT}/assignees/{{login}}", self.assignee)

    def _shown(self, item: Item) -> dict[str, Any]:
        count = sum(one.on == item.number for one in self.fake.comments)
        return self.fake.shapes.issue(item, self.fake.full_name, comments=count)

    def _item(self, number: int) -> Item:
        item = self.fake.item(number)
        if self.fake.more.get("has_issues") is False and item.pull is None:
            raise Problem(message(410, "Issues are disabled for this repo"))
        if item.deleted:
            raise Problem(message(410, "This issue was deleted"))
        if item.moved_to:
            owner, name, there = item.moved_to.split("/")
            place = f"{self.fake.server.url}/repos/{owner}/{name}/issues/{there}"
            raise Problem(Answer(301, {"message": "Moved Permanently", "url": place}, {"Location": place}))
        return item

    def issues(self, call: Call, actor: Actor) -> Answer:
        actor.need("issues", "read")
        state, since, sort = call.asked("state", "open"), call.asked("since"), call.asked("sort", "created")
        found = [one for one in self.fake.items.values() if state in {"all", one.state} and not one.deleted]
        found = [one for one in found if not since or timestamp(one.updated) >= since]
        found.sort(key=lambda one: (one.updated, one.touched) if sort == "updated" else (one.created, one.number))
        if call.asked("direction", "desc") == "desc":
            found.reverse()
        return paged([self._shown(one) for one in found], call, base=self.fake.server.url)

    def open(self, call: Call, actor: Actor) -> Answer:
        actor.need("issues")
        given = call.json()
        if not given.get("title"):
            raise invalid("Issue", "title", "missing_field")
        if len(given["title"]) > 256:
            raise invalid("Issue", "title", "custom", "title is too long (maximum is 256 characters)")
        return Answer(201, self._shown(self.fake.open_issue(actor.login, given["title"], given.get("body"))))

    def issue(self, call: Call, actor: Actor, number: int) -> Answer:
        actor.need("issues", "read")
        return Answer(200, self._shown(self._item(number)))

    def change(self, call: Call, actor: Actor, number: int) -> Answer:
        item, given = self._item(number), call.json()
        if actor.token.rights is not None or not actor.account.role:
            actor.need("issues")
        if actor.account.role == "read":
            # Whoever may not push is answered as if all was well; what they may not is left out.
            return Answer(200, self._shown(item))
        if "assignees" in given:
            item.assignees = [login for login in given["assignees"] if self._may_have(login)]
        if "labels" in given:
            item.labels = list(given["labels"])
        item.title, item.body = given.get("title", item.title), given.get("body", item.body)
        self.fake.touch(item)
        if given.get("state") == "closed" and item.state == "open":
            self.fake.close(item, actor.login, given.get("state_reason"))
        elif given.get("state") == "open" and item.state == "closed":
            self.fake.reopen(item, actor.login)
        elif "assignees" in given:
            self.fake.tell("issues", self.fake.issue_event("assigned", item, actor.login))
        return Answer(200, self._shown(item))

    def _may_have(self, login: str) -> bool:
        return any(name.lower() == login.lower() and one.role for name, one in self.fake.accounts.items())

    def comments(self, call: Call, actor: Actor, number: int) -> Answer:
        item = self._item(number)
        if not (item.pull and actor.may("pull_requests", "read")):
            actor.need("issues", "read")
        found = [one for one in self.fake.comments if one.on == number and not one.line]
        since = call.asked("since")
        found = [one for one in found if not since or timestamp(one.updated) >= since]
        shown = [self.fake.shapes.comment(one, self.fake.full_name) for one in found]
        return paged(shown, call, base=self.fake.server.url)

    def comment(self, call: Call, actor: Actor, number: int) -> Answer:
        item = self._item(number)
        if not (item.pull and actor.may("pull_requests")):
            actor.need("issues")
        body = call.json().get("body")
        self._check(body)
        made = self.fake.write(number, actor.login, body)
        return Answer(201, self.fake.shapes.comment(made, self.fake.full_name))

    def edit(self, call: Call, actor: Actor, id: str) -> Answer:  # noqa: A002
        if not (actor.may("issues") or actor.may("pull_requests")):
            actor.need("issues")
        found = next((one for one in self.fake.comments if str(one.id) == id and not one.line), None)
        if found is None:
            raise Problem(message(404, "Not Found"))
        body = call.json().get("body")
        self._check(body)
        found.body, found.updated, found.edited = body, self.fake.now(), self.fake.now()
        self.fake.touch(self.fake.item(found.on))
        self.fake.tell("issue_comment", self.fake.comment_event("edited", self.fake.item(found.on), found, actor.login))
        return Answer(200, self.fake.shapes.comment(found, self.fake.full_name))

    def _check(self, body: str | None) -> None:
        if not body:
            raise invalid("IssueComment", "body", "missing_field")
        if len(body) > 65536:
            raise invalid("IssueComment", "body", "custom", "body is too long (maximum is 65536 characters)")

    def label(self, call: Call, actor: Actor, number: int) -> Answer:
        item = self._item(number)
        if not (item.pull and actor.may("pull_requests")):
            actor.need("issues")
        given = call.json()
        names = given if isinstance(given, list) else given.get("labels", [])
        known = {name.lower(): name for name in self.fake.labels}
        if missing := [name for name in names if name.lower() not in known]:
            raise invalid("Label", "name", "missing", f"{missing[0]} is not a label of this repository")
        item.labels = list(dict.fromkeys([*item.labels, *(known[name.lower()] for name in names)]))
        self.fake.touch(item)
        event = ("pull_request", self.fake.pull_event) if item.pull else ("issues", self.fake.issue_event)
        self.fake.tell(event[0], event[1]("labeled", item, actor.login))
        return Answer(200, [self.fake.shapes.label(name) for name in item.labels])

    def unlabel(self, call: Call, actor: Actor, number: int, name: str) -> Answer:
        actor.need("issues")
        item = self._item(number)
        if name not in item.labels:
            return message(404, "Label does not exist")
        item.labels.remove(name)
        self.fake.touch(item)
        return Answer(200, [self.fake.shapes.label(one) for one in item.labels])

    def labels(self, call: Call, actor: Actor) -> Answer:
        return paged([self.fake.shapes.label(name) for name in self.fake.labels], call, base=self.fake.server.url)

    def new_label(self, call: Call, actor: Actor) -> Answer:
        actor.need("issues")
        name = call.json().get("name", "")
        if name.lower() in {one.lower() for one in self.fake.labels}:
            raise invalid("Label", "name", "already_exists")
        self.fake.labels.append(name)
        return Answer(201, self.fake.shapes.label(name))

    def assignee(self, call: Call, actor: Actor, login: str) -> Answer:
        return Answer(204) if self._may_have(login) else message(404, "Not Found")


class AppRoutes:
    """A GitHub App: its installation, and tokens for it. Off until ``install`` is called."""

    def __init__(self, fake: FakeGitHub, routes: Routes) -> None:
        self.fake = fake
        self.id, self.key, self.slug = "", "", "shop-delivery"
        self.installation = 42
        self.rights: dict[str, str] = {}
        self.lifetime = timedelta(hours=1)
        self.given: list[str] = []
        """Every token that was given out."""
        self.suspended = False
        routes.add("GET", f"{ROOT}/installation", self.of_repository)
        routes.add("GET", "/app/installations/{id}", self.by_id)
        routes.add("POST", "/app/installations/{id}/access_tokens", self.token)

    def install(self, app_id: str, public_key: str, **rights: str) -> None:
        """Install the App on the repository."""
        self.id, self.key, self.rights = app_id, public_key, rights
        self.fake.add(f"{self.slug}[bot]", role="write", kind="Bot")

    def is_apps(self, call: Call) -> bool:
        """Say whether the App itself is asked for, and check that it is the App who asks."""
        if not call.path.startswith("/app/") and not call.path.endswith("/installation"):
            return False
        _, _, given = call.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(given, self.key, algorithms=["RS256"], options={"require": ["iat", "exp", "iss"]})
        except (jwt.PyJWTError, ValueError) as error:
            raise Problem(message(401, "A JSON web token could not be decoded")) from error
        if claims["iss"] != self.id or claims["exp"] - claims["iat"] > 660:
            raise Problem(message(401, "Integration not found"))
        return True

    def _shown(self) -> Answer:
        if not self.installation:
            return message(404, "Not Found")
        rights = {"metadata": "read", **self.rights}
        shown = {"id": self.installation, "app_id": 7, "app_slug": self.slug, "permissions": rights, "events": []}
        return Answer(200, shown)

    def of_repository(self, call: Call, actor: None) -> Answer:
        return self._shown()

    def by_id(self, call: Call, actor: None, id: str) -> Answer:  # noqa: A002
        return self._shown() if id == str(self.installation) else message(404, "Not Found")

    def token(self, call: Call, actor: None, id: str) -> Answer:  # noqa: A002
        if id != str(self.installation):
            return message(404, "Not Found")
        if self.suspended:
            return message(403, "This installation has been suspended")
        if call.json().get("repositories", [self.fake.name]) != [self.fake.name]:
            return message(422, "There is at least one repository that does not exist or is not accessible.")
        made = f"ghs_{secrets.token_hex(18)}"
        ends = self.fake.now() + self.lifetime
        self.fake.tokens[made] = Token(f"{self.slug}[bot]", rights={"metadata": "read", **self.rights}, ends=ends)
        self.given.append(made)
        return Answer(201, {"token": made, "expires_at": timestamp(ends), "permissions": self.rights})


def _web_page(resource: str, field: str, value: str | None) -> None:
    if value and not value.startswith(("http://", "https://")):
        raise invalid(resource, field, "custom", f"{field} must use http(s) scheme")
