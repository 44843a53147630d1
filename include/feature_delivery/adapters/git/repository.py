"""``GitRepository``: the port ``Repository`` over plain Git, for any host."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from feature_delivery.adapters.git.address import GitAccess, remote_address
from feature_delivery.adapters.git.candidates import Candidates
from feature_delivery.adapters.git.checkout import checkout
from feature_delivery.adapters.git.commands import GitCommands, closed_environment
from feature_delivery.adapters.git.holding import held
from feature_delivery.adapters.git.merging import Identity, Merging
from feature_delivery.adapters.git.mirror import Mirror
from feature_delivery.adapters.git.objects import Objects, shown_path
from feature_delivery.adapters.git.past import Past
from feature_delivery.adapters.git.patches import Patch, read_patch
from feature_delivery.adapters.git.remote import Remote
from feature_delivery.adapters.git.restorations import build_restoration
from feature_delivery.adapters.git.stacking import stacked_on
from feature_delivery.domain.errors import Conflict, NotFound, Refused, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha, TreeSha, branch_name, commit_sha
from feature_delivery.ports.repository import Candidate, Commit, FileChange, Held, PastDelivery


class GitRepository:
    """One remote repository through one private mirror. Holds no open file or process; safe to share by threads."""

    def __init__(
        self,
        remote: str,
        mirror: Path,
        *,
        production: str = "production",
        candidate_prefix: str = "candidate/",
        identity: Identity | None = None,
        access: GitAccess | None = None,
        command_timeout: timedelta = timedelta(seconds=60),
        transfer_timeout: timedelta = timedelta(minutes=10),
        listing_timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        """Check the address; nothing is contacted or written yet.

        Args:
            remote: A path, ``file://``, ``ssh://``, ``user@host:path`` or ``http(s)://``. A password in it is taken
                out and never shown, stored or passed as an argument.
            mirror: Directory of the private mirror; it and ``<mirror>.lock`` are ours alone.
            production: This branch is only ever moved by ``promote``.
            candidate_prefix: ``publish_candidate`` overwrites branches of this prefix and no others.
            identity: Who signs candidates and restorations.
            access: Credentials and the like.
            command_timeout: For each command on the mirror.
            transfer_timeout: For each exchange with the host, and for the wait for another task's fetch.
            listing_timeout: For each listing of the host's branches: all projects are listed again and again.

        Raises:
            Misconfigured: The address is none.
        """
        self._access = access or GitAccess()
        self._address = remote_address(remote, self._access)
        self._production = branch_name(production)
        self._candidate_prefix = candidate_prefix
        path = mirror.absolute()
        commands = GitCommands(
            git_dir=path, environment=closed_environment(self._address, self._access), timeout=command_timeout
        )
        self._commands = commands
        self._mirror = Mirror(path, commands, shown=self._address.shown, timeout=transfer_timeout)
        self._remote = Remote(
            commands, shown=self._address.shown, timeout=transfer_timeout, listing_timeout=listing_timeout
        )
        self._objects = Objects(commands)
        self._files: dict[tuple[CommitSha, str], bytes | None] = {}
        self._merging = Merging(commands, identity or Identity())
        self._candidates = Candidates(
            self._objects, self._merging, Past(commands, self._mirror, self._objects, self._merging)
        )

    @property
    def address(self) -> str:
        """The remote's address as it may be shown: without user and password."""
        return self._address.shown

    def heads(self) -> dict[BranchName, CommitSha]:
        """See ``Repository.heads``."""
        self._mirror.ready()
        return self._remote.heads()

    def fetch(self, *commits: CommitSha) -> None:
        """See ``Repository.fetch``."""
        self._mirror.fetch(_checked(*commits))

    def commit(self, sha: CommitSha) -> Commit:
        """See ``Repository.commit``."""
        return self._at(sha).commit(sha)

    def ahead(self, head: CommitSha, base: CommitSha) -> tuple[Commit, ...]:
        """See ``Repository.ahead``."""
        return tuple(self._at(head, base).commits(head, f"^{base}"))

    def is_ancestor(self, old: CommitSha, new: CommitSha) -> bool:
        """See ``Repository.is_ancestor``."""
        return self._at(old, new).is_ancestor(old, new)

    def held(self, head: CommitSha, *, before: CommitSha, candidate: CommitSha) -> Held:
        """See ``Repository.held``."""
        objects = self._at(head, before, candidate)
        self.fetch(head)
        try:
            self.fetch(before, candidate)
        except NotFound:
            return Held.ABSENT  # what came after it would have brought it here
        return held(objects, self._merging, head, before=before, candidate=candidate)

    def tree_of(self, commit: CommitSha) -> TreeSha:
        """See ``Repository.tree_of``."""
        return self._at(commit).tree_of(commit)

    def changed_paths(self, old: CommitSha, new: CommitSha) -> tuple[str, ...]:
        """See ``Repository.changed_paths``."""
        return tuple(sorted(shown_path(change.path) for change in self._at(old, new).changes(old, new)))

    def diff_stat(self, old: CommitSha, new: CommitSha) -> tuple[FileChange, ...]:
        """See ``Repository.diff_stat``."""
        return self._at(old, new).diff_stat(old, new)

    def patch(self, old: CommitSha, new: CommitSha) -> Patch:
        """Return what changed since ``new`` parted from ``old``, for people to read; bounded."""
        return read_patch(self._commands, self._at(old, new), old, new)

    def read_file(self, commit: CommitSha, path: str) -> bytes | None:
        """See ``Repository.read_file``; a commit's file never changes, so it is read once."""
        if (commit, path) not in self._files:
            objects = self._at(commit)
            try:
                self._files[commit, path] = objects.read_file(commit, path)
            except NotFound:
                # Nearly always the commit is here: asking first would cost a process each time.
                self.fetch(commit)
                self._files[commit, path] = objects.read_file(commit, path)
        return self._files[commit, path]

    def checkout(self, commit: CommitSha, directory: Path) -> None:
        """See ``Repository.checkout``."""
        checkout(self._commands, self._at(commit), commit=commit, directory=directory)

    def stacked_on(
        self,
        branch: BranchName,
        *,
        head: CommitSha,
        production: CommitSha,
        others: Mapping[BranchName, CommitSha],
    ) -> BranchName | None:
        """See ``Repository.stacked_on``."""
        objects = self._at(head, production, *others.values())
        return stacked_on(objects, branch, head=head, production=production, others=others)

    def build_candidate(
        self, *, production: CommitSha, feature: CommitSha, past: tuple[PastDelivery, ...], message: str
    ) -> Candidate:
        """See ``Repository.build_candidate``."""
        self._at(production, feature, *(sha for one in past for sha in (one.before, one.candidate, one.restored)))
        return self._candidates.build(production=production, feature=feature, past=past, message=message)

    def build_restoration(self, *, head: CommitSha, before: CommitSha, promoted: CommitSha, message: str) -> Commit:
        """See ``Repository.build_restoration``."""
        objects = self._at(head, before, promoted)
        return build_restoration(objects, self._merging, head=head, before=before, promoted=promoted, message=message)

    def create_branch(self, branch: BranchName, at: CommitSha) -> bool:
        """See ``Repository.create_branch``."""
        name = branch_name(branch)
        self.fetch(at)
        doing = f"create the branch {name!r}"
        before = self.heads()
        if name in before:
            return False
        # A branch that came between, even at the same commit, is not of our making; the host cannot tell us that
        # when the commits are equal, and then it makes no difference.
        return self._remote.swap(name, old=None, new=at, doing=doing) == at

    def delete_branch(self, branch: BranchName, *, expect: CommitSha) -> bool:
        """See ``Repository.delete_branch``."""
        name = self._not_production(branch, "deleted")
        _checked(expect)
        self._mirror.ready()
        return self._remote.swap(name, old=expect, new=None, doing=f"delete the branch {name!r}") is None

    def publish_candidate(self, branch: BranchName, candidate: CommitSha, *, over: CommitSha | None) -> None:
        """See ``Repository.publish_candidate``."""
        name = self._not_production(branch, "overwritten")
        if not name.startswith(self._candidate_prefix):
            raise Refused(
                f"The branch {name!r} is not overwritten: only branches under {self._candidate_prefix!r} are ours."
            )
        _checked(*((over,) if over else ()))
        self.fetch(candidate)
        doing = f"publish the candidate {candidate[:12]} as {name!r}"
        if self._remote.swap(name, old=over, new=candidate, doing=doing) != candidate:
            raise Unavailable(f"Could not {doing}: somebody has moved that branch meanwhile. Try again.")

    def level(self, branch: BranchName, *, expect: CommitSha | None, to: CommitSha) -> bool:
        """See ``Repository.level``."""
        name = self._not_production(branch, "levelled")
        _checked(*((expect,) if expect else ()))
        self.fetch(to)
        return self._remote.swap(name, old=expect, new=to, doing=f"level {name!r} with production") == to

    def promote(self, branch: BranchName, *, old: CommitSha, new: CommitSha) -> None:
        """See ``Repository.promote``."""
        name = branch_name(branch)
        self.fetch(old, new)
        doing = f"move {name!r} from {old[:12]} to {new[:12]}"
        if not self._objects.is_ancestor(old, new):
            raise Conflict(f"Could not {doing}: the new commit does not contain the old one. Build it again.")
        there = self._remote.swap(name, old=old, new=new, doing=doing)
        if there != new:
            found = f"at {there[:12]}" if there else "gone"
            raise Conflict(f"Could not {doing}: it is {found} by now. Build the candidate again on what is there.")

    def _not_production(self, branch: BranchName, verb: str) -> BranchName:
        if branch_name(branch) == self._production:
            raise Refused(f"The branch {branch!r} is production: it is never {verb}.")
        return branch

    def _at(self, *commits: CommitSha) -> Objects:
        """Return the reader for ``commits`` once their ids are checked and the mirror is there."""
        _checked(*commits)
        self._mirror.ready()
        return self._objects


def _checked(*commits: CommitSha) -> tuple[CommitSha, ...]:
    for sha in commits:
        commit_sha(sha)
    return commits
