"""A fake GitLab with our adapters before it, and what people do and see there, for contract suites and own tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

from feature_delivery.adapters.git_hosts.gitlab import GitLabHost
from feature_delivery.adapters.trackers.gitlab import GitLabTracker
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
from feature_delivery.domain.project import HostConfig, TrackerConfig
from feature_delivery.ports.git_host import MergeRequest, ReviewKind, StatusState
from tests.fakes.hosts.gitlab import PATH, TOKEN, FakeGitLab, fake_gitlab
from tests.fakes.hosts.gitlab_state import Issue, Thing

KEY = FeatureKey("SHOP-1")
FEATURE, PREPROD, PRODUCTION = BranchName("feature/SHOP-1-gift"), BranchName("preprod"), BranchName("production")

STATES = {
    "pending": StatusState.PENDING,
    "running": StatusState.PENDING,
    "success": StatusState.SUCCESS,
    "failed": StatusState.FAILURE,
}


@dataclass
class GitLabStage:
    """One project on a fake GitLab. ``bob``, ``carol``, ``dave`` develop, ``amy`` maintains, ``eve`` may nothing."""

    fake: FakeGitLab

    def login(self, secret: str = TOKEN, **options: Any) -> Login:
        return Login("gitlab", url=self.fake.url, secret=secret, options=options)

    def host(self, login: Login | None = None, *, patience: float = 0.0, **more: Any) -> GitLabHost:
        given = {"repository": PATH, "branches": (PRODUCTION, PREPROD), **more}
        config = HostConfig(kind="gitlab", connection="gitlab", **given)
        return GitLabHost(
            login or self.login(), config=config, patience=timedelta(seconds=patience), sleep=lambda _: None
        )

    def tracker(self, login: Login | None = None, **more: Any) -> GitLabTracker:
        config = TrackerConfig(kind="gitlab", connection="gitlab", project=PATH, prefix="SHOP", **more)
        return GitLabTracker(login or self.login(), config=config)

    def opened(self, host: GitLabHost | None = None, **more: Any) -> MergeRequest:
        given = {"source": FEATURE, "target": PREPROD, "title": "SHOP-1 Gift cards", "body": "All of it.", **more}
        return (host or self.host()).open_request(key=KEY, **given)

    # --- what people do and see ---------------------------------------------------------------------------------------

    def push(self, branch: str) -> CommitSha:
        """Push a commit on a branch, which begins at production."""
        repository = self.fake.project.git
        return repository.push(branch, on=repository.head(branch) or "production", by="bob")

    def ship(self, number: int) -> CommitSha:
        """Merge a request's branch into production and level pre-production with it, as a release does."""
        repository, request = self.fake.project.git, self.fake.project.requests[number]
        commit = repository.world.merge("production", str(request.head))
        repository.move(request.target_branch, commit, by=self.fake.bot.username)
        return commit

    def review(self, number: int, person: str, kind: ReviewKind, comment: str) -> None:
        if kind is ReviewKind.REJECT:
            self.fake.request_changes(number, person, comment)
            return
        if comment:
            self.write(number, person, comment)
        self.fake.person(person).approve(number)

    def write(self, number: int, person: str, text: str) -> None:
        """Let somebody's comment be there, whatever is in it: the API would take out quick actions before."""
        self.fake.note(self.fake.project, self.fake.project.requests[number], self.fake.user(person), text)

    def statuses(self, commit: CommitSha) -> list[tuple[str, StatusState, str, str]]:
        latest = {one.name: one for one in self.fake.project.statuses if one.sha == commit}
        return [(name, STATES[one.state], one.description or "", one.url or "") for name, one in sorted(latest.items())]

    def given(self, key: FeatureKey) -> Issue:
        """Let mia write an issue."""
        return self.fake.write_issue("Gift cards", "Sell them.", iid=number_of(key))

    def assign(self, key: FeatureKey, person: str | None) -> None:
        ids = [self.fake.user(person).id] if person else [0]
        self.fake.person("mia").call("PUT", f"/issues/{number_of(key)}", {"assignee_ids": ids})


def number_of(key: FeatureKey) -> int:
    return int(key.rpartition("-")[2])


def seen(thing: Thing) -> list[str]:
    """Return the comments on something as readers see them, GitLab's own left out."""
    return [note.body.partition("<!--")[0].rstrip("\n").replace("\\/", "/") for note in thing.notes if not note.system]


def moment() -> datetime:
    """Return a time after everything so far and before everything to come; GitLab shows milliseconds."""
    sleep(0.002)
    at = datetime.now(UTC)
    sleep(0.002)
    return at


@contextmanager
def gitlab_stage(directory: Path, *, root: str = "") -> Iterator[GitLabStage]:
    """Run it: production and preprod, and the people."""
    with fake_gitlab(directory / "gitlab", root=root) as fake:
        for person in ("bob", "carol", "dave", "mia"):
            fake.user(person)
        fake.user("amy", 40)
        fake.user("eve", 0)
        yield GitLabStage(fake)
