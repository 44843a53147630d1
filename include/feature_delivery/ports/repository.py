"""The Git operations of a delivery. One implementation speaks Git to any host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from feature_delivery.domain.names import BranchName, CommitSha, TreeSha


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit. ``authors``: e-mail addresses of author, committer and ``Co-authored-by`` lines, lower case."""

    sha: CommitSha
    tree: TreeSha
    parents: tuple[CommitSha, ...]
    subject: str
    authors: frozenset[str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Production plus the feature, merged: the exact commit that is tested, signed off and shipped.

    ``commit`` has the parents ``(base, feature)`` in this order and the tree ``tree``.
    """

    commit: CommitSha
    tree: TreeSha
    base: CommitSha
    feature: CommitSha


@dataclass(frozen=True, slots=True)
class PastDelivery:
    """An earlier promotion of the same feature that was rolled back.

    ``before``: production's commit before it; ``candidate``: what was promoted; ``restored``: the commit that
    brought the tree of ``before`` back.
    """

    before: CommitSha
    candidate: CommitSha
    restored: CommitSha


@dataclass(frozen=True, slots=True)
class FileChange:
    """Lines of one path that a change adds and removes; ``None`` for a file without lines. A rename is two paths."""

    path: str
    added: int | None
    removed: int | None


class Held(StrEnum):
    """How much of a promotion a later commit of production still holds."""

    ABSENT = "absent"  # it does not come after it: the branch was moved by force, or the promotion never happened
    TAKEN_BACK = "taken back"  # it comes after it and takes all of it back
    PART = "part"  # some of it, or later commits touch the same lines: only people can tell
    WHOLE = "whole"


class MergeConflictError(Exception):
    """Feature and production do not merge; ``files`` are the paths in conflict."""

    def __init__(self, files: tuple[str, ...]) -> None:
        """Keep the paths, sorted."""
        super().__init__(f"merge conflict in {', '.join(files)}")
        self.files = tuple(sorted(files))


class Repository(Protocol):
    """All reads are of the host's state at the call; all writes state the value they expect to replace."""

    def heads(self) -> dict[BranchName, CommitSha]:
        """Return every branch of the host, in one ``ls-remote``.

        Raises:
            Unavailable: The host did not answer.
        """

    def fetch(self, *commits: CommitSha) -> None:
        """Make sure that ``commits`` are here; without any, bring every branch.

        When all of ``commits`` are here the host is not asked.

        Raises:
            NotFound: The host has one of them no more.
            Unavailable: The host did not answer.
        """

    def commit(self, sha: CommitSha) -> Commit:
        """Return one commit that was fetched."""

    def ahead(self, head: CommitSha, base: CommitSha) -> tuple[Commit, ...]:
        """Return the commits reachable from ``head`` and not from ``base``, newest first."""

    def is_ancestor(self, old: CommitSha, new: CommitSha) -> bool:
        """Say whether ``new`` contains ``old``."""

    def held(self, head: CommitSha, *, before: CommitSha, candidate: CommitSha) -> Held:
        """Say how much of what ``candidate`` brought upon ``before`` is in ``head``; ``head`` is fetched if need be.

        Raises:
            NotFound: The host has ``head`` no more.
        """

    def tree_of(self, commit: CommitSha) -> TreeSha:
        """Return the tree of a commit that was fetched."""

    def changed_paths(self, old: CommitSha, new: CommitSha) -> tuple[str, ...]:
        r"""Return every path that differs, sorted, for people: bytes that are not UTF-8 are shown as ``\xe9``."""

    def diff_stat(self, old: CommitSha, new: CommitSha) -> tuple[FileChange, ...]:
        """Return the size of the change from ``old`` to ``new``, path by path."""

    def read_file(self, commit: CommitSha, path: str) -> bytes | None:
        """Return the content of a regular file of at most 1 MiB, or ``None``; symbolic links are not followed.

        The commit is fetched where it is not here yet.

        Raises:
            NotFound: The host has the commit no more.
            Refused: The file is larger, or ``path`` leads out of the repository.
        """

    def checkout(self, commit: CommitSha, directory: Path) -> None:
        """Fill the empty ``directory`` with the files of ``commit``; no ``.git`` in it, no path outside it.

        Raises:
            Refused: A symbolic link leads out of the repository, or ``directory`` is not an empty directory.
        """

    def stacked_on(
        self,
        branch: BranchName,
        *,
        head: CommitSha,
        production: CommitSha,
        others: Mapping[BranchName, CommitSha],
    ) -> BranchName | None:
        """Return the undelivered branch among ``others`` that ``branch`` stands on.

        It does when the other's commits that are not in production are all in ``head``. When each has commits of its
        own besides shared ones, Git cannot tell who branched from whom: the name that sorts first (``SHOP-9`` before
        ``SHOP-10``) is taken for the older, so that two features never wait for each other.
        """

    def create_branch(self, branch: BranchName, at: CommitSha) -> bool:
        """Create ``branch`` on the host; ``False`` when it is there already, at whatever commit.

        Raises:
            Conflict: Another branch with a conflicting name is there.
        """

    def delete_branch(self, branch: BranchName, *, expect: CommitSha) -> bool:
        """Delete with a lease: ``True`` when gone (already, too), ``False`` when it is at another commit."""

    def build_candidate(
        self, *, production: CommitSha, feature: CommitSha, past: tuple[PastDelivery, ...], message: str
    ) -> Candidate:
        """Merge ``feature`` into ``production`` without a work tree; nothing is pushed.

        The same input gives the same commit (fixed author, dates taken from the inputs). With ``past`` (oldest
        first), the merge runs as if those deliveries had never been, so that the *whole* feature comes again, not
        only what was added since.

        Raises:
            MergeConflictError: The two do not merge.
            Refused: There is nothing to ship, or the candidate would lack changes of the feature.
        """

    def publish_candidate(self, branch: BranchName, candidate: CommitSha, *, over: CommitSha | None) -> None:
        """Put ``branch`` (ours alone) at ``candidate``; "already there" is done.

        ``over``: where it was seen, ``None`` for nowhere. Whoever slept meanwhile takes nothing back.

        Raises:
            Refused: The branch is not one of ours, or the host does not let us.
            Unavailable: It is not where it was seen any more.
        """

    def level(self, branch: BranchName, *, expect: CommitSha | None, to: CommitSha) -> bool:
        """Put ``branch`` (``preprod``) at production's commit ``to``; ``False`` when it is not at ``expect`` any more.

        ``None`` expects that there is no such branch. What others merged there by hand is dropped: the branch never
        collects unshipped features.
        """

    def promote(self, branch: BranchName, *, old: CommitSha, new: CommitSha) -> None:
        """Move ``branch`` from ``old`` to ``new`` by compare-and-swap, fast-forward only; "already there" is done.

        Raises:
            Conflict: The branch is at neither, or ``new`` does not contain ``old``.
            Refused: The host does not let us (a protected branch, a hook).
        """

    def build_restoration(self, *, head: CommitSha, before: CommitSha, promoted: CommitSha, message: str) -> Commit:
        """Return a new commit on ``head`` that takes back ``promoted``; nothing is pushed.

        When ``head`` is ``promoted``, its tree is exactly the tree of ``before``. When foreign commits lie on top,
        they are kept by a three-way merge.

        Raises:
            MergeConflictError: Foreign commits touch what would be taken back.
            Conflict: ``head`` does not contain ``promoted``.
            Refused: Nothing of ``promoted`` is left in ``head``.
        """
