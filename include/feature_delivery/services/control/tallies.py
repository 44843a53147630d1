"""Counts that only grow, written with what they count: rows are pruned, replayed and too many to be counted anew."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.records import PermitRecord
    from feature_delivery.ports.ledger import Books

STEPS, WEBHOOKS = "steps", "webhooks"
"""Names of the tallies. Steps: by step and outcome, in buckets. Webhooks: by the host's dialect and the result."""

BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper bounds of the histogram of step durations, in seconds; what is stored is the place of the bucket."""

REFUSED, PROCESSED, FAILED, IGNORED = "refused", "processed", "failed", "ignored"
RESULTS = (FAILED, IGNORED, PROCESSED, REFUSED)
"""What became of a webhook."""


def step_ended(books: Books, project: ProjectName, permit: PermitRecord) -> None:
    """Count a step that has ended, with how long it took."""
    if permit.ended_at is None:
        return
    seconds = max((permit.ended_at - permit.granted_at).total_seconds(), 0.0)
    place = bisect_left(BUCKETS, seconds)
    books.tally(project, STEPS, permit.step.value, permit.state, place=place, total=seconds)


def webhooks_done(books: Books, project: ProjectName, results: Mapping[tuple[str, str], int]) -> None:
    """Count webhooks by dialect and result; in one order, so that two transactions never wait for each other."""
    for (host, result), count in sorted(results.items()):
        books.tally(project, WEBHOOKS, host, result, count=count)
