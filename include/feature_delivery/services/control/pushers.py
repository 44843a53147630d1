"""Who pushed: written down before anything else is asked, since no host tells it twice.

A look finds by itself where branches are, but not who brought them there. So what a webhook says of a pusher goes to
the feature in a transaction of its own, whatever becomes of the look. Of a branch that no feature under way has, it is
kept until one begins with it, or the branch is gone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import BranchName, FeatureKey, feature_key
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    Feature,
    FeatureState,
    PromotionState,
)
from feature_delivery.services.control import authors
from feature_delivery.services.control.kept import PUSHERS, keep, recall

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from feature_delivery.domain.hints import Hint
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control

Logins = dict[BranchName, list[str]]
"""Who pushed to branches that no feature under way has, in the order in which it was told."""


def note(control: Control, project: ProjectConfig, hints: Iterable[Hint]) -> None:
    """Write down whom webhooks name as pushers; asks nobody outside."""
    told = [(hint.branch, hint.person) for hint in hints if hint.pushed and hint.person and hint.branch]
    if not told:
        return
    with control.begin() as unit:
        unit.books.lock_project(project.name)
        waiting = kept(unit, project)
        before = json.dumps(waiting)
        for branch, login in told:
            logins = waiting.setdefault(branch, [])
            if login not in logins:
                logins.append(login)
        for feature in unit.books.features(project.name, [FeatureState.ACTIVE]):
            pushed_by(unit, project, feature, _taken(project, waiting, feature))
        waiting = {branch: logins for branch, logins in waiting.items() if key_of(project, branch) is not None}
        if json.dumps(waiting) != before:
            keep(unit, project.name, PUSHERS, json.dumps(waiting).encode())


def begun(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    """Give a feature that begins those who pushed to its branch before. The project's lock is held."""
    waiting = kept(unit, project)
    if logins := _taken(project, waiting, feature):
        pushed_by(unit, project, feature, logins)
        keep(unit, project.name, PUSHERS, json.dumps(waiting).encode())


def forget(unit: Unit, project: ProjectConfig, known: Logins, there: Collection[BranchName]) -> None:
    """Forget the pushers of branches that are gone.

    Args:
        unit: The transaction.
        project: Whose.
        known: What was kept before the branches were listed: what was told since may be about newer ones.
        there: A whole listing.
    """
    if all(branch in there for branch in known):
        return
    unit.books.lock_project(project.name)
    left = {b: logins for b, logins in kept(unit, project).items() if b in there or logins != known.get(b)}
    keep(unit, project.name, PUSHERS, json.dumps(left).encode())


def kept(unit: Unit, project: ProjectConfig) -> Logins:
    """Return what is kept."""
    body = recall(unit, project.name, PUSHERS)
    return json.loads(body) if body is not None else {}


def pushed_by(unit: Unit, project: ProjectConfig, feature: Feature, logins: Iterable[str]) -> None:
    """Take in who pushed to a feature's branch: none of them approves what it holds. The project's lock is held.

    Whoever pushes while an attempt is being promoted has no part in that one, for all we know.
    """
    told = {login for login in logins if login}
    if not told:
        return
    authors.note_pushers(project.people, feature, told)
    attempt = unit.books.attempt(feature)
    if attempt is None or attempt.state is not AttemptState.ACTIVE:
        return
    promotion = unit.books.promotion(feature, attempt.number)
    if promotion is None or promotion.state not in OPEN_PROMOTIONS | {PromotionState.INTENDED}:
        authors.note(project.people, attempt, told)


def key_of(project: ProjectConfig, branch: BranchName) -> FeatureKey | None:
    """Return the key that a branch's name tells."""
    try:
        return feature_key(project.branches.key_of(branch) or "")
    except Refused:
        return None


def _taken(project: ProjectConfig, waiting: Logins, feature: Feature) -> list[str]:
    """Take out who pushed to the feature's branch; while it has none, to any branch with its key."""

    def concerns(branch: BranchName) -> bool:
        return branch == feature.branch or (feature.branch is None and key_of(project, branch) == feature.key)

    return [login for branch in [*waiting] if concerns(branch) for login in waiting.pop(branch)]
