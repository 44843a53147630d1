"""The private bare mirror: made at first use, shared by parallel tasks, safe to lose at any moment.

It holds nothing that the host does not have, or that cannot be built again from it; so whatever looks broken is
thrown away and made anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from feature_delivery.adapters.git.commands import DAMAGED_MARK, GitCommands, Output
from feature_delivery.domain.errors import Misconfigured, NotFound, Unavailable
from feature_delivery.domain.names import CommitSha

MARKER = "feature-delivery-mirror"
"""Written last, before the mirror is renamed into place; a directory without it is not ours to touch."""

PACKS_BEFORE_REPACK = 40
"""Every fetch leaves one pack; above this many they are joined (object look-up walks through all packs)."""

_FETCH = ("fetch", "--quiet", "--prune", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head")
_BRANCHES = "+refs/heads/*:refs/remotes/origin/*"


class Mirror:
    """A bare clone of the remote under ``path``; ``<path>.lock`` beside it is the lock of all that write into it."""

    def __init__(self, path: Path, commands: GitCommands, *, shown: str, timeout: timedelta) -> None:
        """Touch nothing; ``timeout`` bounds a fetch and the wait for the lock, each."""
        self.path = path
        self._commands = commands
        self._shown = shown
        self._timeout = timeout
        self._here: set[CommitSha] = set()
        self._made: tuple[int, int] | None = None

    def ready(self) -> None:
        """Make the mirror if it is not there; one ``stat`` otherwise."""
        if self._is_whole():
            return
        with self.exclusive() as lock:
            if not self._is_whole():
                self._create(lock)

    def _is_whole(self) -> bool:
        # HEAD last: a tree being removed, or restored from half a backup, lacks one of the two.
        return (
            (self.path / MARKER).exists() and not (self.path / DAMAGED_MARK).exists() and (self.path / "HEAD").exists()
        )

    def _create(self, lock: int) -> None:
        if self.path.exists() and not (self.path / MARKER).exists() and any(self.path.iterdir()):
            raise Misconfigured(
                f"{str(self.path)!r} cannot hold the mirror of {self._shown}: there is something else in it. "
                "Name another directory."
            )
        fresh = self.path.with_name(f".{self.path.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)  # Left by a kill; we hold the lock, so nobody is at it.
        try:
            self._commands.run(
                # The global --git-dir is ignored by init when it is told a directory.
                "init", "--quiet", "--bare", "--template=", "--", str(fresh), doing="make the mirror", keep_open=lock
            )  # fmt: skip
            fresh.chmod(0o700)
            (fresh / MARKER).write_text("1\n", encoding="ascii")
            shutil.rmtree(self.path, ignore_errors=True)
            fresh.rename(self.path)
        except OSError as error:
            raise Unavailable(
                f"Could not make the mirror of {self._shown} in {str(self.path)!r}: {error.strerror}. "
                "Free some space, or name another directory."
            ) from error

    def missing(self, commits: tuple[CommitSha, ...]) -> tuple[CommitSha, ...]:
        """Return those of ``commits`` that are not here; one that was seen stays, as long as the mirror is the same.

        A step asks for the same few commits again and again, and each look costs a process.
        """
        made = self._identity()
        if made != self._made:
            self._made, self._here = made, set()
        unseen = tuple(sha for sha in commits if sha not in self._here)
        absent = self._absent(unseen)
        self._here.update(set(unseen) - set(absent))
        return absent

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = (self.path / MARKER).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _absent(self, commits: tuple[CommitSha, ...]) -> tuple[CommitSha, ...]:
        if not commits:
            return ()
        answer = self._commands.run(
            "cat-file",
            "--batch-check=%(objecttype)",
            "--buffer",
            stdin="".join(f"{sha}\n" for sha in commits).encode("ascii"),
            doing="look up commits",
        )
        kinds = answer.text.splitlines()
        return tuple(sha for sha, kind in zip(commits, kinds, strict=True) if kind != "commit")

    def fetch(self, commits: tuple[CommitSha, ...]) -> None:
        """Bring all branches, and ``commits`` even when no branch holds them any more.

        No network when ``commits`` are named and are all here.

        Raises:
            NotFound: The host has one of ``commits`` no more.
        """
        self.ready()
        if commits and not self.missing(commits):
            return
        with self.exclusive() as lock:
            # Another task may have fetched them while we waited.
            if commits and not self.missing(commits):
                return
            self._transfer(_BRANCHES, lock=lock)
            self._join_packs(lock)
            absent = self.missing(commits)
            if not absent:
                return
            try:
                self._transfer(*absent, lock=lock)
            except NotFound as error:
                raise NotFound(
                    f"{self._shown} has no commit {absent[0][:12]} (any more). Push it to a branch, or check the id."
                ) from error

    def _transfer(self, *refspecs: str, lock: int) -> Output:
        return self._commands.run(
            *_FETCH,
            "--end-of-options",
            "origin",
            *refspecs,
            doing=f"fetch from {self._shown}",
            timeout=self._timeout,
            keep_open=lock,
        )

    def _join_packs(self, lock: int) -> None:
        packs = self.path / "objects" / "pack"
        if sum(1 for _ in packs.glob("*.pack")) > PACKS_BEFORE_REPACK:
            # Geometric: costs in proportion to what is new, and drops no object, reachable or not.
            self._commands.run(
                "repack", "-d", "-q", "--geometric=2", doing="tidy the mirror", timeout=self._timeout, keep_open=lock
            )

    @contextmanager
    def exclusive(self) -> Iterator[int]:
        """Hold the mirror's lock; yields its descriptor.

        The kernel frees it when the last holder dies, children included, so it is never stale. Git's own ``*.lock``
        files are: whoever holds the lock removes those that a kill left.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Misconfigured(
                f"The mirror of {self._shown} cannot be kept in {str(self.path.parent)!r}: {error.strerror}. "
                "Make the directory writable, or name another one."
            ) from error
        try:
            self._wait(descriptor)
            for stale in (*self.path.glob("*.lock"), *self.path.glob("refs/**/*.lock")):
                stale.unlink(missing_ok=True)
            for half in self.path.glob("objects/pack/tmp_*"):
                half.unlink(missing_ok=True)
            yield descriptor
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._timeout.total_seconds()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Could not fetch from {self._shown}: another task has been at the mirror for "
                        f"{self._timeout.total_seconds():g} seconds. Try again later."
                    ) from error
                time.sleep(0.02)
            else:
                return
