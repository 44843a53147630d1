"""The fake Gitea sends webhooks as the real one does: over HTTP, signed, with all of its families of headers."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.adapters.git.address import remote_address
from feature_delivery.adapters.git_hosts.gitea import git_access
from feature_delivery.adapters.webhooks.gitea import Gitea
from feature_delivery.ports.git_host import ReviewKind
from tests.support.git_world import git
from tests.support.gitea_stage import CONFIG, GiteaStage, gitea_stage

SECRET = "a secret of the project"
EVERYTHING = (
    *("push", "create", "delete", "issues", "issue_label", "issue_assign", "issue_comment"),
    *("pull_request", "pull_request_sync", "pull_request_label", "pull_request_comment"),
    *("pull_request_review_request", "pull_request_review"),
)
FEATURE = "feature/SHOP-1-gift"


@dataclass
class Receiver:
    """Somebody who takes webhooks."""

    url: str = ""
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def events(self) -> list[tuple[str, str]]:
        """Return type and action of what came, oldest first."""
        return [
            (headers["x-gitea-event-type"], str(json.loads(body).get("action", ""))) for headers, body in self.taken
        ]

    def payload(self, kind: str, action: str = "") -> dict[str, Any]:
        """Return the newest payload of a type."""
        for (found, done), (_, body) in zip(reversed(self.events()), reversed(self.taken), strict=True):
            if (found, done) == (kind, action):
                payload: dict[str, Any] = json.loads(body)
                return payload
        raise AssertionError(f"no {kind} {action} among {self.events()}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/webhooks/shop"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def stage(tmp_path: Path, receiver: Receiver) -> Iterator[GiteaStage]:
    with gitea_stage(tmp_path) as made:
        made.fake.hook(receiver.url, SECRET, *EVERYTHING)
        yield made


def settled(stage: GiteaStage, receiver: Receiver) -> list[tuple[str, str]]:
    stage.fake.sender.settle()
    assert {delivery.status for delivery in stage.fake.sender.deliveries} == {202}
    return receiver.events()


def test_a_delivery_is_signed_over_its_raw_body_in_every_family_of_headers(
    stage: GiteaStage, receiver: Receiver
) -> None:
    stage.push(FEATURE)
    stage.fake.sender.settle()
    headers, body = receiver.taken[-1]
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    for brand in ("forgejo", "gitea", "gogs"):
        assert headers[f"x-{brand}-signature"] == signature
        assert headers[f"x-{brand}-event"] == "push"
    assert headers["x-hub-signature-256"] == f"sha256={signature}"
    assert headers["x-github-event"] == "push"
    assert headers["content-type"] == "application/json"
    names = {headers[f"x-{brand}-delivery"] for brand in ("forgejo", "gitea", "gogs", "github")}
    assert len(names) == 1


def test_the_life_of_a_feature_is_told_in_order(stage: GiteaStage, receiver: Receiver) -> None:
    head = stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.push(FEATURE)
    stage.review(number, "carol", ReviewKind.REJECT, "Prices.")
    stage.review(number, "carol", ReviewKind.APPROVE, "")
    stage.fake.person("carol").say(number, "/status")
    stage.fake.repository.git.delete(FEATURE)
    assert settled(stage, receiver) == [
        ("create", ""),
        ("push", ""),
        ("pull_request", "opened"),
        ("push", ""),
        ("pull_request_sync", "synchronized"),
        ("pull_request_review_rejected", "reviewed"),
        ("pull_request_review_approved", "reviewed"),
        ("pull_request_comment", "created"),
        ("delete", ""),
        ("pull_request", "closed"),
    ]
    push = receiver.payload("push")
    assert (push["ref"], push["before"]) == (f"refs/heads/{FEATURE}", head)
    assert receiver.payload("delete")["ref"] == FEATURE
    review = receiver.payload("pull_request_review_rejected", "reviewed")
    assert review["review"] == {"type": "pull_request_review_rejected", "content": "Prices."}
    assert (review["number"], review["sender"]["login"]) == (number, "carol")
    assert receiver.payload("pull_request_comment", "created")["is_pull"] is True
    events = [headers["x-gitea-event"] for headers, _ in receiver.taken]
    assert {"pull_request_rejected", "pull_request_approved", "issue_comment"} < set(events)


def test_a_push_of_real_git_over_http_is_told(stage: GiteaStage, receiver: Receiver, tmp_path: Path) -> None:
    stage.fake.repository.private = True
    address = remote_address(stage.fake.repository.git.url, git_access(stage.login, CONFIG))
    settings = [part for name, value in address.settings for part in ("-c", f"{name}={value}")]
    git(tmp_path, *settings, "clone", "--quiet", address.url, "clone")
    git(tmp_path / "clone", *settings, "push", "--quiet", "origin", f"HEAD:refs/heads/{FEATURE}")
    assert settled(stage, receiver) == [("create", ""), ("push", "")]
    assert receiver.payload("push")["pusher"]["login"] == stage.fake.bot.login


def test_issues_are_told_and_a_hook_is_told_only_what_it_asked_for(stage: GiteaStage, receiver: Receiver) -> None:
    stage.fake.repository.hooks[0].events = ["issues", "issue_assign", "issue_comment"]
    stage.fake.issue(title="Gift cards", by="mia")
    stage.push(FEATURE)
    mia = stage.fake.person("mia")
    mia.call("PATCH", "/issues/1", {"assignees": ["mia"]})
    mia.say(1, "When?")
    mia.call("PATCH", "/issues/1", {"state": "closed"})
    assert settled(stage, receiver) == [
        ("issues", "opened"),
        ("issue_assign", "assigned"),
        ("issue_comment", "created"),
        ("issues", "closed"),
    ]
    assert receiver.payload("issues", "closed")["issue"]["state"] == "closed"


def test_our_own_dialect_believes_them_and_knows_where_to_look(stage: GiteaStage, receiver: Receiver) -> None:
    stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.review(number, "carol", ReviewKind.APPROVE, "Fine.")
    stage.host.comment(number, "Ours.", marker="m")
    stage.fake.person("carol").say(number, "/status")
    stage.fake.issue(title="Gift cards", by="mia")
    settled(stage, receiver)
    dialect, looks = Gitea(), []
    for headers, body in receiver.taken:
        assert dialect.speaks(headers)
        assert dialect.authentic(headers, body, [b"older", SECRET.encode()], at=datetime.now(UTC))
        assert not dialect.authentic(headers, body + b" ", [SECRET.encode()], at=datetime.now(UTC))
        payload = json.loads(body)
        hint = dialect.hint(dialect.event(headers, payload), payload)
        looks.append((hint.branch, hint.request, hint.issue, bool(hint.ignored)))
    assert looks == [
        (FEATURE, None, "", False),
        (FEATURE, None, "", False),
        (FEATURE, number, "", False),
        (FEATURE, number, "", False),
        (None, None, "", True),
        (FEATURE, number, "", False),
        (None, None, "2", False),
    ]


def test_the_payloads_have_the_fields_of_recorded_ones(stage: GiteaStage, receiver: Receiver) -> None:
    """Against payloads of a real Gitea, where they are there: what a reader may look at is in ours, too."""
    recorded = Path(__file__).parents[2] / ".." / "shared" / "payloads" / "gitea"
    if not recorded.is_dir():
        pytest.skip("the recorded payloads of Gitea are not beside this repository")
    stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.push(FEATURE)
    stage.review(number, "carol", ReviewKind.APPROVE, "Fine.")
    stage.fake.person("carol").say(number, "Nice.")
    stage.fake.issue(title="Gift cards", by="mia")
    stage.fake.repository.git.delete(FEATURE)
    settled(stage, receiver)
    # What real servers said once and say no more.
    gone = {"secret", "default_branch"}
    pairs = {
        "go-scm/branch_create.json": ("create", ""),
        "go-scm/branch_delete.json": ("delete", ""),
        "go-scm/push.json": ("push", ""),
        "go-scm/pull_request_opened.json": ("pull_request", "opened"),
        "go-scm/pull_request_synchronized.json": ("pull_request_sync", "synchronized"),
        "go-playground/pull-request-review-event.json": ("pull_request_review_approved", "reviewed"),
        "go-playground/pull-request-comment-event.json": ("pull_request_comment", "created"),
        "go-playground/issues-event.json": ("issues", "opened"),
    }
    for file, (kind, action) in pairs.items():
        real = json.loads((recorded / file).read_text(encoding="utf-8"))
        ours = receiver.payload(kind, action)
        assert set(real) - gone <= set(ours), (file, set(real) - set(ours))
        for part in ("pull_request", "issue", "comment", "review"):
            if isinstance(real.get(part), dict):
                assert {"user", "number", "state", "body", "type"} & set(real[part]) <= set(ours[part]), (file, part)
