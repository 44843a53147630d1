"""GitLab in the contracts of hosts and trackers: our adapters on a fake GitLab over real HTTP, with small pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from feature_delivery.domain.names import CommitSha, FeatureKey
from feature_delivery.ports.git_host import DeploymentState
from feature_delivery.ports.tracker import IssueState
from tests.contracts import host_bench, tracker_bench
from tests.fakes.hosts.gitlab import BOT
from tests.fakes.hosts.gitlab_state import GUEST, now
from tests.support.gitlab_stage import GitLabStage, gitlab_stage, moment, number_of, seen

PAGE = 3
"""What a page holds here: a listing of hundreds has a test of its own."""

WEBHOOK = "https://airflow.shop.test/feature-delivery/webhooks/shop"

_DEPLOYED = {
    "running": DeploymentState.RUNNING,
    "success": DeploymentState.DONE,
    "failed": DeploymentState.FAILED,
    "canceled": DeploymentState.GONE,
}
_LINK = re.compile(r"(?P<title>[^:\n]+): (?P<url>https://\S+)")


@contextmanager
def gitlab_host_bench(directory: Path) -> Iterator[host_bench.Bench]:
    """Run a fake for the contract of Git hosts."""
    with _well_kept(directory) as stage:
        fake, requests = stage.fake, stage.fake.project.requests
        fake.premium = True
        yield host_bench.Bench(
            host=stage.host(patience=1.0),
            us=BOT,
            push=stage.push,
            delete=fake.project.git.delete,
            ship=stage.ship,
            review=stage.review,
            write=stage.write,
            comments=lambda number: seen(requests[number]),
            statuses=stage.statuses,
            moment=moment,
            edit=lambda number, text: fake.person("amy").call(
                "PUT", f"/merge_requests/{number}/notes/{requests[number].notes[-1].id}", {"body": text}
            ),
            dismiss=lambda number, person: fake.person(person).unapprove(number),
            merge=lambda number, how: fake.merge_by_hand(fake.project, requests[number], how, fake.user("amy")),
            close=lambda number: fake.person("bob").call("PUT", f"/merge_requests/{number}", {"state_event": "close"}),
            fork=lambda branch: fake.fork_request("mallory", branch).iid,
            asked=lambda number: ([one.user.username for one in requests[number].reviewers], requests[number].labels),
            deployments=lambda environment: _deployment(stage, environment),
            many=2 * PAGE + 1,
        )


@contextmanager
def gitlab_tracker_bench() -> Iterator[tracker_bench.Bench]:
    """Run a fake for the contract of trackers."""
    with TemporaryDirectory() as directory, _well_kept(Path(directory)) as stage:
        issues = stage.fake.project.issues
        yield tracker_bench.Bench(
            tracker=stage.tracker(),
            given=stage.given,
            assign=stage.assign,
            comments=lambda key: [text for text in seen(issues[number_of(key)]) if not _LINK.fullmatch(text)],
            links=lambda key: [
                (match["title"], match["url"])
                for text in seen(issues[number_of(key)])
                if (match := _LINK.fullmatch(text))
            ],
            moved=lambda key, state: _move(stage, key, state),
            moment=moment,
            block=lambda _key: stage.fake.project.members.update({BOT: GUEST}),
            many=2 * PAGE + 1,
        )


@contextmanager
def _well_kept(directory: Path) -> Iterator[GitLabStage]:
    """Start a GitLab where nothing is wrong, and whose pages are smaller than asked for."""
    with gitlab_stage(directory) as stage:
        stage.fake.most_per_page = PAGE
        stage.fake.protect("production", users=(BOT,))
        hook = stage.fake.hook(WEBHOOK, "push", "merge_requests", "note", "issues", token="s3cret")
        hook.logged.append(("push", "202"))
        stage.fake.announcer.tells = False
        yield stage


def _deployment(stage: GitLabStage, environment: str) -> host_bench.Shown | None:
    found = [one for one in stage.fake.project.deployments if one.environment.name == environment]
    if not found:
        return None
    place = found[-1].environment
    state = DeploymentState.GONE if place.state == "stopped" else _DEPLOYED[found[-1].status]
    return CommitSha(found[-1].sha), state, place.url or ""


def _move(stage: GitLabStage, key: FeatureKey, state: IssueState) -> None:
    issue = stage.fake.project.issues[number_of(key)]
    issue.state, issue.closed = ("closed", now()) if state is IssueState.DONE else ("opened", None)
    issue.labels = ["in progress"] if state is IssueState.IN_PROGRESS else []
    issue.touch()
