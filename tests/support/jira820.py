"""``jira820``, a Jira Data Center 8.20 of other people's, in this process on a free port, with one empty project."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from jira820 import Config, Store, make_app

from feature_delivery.domain.login import Login

PEOPLE = ("bot", "bob", "mia")


class LivingStore(Store):  # type: ignore[misc]
    """Its clock stands still at nine o'clock; this one's goes on, with what is changed."""

    def _touch_persist(self) -> None:
        at = datetime.now(UTC)
        self.config.base_date = at.date()
        for key, issue in self.issues.items():
            seen = (issue["statusName"], issue["assignee"], len(issue["comments"]), len(issue["remotelinks"]))
            if self.__dict__.setdefault("known", {}).get(key) != seen:
                self.known[key] = seen
                issue["updated"], issue["tupdated"] = at.date(), at.strftime("%H:%M:%S")


class Jira820:
    """A running one."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.login = Login("jira", url=url, secret="a-token-that-it-does-not-look-at")

    def give(self, key: str) -> None:
        self.store._counter = int(key.rpartition("-")[2]) - 1
        words: dict[str, Any] = {"summary": "Gift cards", "description": "Sell them.", "reporter": {"name": "mia"}}
        made = self.store.create_issue({**words, "project": {"key": "SHOP"}, "issuetype": {"name": "Story"}})
        assert made["key"] == key

    def assign(self, key: str, person: str | None) -> None:
        self.store.set_assignee(key, person)

    def move(self, key: str, status: str) -> None:
        self.store.transition_issue(key, self.store.workflow._tid[status])

    def comments(self, key: str) -> list[str]:
        return [one["body"] for one in self.store.get_issue(key)["comments"]]

    def links(self, key: str) -> list[tuple[str, str]]:
        return [(one["title"], one["url"]) for one in self.store.get_issue(key)["remotelinks"]]


@contextmanager
def running_jira820(**settings: Any) -> Iterator[Jira820]:
    """Run one. ``settings``: of its ``Config``."""
    # The screen that it has for every end asks for hours worked; the team of these tests asks for a resolution.
    screens = {"Done": ["resolution"]}
    config = Config(project_key="SHOP", current_user="bot", transition_screens=screens, **settings)
    store = LivingStore(config, seed=False)
    store.users = {name: {"name": name, "displayName": name.capitalize()} for name in PEOPLE}
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(store), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield Jira820(store, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
