"""Where a feature's time went: spans of work, of waiting for people and of queueing, from gates and permits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from feature_delivery.domain.process import GATES, Step
from feature_delivery.domain.spans import covered_seconds
from feature_delivery.services.control.status import PEOPLE_DECIDE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from feature_delivery.domain.records import Gate, PermitRecord


class Spent(StrEnum):
    """What time was spent on."""

    PEOPLE = "people"
    QUEUE = "queue"
    WORK = "work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Some time at one step; ``open``: it has not ended yet."""

    spent: Spent
    step: Step
    attempt: int
    began: datetime
    ended: datetime
    open: bool = False

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.ended - self.began).total_seconds()


def spans(gates: Iterable[Gate], permits: Iterable[PermitRecord], *, until: datetime) -> tuple[Span, ...]:
    """Return what a feature's time was spent on, by the beginning; what goes on is counted ``until`` now.

    A gate that was closed because its task was cleared or marked by hand ended when nobody wrote down: it is left out.
    So is a permit that was taken back or whose task was killed before it reported.
    """
    found = [
        Span(
            spent=Spent.PEOPLE if gate.step in PEOPLE_DECIDE else Spent.QUEUE,
            step=gate.step,
            attempt=gate.attempt,
            began=gate.opened_at,
            ended=gate.resolved_at or until,
            open=gate.resolved_at is None,
        )
        for gate in gates
        if gate.resolved_at is not None or gate.state == "open"
    ]
    known = list(permits)
    newest = max((permit.id for permit in known), default=0)
    found += [
        Span(
            spent=Spent.WORK,
            step=permit.step,
            attempt=permit.attempt,
            began=permit.granted_at,
            ended=permit.ended_at or until,
            open=permit.ended_at is None,
        )
        for permit in known
        if permit.step not in GATES
        and (permit.ended_at is not None or (permit.state == "granted" and permit.id == newest))
    ]
    return tuple(sorted((s for s in found if s.ended >= s.began), key=lambda s: (s.began, s.ended)))


def total_seconds(found: Sequence[Span], spent: Spent) -> float:
    """Return how long something of this kind went on; parallel spans count once."""
    return covered_seconds((span.began, span.ended) for span in found if span.spent is spent)
