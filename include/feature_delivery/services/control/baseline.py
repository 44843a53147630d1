"""How many tests production's own code is known to run: what later runs of a suite are measured by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.records import OPEN_PROMOTIONS, PromotionState

if TYPE_CHECKING:
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.ports.ledger import Books


def executed_in_production(books: Books, project: ProjectName) -> dict[str, int]:
    """Return, per suite, the tests that production's code executed; nothing where that code was never delivered.

    Production is followed back over rollbacks and the promotion that waits for its verdict to what was kept last. A
    commit that was pushed by hand and adopted may hold fewer tests for good reasons: behind one nothing is known.
    """
    row = books.project(project)
    commit = row.production_commit if row is not None else None
    for promotion in reversed(books.promotions(project)):
        if (promotion.restored is not None and promotion.restored == commit) or (
            promotion.candidate == commit and promotion.state in OPEN_PROMOTIONS
        ):
            commit = promotion.before
        elif promotion.candidate == commit and promotion.state is PromotionState.KEPT:
            return books.executed_in_production(project)
    return {}
