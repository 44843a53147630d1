"""Reads commits, trees and files out of the mirror."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from feature_delivery.adapters.git.commands import GitCommands
from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.names import CommitSha, TreeSha
from feature_delivery.ports.repository import Commit, FileChange

MAX_FILE_BYTES = 1024 * 1024
"""``read_file`` reads settings (``delivery.yaml``), not data."""

_COMMIT_FORMAT = "--format=%H%x00%T%x00%P%x00%s%x00%ae%x00%ce%x00%B%x00"
_COMMIT_FIELDS = 7
_REGULAR = ("100644", "100755", "100664")
# Anywhere in the message, not only where Git looks for trailers: who is missed here could approve their own work.
_CO_AUTHOR = re.compile(r"^\s*co-authored-by:.*?<\s*([^<>\s]+)\s*>", re.IGNORECASE | re.MULTILINE)

Blob = tuple[str, str]
"""Mode and id of a tree's entry."""

ABSENT: Blob = ("000000", "0" * 40)


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees; ``ABSENT`` where it does not exist."""

    path: bytes
    old: Blob
    new: Blob


def shown_path(path: bytes) -> str:
    r"""Return a path for people and databases: what is not UTF-8 as ``\xe9``; not meant to be turned back."""
    return path.decode("utf-8", "backslashreplace").replace("\x00", "")


def parse_changes(raw: bytes) -> tuple[Change, ...]:
    """Read ``--raw -z`` output with full ids and without renames; lines that are no change are passed over."""
    fields = raw.split(b"\0")
    found: list[Change] = []
    position = 0
    while position < len(fields) - 1:
        head = fields[position].lstrip(b"\n")
        if not head.startswith(b":"):
            position += 1
            continue
        old_mode, new_mode, old, new, _status = head[1:].decode("ascii").split(" ")
        found.append(Change(path=fields[position + 1], old=(old_mode, old), new=(new_mode, new)))
        position += 2
    return tuple(found)


class Objects:
    """Everything here is of fetched commits only and never talks to the host."""

    def __init__(self, commands: GitCommands) -> None:
        """Read with ``commands``."""
        self._commands = commands
        self._blobs: dict[str, bytes] = {}  # Small files that many commits share, such as delivery.yaml.

    def commits(self, *selection: str, replace_base: str | None = None, options: tuple[str, ...] = ()) -> list[Commit]:
        """Return the commits that ``rev-list`` selects, newest first, children before parents."""
        output = self._commands.run(
            "rev-list",
            "--topo-order",
            "--no-commit-header",
            "--encoding=UTF-8",
            _COMMIT_FORMAT,
            *options,
            "--end-of-options",
            *selection,
            "--",
            doing="read commits",
            replace_base=replace_base,
        )
        fields = output.out.decode("utf-8", "replace").split("\0")[:-1]
        records = [fields[start : start + _COMMIT_FIELDS] for start in range(0, len(fields), _COMMIT_FIELDS)]
        return [_commit(record) for record in records]

    def commit(self, sha: CommitSha) -> Commit:
        """Return one commit."""
        found = self.commits(sha, options=("--max-count=1",))
        if not found:
            raise NotFound(f"The repository has no commit {sha[:12]}. Fetch it, or check the id.")
        return found[0]

    def ids(self, *selection: str, replace_base: str | None = None, options: tuple[str, ...] = ()) -> list[CommitSha]:
        """Return the ids that ``rev-list`` selects, newest first; cheaper than whole commits."""
        output = self._commands.run(
            "rev-list",
            "--topo-order",
            *options,
            "--end-of-options",
            *selection,
            "--",
            doing="read the history",
            replace_base=replace_base,
        )
        return [CommitSha(line) for line in output.text.split()]

    def is_ancestor(self, old: CommitSha, new: CommitSha) -> bool:
        """Say whether ``new`` contains ``old``; a commit contains itself."""
        if old == new:
            return True
        answer = self._commands.run(
            "merge-base", "--is-ancestor", "--end-of-options", old, new, allow=(0, 1), doing="compare two commits"
        )
        return answer.status == 0

    def merge_bases(self, one: CommitSha, two: CommitSha, *, replace_base: str | None = None) -> tuple[CommitSha, ...]:
        """Return all best common ancestors; none for unrelated histories."""
        answer = self._commands.run(
            "merge-base",
            "--all",
            "--end-of-options",
            one,
            two,
            allow=(0, 1),
            doing="find where two commits part",
            replace_base=replace_base,
        )
        return tuple(CommitSha(line) for line in answer.text.split())

    def tree_of(self, commit: CommitSha) -> TreeSha:
        """Return the tree of a commit."""
        answer = self._commands.run(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{commit}^{{tree}}",
            allow=(0, 1, 128),
            doing="read",
        )
        tree = answer.text.splitlines()[-1:] if answer.status == 0 else []
        if not tree:
            raise NotFound(f"The repository has no commit {commit[:12]}. Fetch it, or check the id.")
        return TreeSha(tree[0])

    def changes(self, old: str, new: str, *, replace_base: str | None = None) -> tuple[Change, ...]:
        """Return every path that differs between two commits or trees; a rename is two paths."""
        output = self._commands.run(
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--no-abbrev",
            "--no-renames",
            "--end-of-options",
            old,
            new,
            "--",
            doing="compare two trees",
            replace_base=replace_base,
        )
        return parse_changes(output.out)

    def written_by(self, commits: list[CommitSha]) -> frozenset[tuple[bytes, Blob]]:
        """Return what ``commits`` left behind: each path that one of them changed, with what it changed it to.

        A merge counts against each of its parents.
        """
        output = self._commands.run(
            "diff-tree",
            "--stdin",
            "--root",
            "-m",
            "-r",
            "-z",
            "--raw",
            "--no-abbrev",
            "--no-renames",
            stdin="".join(f"{sha}\n" for sha in commits).encode("ascii"),
            doing="read what commits changed",
        )
        return frozenset((change.path, change.new) for change in parse_changes(output.out))

    def diff_stat(self, old: CommitSha, new: CommitSha) -> tuple[FileChange, ...]:
        """Return lines added and removed for each path."""
        output = self._commands.run(
            "diff-tree",
            "-r",
            "-z",
            "--numstat",
            "--no-renames",
            "--no-textconv",
            "--no-ext-diff",
            "--end-of-options",
            old,
            new,
            "--",
            doing="compare two commits",
        )
        found = []
        for record in output.out.split(b"\0")[:-1]:
            added, removed, path = record.split(b"\t", 2)
            found.append(
                FileChange(
                    path=shown_path(path),
                    added=None if added == b"-" else int(added),
                    removed=None if removed == b"-" else int(removed),
                )
            )
        return tuple(found)

    def read_file(self, commit: CommitSha, path: str) -> bytes | None:
        """Return the content of a regular file, or ``None`` when there is none of that name.

        A symbolic link is no regular file: what it points at could be anywhere.

        Raises:
            Refused: It is larger than ``MAX_FILE_BYTES``, or ``path`` is not a plain relative one.
        """
        if not path or path.startswith("/") or "\0" in path or {"", ".", ".."} & set(path.split("/")):
            raise Refused(f"{path[:80]!r} is not a path inside the repository. Use one like 'delivery.yaml'.")
        listing = self._commands.run(
            "ls-tree", "-z", "-l", "--full-tree", "--end-of-options", commit, "--", path, doing=f"read {path!r}"
        )
        for record in listing.out.split(b"\0")[:-1]:
            meta, name = record.split(b"\t", 1)
            mode, _kind, blob, size = meta.decode("ascii").split()
            if name != path.encode("utf-8", "surrogateescape") or mode not in _REGULAR:
                continue
            if int(size) > MAX_FILE_BYTES:
                raise Refused(f"{path!r} in commit {commit[:12]} has {size} bytes; at most {MAX_FILE_BYTES} are read.")
            if blob not in self._blobs:
                self._blobs[blob] = self._commands.run("cat-file", "blob", blob, doing=f"read {path!r}").out
            return self._blobs[blob]
        return None

    def symbolic_links(self, commit: CommitSha) -> Mapping[bytes, bytes]:
        """Return every symbolic link of the commit with its target."""
        listing = self._commands.run(
            "ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit, doing="list files"
        )
        links: dict[bytes, bytes] = {}
        for record in listing.out.split(b"\0")[:-1]:
            meta, name = record.split(b"\t", 1)
            if meta.startswith(b"120000 "):
                links[name] = meta.split()[2]
        if not links:
            return {}
        wanted = b"".join(blob + b"\n" for blob in links.values())
        raw = self._commands.run("cat-file", "--batch", "--buffer", stdin=wanted, doing="read links").out
        return dict(zip(links, _batch(raw), strict=True))


def _batch(raw: bytes) -> list[bytes]:
    contents: list[bytes] = []
    position = 0
    while position < len(raw):
        end = raw.index(b"\n", position)
        size = int(raw[position:end].split()[2])
        contents.append(raw[end + 1 : end + 1 + size])
        position = end + 1 + size + 1
    return contents


def _commit(record: list[str]) -> Commit:
    sha, tree, parents, subject, author, committer, body = record
    people = {author, committer, *_CO_AUTHOR.findall(body)}
    return Commit(
        sha=CommitSha(sha.strip()),
        tree=TreeSha(tree),
        parents=tuple(CommitSha(parent) for parent in parents.split()),
        subject=subject,
        authors=frozenset(person.strip().lower() for person in people if person.strip()),
    )
