"""The host's branches: one ``ls-remote`` to read them, pushes that state what they replace to write them."""

from __future__ import annotations

import re
from datetime import timedelta

from feature_delivery.adapters.git.commands import GitCommands, Output
from feature_delivery.adapters.git.failures import failure, first_reason
from feature_delivery.domain.errors import Conflict, Refused
from feature_delivery.domain.names import BRANCH_PATTERN, BranchName, CommitSha

_PREFIX = "refs/heads/"
_BRANCH = re.compile(BRANCH_PATTERN)


class Remote:
    """Every write is one push of one branch; after a push that did not go through, the host is asked what is."""

    def __init__(self, commands: GitCommands, *, shown: str, timeout: timedelta, listing_timeout: timedelta) -> None:
        """Talk to ``origin`` of ``commands``; the times bound each push and each listing."""
        self._commands = commands
        self._shown = shown
        self._timeout = timeout
        self._listing_timeout = listing_timeout

    def heads(self) -> dict[BranchName, CommitSha]:
        """Return every branch; those whose names could not be of a feature (blanks, quotes) are left out."""
        output = self._commands.run(
            "ls-remote",
            "--quiet",
            "--heads",
            "--end-of-options",
            "origin",
            doing=f"list the branches of {self._shown}",
            timeout=self._listing_timeout,
        )
        found: dict[BranchName, CommitSha] = {}
        for line in output.out.decode("utf-8", "replace").splitlines():
            sha, _, ref = line.partition("\t")
            name = ref.removeprefix(_PREFIX)
            if name != ref and _BRANCH.fullmatch(name):
                found[BranchName(name)] = CommitSha(sha)
        return found

    def swap(self, branch: BranchName, *, old: CommitSha | None, new: CommitSha | None, doing: str) -> CommitSha | None:
        """Move ``branch`` from ``old`` to ``new`` if it is at ``old``; return where it is afterwards.

        ``None`` is absence: creating expects it, deleting leads to it. The lease makes the host compare and swap in
        one step; it also lets history be rewritten, so that a caller who must not do that checks ancestry before.

        Raises:
            Refused: The branch is still at ``old`` and the host says why (a protected branch, a hook).
            Unavailable: The host did not answer; the push may or may not have arrived. Asking again tells.
        """
        output = self._push(f"{new or ''}:{_PREFIX}{branch}", f"--force-with-lease={_PREFIX}{branch}:{old or ''}")
        if output.status == 0:
            return new
        self._raise_unless_rejected(output, doing)
        heads = self.heads()
        there = heads.get(branch)
        if there == old != new:
            self._raise_refusal(branch, heads, output, doing)
        return there

    def _push(self, refspec: str, lease: str) -> Output:
        return self._commands.run(
            "push",
            "--porcelain",
            "--no-verify",
            "--no-signed",
            "--no-follow-tags",
            lease,
            "--end-of-options",
            "origin",
            refspec,
            doing=f"push to {self._shown}",
            allow=(0, 1, 128),
            timeout=self._timeout,
        )

    def _raise_unless_rejected(self, output: Output, doing: str) -> None:
        # A "!" line is the host's answer about the branch; without one there was no answer at all. A branch that is
        # to be deleted and is gone already is reported in words only.
        if not re.search(rb"^!\t", output.out, re.MULTILINE) and "remote ref does not exist" not in output.err:
            raise failure(output.err, doing=doing)

    def _raise_refusal(
        self, branch: BranchName, heads: dict[BranchName, CommitSha], output: Output, doing: str
    ) -> None:
        for other in heads:
            if other.startswith(f"{branch}/") or branch.startswith(f"{other}/"):
                raise Conflict(
                    f"Could not {doing}: the branch {other!r} is there, and Git cannot have both names. Rename one."
                )
        answer = re.search(rb"^!\t[^\t]*\t(.*)$", output.out, re.MULTILINE)
        reason = answer[1].decode("utf-8", "replace") if answer else first_reason(output.err)
        raise Refused(
            f"Could not {doing}: {self._shown} refused it ({reason[:200]}). Look at the branch's protection rules and "
            "hooks there."
        )
