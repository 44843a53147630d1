"""Pre-production's branch: at what has shipped, so that hosts show requests as merged; never at what has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.domain.project import Branches
    from feature_delivery.ports.repository import Repository


def level_with(
    repository: Repository, branches: Branches, heads: Mapping[BranchName, CommitSha], *, shipped: CommitSha
) -> bool:
    """Put the branch at ``shipped``, unless it holds that already or production does not; safe to repeat.

    Args:
        repository: The repository.
        branches: Their names.
        heads: A listing of now.
        shipped: The candidate that was kept in production.

    Returns:
        ``False`` when somebody pushed to the branch meanwhile.

    Raises:
        Refused: The host does not let us move the branch.
        Unavailable: The host did not answer.
    """
    at, production = heads.get(branches.preprod), heads.get(branches.production)
    repository.fetch(*(commit for commit in (shipped, at, production) if commit))
    if production is None or not repository.is_ancestor(shipped, production):
        return True
    if at is not None and repository.is_ancestor(shipped, at):
        return True  # a delivery after this one has levelled it already
    return repository.level(branches.preprod, expect=at, to=shipped)
