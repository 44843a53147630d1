"""Releases, as the board and the monitoring count them: when they moved production, what was found of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, func, select

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.domain.process import Step

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from feature_delivery.domain.names import ProjectName


def _noticed() -> Any:
    """Return whether a promotion's integration tests in production were red, or its watch a failure."""
    p, tested, watched = t.promotion.c, t.suite_result.c, t.observation.c
    red = exists().where(
        tested.feature_id == p.feature_id,
        tested.attempt == p.attempt,
        tested.step == Step.TEST_PRODUCTION,
        tested.commit == p.candidate,
        tested.red != "",
    )
    worse = exists().where(
        watched.feature_id == p.feature_id,
        watched.attempt == p.attempt,
        watched.step == Step.OBSERVE_PRODUCTION,
        watched.commit == p.candidate,
        watched.outcome == "fail",
    )
    return red.correlate(t.promotion) | worse.correlate(t.promotion)


def moved(since: datetime, projects: Collection[ProjectName] | None = None) -> Any:
    """Return the query for promotions that moved production since then, as ``ReleaseRow`` has them, oldest first.

    ``projects``: only theirs. A feature has had a commit before anything of it could be promoted.
    """
    p, f, a = t.promotion.c, t.feature.c, t.attempt.c
    first = select(func.min(a.created_at)).where(a.feature_id == p.feature_id).correlate(t.promotion).scalar_subquery()
    first_at = func.coalesce(first, p.moved_at, type_=f.created_at.type)
    query = (
        select(p.project, f.key, p.feature_id, p.state, f.created_at, first_at, p.moved_at, p.ended_at, _noticed())
        .join(t.feature, f.id == p.feature_id)
        .where(p.moved_at >= since)
        .order_by(p.moved_at, p.id)
    )
    return query if projects is None else query.where(p.project.in_(list(projects)))
