"""Gitea and Forgejo for the contracts of Git hosts and trackers: a fake with small pages."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_delivery.domain.names import BranchName, FeatureKey
from feature_delivery.ports.tracker import IssueState
from tests.contracts import host_bench, tracker_bench
from tests.fakes.hosts.gitea import BOT
from tests.support.gitea_stage import GiteaStage, gitea_stage


@contextmanager
def gitea_host_bench(directory: Path) -> Iterator[host_bench.Bench]:
    """Run a fake for the contract of Git hosts."""
    with gitea_stage(directory) as stage:
        fake = stage.fake
        fake.page_size = 2
        for person in ("bob", "carol", "dave"):
            fake.user(person)
        fake.user("eve", right="read")
        fake.user("amy", right="admin")
        yield host_bench.Bench(
            host=stage.host,
            us=BOT,
            push=stage.push,
            delete=fake.repository.git.delete,
            ship=lambda number: stage.ship(str(stage.host.request(number).source)),
            review=stage.review,
            write=lambda number, person, text: fake.person(person).say(number, text),
            comments=stage.comments,
            statuses=stage.statuses,
            moment=tracker_bench.next_second,
            edit=lambda number, text: fake.person("amy").call(
                "PATCH", f"/issues/comments/{fake.repository.issues[number].comments[-1].id}", {"body": text}
            ),
            dismiss=lambda number, person: _dismiss(stage, number, person),
            merge=lambda number, how: fake.person("amy").merge(number, how),
            close=lambda number: fake.person("bob").call("PATCH", f"/pulls/{number}", {"state": "closed"}),
            fork=lambda branch: _fork(stage, branch),
            asked=lambda number: _asked(stage, number),
            many=5,
        )


@contextmanager
def gitea_tracker_bench() -> Iterator[tracker_bench.Bench]:
    """Run a fake for the contract of trackers."""
    with tempfile.TemporaryDirectory() as directory, gitea_stage(Path(directory)) as stage:
        stage.fake.page_size = 2
        for person in ("mia", "bob"):
            stage.fake.user(person)
        yield tracker_bench.Bench(
            tracker=stage.tracker,
            given=stage.given,
            assign=stage.assign,
            comments=lambda key: [text for text in stage.comments(_number(key)) if not _LINK.fullmatch(text)],
            links=lambda key: [
                (match["title"], match["url"])
                for text in stage.comments(_number(key))
                if (match := _LINK.fullmatch(text))
            ],
            moved=lambda key, state: _move(stage, key, state),
            block=lambda _key: stage.fake.repository.rights.update({BOT: "read"}),
            many=5,
        )


_LINK = re.compile(r"(?P<title>[^:\n]+): (?P<url>https://\S+)")


def _number(key: FeatureKey) -> int:
    return int(key.rpartition("-")[2])


def _move(stage: GiteaStage, key: FeatureKey, state: IssueState) -> None:
    closed = "closed" if state is IssueState.DONE else "open"
    stage.fake.person("mia").call("PATCH", f"/issues/{_number(key)}", {"state": closed})


def _dismiss(stage: GiteaStage, number: int, person: str) -> None:
    pull = stage.fake.repository.issues[number].pull
    assert pull
    for review in pull.reviews:
        if review.user and review.user.login == person and not review.dismissed:
            stage.fake.person("amy").dismiss(number, review.id)


def _fork(stage: GiteaStage, branch: BranchName) -> int:
    return stage.fake.fork_request("eve", branch).number


def _asked(stage: GiteaStage, number: int) -> host_bench.Asked:
    issue = stage.fake.repository.issues[number]
    assert issue.pull
    asked = [one.user.login for one in issue.pull.reviews if one.state == "REQUEST_REVIEW" and one.user]
    return asked, [label.name for label in issue.labels]
