"""The Git operations of a delivery. One implementation speaks Git to any host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
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
        """Make sure that ``commits`` and all branches are here."""

    def commit(self, sha: CommitSha) -> Commit:
        """Return one commit that was fetched."""

    def ahead(self, head: CommitSha, base: CommitSha) -> tuple[Commit, ...]:
        """Return the commits reachable from ``head`` and not from ``base``, newest first."""

    def is_ancestor(self, old: CommitSha, new: CommitSha) -> bool:
        """Say whether ``new`` contains ``old``."""

    def read_file(self, commit: CommitSha, path: str) -> bytes | None:
        """Return the content of a regular file in a commit, or ``None``."""

    def checkout(self, commit: CommitSha, directory: Path) -> None:
        """Fill the empty ``directory`` with the files of ``commit``; no ``.git`` in it, no path outside it."""

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

        The same input gives the same commit (fixed author, dates taken from the inputs). With ``past``, the merge
        runs against a synthetic base (production's tree with the parent from before the first promotion), so that
        the *whole* feature comes again, not only what was added since.

        Raises:
            MergeConflictError: The two do not merge.
            Refused: There is nothing to ship, or the candidate would lack changes of the feature.
        """

    def publish_candidate(self, branch: BranchName, candidate: CommitSha) -> None:
        """Put ``branch`` (ours alone) at ``candidate``, whatever it was before."""

    def promote(self, branch: BranchName, *, old: CommitSha, new: CommitSha) -> None:
        """Move ``branch`` from ``old`` to ``new`` by compare-and-swap, fast-forward only; "already there" is done.

        Raises:
            Conflict: The branch is at neither, or ``new`` does not contain ``old``.
        """

    def build_restoration(self, *, head: CommitSha, before: CommitSha, promoted: CommitSha, message: str) -> Commit:
        """Return a new commit on ``head`` that takes back ``promoted``; nothing is pushed.

        When ``head`` is ``promoted``, its tree is exactly the tree of ``before``. When foreign commits lie on top,
        they are kept by a three-way merge.

        Raises:
            MergeConflictError: Foreign commits touch what would be taken back.
        """
