"""Observations: what was measured of releases, kept and found again."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from feature_delivery.domain.judging.findings import Judgement
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Observation, PromotionState
from feature_delivery.domain.watching import Baseline

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.records import Feature
    from feature_delivery.domain.work import Observed
    from feature_delivery.ports.ledger import Books
    from feature_delivery.services.control.scene import Scene

MOST_BAD_TIMES = 20


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: object) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def keep_baseline(scene: Scene, baseline: Baseline) -> None:
    """Keep what production was like before the promotion."""
    promotion = scene.promotion
    if promotion is not None:
        _keep(scene, promotion.before, "", {"measured": _plain(baseline)})


def keep_judgement(scene: Scene, observed: Observed) -> None:
    """Keep what was judged, and what was measured for a later comparison; what it was judged by goes."""
    books, feature = scene.unit.books, scene.feature
    if scene.step is Step.OBSERVE_PRODUCTION:
        books.forget_looks(feature)
    candidate = books.candidate(feature, feature.attempt_number)
    if candidate is None:
        return
    parts = (("judgement", observed.judgement), ("measured", observed.measured))
    _keep(scene, candidate.commit, observed.outcome, {name: _plain(part) for name, part in parts if part is not None})


def _keep(scene: Scene, commit: CommitSha, outcome: str, report: dict[str, Any]) -> None:
    scene.unit.books.add(
        Observation(
            feature_id=scene.feature.id,
            attempt=scene.feature.attempt_number,
            step=scene.step,
            commit=commit,
            outcome=outcome,
            report=report,
        )
    )


def baseline_of(scene: Scene) -> Baseline | None:
    """Return what the step's measurements are compared with; ``None``: nothing is known."""
    books, feature = scene.unit.books, scene.feature
    match scene.step:
        case Step.OBSERVE_PRODUCTION:
            return measured(books.observation(feature, feature.attempt_number, Step.PROMOTE))
        case Step.TEST_LOAD:
            return measured(books.load_in_production(scene.project.name))
        case _:
            return None


def bad_times(scene: Scene) -> tuple[tuple[float, float], ...]:
    """Return from when to when production ran what was rolled back, the newest that matter to a baseline, in order."""
    rolled_back = [
        (promotion.moved_at.timestamp(), promotion.ended_at.timestamp())
        for promotion in scene.unit.books.promotions(scene.project.name, states=[PromotionState.ROLLED_BACK])
        if promotion.moved_at and promotion.ended_at
    ]
    return tuple(rolled_back[-MOST_BAD_TIMES:])


def measured(found: Observation | None) -> Baseline | None:
    """Return what an observation measured."""
    read: Baseline | None = _read(Baseline, found, "measured")
    return read


def judgement(books: Books, feature: Feature, step: Step) -> Judgement | None:
    """Return how a step of the current attempt was judged; ``None``: it was not."""
    read: Judgement | None = _read(Judgement, books.observation(feature, feature.attempt_number, step), "judgement")
    return read


def _read(kind: Any, found: Observation | None, name: str) -> Any:
    if found is None or name not in found.report:
        return None
    try:
        return _adapter(kind).validate_python(found.report[name])
    except ValidationError:
        return None  # written by another version: as good as none


def as_facts(observed: Observed) -> dict[str, object]:
    """Return a result as the permit keeps it: the figures are in the observation."""
    return {**asdict(observed), "judgement": None, "measured": None}
