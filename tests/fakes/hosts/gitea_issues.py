"""The routes of the fake Gitea for issues, comments and labels; requests are issues there, too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.fakes.hosts.common import Answer, Routes
from tests.fakes.hosts.gitea_routes import Sight, forbidden, no, page_of
from tests.fakes.hosts.gitea_state import Comment, Issue, Label, Repository, User, now

if TYPE_CHECKING:
    from tests.fakes.hosts.gitea import FakeGitea

BASE = "/repos/{owner}/{repo}"


class IssueRoutes:
    def __init__(self, fake: FakeGitea) -> None:
        self._fake = fake

    def add_to(self, routes: Routes) -> None:
        routes.add("GET", f"{BASE}/issues", self.issues)
        routes.add("POST", f"{BASE}/issues", self.create)
        routes.add("PATCH", f"{BASE}/issues/comments/{{id}}", self.edit_comment)
        routes.add("GET", f"{BASE}/issues/{{index}}", self.one)
        routes.add("PATCH", f"{BASE}/issues/{{index}}", self.edit)
        routes.add("GET", f"{BASE}/issues/{{index}}/comments", self.comments)
        routes.add("POST", f"{BASE}/issues/{{index}}/comments", self.comment)
        routes.add("POST", f"{BASE}/issues/{{index}}/labels", self.add_labels)
        routes.add("DELETE", f"{BASE}/issues/{{index}}/labels/{{id}}", self.remove_label)
        routes.add("GET", f"{BASE}/labels", self.labels)
        routes.add("POST", f"{BASE}/labels", self.create_label)
        routes.add("GET", "/orgs/{org}/labels", self.organisation_labels)
        routes.add("GET", f"{BASE}/assignees", self.assignees)

    def issues(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository, call = sight.repository(owner, repo), sight.call
        state, kind = call.asked("state", "open"), call.asked("type")
        since = _moment(call.asked("since"))
        found = [
            one
            for one in repository.issues.values()
            if state in {"all", one.state}
            and (not kind or (kind == "pulls") == bool(one.pull))
            and (since is None or one.updated >= since)
        ]
        recent = call.asked("sort") == "recentupdate"
        found.sort(key=lambda one: (one.updated if recent else one.created, one.number), reverse=True)
        return page_of([repository.shown_issue(one) for one in found], sight)

    def one(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository = sight.repository(owner, repo)
        return Answer(200, repository.shown_issue(sight.issue(repository, index)))

    def create(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        if not asked.get("title"):
            return no(422, "[Title]: Required")
        made = Issue(
            repository.next_number(), next(repository.ids), sight.user, str(asked["title"]), str(asked.get("body", ""))
        )
        repository.issues[made.number] = made
        self._fake.announcer.issue(repository, made, "opened", sight.user)
        return Answer(201, repository.shown_issue(made))

    def edit(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        issue, user = sight.issue(repository, index), sight.user
        may_write = repository.may(user, "write")
        if issue.user is not user and not may_write:
            raise forbidden()
        if asked.get("title"):
            issue.title = str(asked["title"])
        if asked.get("body") is not None:
            issue.body = str(asked["body"])
        if asked.get("assignees") is not None and may_write:
            persons = [self._fake.users.get(login) for login in asked["assignees"]]
            known = [one for one in persons if one]
            if len(known) != len(persons) or not all(repository.may(one, "write") for one in known):
                return no(500, "")
            self._assign(repository, issue, known, user)
        if (state := asked.get("state")) is not None:
            if issue.pull and issue.pull.merged_at:
                return no(412, "cannot change state of this pull request, it was already merged")
            if state == "closed" and issue.blocked:
                return no(412, "cannot close this issue or pull request because it still has open dependencies")
            if state == "closed" and not issue.closed:
                self._fake.close(repository, issue, user)
            elif state == "open" and issue.closed:
                self._fake.reopen(repository, issue, user)
        issue.touch()
        return Answer(201, repository.shown_issue(issue))

    def _assign(self, repository: Repository, issue: Issue, persons: list[User], by: User) -> None:
        action = "assigned" if persons else "unassigned"
        issue.assignees = persons
        if issue.pull:
            self._fake.announcer.pull(repository, issue, action, by, kind="pull_request_assign")
        else:
            self._fake.announcer.issue(repository, issue, action, by, kind="issue_assign")

    def comments(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        """Return all of them: this route knows no pages."""
        repository = sight.repository(owner, repo)
        issue = sight.issue(repository, index)
        since = _moment(sight.call.asked("since"))
        found = [one for one in issue.comments if since is None or one.updated >= since]
        shown = [repository.shown_comment(issue, one) for one in found]
        return Answer(200, shown, {"X-Total-Count": str(len(shown))})

    def comment(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        issue = sight.issue(repository, index)
        if not asked.get("body"):
            return no(422, "[Body]: Required")
        made = Comment(next(repository.ids), sight.user, str(asked["body"]))
        issue.comments.append(made)
        issue.touch()
        self._fake.announcer.comment(repository, issue, made, "created", sight.user)
        return Answer(201, repository.shown_comment(issue, made))

    def edit_comment(self, sight: Sight, owner: str, repo: str, id: str) -> Answer:  # noqa: A002 - the route's
        repository, asked = sight.repository(owner, repo), sight.json()
        for issue in repository.issues.values():
            for one in issue.comments:
                if one.id == int(id):
                    if one.user is not sight.user and not repository.may(sight.user, "admin"):
                        raise forbidden()
                    one.body, one.updated = str(asked["body"]), now()
                    self._fake.announcer.comment(repository, issue, one, "edited", sight.user)
                    return Answer(200, repository.shown_comment(issue, one))
        return no(404, "comment does not exist")

    def add_labels(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        issue = sight.issue(repository, index)
        if not repository.may(sight.user, "write"):
            raise forbidden("write permission is required")
        for label in [*repository.labels, *repository.organisation_labels]:
            if label.id in asked["labels"] and label not in issue.labels:
                issue.labels.append(label)
        self._labelled(repository, issue, sight.user)
        return Answer(200, [label.shown() for label in issue.labels])

    def remove_label(self, sight: Sight, owner: str, repo: str, index: str, id: str) -> Answer:  # noqa: A002 - the route's
        repository = sight.repository(owner, repo)
        issue = sight.issue(repository, index)
        if not repository.may(sight.user, "write"):
            raise forbidden()
        if not any(label.id == int(id) for label in [*repository.labels, *repository.organisation_labels]):
            return no(422, "label does not exist")
        issue.labels = [label for label in issue.labels if label.id != int(id)]
        self._labelled(repository, issue, sight.user)
        return Answer(204)

    def _labelled(self, repository: Repository, issue: Issue, by: User) -> None:
        issue.touch()
        if issue.pull:
            self._fake.announcer.pull(repository, issue, "label_updated", by, kind="pull_request_label")
        else:
            self._fake.announcer.issue(repository, issue, "label_updated", by, kind="issue_label")

    def labels(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository = sight.repository(owner, repo)
        return page_of([label.shown() for label in repository.labels], sight, links=False)

    def organisation_labels(self, sight: Sight, org: str) -> Answer:
        repository = self._fake.repository
        if org != repository.owner.login or not repository.owned_by_organisation:
            return no(404, "")
        return page_of([label.shown() for label in repository.organisation_labels], sight, links=False)

    def create_label(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository, asked = sight.repository(owner, repo, "write"), sight.json()
        made = Label(next(repository.ids), str(asked["name"]), str(asked["color"]))
        repository.labels.append(made)
        return Answer(201, made.shown())

    def assignees(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository = sight.repository(owner, repo)
        shown: list[dict[str, Any]] = [one.shown() for one in self._fake.users.values() if repository.may(one, "write")]
        return Answer(200, shown)


def _moment(text: str) -> datetime | None:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if text else None
