"""Merges without a work tree, and commits that come out the same every time."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from feature_delivery.adapters.git.commands import GitCommands
from feature_delivery.adapters.git.objects import Blob, shown_path
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.names import CommitSha, TreeSha
from feature_delivery.ports.repository import MergeConflictError


@dataclass(frozen=True, slots=True)
class Identity:
    """Who commits and restores in our name; the same for all, so that the same input gives the same commit."""

    name: str = "Feature Delivery"
    email: str = "feature-delivery@localhost.invalid"

    def __post_init__(self) -> None:
        """Refuse what Git would silently change or choke on."""
        if not self.name.strip() or not self.email or re.search(r"[<>\x00-\x1f]", self.name + self.email):
            raise Misconfigured(
                f"{self.name!r} <{self.email!r}> cannot sign commits. Use a name and an address without < and >."
            )


@dataclass(frozen=True, slots=True)
class MergedTree:
    """What ``merge-tree`` made; with ``conflicts``, those files hold conflict markers and the rest is merged."""

    tree: TreeSha
    conflicts: frozenset[bytes]

    def clean(self) -> TreeSha:
        """Return the tree.

        Raises:
            MergeConflictError: There were conflicts.
        """
        if self.conflicts:
            raise MergeConflictError(tuple(shown_path(path) for path in self.conflicts))
        return self.tree


class Merging:
    """Writes commits and merged trees into the mirror; no reference, no work tree, nothing on the host."""

    def __init__(self, commands: GitCommands, identity: Identity) -> None:
        """Sign with ``identity``."""
        self._commands = commands
        self._identity = identity

    def write_commit(
        self, *, tree: TreeSha, parents: tuple[CommitSha, ...], message: str, like: tuple[CommitSha, ...]
    ) -> CommitSha:
        """Write a commit dated as the newest of ``like``: the clock would make every try a different commit."""
        return self._write(tree, parents, message, date=self._newest(like))

    def scratch(self, tree: TreeSha, *parents: CommitSha) -> CommitSha:
        """Write a commit that only a merge will see."""
        return self._write(tree, parents, "scratch", date=0)

    def _newest(self, commits: tuple[CommitSha, ...]) -> int:
        output = self._commands.run(
            "rev-list",
            "--no-walk",
            "--no-commit-header",
            "--format=%ct",
            "--end-of-options",
            *commits,
            "--",
            doing="read the dates of commits",
        )
        return max(int(line) for line in output.text.split())

    def _write(self, tree: TreeSha, parents: tuple[CommitSha, ...], message: str, *, date: int) -> CommitSha:
        stamp = f"@{date} +0000"
        output = self._commands.run(
            "commit-tree",
            *(part for parent in parents for part in ("-p", parent)),
            "-F",
            "-",
            tree,
            doing="write a commit",
            stdin=message.replace("\0", "").encode("utf-8", "replace"),
            variables={
                "GIT_AUTHOR_NAME": self._identity.name,
                "GIT_AUTHOR_EMAIL": self._identity.email,
                "GIT_AUTHOR_DATE": stamp,
                "GIT_COMMITTER_NAME": self._identity.name,
                "GIT_COMMITTER_EMAIL": self._identity.email,
                "GIT_COMMITTER_DATE": stamp,
            },
        )
        return CommitSha(output.text)

    def merge(self, ours: CommitSha, theirs: CommitSha, *, replace_base: str | None = None) -> MergedTree:
        """Merge two commits as ``git merge`` would, against the merge base that Git finds."""
        output = self._commands.run(
            "merge-tree",
            "--write-tree",
            "-z",
            "--name-only",
            "--no-messages",
            ours,
            theirs,
            doing=f"merge {theirs[:12]} into {ours[:12]}",
            allow=(0, 1),
            replace_base=replace_base,
        )
        tree, *rest = output.out.split(b"\0")
        conflicts = frozenset(path for path in rest if path) if output.status == 1 else frozenset()
        return MergedTree(tree=TreeSha(tree.decode("ascii")), conflicts=conflicts)

    def merge_trees(self, *, base: TreeSha, ours: TreeSha, theirs: TreeSha) -> MergedTree:
        """Merge two trees against a third.

        Git 2.39 has no ``--merge-base`` yet, so the trees get commits whose merge base is the one wanted.
        """
        if ours == base:
            return MergedTree(tree=theirs, conflicts=frozenset())
        if theirs in (base, ours):
            return MergedTree(tree=ours, conflicts=frozenset())
        root = self.scratch(base)
        return self.merge(self.scratch(ours, root), self.scratch(theirs, root))

    def would_add_lines(self, *, base: Blob, ours: Blob, theirs: Blob) -> bool:
        """Say whether ``theirs`` changed lines of ``base`` that ``ours`` has as they were.

        Lines that both changed count as ours. A file without lines (an image, a link) has no parts to miss.
        """
        with tempfile.TemporaryDirectory(prefix="feature-delivery-merge-") as directory:
            files = []
            for name, (_mode, blob) in (("ours", ours), ("base", base), ("theirs", theirs)):
                path = Path(directory) / name
                path.write_bytes(self._commands.run("cat-file", "blob", blob, doing="read a file").out)
                files.append(path)
            # 255 is the answer for binary files.
            merged = self._commands.run(
                "merge-file", "-p", "-q", "--ours", *map(str, files), allow=(0, 255), doing="merge a file"
            )
            return merged.status == 0 and merged.out != files[0].read_bytes()
