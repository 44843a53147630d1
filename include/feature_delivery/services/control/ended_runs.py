"""Runs that somebody has ended in Airflow, marked as failed or as successful, while their feature is under way.

Nobody's word moves such a feature on: no task is left to go through its gate, which stays open until one asks. What
was stopped on purpose does not come back by itself, as that would be a fight with whoever stopped it; people are told
once, and what they may do now stands where the feature stands. Whatever clears its tasks (a person, a newer commit, a
rejection) has it go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import CHECKS, Step, Who
from feature_delivery.domain.records import OPEN_PROMOTIONS, UNDER_WAY, Feature, FeatureState, PromotionState
from feature_delivery.services.control.flags import RUN_ENDED
from feature_delivery.services.control.gates import enter, run_of, settle
from feature_delivery.services.control.history import record, send

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit

_NOT_REACHED = frozenset({"none", "skipped", "upstream_failed", "removed"})


def tell(unit: Unit, project: ProjectConfig, run_id: str) -> bool:
    """Say what has become of a feature whose run has ended before it; once for each time that it was ended.

    Of one that goes on again the sentence is taken back. Returns whether people were told now.

    Raises:
        NotFound: No such run, or it carries no registered feature.
    """
    feature = enter(unit, project, run_id)
    gate, end = unit.books.open_gate(feature), unit.runs.end(run_of(feature))
    if end is None:
        if gate is not None and gate.blocked.startswith(RUN_ENDED):
            gate.blocked = ""
            settle(unit, project, feature)
        return False
    if feature.state not in UNDER_WAY or feature.rewind_to is not None:
        return False  # it is over, or it is about to go on
    step = gate.step if gate is not None else _stopped_at(unit.runs.states(run_of(feature)))
    if step is None:
        return False
    ways = _ways_on(unit.books, feature, step)
    text = f"Its run was ended in Airflow ({end.state}), and nothing is left to go on from {step}. {ways}"
    if gate is not None:
        gate.blocked = text
    to = sorted(project.people.with_role(Who.OPERATOR, Who.MANAGER))
    if not to and not project.people.known:
        return False  # whom to tell is not known: it is told then
    said = f"{feature.key}: {text}"
    # By the moment: a run that was cleared and ended once more is told of again.
    told = send(unit, feature, Errand.MESSAGE, f"run_ended:{end.at:%Y%m%d%H%M%S}", {"to": to, "text": said})
    if told:
        record(unit, feature, "run_ended", said, step=step)
    return told


def _ways_on(books: Books, feature: Feature, step: Step) -> str:
    """Return what people can do about it."""
    row, promotion = books.project(feature.project), books.promotion(feature)
    holds = "It holds production. " if row is not None and row.lock_feature_id == feature.id else ""
    ways = f"{holds}To go on, clear {step} in the run {feature.run_id}"
    # What is in production is not given up: it is kept or rolled back, for which its run must go on.
    stays = promotion is not None and promotion.state in OPEN_PROMOTIONS | {PromotionState.INTENDED}
    if feature.state is not FeatureState.ACTIVE or stays:
        return f"{ways}."
    return f"{ways}; to give the feature up, 'feature-delivery cancel {feature.key}'."


def _stopped_at(states: Mapping[Step, str]) -> Step | None:
    """Return the step to go on from: what was ended while it ran, or else what did not get its turn.

    Ending a run fails what runs and skips all that would have come. After the verdict the way that was not taken is
    skipped as well, and a check that is red stops nothing by itself.
    """
    kept = states.get(Step.DECIDE_ROLLBACK) == "success" and states.get(Step.RESTORE_BRANCH) == "skipped"
    way = [step for step in Step if step not in CHECKS and not (kept and step.startswith("rollback."))]
    place = next((i for i, step in enumerate(way) if states.get(step, "success") in _NOT_REACHED), None)
    if place is None:
        return None
    return way[place - 1] if place and states.get(way[place - 1]) == "failed" else way[place]
