"""Counts that only grow, written with what they count: rows are pruned, replayed and too many to be counted anew."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.people import DecisionKind
    from feature_delivery.domain.process import Step
    from feature_delivery.domain.records import PermitRecord
    from feature_delivery.ports.ledger import Books

STEPS, WEBHOOKS, DECISIONS, DEPLOYMENTS, LOGINS = "steps", "webhooks", "decisions", "deployments", "logins"
"""Names of the tallies. Steps: by step and outcome, in buckets. Webhooks: by the host's dialect and the result.
Decisions: by gate and what was said, with ``counted`` or ``refused``. Deployments: by environment and outcome.
Logins: refused ones, by whether the name is that of somebody of the project."""

COUNTED, NOT_COUNTED = "counted", "refused"

BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper bounds of the histogram of step durations, in seconds; what is stored is the place of the bucket."""

REFUSED, PROCESSED, FAILED, IGNORED = "refused", "processed", "failed", "ignored"
KNOWN, UNKNOWN = "known", "unknown"
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


def decided(books: Books, project: ProjectName, gate: Step, kind: DecisionKind, *, counted: bool) -> None:
    """Count what somebody said; that it is taken back later makes it no less said."""
    books.tally(project, DECISIONS, gate.value, f"{kind} {COUNTED if counted else NOT_COUNTED}")


def deployed(books: Books, project: ProjectName, kind: str, outcome: str) -> None:
    """Count a deployment."""
    books.tally(project, DEPLOYMENTS, kind, outcome)


def logins_refused(books: Books, project: ProjectName, *, known: int, unknown: int) -> None:
    """Count refused logins, with the name of somebody of the project and with any other."""
    for whose, count in ((KNOWN, known), (UNKNOWN, unknown)):
        if count:
            books.tally(project, LOGINS, whose, REFUSED, count=count)
