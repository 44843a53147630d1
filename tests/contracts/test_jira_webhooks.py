"""Webhooks of the fake Jira, sent for real, against what we take from Jira."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from feature_delivery.adapters.trackers.jira import JiraTracker
from feature_delivery.adapters.webhooks.jira import Jira
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import IssueState
from tests.contracts.jira_bench import CONFIG
from tests.fakes.hosts.jira import fake_jira
from tests.fakes.hosts.jira_state import Hook

KEY = FeatureKey("SHOP-1")


@contextmanager
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_fake_tells_of_what_happens_signed_as_jira_does() -> None:
    with receiver() as (url, got), fake_jira() as jira:
        tracker = JiraTracker(jira.login(), config=CONFIG)
        wanted = frozenset({"jira:issue_created", "jira:issue_updated", "comment_created"})
        jira.state.hooks.append(Hook(url, b"the secret", wanted))
        jira.state.give(1)
        jira.state.assign("SHOP-1", jira.state.users["bob"])
        tracker.move(KEY, IssueState.IN_PROGRESS)
        tracker.comment(KEY, "Taken", marker="m")
        jira.state.sender.settle()
    updated = "jira:issue_updated"
    assert [one.event for one in jira.state.sender.deliveries] == [
        "jira:issue_created",
        updated,
        updated,
        "comment_created",
    ]
    dialect = Jira()
    for headers, body in got:
        assert dialect.speaks(headers)
        assert dialect.authentic(headers, body, [b"old", b"the secret"], at=datetime.now(UTC))
        assert not dialect.authentic(headers, body + b" ", [b"the secret"], at=datetime.now(UTC))
        payload = json.loads(body)
        assert dialect.hint(dialect.event(headers, payload), payload).issue == KEY
    assert len({dialect.delivery_id(headers, body) for headers, body in got}) == 4
