"""What goes wrong between a tracker's server and us: every way of it is one of our errors, and tells no secret."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from feature_delivery.adapters.trackers.jira import JiraTracker
from feature_delivery.adapters.trackers.redmine import RedmineTracker
from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import IssueState, Tracker
from tests.contracts import jira_bench, redmine_bench
from tests.fakes.hosts.common import Answer, HostServer
from tests.fakes.hosts.jira import FakeJira, fake_jira
from tests.fakes.hosts.redmine import fake_redmine
from tests.support.ports import unanswered_port

KEY = FeatureKey("SHOP-1")
PAGE = {"Content-Type": "text/html; charset=utf-8"}
PATIENCE_SECONDS = 20


@dataclass
class Peer:
    """A tracker, its server with the issue ``SHOP-1``, and how to make another tracker for another login."""

    server: HostServer
    login: Login
    make: Callable[..., Tracker]
    comments: Callable[[], int]
    reading: str

    @property
    def tracker(self) -> Tracker:
        return self.make(self.login)


@contextmanager
def jira(*, cloud: bool) -> Iterator[Peer]:
    with fake_jira(cloud=cloud) as fake:
        issue = fake.state.give(1)

        def make(login: Login, *, seconds: int = PATIENCE_SECONDS) -> Tracker:
            return JiraTracker(login, config=jira_bench.CONFIG, timeout_seconds=seconds)

        yield Peer(fake.server, fake.login(), make, lambda: len(issue.comments), r"/issue/SHOP-1\Z")


@contextmanager
def redmine() -> Iterator[Peer]:
    with fake_redmine() as fake:
        issue = fake.give(1)

        def make(login: Login, *, seconds: int = PATIENCE_SECONDS) -> Tracker:
            return RedmineTracker(login, config=redmine_bench.CONFIG, timeout=httpx.Timeout(seconds))

        yield Peer(fake.server, fake.login(), make, lambda: len(issue.journals), r"/issues/1\.json\Z")


PEERS: dict[str, Callable[[], Any]] = {
    "jira-cloud": lambda: jira(cloud=True),
    "jira-data-center": lambda: jira(cloud=False),
    "redmine": redmine,
}


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with PEERS[request.param]() as made:
        yield made


def calls(tracker: Tracker) -> dict[str, Callable[[], object]]:
    return {
        "find": lambda: tracker.find(KEY),
        "create": lambda: tracker.create(KEY, title="T", description="", reporter="mia"),
        "create_new": lambda: tracker.create_new(title="T", description="", reporter="mia"),
        "comment": lambda: tracker.comment(KEY, "Hello", marker="m"),
        "link": lambda: tracker.link(KEY, url="http://x", title="T", marker="m"),
        "move": lambda: tracker.move(KEY, IssueState.DONE),
        "assign": lambda: tracker.assign(KEY, "bob"),
        "changed_issues": lambda: tracker.changed_issues(datetime.now(UTC) - timedelta(days=1)),
    }


CALLS = ("find", "create", "create_new", "comment", "link", "move", "assign", "changed_issues")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401, {}), Misconfigured),
        (Answer(403, {}), Refused),
        (Answer(404, {}), NotFound),
        (Answer(409, {}), Conflict),
        (Answer(400, {"errorMessages": ["Bad words."], "errors": {"summary": "is odd"}}), Refused),
        (Answer(422, {"errors": ["Subject is odd"]}), Refused),
        (Answer(429, {}, {"Retry-After": "17"}), RateLimited),
        (Answer(503, {}, {"Retry-After": "17"}), RateLimited),
        (Answer(500, b"Traceback: token-of-bot"), Unavailable),
        (Answer(502, b"<html>bad gateway</html>", PAGE), Unavailable),
        (Answer(302, b"", {"Location": "https://login.example/?token=x"}), Misconfigured),
        (Answer(200, b"<html>Log in</html>", PAGE), Misconfigured),
        (Answer(200, b"{"), Unavailable),
        (Answer(200, {"unexpected": True}), Unavailable),
        (Answer(200, b"[" * 5000), Unavailable),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else value.__name__,
)
def test_an_answer_that_is_none_is_an_error_that_says_what_it_means(
    peer: Peer, answer: Answer, kind: type[Error]
) -> None:
    tracker = peer.tracker
    tracker.find(KEY)
    peer.server.faults.rules.append(("GET", peer.reading, answer))
    before = len(peer.server.exchanges)
    with pytest.raises(kind, match="SHOP-1") as caught:
        tracker.assign(KEY, None)
    told = str(caught.value)
    assert peer.login.secret not in told
    assert "Traceback" not in told
    assert "login.example" not in told
    assert len(told) < 500
    assert not isinstance(caught.value, RateLimited) or caught.value.retry_after_seconds == 17
    if answer.status in {429, 503}:
        assert len(peer.server.exchanges) == before + 1, "who is asked to wait does not ask at once again"


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_token_is_never_taken_for_an_empty_tracker(peer: Peer, name: str) -> None:
    tracker = peer.make(replace(peer.login, secret="wrong"))
    if isinstance(peer.server.host, FakeJira):
        peer.server.host.silent = True
    with pytest.raises(Misconfigured):
        calls(tracker)[name]()
    assert [one.well for one in tracker.examine()].count(False) == 1


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_does_not_answer_in_time_is_unavailable(peer: Peer, name: str) -> None:
    tracker = peer.make(peer.login, seconds=1)
    peer.server.faults.delay_seconds = 1.5
    with pytest.raises(Unavailable):
        calls(tracker)[name]()


def test_a_server_that_is_not_there_is_unavailable_and_examined_without_an_error(peer: Peer) -> None:
    with unanswered_port() as port:
        tracker = peer.make(replace(peer.login, url=f"http://127.0.0.1:{port}"))
        for call in calls(tracker).values():
            with pytest.raises(Unavailable) as caught:
                call()
            assert peer.login.secret not in str(caught.value)
        assert [one.well for one in tracker.examine()] == [False]


def test_a_comment_whose_answer_was_lost_is_not_written_again(peer: Peer) -> None:
    tracker = peer.tracker
    tracker.comment(KEY, "First", marker="one")
    before = peer.comments()
    lose = Losing(peer.server)
    with pytest.raises(Unavailable):
        tracker.comment(KEY, "Second", marker="two")
    lose.stop()
    assert peer.comments() == before + 1
    tracker.comment(KEY, "Second", marker="two")
    assert peer.comments() == before + 1


def test_a_broken_connection_is_no_matter_when_reading(peer: Peer) -> None:
    tracker = peer.tracker
    tracker.find(KEY)
    peer.server.faults.lost_answers = 1
    assert tracker.find(KEY) is not None


@pytest.mark.parametrize(
    "url",
    ["", "tracker.example.com", "ftp://x", "http://", "http://user:secret@x", "http://x?key=secret", "http://[::1"],
)
def test_an_address_that_is_none_is_refused_at_once(peer: Peer, url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        peer.make(replace(peer.login, url=url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "two\nlines", "one\x00"])
def test_a_token_that_is_none_is_refused_at_once(peer: Peer, secret: str) -> None:
    with pytest.raises(Misconfigured, match="holds no token"):
        peer.make(replace(peer.login, secret=secret))


def test_certificates_that_cannot_be_read_are_refused_at_once(peer: Peer) -> None:
    login = replace(peer.login, url="https://x.example", options={"ca_file": "/nowhere.pem"})
    with pytest.raises(Misconfigured, match="ca_file"):
        peer.make(login)


def test_neither_token_nor_texts_are_logged(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tracker = peer.tracker
    tracker.comment(KEY, "a word that is nobody's business", marker="m")
    tracker.find(KEY)
    assert peer.login.secret not in caplog.text
    assert "nobody's business" not in caplog.text
    assert "Sell them." not in caplog.text


class Losing:
    """Loses the answer to every request that comments on the issue, until it is stopped."""

    def __init__(self, server: HostServer) -> None:
        self._server = server
        self._inner = server.host
        server.host = self  # type: ignore[assignment]

    def answer(self, call: Any) -> Answer:
        assert self._inner
        answer = self._inner.answer(call)
        if call.method in {"POST", "PUT"} and call.path.endswith(("/comment", "/issues/1.json")):
            self._server.faults.lost_answers += 1
        return answer

    def stop(self) -> None:
        self._server.host = self._inner
