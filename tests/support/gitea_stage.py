"""A fake Gitea with our adapters before it, and what people do and see there; used by contract suites and own tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from feature_delivery.adapters.git_hosts.gitea.host import GiteaHost
from feature_delivery.adapters.trackers.gitea import GiteaTracker
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
from feature_delivery.domain.project import HostConfig, TrackerConfig
from feature_delivery.ports.git_host import ReviewKind, StatusState
from tests.fakes.hosts.gitea import TOKEN, FakeGitea, fake_gitea
from tests.fakes.hosts.gitea_state import Issue
from tests.support.gitea_description import DESCRIPTION, not_as_described

CONFIG = HostConfig(
    kind="gitea",
    connection="gitea",
    repository="shop/cart",
    branches=(BranchName("production"), BranchName("preprod")),
)
ISSUES = TrackerConfig(kind="gitea", connection="gitea", project="shop/cart", prefix="SHOP")
QUICK = httpx.Timeout(5.0)


@dataclass
class GiteaStage:
    """``described``: at the end, every exchange is compared with the published description, where that is there."""

    fake: FakeGitea
    login: Login
    host: GiteaHost
    tracker: GiteaTracker
    described: bool = True

    def host_with(self, **changes: object) -> GiteaHost:
        """Return another host adapter, its configuration changed."""
        return GiteaHost(self.login, config=replace(CONFIG, **changes), timeout=QUICK)  # type: ignore[arg-type]

    def tracker_with(self, **changes: object) -> GiteaTracker:
        """Return another tracker adapter, its configuration changed."""
        return GiteaTracker(self.login, config=replace(ISSUES, **changes), timeout=QUICK)  # type: ignore[arg-type]

    def push(self, branch: str) -> CommitSha:
        """Push a commit on a branch, which begins at production."""
        repository = self.fake.repository.git
        return repository.push(branch, on=repository.head(branch) or "production", by="bob")

    def ship(self, branch: str) -> CommitSha:
        """Merge a branch into production and level pre-production with it, as a release does."""
        repository = self.fake.repository.git
        head = repository.head(branch)
        assert head
        commit = repository.world.merge("production", head)
        repository.move("preprod", commit, by=self.fake.bot.login)
        return commit

    def review(self, number: int, person: str, kind: ReviewKind, comment: str) -> int:
        event = {ReviewKind.APPROVE: "APPROVED", ReviewKind.REJECT: "REQUEST_CHANGES"}[kind]
        return self.fake.person(person).review(number, event, comment)

    def comments(self, number: int) -> list[str]:
        """Return the comments as readers see them."""
        return [_seen(one.body) for one in self.fake.repository.issues[number].comments]

    def statuses(self, commit: CommitSha) -> list[tuple[str, StatusState, str, str]]:
        """Return the statuses in force, by name."""
        latest = {one.context: one for one in self.fake.repository.statuses if one.commit == commit}
        return sorted((one.context, StatusState(one.state), one.description, one.url) for one in latest.values())

    def given(self, key: FeatureKey) -> Issue:
        """Let mia write an issue."""
        number = int(key.rpartition("-")[2])
        return self.fake.issue(title="Gift cards", body="Sell them.", by="mia", number=number)

    def assign(self, key: FeatureKey, person: str | None) -> None:
        """Let mia give an issue to somebody."""
        if person:
            self.fake.user(person)
        number = int(key.rpartition("-")[2])
        self.fake.person("mia").call("PATCH", f"/issues/{number}", {"assignees": [person] if person else []})


def _seen(body: str) -> str:
    return body.partition("<!--")[0].rstrip("\n")


@contextmanager
def gitea_stage(directory: Path, *, root: str = "") -> Iterator[GiteaStage]:
    """Run a fake whose bot may write but not administrate, in a repository that lets requests be marked as merged."""
    with fake_gitea(directory / "gitea", root=root) as fake:
        fake.repository.rights[fake.bot.login] = "write"
        fake.repository.allow_manual_merge = True
        login = Login(connection="gitea", url=fake.url, secret=TOKEN)
        stage = GiteaStage(
            fake,
            login,
            GiteaHost(login, config=CONFIG, timeout=QUICK),
            GiteaTracker(login, config=ISSUES, timeout=QUICK),
        )
        yield stage
        if stage.described and DESCRIPTION.is_file():
            assert not_as_described(fake.server.exchanges, root=root) == []
