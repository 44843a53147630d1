"""Finds features that stand on other, undelivered features."""

from __future__ import annotations

import re
from collections.abc import Mapping

from feature_delivery.adapters.git.objects import Objects
from feature_delivery.domain.names import BranchName, CommitSha


def stacked_on(
    objects: Objects,
    branch: BranchName,
    *,
    head: CommitSha,
    production: CommitSha,
    others: Mapping[BranchName, CommitSha],
) -> BranchName | None:
    """See ``Repository.stacked_on``. Two commands when nothing is shared, however many ``others`` there are."""
    own = set(objects.ids(head, f"^{production}"))
    rest = {name: sha for name, sha in others.items() if name != branch}
    if not own or not rest:
        return None
    shared = own & set(objects.ids(*sorted(set(rest.values())), f"^{production}"))
    if not shared:
        return None
    for name in sorted(rest, key=_natural):
        theirs = set(objects.ids(rest[name], f"^{production}"))
        if not theirs & own:
            continue
        if theirs < own or (not own <= theirs and _natural(name) < _natural(branch)):
            return name
        if theirs == own and _natural(name) < _natural(branch):
            return name
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort ``SHOP-9`` before ``SHOP-10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
