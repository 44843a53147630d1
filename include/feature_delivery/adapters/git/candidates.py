"""Builds candidates: production plus the whole feature, nothing less and nothing else.

**When a candidate is complete.** Compared with the point where the feature left production:

1. every path that the branch changed and production did not differs from production in the candidate; and
2. if the branch contains a commit that restored production after an earlier delivery of this feature (the developer
   merged or pulled production after the rollback), then everything that the restoration took away is on the branch
   again: a commit made on the branch since brought the path back exactly (what came later is the developer's will,
   deletion included), or the path's present content holds the change, or the developer wrote the same lines anew.

Rule 1 follows from a clean merge against the right base; it is checked all the same, by comparing trees, because
everything rests on it. Rule 2 is where merges go wrong in silence: the restoration reached the branch as an ordinary
change that deletes the feature. When it came by a merge commit and the developer resolved nothing differently, that
merge is made again in the view without the delivery (``past.py``), and what was committed since is carried over. When
production was fast-forwarded or rebased onto, Git's history no longer tells *lost by accident* from *left out on
purpose*, and guessing could ship what was rejected: that is refused, and the sentence names both ways out.
"""

from __future__ import annotations

from feature_delivery.adapters.git.merging import Merging
from feature_delivery.adapters.git.objects import ABSENT, Blob, Change, Objects, shown_path
from feature_delivery.adapters.git.past import Past, View
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import CommitSha, TreeSha
from feature_delivery.ports.repository import Candidate, Commit, MergeConflictError, PastDelivery


class Candidates:
    """One use: ``build``; the rest is how."""

    def __init__(self, objects: Objects, merging: Merging, past: Past) -> None:
        """Read and merge with these."""
        self._objects = objects
        self._merging = merging
        self._past = past

    def build(
        self, *, production: CommitSha, feature: CommitSha, past: tuple[PastDelivery, ...], message: str
    ) -> Candidate:
        """See ``Repository.build_candidate``."""
        view = self._past.view(past, production=production)
        bases = self._bases(production, feature, view)
        wanted = _Branch(self._objects, self._merging, view, production).whole_tree(feature)
        merged = self._merge(production, wanted, feature, view)
        base_tree = self._objects.tree_of(production)
        if merged == base_tree:
            raise Refused(
                f"There is nothing to ship: merged into production, {feature[:12]} changes no file. Push the change."
            )
        if len(bases) == 1:
            self._check_complete(bases[0], production, wanted=wanted, merged=merged, view=view)
        commit = self._merging.write_commit(
            tree=merged, parents=(production, feature), message=message, like=(production, feature)
        )
        return Candidate(commit=commit, tree=merged, base=production, feature=feature)

    def _bases(self, production: CommitSha, feature: CommitSha, view: View) -> tuple[CommitSha, ...]:
        bases = self._objects.merge_bases(production, feature, replace_base=view.replace_base)
        if not bases:
            raise Refused(
                f"{feature[:12]} has no common history with production ({production[:12]}). Branch from production."
            )
        redelivered = any(feature == one.candidate for one in view.past)
        if feature in bases and not redelivered:
            raise Refused(
                f"There is nothing to ship: production ({production[:12]}) contains {feature[:12]} already. "
                "Push a commit to the feature's branch."
            )
        return bases

    def _merge(self, production: CommitSha, wanted: TreeSha, feature: CommitSha, view: View) -> TreeSha:
        return self._merging.merge(
            production, self._merging.scratch(wanted, feature), replace_base=view.replace_base
        ).clean()

    def _check_complete(
        self, base: CommitSha, production: CommitSha, *, wanted: TreeSha, merged: TreeSha, view: View
    ) -> None:
        """Hold rule 1 of the module's text."""
        of_feature = {change.path for change in self._objects.changes(base, wanted, replace_base=view.replace_base)}
        arrived = {change.path for change in self._objects.changes(production, merged)}
        if of_feature <= arrived:
            return
        elsewhere = {change.path for change in self._objects.changes(base, production, replace_base=view.replace_base)}
        lost = of_feature - arrived - elsewhere
        if lost:
            raise Refused(
                f"The candidate would lack changes of the feature ({_some(lost)}). Rebase the branch on production."
            )


