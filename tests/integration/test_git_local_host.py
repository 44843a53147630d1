"""A bare repository of the local host: real pushes, real webhooks over HTTP."""

from __future__ import annotations

import hashlib
import hmac
import json
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.adapters.git.bare import create_bare, install_post_receive
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.names import BranchName, ProjectName
from tests.support.git_world import CLEAN_ENVIRONMENT, PRODUCTION, git

SECRET = "s3cret"


@dataclass
class Listener:
    url: str = ""
    status: int = 202
    slow: threading.Event | None = None
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    state = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append(({**dict(self.headers), "path": self.path}, body))
            if state.slow:
                state.slow.wait(30)
            self.send_response(state.status)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_port}/hooks/local?x=1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        if state.slow:
            state.slow.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def bare(tmp_path: Path, listener: Listener) -> Path:
    path = create_bare(tmp_path / "hosts" / "it's a shop.git", PRODUCTION)
    install_post_receive(path, url=listener.url, secret=SECRET, project=ProjectName("demo_store"))
    return path


@pytest.fixture
def clone(tmp_path: Path, bare: Path) -> Path:
    path = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(bare), str(path))
    git(path, "config", "user.name", "Alice")
    git(path, "config", "user.email", "alice@example.com")
    git(path, "switch", "--quiet", "--orphan", PRODUCTION)
    git(path, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    return path


def push(clone: Path, *refs: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "push", "--porcelain", "origin", *refs],
        cwd=clone,
        env={**CLEAN_ENVIRONMENT, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_each_pushed_branch_sends_one_signed_webhook(clone: Path, listener: Listener) -> None:
    assert push(clone, PRODUCTION, f"{PRODUCTION}:refs/heads/feature/SHOP-1-x").returncode == 0
    head = git(clone, "rev-parse", "HEAD")
    assert len(listener.got) == 2
    for headers, body in listener.got:
        signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Feature-Delivery-Signature"] == signature
        assert headers["X-Feature-Delivery-Event"] == "push"
        assert headers["path"] == "/hooks/local?x=1"
    bodies = [json.loads(body) for _, body in listener.got]
    assert {body.pop("ref") for body in bodies} == {"refs/heads/production", "refs/heads/feature/SHOP-1-x"}
    assert bodies == [{"project": "demo_store", "old": "0" * 40, "new": head, "pusher": "alice@example.com"}] * 2
    assert len({headers["X-Feature-Delivery-Delivery"] for headers, _ in listener.got}) == 2


def test_the_pusher_is_who_the_environment_names_and_what_we_push_ourselves_is_not_told(
    clone: Path, bare: Path, tmp_path: Path, listener: Listener
) -> None:
    push(clone, PRODUCTION, env={"FEATURE_DELIVERY_USER": "bob"})
    repository = GitRepository(str(bare), tmp_path / "mirror")
    head = repository.heads()[PRODUCTION]
    branch = BranchName("feature/SHOP-1-x")
    repository.create_branch(branch, head)
    assert repository.delete_branch(branch, expect=head)
    push(clone, f"{PRODUCTION}:{branch}", env={"REMOTE_USER": "carol"})
    push(clone, f":{branch}", env={"REMOTE_USER": "carol"})
    assert [json.loads(body)["pusher"] for _, body in listener.got] == ["bob", "carol", "carol"]
    assert json.loads(listener.got[-1][1])["new"] == "0" * 40


@pytest.mark.parametrize("trouble", ["status", "down", "settings", "mode", "url"])
def test_a_webhook_that_fails_never_fails_the_push_and_is_kept(
    clone: Path, bare: Path, listener: Listener, trouble: str
) -> None:
    settings = bare / "feature-delivery.json"
    match trouble:
        case "status":
            listener.status = 500
        case "down":
            install_post_receive(bare, url="http://127.0.0.1:9/x", secret=SECRET, project=ProjectName("demo_store"))
        case "settings":
            settings.write_text("{")
        case "mode":
            settings.chmod(0o644)
        case _:
            install_post_receive(bare, url="file:///etc/passwd", secret=SECRET, project=ProjectName("demo_store"))
    done = push(clone, PRODUCTION)
    assert done.returncode == 0
    assert done.stderr.count("feature-delivery was not told about refs/heads/production") == 1
    kept = [json.loads(line) for line in (bare / "webhook-failures.log").read_text().splitlines()]
    assert [(line["ref"], line["new"]) for line in kept] == [("refs/heads/production", git(clone, "rev-parse", "HEAD"))]
    assert SECRET not in json.dumps(kept) + done.stderr


def test_a_listener_that_never_answers_is_given_up(clone: Path, listener: Listener) -> None:
    listener.slow = threading.Event()
    done = push(clone, PRODUCTION)
    assert done.returncode == 0
    assert "not told" in done.stderr


def test_the_secret_is_for_the_owner_alone_and_installing_again_replaces_it(bare: Path, listener: Listener) -> None:
    settings = bare / "feature-delivery.json"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    install_post_receive(bare, url=listener.url, secret="another", project=ProjectName("demo_store"))
    assert json.loads(settings.read_text())["secret"] == "another"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert sorted(path.name for path in (bare / "hooks").iterdir()) == [
        "feature-delivery-post-receive.py",
        "post-receive",
    ]


def test_a_hook_of_somebody_else_is_not_overwritten(bare: Path, listener: Listener) -> None:
    hook = bare / "hooks" / "post-receive"
    hook.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(Refused, match="hook of its own"):
        install_post_receive(bare, url=listener.url, secret=SECRET, project=ProjectName("demo_store"))
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"


def test_creating_twice_keeps_what_is_there_and_other_things_are_left_alone(clone: Path, bare: Path) -> None:
    push(clone, PRODUCTION)
    create_bare(bare, PRODUCTION)
    assert git(bare, "rev-parse", PRODUCTION) == git(clone, "rev-parse", "HEAD")
    assert git(bare, "symbolic-ref", "HEAD") == f"refs/heads/{PRODUCTION}"
    with pytest.raises(Misconfigured, match="something else"):
        create_bare(clone, PRODUCTION)
