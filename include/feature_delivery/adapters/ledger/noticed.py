"""Which releases were found to be bad by their own tests or their watch: a column of the queries on promotions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.domain.process import Step


def noticed() -> Any:
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
