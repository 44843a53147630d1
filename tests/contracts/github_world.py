"""A fake GitHub with people, and our adapters on it. What was said over the wire is held against its description."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from feature_delivery.adapters.git_hosts.github import GitHubHost
from feature_delivery.adapters.trackers.github import GitHubTracker
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
from feature_delivery.domain.project import HostConfig, TrackerConfig
from feature_delivery.ports.git_host import MergeRequest
from tests.fakes.hosts.common import HostServer
from tests.fakes.hosts.described import description
from tests.fakes.hosts.github import BOT_TOKEN, FakeGitHub

KEY = FeatureKey("SHOP-1")
FEATURE, PREPROD, PRODUCTION = BranchName("feature/SHOP-1-gift"), BranchName("preprod"), BranchName("production")
SPEC, SPEC_SERVER = "github-rest-subset.json", "https://api.github.com"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class GitHubWorld:
    """One repository on a fake GitHub."""

    server: HostServer
    fake: FakeGitHub

    def login(self, secret: str = BOT_TOKEN, **options: Any) -> Login:
        return Login("github", url=self.server.url, secret=secret, options=options)

    def config(self, **more: Any) -> HostConfig:
        return HostConfig(kind="github", connection="github", repository=self.fake.full_name, **more)

    def host(self, login: Login | None = None, *, patience: float = 0.0, **more: Any) -> GitHubHost:
        return GitHubHost(
            login or self.login(),
            config=self.config(**more),
            patience=timedelta(seconds=patience),
            sleep=lambda _: None,
        )

    def tracker(self, login: Login | None = None, **more: Any) -> GitHubTracker:
        config = TrackerConfig(kind="github", connection="github", project=self.fake.full_name, prefix="SHOP", **more)
        return GitHubTracker(login or self.login(), config=config)

    def opened(self, host: GitHubHost | None = None, *, source: BranchName = FEATURE, **more: Any) -> MergeRequest:
        given: dict[str, Any] = {"key": KEY, "target": PREPROD, "title": "SHOP-1 Gift cards", "body": "All of it."}
        return (host or self.host()).open_request(**{**given, "source": source, **more})

    def ship(self, number: int) -> None:
        """Let the target hold the request's head, as a promotion does."""
        pull = self.fake.items[number].pull
        assert pull
        self.fake.repository.move(pull.base, pull.sha, by="shop-bot")

    def forget(self) -> None:
        """Count requests from here on."""
        self._check()
        self.server.exchanges.clear()

    def _check(self) -> None:
        described = description(SPEC, server=SPEC_SERVER)
        if described is not None:
            faults, _ = described.faults(self.server.exchanges)
            assert not faults, "\n".join(faults)
        for exchange in self.server.exchanges:
            headers = exchange.call.headers
            assert headers["accept"] == "application/vnd.github+json", exchange.call.path
            assert headers["x-github-api-version"] == "2022-11-28"


@contextmanager
def github_world(directory: Path) -> Iterator[GitHubWorld]:
    """Start it: production, preprod and a feature branch with one commit; carol and dave may write."""
    server = HostServer()
    with server.running():
        world = GitHubWorld(server, FakeGitHub(server, directory))
        with world.fake.sender.running():
            for login in ("carol", "dave", "mia", "bob"):
                world.fake.add(login)
            world.fake.add("eve", role="")
            repository = world.fake.repository
            repository.move(PREPROD, str(repository.head(PRODUCTION)))
            repository.push(FEATURE, on=repository.head(PREPROD))
            yield world
            world._check()


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Receive webhooks: answers 202, and 401 where the path says ``refused``. Gives its address and what came."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append({"headers": dict(self.headers), "body": body, "path": self.path})
            self.send_response(401 if "refused" in self.path else 202)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def sha(text: str) -> CommitSha:
    """Return a commit id that is nowhere."""
    return CommitSha(text * 40)
