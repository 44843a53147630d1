"""Production's history as if the rolled-back deliveries of one feature had never been.

After a rollback the feature's commits are ancestors of production, and production takes their changes back: a plain
merge brings only what came since. So merges of that feature look at production through a *view*, in which every
commit that promoted the feature is replaced by one with the tree and the parent from before (design, section 3: the
synthetic base). With the edge to the feature cut, Git finds the true fork point by itself, however often production
was merged into the branch, however many deliveries there were and whatever shipped between them.

The view is a namespace of replacement references, seen only by commands that are given it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from feature_delivery.adapters.git.commands import GitCommands
from feature_delivery.adapters.git.holding import held
from feature_delivery.adapters.git.merging import Merging
from feature_delivery.adapters.git.mirror import Mirror
from feature_delivery.adapters.git.objects import Objects
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import CommitSha
from feature_delivery.ports.repository import Held, PastDelivery

_NAMESPACE = "refs/feature-delivery/views"


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at history.

    Attributes:
        replace_base: The namespace for ``GIT_REPLACE_REF_BASE``; ``None`` when nothing is replaced.
        past: The deliveries that count here, oldest first.
        between: Commits on production from a promotion to its restoration, both exclusive: they hold the feature, so
            they are no base to measure it against.
    """

    replace_base: str | None = None
    past: tuple[PastDelivery, ...] = ()
    between: frozenset[CommitSha] = frozenset()


class Past:
    """Makes views."""

    def __init__(self, commands: GitCommands, mirror: Mirror, objects: Objects, merging: Merging) -> None:
        """Write the references under the mirror's lock."""
        self._commands = commands
        self._mirror = mirror
        self._objects = objects
        self._merging = merging

    def view(self, past: tuple[PastDelivery, ...], *, production: CommitSha) -> View:
        """Return history without ``past``.

        A delivery that production does not contain (its branch was rewritten), or contains as a whole (what was
        called its restoration was a fix on top of it), needs no cutting and is left out.

        Raises:
            Refused: A delivery is still in production in part, or is not a merge of the feature into what was there
                before.
        """
        relevant = tuple(one for one in past if self._must_be_cut(one, production))
        if not relevant:
            return View()
        between = frozenset(
            sha
            for one in relevant
            for sha in self._objects.ids(f"{one.restored}^", f"^{one.candidate}")
        )  # fmt: skip
        digest = hashlib.sha256("\n".join(f"{one.before} {one.candidate}" for one in relevant).encode()).hexdigest()
        base = f"{_NAMESPACE}/{digest[:24]}/"
        self._write(base, relevant)
        return View(replace_base=base, past=relevant, between=between)

    def _must_be_cut(self, one: PastDelivery, production: CommitSha) -> bool:
        found = self._held(one, production)
        if found is Held.ABSENT:
            return False
        self._check_merge(one)
        if found is Held.WHOLE:
            return False
        self._check_restored(one, production)
        return True

    def _held(self, one: PastDelivery, head: CommitSha) -> Held:
        return held(self._objects, self._merging, head, before=one.before, candidate=one.candidate)

    def _check_merge(self, one: PastDelivery) -> None:
        parents = self._objects.commit(one.candidate).parents
        if len(parents) != 2 or parents[0] != one.before:
            raise Refused(
                f"Commit {one.candidate[:12]} is not the merge of a feature into {one.before[:12]}, so the feature "
                "cannot be delivered again from it. Put the change on a new branch."
            )

    def _check_restored(self, one: PastDelivery, production: CommitSha) -> None:
        taken_back = self._held(one, one.restored) in {Held.TAKEN_BACK, Held.PART}
        if not (taken_back and self._objects.is_ancestor(one.restored, production)):
            raise Refused(
                f"{one.restored[:12]} did not take the delivery {one.candidate[:12]} back, and production holds a part "
                "of it by now. Put the change on a new branch from production, under another issue."
            )

    def _write(self, base: str, past: tuple[PastDelivery, ...]) -> None:
        there = self._commands.run("for-each-ref", "--format=%(refname)", base, doing="read the mirror").text.split()
        if len(there) == len({one.candidate for one in past}):
            return
        lines = []
        for one in past:
            without = self._merging.scratch(self._objects.tree_of(one.before), one.before)
            lines.append(f"update {base}{one.candidate} {without}\n")
        with self._mirror.exclusive() as lock:
            self._commands.run(
                "update-ref",
                "--stdin",
                stdin="".join(lines).encode("ascii"),
                doing="write to the mirror",
                keep_open=lock,
            )
