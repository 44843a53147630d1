"""Real Git behind the interface that the simulated world uses: a bare host, and ``GitRepository`` with its mirror."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.names import BranchName, CommitSha, TreeSha
from feature_delivery.ports.repository import Candidate, Commit, Held, PastDelivery
from tests.fakes.repository import Files
from tests.support.git_world import GitWorld, git


class HostBranches(MutableMapping[BranchName, CommitSha]):
    """The branches of the bare host; setting one is a forced push."""

    def __init__(self, host: GitWorld) -> None:
        self._host = host

    def __getitem__(self, name: BranchName) -> CommitSha:
        return self._all()[name]

    def __setitem__(self, name: BranchName, at: CommitSha) -> None:
        self._host.branch(name, at)

    def __delitem__(self, name: BranchName) -> None:
        self._host.delete(name)

    def __iter__(self) -> Iterator[BranchName]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[BranchName, CommitSha]:
        return {BranchName(name): CommitSha(at) for name, at in self._host.branches().items()}


class RealRepository:
    def __init__(self, directory: Path, *, production: BranchName) -> None:
        host = directory / "host.git"
        git(directory, "init", "--quiet", "--bare", "--template=", f"--initial-branch={production}", str(host))
        self._world = GitWorld(host)
        self._port = GitRepository(str(host), directory / "mirror.git", production=production)
        self._files: dict[CommitSha, dict[str, str]] = {}
        self.branches: MutableMapping[BranchName, CommitSha] = HostBranches(self._world)

    # What people do.

    def write(self, files: Files, parents: tuple[CommitSha, ...], subject: str, author: str) -> Commit:
        tree = self._world.tree_with(None, dict(files))
        sha = CommitSha(self._world.commit_tree(tree, *parents, message=subject, author=author))
        self._files[sha] = dict(files)
        return Commit(
            sha=sha, tree=TreeSha(tree), parents=parents, subject=subject, authors=frozenset({author.lower()})
        )

    def files(self, sha: CommitSha) -> Files:
        if sha not in self._files:
            self._port.fetch()
            mirror = Path(str(self._world.host)).with_name("mirror.git")
            names = git(mirror, "ls-tree", "-r", "--name-only", sha).splitlines()
            self._files[sha] = {name: git(mirror, "cat-file", "blob", f"{sha}:{name}") for name in names}
        return self._files[sha]

    # What the port says.

    def heads(self) -> dict[BranchName, CommitSha]:
        return self._port.heads()

    def commit(self, sha: CommitSha) -> Commit:
        self._port.fetch()
        return self._port.commit(sha)

    def ahead(self, head: CommitSha, base: CommitSha) -> tuple[Commit, ...]:
        self._port.fetch()
        return self._port.ahead(head, base)

    def is_ancestor(self, old: CommitSha, new: CommitSha) -> bool:
        self._port.fetch()
        return self._port.is_ancestor(old, new)

    def held(self, head: CommitSha, *, before: CommitSha, candidate: CommitSha) -> Held:
        return self._port.held(head, before=before, candidate=candidate)

    def create_branch(self, branch: BranchName, at: CommitSha) -> bool:
        return self._port.create_branch(branch, at)

    def delete_branch(self, branch: BranchName, *, expect: CommitSha) -> bool:
        return self._port.delete_branch(branch, expect=expect)

    def build_candidate(
        self, *, production: CommitSha, feature: CommitSha, past: tuple[PastDelivery, ...], message: str
    ) -> Candidate:
        self._port.fetch()
        return self._port.build_candidate(production=production, feature=feature, past=past, message=message)

    def publish_candidate(self, branch: BranchName, candidate: CommitSha, *, over: CommitSha | None) -> None:
        self._port.publish_candidate(branch, candidate, over=over)

    def promote(self, branch: BranchName, *, old: CommitSha, new: CommitSha) -> None:
        self._port.promote(branch, old=old, new=new)

    def build_restoration(self, *, head: CommitSha, before: CommitSha, promoted: CommitSha, message: str) -> Commit:
        self._port.fetch()
        return self._port.build_restoration(head=head, before=before, promoted=promoted, message=message)
