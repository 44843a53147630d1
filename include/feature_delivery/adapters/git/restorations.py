"""Builds the commit that brings production back to what it was before a promotion."""

from __future__ import annotations

from feature_delivery.adapters.git.merging import Merging
from feature_delivery.adapters.git.objects import Objects
from feature_delivery.domain.errors import Conflict, Refused
from feature_delivery.domain.names import CommitSha
from feature_delivery.ports.repository import Commit


def build_restoration(
    objects: Objects, merging: Merging, *, head: CommitSha, before: CommitSha, promoted: CommitSha, message: str
) -> Commit:
    """See ``Repository.build_restoration``."""
    if not objects.is_ancestor(before, promoted) or before == promoted:
        raise Refused(
            f"Cannot take back {promoted[:12]}: it does not come after {before[:12]}. Name the promoted commit "
            "and the one before it."
        )
    if not objects.is_ancestor(promoted, head):
        raise Conflict(
            f"Cannot take back {promoted[:12]}: production is at {head[:12]}, which does not contain it. Compare the "
            "branch with the ledger."
        )
    target = objects.tree_of(before)
    if head != promoted:
        target = merging.merge_trees(base=objects.tree_of(promoted), ours=objects.tree_of(head), theirs=target).clean()
        if target == objects.tree_of(head):
            raise Refused(
                f"There is nothing to take back: production ({head[:12]}) holds no change of {promoted[:12]}."
            )
    commit = merging.write_commit(tree=target, parents=(head,), message=message, like=(head, promoted))
    return objects.commit(commit)
