"""Evidence: what watching production and loading pre-production have shown, and what follows without anybody's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.process import Who
from feature_delivery.domain.records import OPEN_PROMOTIONS, PromotionState, now
from feature_delivery.services.control import verdict
from feature_delivery.services.control.flags import production_evidence
from feature_delivery.services.control.history import notify, record
from feature_delivery.services.control.report import shown_as_text

if TYPE_CHECKING:
    from feature_delivery.domain.work import Observed
    from feature_delivery.services.control.scene import Scene


def judge(scene: Scene, outcome: str) -> None:
    """Give the verdict at once where the project wants it and the evidence is clear."""
    if not scene.project.choices.automatic_verdict:
        return
    promotion = scene.promotion
    if promotion is None or promotion.state not in OPEN_PROMOTIONS - {PromotionState.ROLLING_BACK}:
        return  # somebody has decided meanwhile
    found = production_evidence(scene.unit.books, scene.feature)
    if outcome == "pass" and found.outcome == "pass":
        if why := verdict.not_to_keep_now(scene.unit.books, scene.feature):
            people = scene.project.people.with_role(Who.MANAGER, Who.OPERATOR)
            notify(scene.unit, scene.feature, f"not_kept:{now():%Y%m%d%H%M%S}", f"{found.text} {why}", to=people)
            return
        verdict.keep(scene.unit, scene.project, scene.feature, found.text, person="evidence")
    elif outcome == "fail" and not promotion.irreversible:
        verdict.roll_back(scene.unit, scene.project, scene.feature, found.text, person="evidence")


def observed(scene: Scene, result: Observed) -> None:
    """Say what watching production found, and act on it as far as the project lets the evidence decide."""
    unit, feature, said = scene.unit, scene.feature, result.judgement
    record(unit, feature, "observed", f"{result.outcome}: {' '.join(result.evidence)}", step=scene.step)
    if said is not None:
        text = f"{feature.key} in production, {result.outcome}. {shown_as_text(said)}"
        people = scene.project.people.with_role(Who.MANAGER, Who.OPERATOR)
        notify(unit, feature, f"observed:{feature.attempt_number}:{now():%Y%m%d%H%M%S}", text, to=people)
        if said.breach and "critical_breach" in scene.project.choices.automatic_rollback:
            roll_back(scene)
    judge(scene, result.outcome)


def roll_back(scene: Scene) -> None:
    """Roll back without asking, unless somebody has decided or the way back is closed."""
    promotion = scene.promotion
    if promotion is None or promotion.irreversible:
        return
    if promotion.state in OPEN_PROMOTIONS - {PromotionState.ROLLING_BACK}:
        found = production_evidence(scene.unit.books, scene.feature)
        verdict.roll_back(scene.unit, scene.project, scene.feature, found.text, person="evidence")


def load_put(scene: Scene, result: Observed) -> None:
    """Tell of a candidate that is slower than production was under the same load; it stops nothing by itself."""
    unit, feature = scene.unit, scene.feature
    record(unit, feature, "load", f"{result.outcome}: {' '.join(result.evidence)}", step=scene.step)
    if result.outcome == "fail":
        attempt = unit.books.attempt(feature)
        to = attempt.authors if attempt and attempt.authors else scene.project.people.with_role(Who.DEVELOPER)
        text = f"{feature.key} does worse under load than what is in production. {' '.join(result.evidence)}"
        notify(unit, feature, f"slower:{feature.attempt_number}", text, to=to)
