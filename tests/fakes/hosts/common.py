"""What the fake Git hosts share: one HTTP server, a real bare repository behind it, webhooks that are really sent.

A fake gives routes and the meaning of a push. Here are the wire (``HostServer``: records every exchange, can be slow or
broken on demand), the repository (``HostedRepository``: what people push is seen by everybody, clone and push over
HTTP with the host's own tokens) and ``WebhookSender`` (in the background, as hosts do it; ``settle`` waits for it).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from feature_delivery.domain.names import BranchName, CommitSha
from tests.fakes.hosts.webhooks import Delivery, WebhookSender
from tests.support.git_world import CLEAN_ENVIRONMENT, Content, GitWorld, git

__all__ = ["Delivery", "WebhookSender"]  # part of what hosts share, in a module of their own for its size

NOBODY = "0" * 40
"""The commit of a branch that is not there, as hosts write it."""


def timestamp(at: datetime | None = None) -> str:
    """Return a moment as GitHub and Gitea write it, to the second."""
    return (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- requests and answers -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One request; header names are lower case, the path is as it was sent (still quoted)."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}

    def asked(self, name: str, default: str = "") -> str:
        """Return the last value of a query parameter."""
        return self.query.get(name, [default])[-1]


@dataclass(frozen=True)
class Answer:
    """One answer; ``body`` is JSON unless it is bytes; ``None``: no body at all."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Problem(Exception):  # noqa: N818 - an answer
    """Raised by a route to answer with it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class Exchange:
    """What was asked and what was answered; ``forced``: by ``Faults``, not by the fake."""

    call: Call
    answer: Answer
    forced: bool = False


Handler = Callable[..., Answer]


class Routes:
    """Path patterns like ``/repos/{owner}/{repo}/pulls/{number}``; a part never holds a slash, ``{path*}`` may."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        expression = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", pattern)
        expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", expression)
        self._routes.append((method, re.compile(expression + r"\Z"), handler))

    def replace(self, method: str, pattern_end: str, handler: Handler) -> None:
        """Answer by another handler where the pattern ends so, for one test."""
        for index, (known, pattern, _) in enumerate(self._routes):
            if known == method and pattern.pattern.endswith(pattern_end + r"\Z"):
                self._routes[index] = (known, pattern, handler)

    def find(self, call: Call) -> tuple[Handler, dict[str, str]] | None:
        """Return who answers, and the parts of the path, unquoted; ``None`` when nobody does."""
        for method, pattern, handler in self._routes:
            if method == call.method and (match := pattern.match(call.path)):
                return handler, {name: unquote(value) for name, value in match.groupdict().items()}
        return None


