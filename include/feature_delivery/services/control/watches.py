"""Looks of the probe, kept in the ledger while a trigger watches production: its process may end at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import KeptLooks, now
from feature_delivery.domain.watching import Glance
from feature_delivery.services.control.gates import enter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.records import Feature
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.runs import TaskRef

MOST_LOOKS = 20_000
"""Of one watch: more than a day of them, every five seconds. Later ones live in the trigger only."""

KEPT_FOR = timedelta(days=2)
"""No watch is longer than a day; what nobody has judged by then is of a delivery that has ended otherwise."""


def keep_looks(unit: Unit, project: ProjectConfig, task: TaskRef, permit_id: int, looks: Sequence[Glance]) -> None:
    """Add looks to those of the watch; the same again changes nothing of what ``kept_looks`` returns.

    Raises:
        NotFound: No such run, feature or permit.
        Refused: The task is not deferred, or the permit is another task's.
        Conflict: The watch is another one's by now.
    """
    feature = _watching(unit, project, task, permit_id)
    # A watch that was cleared has left its own: one feature is watched once at a time.
    unit.books.forget_looks(feature, but=permit_id)
    known = sum(len(one.looks) for one in unit.books.looks(feature, permit_id))
    taken = [(one.at, one.status, one.seconds) for one in looks[: max(0, MOST_LOOKS - known)]]
    if taken:
        unit.books.add(KeptLooks(feature_id=feature.id, permit_id=permit_id, looks=taken))


def kept_looks(unit: Unit, project: ProjectConfig, task: TaskRef, permit_id: int) -> tuple[Glance, ...]:
    """Return every look of the watch that was kept, by its moment.

    Raises:
        NotFound, Refused, Conflict: As ``keep_looks``.
    """
    feature = _watching(unit, project, task, permit_id)
    found = {
        at: Glance(at=at, status=status, seconds=seconds)
        for one in unit.books.looks(feature, permit_id)
        for at, status, seconds in one.looks
    }
    return tuple(found[at] for at in sorted(found))


def prune(unit: Unit) -> int:
    """Forget the looks of watches that nobody has judged; returns how many rows."""
    return unit.books.prune_looks(before=now() - KEPT_FOR)


def _watching(unit: Unit, project: ProjectConfig, task: TaskRef, permit_id: int) -> Feature:
    """Return the feature whose production the task watches as a trigger."""
    feature = enter(unit, project, task.run.run_id)
    permit = unit.books.permit(permit_id)
    if permit is None or permit.feature_id != feature.id:
        raise NotFound(f"Run {task.run.run_id!r} has no permit {permit_id}.")
    named = f"{task.step} of {feature.key}"
    if (
        task.step is not Step.OBSERVE_PRODUCTION
        or permit.step is not task.step
        or permit.task_instance != task.task_instance
    ):
        raise Refused(f"Permit {permit_id} was not given to watch production as {named}.")
    if not unit.runs.is_deferred(task):
        raise Refused(f"{named} is not deferred: only a watch that is under way has looks to keep.")
    if permit.state != "granted":
        raise Conflict(f"{named} is watched by another try: {permit.reason}")
    return feature