class _Branch:
    """The feature's branch, with what a restoration took from it put back where that is certain."""

    def __init__(self, objects: Objects, merging: Merging, view: View, production: CommitSha) -> None:
        self._objects = objects
        self._merging = merging
        self._view = view
        self._production = production

    def whole_tree(self, head: CommitSha) -> TreeSha:
        """Return the tree that ``head`` would have if the branch had never met a restoration.

        Raises:
            Refused: The feature is not whole there, and what is missing cannot be put back for certain.
        """
        self._check_base(head)
        tree = self._objects.tree_of(head)
        met = [one for one in self._view.past if self._objects.is_ancestor(one.restored, head)]
        if not met:
            return tree
        lost = self._lost(head, tree, met[-1])
        if not lost:
            return tree
        again = self._merged_again(head, tree, met[-1])
        if again is None:
            raise self._refusal(met[-1], lost)
        return again

    def _check_base(self, head: CommitSha) -> None:
        if not self._view.between:
            return
        bases = self._objects.merge_bases(self._production, head, replace_base=self._view.replace_base)
        if self._view.between & set(bases):
            raise self._refusal(self._view.past[-1], frozenset())

    def _lost(self, head: CommitSha, tree: TreeSha, past: PastDelivery) -> frozenset[bytes]:
        """Return the paths that break rule 2 of the module's text."""
        delivered = self._objects.tree_of(self._objects.commit(past.restored).parents[0])
        bare = self._objects.tree_of(past.restored)
        taken = {change.path: change for change in self._objects.changes(delivered, bare)}
        since = self._own_since(head, past)
        written = self._objects.written_by([commit.sha for commit in since])
        doubtful = {path: change for path, change in taken.items() if (path, change.old) not in written}
        if not doubtful:
            return frozenset()
        again = self._merging.merge_trees(base=bare, ours=tree, theirs=delivered)
        would_add = {change.path for change in self._objects.changes(tree, again.tree)}
        present = {change.path: change.new for change in self._objects.changes(bare, tree)}
        moved = {blob for path, blob in written if path not in taken}
        return frozenset(
            path
            for path, change in doubtful.items()
            if change.old not in moved
            and (
                not self._is_rewritten(change, present.get(path, change.new))
                if path in again.conflicts
                else path in would_add
            )
        )

    def _is_rewritten(self, taken: Change, present: Blob) -> bool:
        """Say whether the branch has a version of its own of what was taken, with no other part of it missing.

        A deletion that is missing is not one.
        """
        if taken.old == ABSENT or present == taken.new:
            return False
        if ABSENT in (present, taken.new):
            return True
        return not self._merging.would_add_lines(base=taken.new, ours=present, theirs=taken.old)

    def _own_since(self, head: CommitSha, past: PastDelivery) -> list[Commit]:
        """Return the branch's own commits that have the restoration among their ancestors, oldest first."""
        own = self._objects.commits(head, f"^{self._production}", replace_base=self._view.replace_base)
        # Not one command: Git marks descendants within what it lists, and production's own are not listed there.
        after = set(
            self._objects.ids(
                head, f"^{past.restored}", options=("--ancestry-path",), replace_base=self._view.replace_base
            )
        )
        return [commit for commit in reversed(own) if commit.sha in after]

    def _merged_again(self, head: CommitSha, tree: TreeSha, past: PastDelivery) -> TreeSha | None:
        """Make the merge that brought the restoration in again, without it; ``None`` when that is not certain."""
        entries = [
            (commit, own, other)
            for commit in self._own_since(head, past)
            if len(commit.parents) == 2
            for own, other in (commit.parents, commit.parents[::-1])
            if self._objects.is_ancestor(past.restored, other) and not self._objects.is_ancestor(past.restored, own)
        ]
        if len(entries) != 1:
            return None
        merge, own, other = entries[0]
        try:
            mine = self._merging.scratch(self.whole_tree(own), own)
            again = self._merging.merge(mine, other, replace_base=self._view.replace_base).clean()
            if self._was_resolved_otherwise(merge, own, other, again):
                return None
            return self._merging.merge_trees(base=merge.tree, ours=again, theirs=tree).clean()
        except MergeConflictError:
            return None

    def _was_resolved_otherwise(self, merge: Commit, own: CommitSha, other: CommitSha, again: TreeSha) -> bool:
        """Say whether the developer's merge has content that neither Git's merge nor the one made again has."""
        automatic = self._merging.merge(own, other).tree
        by_hand = {change.path for change in self._objects.changes(automatic, merge.tree)}
        return bool(by_hand & {change.path for change in self._objects.changes(again, merge.tree)})

    def _refusal(self, past: PastDelivery, lost: frozenset[bytes]) -> Refused:
        feature = self._objects.commit(past.candidate).parents[1]
        what = f" ({_some(lost)})" if lost else ""
        return Refused(
            f"The candidate would lack changes of the feature{what}: its branch contains the rollback "
            f"{past.restored[:12]}, which took them away. Run `git revert {past.restored[:12]}` on the branch, or "
            f"put the branch back to {feature[:12]} and commit on top of that."
        )


def _some(paths: frozenset[bytes] | set[bytes]) -> str:
    names = sorted(shown_path(path) for path in paths)
    return ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