def paged(
    items: Sequence[Any],
    call: Call,
    *,
    base: str,
    show: Callable[[Any], Any] = lambda one: one,
    default: int = 30,
    most: int = 100,
) -> Answer:
    """Return one page of ``items`` with the ``Link`` header that leads to the others. ``base``: the server's address.

    ``show`` makes the JSON of those that are on the page. ``per_page`` (GitHub, GitLab) and ``limit`` (Gitea) count.
    """
    size = min(most, max(1, int(call.asked("per_page") or call.asked("limit") or default)))
    page = max(1, int(call.asked("page") or 1))
    last = max(1, -(-len(items) // size))

    def link(number: int, relation: str) -> str:
        query = {**{name: values[-1] for name, values in call.query.items()}, "page": str(number)}
        return f'<{base}{call.path}?{urlencode(query)}>; rel="{relation}"'

    links = [link(page - 1, "prev")] * (page > 1) + [link(page + 1, "next"), link(last, "last")] * (page < last)
    headers = {"X-Total-Count": str(len(items)), "X-Total": str(len(items))}
    if links:
        headers["Link"] = ", ".join(links)
    return Answer(200, [show(one) for one in items[(page - 1) * size : page * size]], headers)


# --- the server -----------------------------------------------------------------------------------------------------


class FakeHost(Protocol):
    """What the server asks of a fake."""

    def answer(self, call: Call) -> Answer:
        """Answer an API request; called by one thread at a time."""

    def git_user(self, username: str, password: str) -> str | None:
        """Return the login behind the credentials of a Git command, ``None`` when they are wrong."""

    def pushed(self, repository: HostedRepository, changes: Sequence[RefChange], by: str) -> None:
        """Take in what somebody pushed."""


@dataclass
class Faults:
    """Switches for everything that goes wrong between a host and us.

    Attributes:
        delay_seconds: Every answer comes so much later.
        next_answers: Given instead of the fake's own, one per request, before anything is done.
        lost_answers: So many requests are *done*, but their connection is closed without an answer.
        rules: ``(method, pattern of the path, answer)``: given to every such request while it is here.
    """

    delay_seconds: float = 0.0
    next_answers: list[Answer] = field(default_factory=list)
    lost_answers: int = 0
    rules: list[tuple[str, str, Answer]] = field(default_factory=list)

    def instead(self, call: Call) -> Answer | None:
        if self.next_answers:
            return self.next_answers.pop(0)
        for method, pattern, answer in self.rules:
            if method == call.method and re.search(pattern, call.path):
                return answer
        return None


class HostServer:
    """One fake host on a free port; ``repositories`` are served by ``git http-backend`` at ``/<full name>.git``."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.faults = Faults()
        self.repositories: dict[str, HostedRepository] = {}
        self.lock = threading.RLock()
        self.host: FakeHost | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 60

            def handle_any(self) -> None:
                server._serve(self)

            # http.server looks for these names.
            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any  # noqa: N815

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator[HostServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def calls(self, method: str = "", path: str = "") -> list[Call]:
        """Return the API requests so far, of a method, with ``path`` (a pattern) in theirs."""
        return [
            one.call
            for one in list(self.exchanges)
            if (not method or one.call.method == method) and re.search(path, one.call.path)
        ]

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        body = _body(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = parse_qs(parts.query, keep_blank_values=True)
        call = Call(request.command, parts.path, query, headers, body)
        found = re.match(r"/(?P<name>.+?)\.git/", unquote(parts.path))
        repository = self.repositories.get(found["name"]) if found else None
        if repository is not None:
            time.sleep(self.faults.delay_seconds)
            _send(request, self._git(repository, call, parts.query))
            return
        forced = self.faults.instead(call)
        if forced is None:
            with self.lock:
                answer = self._answer(call)
        else:
            answer = forced
        self.exchanges.append(Exchange(call, answer, forced is not None))
        time.sleep(self.faults.delay_seconds)
        if self.faults.lost_answers:
            self.faults.lost_answers -= 1
            request.close_connection = True
            return
        _send(request, answer)

    def _answer(self, call: Call) -> Answer:
        assert self.host, "give the server its host first"
        try:
            return self.host.answer(call)
        except Problem as problem:
            return problem.answer

    def _git(self, repository: HostedRepository, call: Call, query: str) -> Answer:
        assert self.host
        username, _, password = _basic(call.headers.get("authorization", "")).partition(":")
        user = self.host.git_user(username, password)
        if user is None:
            return Answer(401, b"Bad credentials", {"WWW-Authenticate": 'Basic realm="git"'})
        if "git-receive-pack" not in call.path or call.method != "POST":
            return _http_backend(repository, call, query, user)
        with self.lock:
            before = repository.refs()
            answer = _http_backend(repository, call, query, user)
            changes = ref_changes(before, repository.refs())
            if changes:
                self.host.pushed(repository, changes, user)
        return answer


def _basic(header: str) -> str:
    scheme, _, value = header.partition(" ")
    try:
        return b64decode(value).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    parts = []
    while size := int(request.rfile.readline().strip() or b"0", 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)


def _send(request: BaseHTTPRequestHandler, answer: Answer) -> None:
    content = answer.content()
    request.send_response_only(answer.status)
    told = {"Date": request.date_time_string(), "Content-Type": "application/json; charset=utf-8"}
    headers = {**told, **answer.headers, "Content-Length": str(len(content))}
    if answer.status == 204:
        del headers["Content-Type"], headers["Content-Length"]
    for name, value in headers.items():
        request.send_header(name, value)
    try:
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)
    except OSError:  # the client waited no longer
        request.close_connection = True


def _http_backend(repository: HostedRepository, call: Call, query: str, user: str) -> Answer:
    rest = unquote(call.path).split(".git/", 1)[1]
    environment = {
        "REQUEST_METHOD": call.method,
        "PATH_INFO": f"/{repository.directory.name}/{rest}",
        "QUERY_STRING": query,
        "CONTENT_TYPE": call.headers.get("content-type", ""),
        "HTTP_CONTENT_ENCODING": call.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": call.headers.get("git-protocol", ""),
        "GIT_PROJECT_ROOT": str(repository.directory.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": user,
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run(
        ["git", "http-backend"],
        input=call.body,
        capture_output=True,
        env={**os.environ, **CLEAN_ENVIRONMENT, **{name: value for name, value in environment.items() if value}},
        check=False,
        timeout=60,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
    status = int(headers.pop("Status", "200").split(" ")[0])
    return Answer(status, body, headers)


# --- the repository -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RefChange:
    """One branch or tag that moved; ``NOBODY`` stands for not there."""

    ref: str
    before: str
    after: str

    @property
    def branch(self) -> BranchName | None:
        return BranchName(self.ref.removeprefix("refs/heads/")) if self.ref.startswith("refs/heads/") else None

    @property
    def created(self) -> bool:
        return self.before == NOBODY

    @property
    def deleted(self) -> bool:
        return self.after == NOBODY


def ref_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[RefChange]:
    """Return what moved from one listing to another."""
    return [
        RefChange(ref, before.get(ref, NOBODY), after.get(ref, NOBODY))
        for ref in sorted({*before, *after})
        if before.get(ref) != after.get(ref)
    ]


class HostedRepository:
    """A real bare repository on a fake host. What people do to it here is told to the host as a push of theirs."""

    def __init__(self, server: HostServer, directory: Path, full_name: str, *, branch: str = "production") -> None:
        """Make it under ``directory`` with one commit on ``branch``; ``full_name``: ``owner/name``."""
        self.full_name = full_name
        self.server = server
        self.world = GitWorld.make(directory, name=f"{full_name.replace('/', '--')}.git")
        self.directory = self.world.host
        git(self.directory, "config", "http.receivepack", "true")
        git(self.directory, "config", "receive.denyDeleteCurrent", "ignore")
        if branch != "production":
            git(self.directory, "branch", "-m", "production", branch)
        self._count = 0
        server.repositories[full_name] = self

    @property
    def url(self) -> str:
        """Where to clone from and push to."""
        return f"{self.server.url}/{self.full_name}.git"

    def refs(self) -> dict[str, str]:
        lines = git(self.directory, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags")
        return dict(line.split(" ") for line in lines.splitlines())

    def heads(self) -> dict[BranchName, CommitSha]:
        return {BranchName(name): CommitSha(sha) for name, sha in self.world.branches().items()}

    def head(self, branch: str) -> CommitSha | None:
        """Return where a branch is, without starting Git where its file says so: lists ask for it by the hundred."""
        try:
            return CommitSha((self.directory / "refs" / "heads" / branch).read_text(encoding="ascii").strip())
        except OSError:
            return self.heads().get(BranchName(branch))

    @contextmanager
    def pushing(self, by: str) -> Iterator[GitWorld]:
        """Do something to the refs, then let the host take it in as a push of ``by``."""
        with self.server.lock:
            before = self.refs()
            yield self.world
            changes = ref_changes(before, self.refs())
            if changes and self.server.host:
                self.server.host.pushed(self, changes, by)

    def push(
        self, branch: str, changes: Mapping[str, Content] | None = None, *, by: str = "dev", on: str | None = None
    ) -> CommitSha:
        """Push a commit on top of ``branch`` (where it is not there: of ``on``, or of nothing)."""
        self._count += 1
        with self.pushing(by) as world:
            content = changes if changes is not None else {f"file-{self._count}": f"{self._count}\n"}
            return world.commit(branch, content, on=on, message=f"Change {self._count}", author=f"{by}@shop.test")

    def move(self, branch: str, commit: str, *, by: str = "dev") -> None:
        """Push ``branch`` to where ``commit`` is, forced."""
        with self.pushing(by) as world:
            world.branch(branch, commit)

    def delete(self, branch: str, *, by: str = "dev") -> None:
        with self.pushing(by) as world:
            world.delete(branch)

    def holds(self, commit: str) -> bool:
        """Say whether the commit is here."""
        return _quietly(self.directory, "cat-file", "-e", f"{commit}^{{commit}}")

    def is_ancestor(self, commit: str, of: str) -> bool:
        return _quietly(self.directory, "merge-base", "--is-ancestor", commit, of)

    def ahead(self, commit: str, of: str) -> list[str]:
        """Return the commits that ``commit`` has and ``of`` lacks, newest first."""
        return git(self.directory, "rev-list", f"{of}..{commit}").splitlines()

    def described(self, commit: str) -> tuple[str, str, str]:
        """Return message, e-mail of the author and time (ISO 8601) of a commit."""
        message, email, at = git(self.directory, "show", "-s", "--format=%B%x00%ae%x00%aI", commit).split("\0")
        return message.strip(), email, at.strip()


def _quietly(directory: Path, *arguments: str) -> bool:
    done = subprocess.run(
        ["git", *arguments], cwd=directory, capture_output=True, env=CLEAN_ENVIRONMENT, check=False, timeout=30
    )
    return done.returncode == 0
