"""Says how much of a promotion a later commit of production still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.ports.repository import Held

if TYPE_CHECKING:
    from feature_delivery.adapters.git.merging import Merging
    from feature_delivery.adapters.git.objects import Objects
    from feature_delivery.domain.names import CommitSha


def held(objects: Objects, merging: Merging, head: CommitSha, *, before: CommitSha, candidate: CommitSha) -> Held:
    """See ``Repository.held``; all three commits are here.

    What was taken back is asked first: who takes a half for the whole ships without the other half.
    """
    if not objects.is_ancestor(candidate, head):
        return Held.ABSENT
    old, new, now = (objects.tree_of(commit) for commit in (before, candidate, head))
    for found, base, theirs in ((Held.TAKEN_BACK, new, old), (Held.WHOLE, old, new)):
        merged = merging.merge_trees(base=base, ours=now, theirs=theirs)
        if not merged.conflicts and merged.tree == now:
            return found
    return Held.PART
