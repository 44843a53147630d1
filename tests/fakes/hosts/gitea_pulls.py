"""The routes of the fake Gitea for requests, reviews, merging, commits and their statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.hosts.common import Answer, Routes
from tests.fakes.hosts.gitea_routes import Sight, forbidden, no, page_of
from tests.fakes.hosts.gitea_state import Issue, Label, Pull, Repository, Review, Status, now
from tests.support.git_world import git

if TYPE_CHECKING:
    from tests.fakes.hosts.gitea import FakeGitea

BASE = "/repos/{owner}/{repo}"


class PullRoutes:
    def __init__(self, fake: FakeGitea) -> None:
        self._fake = fake

    def add_to(self, routes: Routes) -> None:
        routes.add("GET", f"{BASE}/pulls", self.pulls)
        routes.add("POST", f"{BASE}/pulls", self.open)
        routes.add("GET", f"{BASE}/pulls/{{index}}", self.one)
        routes.add("PATCH", f"{BASE}/pulls/{{index}}", self.edit)
        routes.add("POST", f"{BASE}/pulls/{{index}}/merge", self.merge)
        routes.add("POST", f"{BASE}/pulls/{{index}}/requested_reviewers", self.ask_review)
        routes.add("GET", f"{BASE}/pulls/{{index}}/reviews", self.reviews)
        routes.add("POST", f"{BASE}/pulls/{{index}}/reviews", self.review)
        routes.add("POST", f"{BASE}/pulls/{{index}}/reviews/{{id}}/dismissals", self.dismiss)
        routes.add("GET", f"{BASE}/pulls/{{target}}/{{head*}}", self.by_branches)
        routes.add("GET", f"{BASE}/commits", self.commits)
        routes.add("GET", f"{BASE}/git/commits/{{sha}}", self.commit)
        routes.add("GET", f"{BASE}/compare/{{between*}}", self.compare)
        routes.add("GET", f"{BASE}/commits/{{sha}}/statuses", self.statuses)
        routes.add("POST", f"{BASE}/statuses/{{sha}}", self.post_status)

    def pulls(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository = sight.repository(owner, repo)
        state, sort = sight.call.asked("state", "open"), sight.call.asked("sort")
        found = [one for one in repository.pulls if state in {"all", one.state}]
        key = (lambda one: (one.updated, one.number)) if sort == "recentupdate" else (lambda one: one.number)
        found.sort(key=key, reverse=True)
        return page_of([repository.shown_pull(one, sight.caller) for one in found], sight)

    def one(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository = sight.repository(owner, repo)
        return Answer(200, repository.shown_pull(sight.pull(repository, index), sight.caller))

    def by_branches(self, sight: Sight, owner: str, repo: str, target: str, head: str) -> Answer:
        """Any request between two branches: which one of several is the database's whim, the oldest here."""
        repository = sight.repository(owner, repo)
        for issue in repository.pulls:
            pull = issue.pull
            if pull and pull.head_repository is repository and (pull.base_branch, pull.head_branch) == (target, head):
                return Answer(200, repository.shown_pull(issue, sight.caller))
        return no(404, "")

    def open(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        head, base = str(asked.get("head", "")), str(asked.get("base", ""))
        if head == base:
            return no(422, "Invalid PullRequest: There are no changes between the head and the base")
        commit = repository.git.head(head)
        if commit is None or repository.git.head(base) is None:
            return no(404, "")
        for one in repository.pulls:
            pull = one.pull
            assert pull
            same = (pull.head_repository, pull.head_branch, pull.base_branch) == (repository, head, base)
            if same and not one.closed:
                return no(409, f"pull request already exists for these targets [id: {one.id}, issue_id: {one.number}]")
        labels = _labels(repository, asked.get("labels") or [])
        opened = self._fake.open_pull(
            repository,
            head,
            base,
            title=str(asked["title"]),
            body=str(asked.get("body", "")),
            by=sight.user,
            commit=commit,
            labels=labels,
        )
        return Answer(201, repository.shown_pull(opened, sight.user))

    def edit(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        issue = sight.pull(repository, index)
        pull = issue.pull
        assert pull
        if issue.user is not sight.user and not repository.may(sight.user, "write"):
            raise forbidden()
        if asked.get("title"):
            issue.title = str(asked["title"])
            self._fake.announcer.pull(repository, issue, "edited", sight.user)
        if (state := asked.get("state")) is not None:
            if pull.merged_at:
                return no(412, "cannot change state of this pull request, it was already merged")
            if state == "closed" and issue.blocked:
                return no(412, "cannot close this issue or pull request because it still has open dependencies")
            if state == "closed" and not issue.closed:
                self._fake.close(repository, issue, sight.user)
            elif state == "open" and issue.closed:
                self._fake.reopen(repository, issue, sight.user)
        base = asked.get("base")
        if base and base != pull.base_branch and not pull.merged_at:
            if repository.git.head(base) is None:
                return no(404, f"new base '{base}' not exist")
            if issue.closed:
                return no(422, f"issue is closed [id: {issue.id}, repo_id: {repository.id}, index: {issue.number}]")
            if self._taken(repository, pull, base):
                return no(409, "pull request already exists for these targets")
            pull.base_branch = base
            issue.touch()
            self._fake.announcer.pull(repository, issue, "edited", sight.user)
        return Answer(201, repository.shown_pull(issue, sight.user))

    def _taken(self, repository: Repository, pull: Pull, base: str) -> bool:
        mine = (pull.head_repository, pull.head_branch)
        others = [one.pull for one in repository.pulls if one.pull is not pull and not one.closed]
        return any(one and (one.head_repository, one.head_branch) == mine and one.base_branch == base for one in others)

    def merge(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        issue = sight.pull(repository, index)
        pull, how = issue.pull, asked.get("Do")
        assert pull
        if not how:
            return no(422, "[Do]: Required")
        if pull.merged_at:
            return no(405, "")
        if issue.closed:
            return no(404, "")
        if not repository.may_merge(sight.user, pull.base_branch):
            return no(405, "User not allowed to merge PR")
        if how == "manually-merged":
            return self._mark(sight, repository, issue, str(asked.get("MergeCommitID", "")))
        if how not in {"merge", "squash", "rebase"}:
            return no(405, f"{how} is not allowed an allowed merge style for this repository")
        commit = _merge(repository, pull, how)
        self._fake.merged(repository, issue, commit, sight.user)
        repository.git.move(pull.base_branch, commit, by=sight.user.login)
        return Answer(200)

    def _mark(self, sight: Sight, repository: Repository, issue: Issue, commit: str) -> Answer:
        assert issue.pull
        if not repository.allow_manual_merge:
            return no(405, "manually-merged is not allowed an allowed merge style for this repository")
        base = repository.git.head(issue.pull.base_branch) or ""
        if len(commit) < 40 or not repository.git.holds(commit) or not repository.git.is_ancestor(commit, base):
            # The real one serialises a Go error, of which nothing is left.
            return Answer(409, {})
        self._fake.merged(repository, issue, commit, sight.user)
        return Answer(200)

    def reviews(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository = sight.repository(owner, repo)
        issue = sight.pull(repository, index)
        assert issue.pull
        return page_of([repository.shown_review(issue, one) for one in issue.pull.reviews], sight, links=False)

    def review(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        repository, asked = sight.repository(owner, repo), sight.json()
        issue, state = sight.pull(repository, index), str(asked.get("event", "COMMENT"))
        pull = issue.pull
        assert pull
        if issue.user is sight.user and state in {"APPROVED", "REQUEST_CHANGES"}:
            return no(422, "approve your own pull is not allowed")
        if issue.closed:
            return no(422, "pull request is closed")
        if state != "PENDING":
            mine = [one for one in pull.reviews if one.user is sight.user]
            pull.reviews = [one for one in pull.reviews if one not in mine or one.state != "REQUEST_REVIEW"]
            for one in mine:
                # So that no older word comes back when this one is dismissed.
                one.dismissed |= state in {"APPROVED", "REQUEST_CHANGES"} and one.state in {
                    "APPROVED",
                    "REQUEST_CHANGES",
                }
        head = repository.head_of(pull)
        commit = str(asked.get("commit_id") or head)
        official = repository.may(sight.user, "write")
        text = str(asked.get("body", ""))
        made = Review(next(repository.ids), sight.user, state, text, commit, official=official, stale=commit != head)
        pull.reviews.append(made)
        issue.touch()
        if state != "PENDING":
            self._fake.announcer.reviewed(repository, issue, made, sight.user)
        return Answer(200, repository.shown_review(issue, made))

    def dismiss(self, sight: Sight, owner: str, repo: str, index: str, id: str) -> Answer:  # noqa: A002 - the route's
        repository = sight.repository(owner, repo)
        if not repository.may(sight.user, "admin"):
            raise forbidden("Must be repo admin")
        issue = sight.pull(repository, index)
        assert issue.pull
        review = next((one for one in issue.pull.reviews if one.id == int(id)), None)
        if review is None:
            return no(404, "")
        review.dismissed = True
        issue.touch()
        return Answer(200, repository.shown_review(issue, review))

    def ask_review(self, sight: Sight, owner: str, repo: str, index: str) -> Answer:
        """Ask for reviews one after the other: those before a wrong one are asked all the same."""
        repository, asked = sight.repository(owner, repo), sight.json()
        issue = sight.pull(repository, index)
        pull = issue.pull
        assert pull
        persons = [self._fake.users.get(login) for login in asked.get("reviewers") or []]
        teams = asked.get("team_reviewers") or [] if repository.owned_by_organisation else []
        if None in persons:
            return no(404, "User does not exist")
        if any(team not in repository.teams for team in teams):
            return no(404, "Team does not exist")
        made = []
        for person in persons:
            assert person
            if person is issue.user:
                return no(422, "poster of pr can't be reviewer")
            if not repository.may(person, "read"):
                return no(422, "Reviewer can't read")
            if any(one.user is person and one.state == "REQUEST_REVIEW" for one in pull.reviews):
                continue
            for one in pull.reviews:
                one.official = one.official and one.user is not person
            made.append(Review(next(repository.ids), person, "REQUEST_REVIEW", official=False))
            pull.reviews.append(made[-1])
        for team in teams:
            made.append(Review(next(repository.ids), None, "REQUEST_REVIEW", official=False, team=team))
            pull.reviews.append(made[-1])
        if made:
            issue.touch()
            self._fake.announcer.pull(
                repository, issue, "review_requested", sight.user, kind="pull_request_review_request"
            )
        return Answer(201, [repository.shown_review(issue, one) for one in made])

    def commits(self, sight: Sight, owner: str, repo: str) -> Answer:
        repository = sight.repository(owner, repo)
        sha, without = sight.call.asked("sha", "production"), sight.call.asked("not")
        if not repository.git.holds(sha):
            return no(500, "")
        rest = ["--not", without] if without else []
        found = git(repository.git.directory, "rev-list", sha, *rest).splitlines()
        answer = page_of(found, sight)
        return Answer(200, [repository.shown_commit(one) for one in answer.body], answer.headers)

    def commit(self, sight: Sight, owner: str, repo: str, sha: str) -> Answer:
        repository = sight.repository(owner, repo)
        if not repository.git.holds(sha):
            return no(404, "object does not exist")
        return Answer(200, repository.shown_commit(sha))

    def compare(self, sight: Sight, owner: str, repo: str, between: str) -> Answer:
        repository = sight.repository(owner, repo)
        base, _, head = between.partition("...")
        ends = [repository.git.head(name) or (name if repository.git.holds(name) else "") for name in (base, head)]
        if not all(ends):
            return no(404, "")
        commits = repository.git.ahead(ends[1], ends[0])
        shown: list[dict[str, Any]] = [repository.shown_commit(one) for one in commits]
        return Answer(200, {"total_commits": len(commits), "commits": shown, "files": []})

    def statuses(self, sight: Sight, owner: str, repo: str, sha: str) -> Answer:
        repository = sight.repository(owner, repo)
        found = [one for one in repository.statuses if one.commit == sha]
        return page_of([repository.shown_status(one) for one in reversed(found)], sight)

    def post_status(self, sight: Sight, owner: str, repo: str, sha: str) -> Answer:
        repository, asked = sight.repository(owner, repo, "write"), sight.json()
        if not repository.git.holds(sha):
            return no(500, "")
        made = Status(
            next(repository.ids),
            sha,
            str(asked.get("context") or "default").strip(),
            str(asked.get("state")),
            str(asked.get("description", "")).strip(),
            str(asked.get("target_url", "")).strip(),
            sight.user,
            now(),
        )
        repository.statuses.append(made)
        return Answer(201, repository.shown_status(made))


def _labels(repository: Repository, ids: list[int]) -> list[Label]:
    """Return labels by their ids; unknown ones are left out, as the real server does."""
    return [one for one in [*repository.labels, *repository.organisation_labels] if one.id in ids]


def _merge(repository: Repository, pull: Pull, how: str) -> str:
    """Write the commits that merge a request by hand, and return the last one."""
    world, directory = repository.git.world, repository.git.directory
    base, head = world.head(pull.base_branch), repository.head_of(pull)
    # A branch without merges: what its n-th commit merged into the base holds is what the n-th rebased one holds.
    steps = repository.git.ahead(head, base)[::-1] if how == "rebase" else [head]
    last = base
    for step in steps:
        tree = git(directory, "merge-tree", "--write-tree", base, step).split("\n")[0]
        parents = [base, head] if how == "merge" else [last]
        last = world.commit_tree(tree, *parents, message=f"Merge {pull.head_branch}")
    return last
