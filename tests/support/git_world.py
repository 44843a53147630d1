"""Real Git repositories for tests, made by plumbing: a commit costs about 10 ms, no work tree, no clone.

``GitWorld.make(tmp_path)`` gives a bare host with a ``production`` branch. People write by ``commit``, which takes
the *whole changes* as a mapping of path to content (``None`` deletes) and moves a branch the way a (forced) push does.
"""

from __future__ import annotations

import base64
import itertools
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from feature_delivery.domain.names import BranchName, CommitSha, TreeSha

Content = str | bytes | None

PRODUCTION = BranchName("production")

CLEAN_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


def git(directory: Path, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run Git in ``directory`` and return what it prints, without the last newline."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        input=stdin,
        capture_output=True,
        env={**CLEAN_ENVIRONMENT, **(env or {})},
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise AssertionError(f"git {arguments}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


@dataclass
class GitWorld:
    """One bare repository ``host`` and the people who push to it."""

    host: Path
    _clock: Iterator[int] = field(default_factory=lambda: itertools.count(1_700_000_000, 60))

    @classmethod
    def make(cls, directory: Path, *, files: Mapping[str, Content] | None = None, name: str = "host.git") -> GitWorld:
        """Make the host with one commit on ``production``."""
        host = directory / name
        git(directory, "init", "--quiet", "--bare", "--template=", f"--initial-branch={PRODUCTION}", str(host))
        world = cls(host)
        world.commit(PRODUCTION, {"README": "shop\n"} if files is None else files, message="Begin")
        return world

    def head(self, branch: str) -> CommitSha:
        """Return where ``branch`` is on the host; fails when it is not there."""
        return CommitSha(git(self.host, "rev-parse", "--verify", f"refs/heads/{branch}"))

    def branches(self) -> dict[str, str]:
        """Return all branches of the host."""
        lines = git(self.host, "for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/heads").splitlines()
        return dict(line.split(" ") for line in lines)

    def branch(self, name: str, at: str) -> CommitSha:
        """Put branch ``name`` at ``at``, as a forced push does."""
        git(self.host, "update-ref", f"refs/heads/{name}", at)
        return self.head(name)

    def delete(self, name: str) -> None:
        """Delete a branch."""
        git(self.host, "update-ref", "-d", f"refs/heads/{name}")

    def commit(
        self,
        branch: str | None,
        changes: Mapping[str, Content],
        *,
        on: str | None = None,
        message: str = "Change",
        author: str = "dev@example.com",
    ) -> CommitSha:
        """Commit ``changes`` on top of ``on`` (default: the branch's head) and put ``branch`` there.

        ``branch=None`` only writes the commit. ``on`` elsewhere than the head is a forced push. ``\\x00link:target``
        as content makes a symbolic link.
        """
        known = self.branches()
        parent = on or (known.get(branch) if branch else None)
        tree = self.tree_with(parent, changes)
        sha = self.commit_tree(tree, *([parent] if parent else []), message=message, author=author)
        if branch:
            self.branch(branch, sha)
        return sha

    def tree_with(self, base: str | None, changes: Mapping[str, Content]) -> TreeSha:
        """Write the tree of ``base`` with ``changes``."""
        index = self.host / f"index-{threading.get_ident()}"
        env = {"GIT_INDEX_FILE": str(index)}
        if base:
            git(self.host, "read-tree", base, env=env)
        lines = []
        for path, content in changes.items():
            if content is None:
                lines.append(f"0 {'0' * 40}\t{path}")
                continue
            data = content.encode() if isinstance(content, str) else content
            mode = "100644"
            if data.startswith(b"\x00link:"):
                mode, data = "120000", data.removeprefix(b"\x00link:")
            blob = git(self.host, "hash-object", "-w", "--stdin", stdin=data)
            lines.append(f"{mode} {blob}\t{path}")
        raw = "".join(line + "\0" for line in lines).encode("utf-8", "surrogateescape")
        git(self.host, "update-index", "-z", "--index-info", stdin=raw, env=env)
        tree = git(self.host, "write-tree", env=env)
        index.unlink(missing_ok=True)
        return TreeSha(tree)

    def commit_tree(
        self, tree: str, *parents: str, message: str = "Change", author: str = "dev@example.com"
    ) -> CommitSha:
        """Write a commit; the clock goes on by a minute each."""
        date = f"@{next(self._clock)} +0000"
        env = {
            "GIT_AUTHOR_NAME": "Dev",
            "GIT_AUTHOR_EMAIL": author,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": "Dev",
            "GIT_COMMITTER_EMAIL": author,
            "GIT_COMMITTER_DATE": date,
        }
        parts = [part for parent in parents for part in ("-p", parent)]
        return CommitSha(git(self.host, "commit-tree", tree, *parts, "-m", message, env=env))

    def merge(self, branch: str, other: str, *, resolve: Mapping[str, Content] | None = None) -> CommitSha:
        """Merge ``other`` into ``branch`` like ``git merge``: fast-forward when possible, else a merge commit.

        ``resolve`` settles conflicts; without it they fail.
        """
        head = self.head(branch)
        base = git(self.host, "merge-base", head, other)
        if base == head:
            return self.branch(branch, other)
        done = subprocess.run(
            ["git", "merge-tree", "--write-tree", "--no-messages", "--name-only", head, other],
            cwd=self.host,
            capture_output=True,
            env=CLEAN_ENVIRONMENT,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0 or (done.returncode == 1 and resolve is not None), done
        tree = done.stdout.decode().split("\n")[0]
        if resolve:
            tree = self.tree_with(tree, resolve)
        return self.branch(branch, self.commit_tree(tree, head, other, message=f"Merge {other[:7]}"))

    def merge_base(self, one: str, two: str) -> str:
        """Return the best common ancestor."""
        return git(self.host, "merge-base", one, two)

    def files(self, commit: str) -> dict[str, bytes]:
        """Return every file of ``commit`` with its content."""
        listing = git(self.host, "ls-tree", "-r", "-z", "--full-tree", commit)
        found: dict[str, bytes] = {}
        for record in listing.split("\0")[:-1]:
            meta, path = record.split("\t", 1)
            blob = subprocess.run(
                ["git", "cat-file", "blob", meta.split()[2]],
                cwd=self.host,
                capture_output=True,
                env=CLEAN_ENVIRONMENT,
                check=True,
                timeout=60,
            )
            found[path] = blob.stdout
        return found


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        pass


@dataclass
class GitOverHttp:
    """``git http-backend`` on a free port. Set ``answer`` to an HTTP status to fail every request with it."""

    root: Path
    password: str | None = None
    answer: str | None = None
    url: str = ""
    requests: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        self.headers.append(environ.get("HTTP_AUTHORIZATION", ""))
        if self.answer:
            start(self.answer, [("Content-Length", "0")])
            return []
        if self.password and not environ.get("HTTP_AUTHORIZATION"):
            start("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"'), ("Content-Length", "0")])
            return []
        if self.password and not self._is_right(environ["HTTP_AUTHORIZATION"]):
            start("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"'), ("Content-Length", "0")])
            return []
        done = subprocess.run(
            ["git", "http-backend"],
            input=_body(environ),
            capture_output=True,
            env={**CLEAN_ENVIRONMENT, **self._cgi(environ)},
            check=False,
            timeout=60,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        start(headers.pop("Status", "200 OK"), list(headers.items()))
        return [body]

    def _is_right(self, header: str) -> bool:
        _, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return password == self.password

    def _cgi(self, environ: dict[str, Any]) -> dict[str, str]:
        wanted = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "HTTP_CONTENT_ENCODING")
        names = {name: str(environ[name]) for name in wanted if environ.get(name)}
        if protocol := environ.get("HTTP_GIT_PROTOCOL"):
            names["GIT_PROTOCOL"] = protocol
        return {
            **names,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "bot",
            "REMOTE_ADDR": "127.0.0.1",
        }


def _body(environ: dict[str, Any]) -> bytes:
    stream = environ["wsgi.input"]
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
        return bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))
    parts = []
    while size := int(stream.readline().strip() or b"0", 16):
        parts.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(parts)


@contextmanager
def git_over_http(root: Path, *, password: str | None = None) -> Iterator[GitOverHttp]:
    """Serve the bare repositories under ``root``; pushes are allowed."""
    application = GitOverHttp(root, password=password)
    with make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet) as server:
        application.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield application
        finally:
            server.shutdown()
            thread.join()
