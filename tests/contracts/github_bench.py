"""GitHub in the contracts of hosts and trackers: our adapters on a fake GitHub over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from feature_delivery.adapters.git_hosts.github import client
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
from feature_delivery.ports.git_host import DeploymentState, ReviewKind, StatusState
from feature_delivery.ports.tracker import IssueState
from tests.contracts import host_bench, tracker_bench
from tests.contracts.github_world import PREPROD, GitHubWorld, github_world, receiver
from tests.fakes.hosts.github import BOT

PAGE = 5
"""What a page holds here: listings of hundreds have tests of their own."""

_REVIEWS = {ReviewKind.APPROVE: "APPROVED", ReviewKind.REJECT: "CHANGES_REQUESTED"}
_DEPLOYED = {
    "in_progress": DeploymentState.RUNNING,
    "success": DeploymentState.DONE,
    "failure": DeploymentState.FAILED,
    "inactive": DeploymentState.GONE,
}


@contextmanager
def github_host_bench(directory: Path) -> Iterator[host_bench.Bench]:
    """A host bench."""
    with _well_kept(directory) as world:
        page = _HostPage(world)
        yield host_bench.Bench(
            host=world.host(patience=1.0),
            us=BOT,
            push=page.push,
            delete=world.fake.repository.delete,
            ship=world.ship,
            review=lambda number, person, kind, comment: world.fake.review(number, person, _REVIEWS[kind], comment),
            write=world.fake.write,
            comments=world.fake.texts,
            statuses=page.statuses,
            moment=lambda: moment(world),
            edit=page.edit,
            dismiss=page.dismiss,
            merge=lambda number, method: world.fake.merge(number, "dave", method=method),
            close=lambda number: world.fake.close(world.fake.items[number], "bob"),
            fork=lambda branch: world.fake.open_pull_from_fork("mallory", branch, PREPROD).number,
            asked=page.asked,
            deployments=page.deployment,
            many=PAGE + 1,
        )


@contextmanager
def github_tracker_bench() -> Iterator[tracker_bench.Bench]:
    """A tracker bench."""
    with TemporaryDirectory() as directory, _well_kept(Path(directory)) as world:
        page = _IssuePage(world)
        yield tracker_bench.Bench(
            tracker=world.tracker(),
            given=page.given,
            assign=page.assign,
            comments=lambda key: [text for text in page.texts(key) if not _link(text)],
            links=lambda key: [found for text in page.texts(key) if (found := _link(text))],
            moved=page.moved,
            moment=lambda: moment(world),
            block=page.block,
            many=PAGE + 1,
        )


@contextmanager
def _well_kept(directory: Path) -> Iterator[GitHubWorld]:
    """Start a GitHub where nothing is wrong: our account may look at everything, and the webhook arrives."""
    with patch.object(client, "PAGE", PAGE), receiver() as (url, _), github_world(directory) as world:
        world.fake.accounts[BOT].role = "admin"
        world.fake.add_hook(f"{url}/feature-delivery/webhooks/shop", "s3cret")
        yield world


def moment(world: GitHubWorld) -> datetime:
    """Return a moment between everything so far and everything to come: GitHub counts in seconds."""
    world.fake.ahead += timedelta(seconds=2)
    return world.fake.now().replace(microsecond=0)


class _HostPage:
    def __init__(self, world: GitHubWorld) -> None:
        self._world, self._fake = world, world.fake

    def push(self, branch: BranchName) -> CommitSha:
        repository = self._fake.repository
        return repository.push(branch, by="bob", on=repository.head(branch) or repository.head(PREPROD))

    def statuses(self, commit: CommitSha) -> list[host_bench.Status]:
        latest = {one.context: one for one in self._fake.statuses if one.sha == commit}
        return [
            (name, StatusState(one.state), one.description or "", one.url or "") for name, one in sorted(latest.items())
        ]

    def dismiss(self, number: int, person: str) -> None:
        for review in self._fake.reviews:
            if (review.on, review.user) == (number, person):
                self._fake.dismiss(review)

    def edit(self, number: int, text: str) -> None:
        comment = [one for one in self._fake.comments if one.on == number][-1]
        comment.body, comment.updated, comment.edited = text, self._fake.now(), self._fake.now()

    def asked(self, number: int) -> host_bench.Asked:
        item = self._fake.items[number]
        assert item.pull
        return sorted(item.pull.reviewers), sorted(item.labels)

    def deployment(self, environment: str) -> host_bench.Shown | None:
        found = [one for one in self._fake.deployments if one.environment == environment and one.statuses]
        if not found:
            return None
        latest = found[-1].statuses[-1]
        return CommitSha(found[-1].sha), _DEPLOYED[latest["state"]], latest["environment_url"]


class _IssuePage:
    def __init__(self, world: GitHubWorld) -> None:
        self._world, self._fake = world, world.fake

    def given(self, key: FeatureKey) -> None:
        number = int(key.rpartition("-")[2])
        for _ in range(number - len(self._fake.items)):
            self._fake.open_issue("mia", "Gift cards", "Sell them.")

    def _number(self, key: FeatureKey) -> int:
        return int(key.rpartition("-")[2])

    def assign(self, key: FeatureKey, person: str | None) -> None:
        item = self._fake.items[self._number(key)]
        item.assignees = [person] if person else []
        self._fake.touch(item)

    def texts(self, key: FeatureKey) -> list[str]:
        return self._fake.texts(self._number(key))

    def moved(self, key: FeatureKey, state: IssueState) -> None:
        item = self._fake.items[self._number(key)]
        item.labels = ["in progress"] if state is IssueState.IN_PROGRESS else []
        if state is IssueState.DONE:
            self._fake.close(item, "bob")
        elif item.state == "closed":
            self._fake.reopen(item, "bob")
        self._fake.touch(item)

    def block(self, _key: FeatureKey) -> None:
        self._fake.accounts[BOT].role = "read"


def _link(text: str) -> tuple[str, str] | None:
    found = re.fullmatch(r"(.+): (https?://\S+)", text)
    return (found[1], found[2]) if found else None
