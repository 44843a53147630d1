"""A commit that somebody put on production by hand is accepted: what it holds of deliveries is asked of Git first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import OPEN_PROMOTIONS, Event, PromotionState, now
from feature_delivery.domain.work import PromotionWork
from feature_delivery.ports.repository import Held
from feature_delivery.services.control import posting, production

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from feature_delivery.domain.names import CommitSha, PersonName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.repository import Repository


def in_doubt(unit: Unit, project: ProjectConfig) -> tuple[PromotionWork, ...]:
    """Return the promotions to ask Git about before a commit is adopted."""
    return tuple(
        PromotionWork(before=p.before, candidate=p.candidate, restored=None) for p in production.in_doubt(unit, project)
    )


def look(repository: Repository, commit: CommitSha, promotions: Iterable[PromotionWork]) -> dict[CommitSha, Held]:
    """Return how much of each candidate ``commit`` holds.

    Raises:
        NotFound: The host does not have it.
        Unavailable: The host did not answer.
    """
    return {p.candidate: repository.held(commit, before=p.before, candidate=p.candidate) for p in promotions}


def adopt(
    unit: Unit, project: ProjectConfig, commit: CommitSha, *, person: PersonName, held: Mapping[CommitSha, Held]
) -> str:
    """Accept a foreign commit on production as its new head, and thaw promotions; returns what that means, in words.

    Features that stopped because of it go on.

    Args:
        unit: The transaction.
        project: Whose production.
        commit: Where its branch is.
        person: Who says so.
        held: How much of each promotion without a verdict it holds, as ``look`` found it before.

    Raises:
        Refused: The person is no operator, the commit is not the one production was frozen for, or it lacks what
            waits for its verdict.
        Unavailable: Whether they are an operator is not known at the moment, or something was promoted since Git was
            asked.
    """
    if why := project.unclear(person, Who.OPERATOR):
        raise Unavailable(why)
    row = unit.books.lock_project(project.name)
    if person not in project.people.with_role(Who.OPERATOR):
        raise Refused(f"{person} is no operator of {project.name}: only an operator may adopt a commit.")
    if row.frozen_commit is not None and row.frozen_commit != commit:
        raise Refused(f"Production is frozen for {row.frozen_commit}, not for {commit}: look at what is there now.")
    if not held.keys() >= {p.candidate for p in production.in_doubt(unit, project)}:
        raise Unavailable(f"Something was promoted while {commit[:10]} was looked at. Say it again.")
    _refuse_without_the_holder(unit, project, commit, held)
    row.production_commit = commit
    said = " ".join(production.settle_lost(unit, project, commit, held))
    text = f"{person} adopted {commit[:10]} as the new head of {project.branches.production}. {said}".strip()
    unit.books.add(Event(project=project.name, feature_id=None, kind="adopted", text=text, person=person))
    to = project.people.with_role(Who.OPERATOR, Who.MANAGER)
    posting.announce(unit, project, f"adopted:{commit}:{now():%Y%m%d%H%M%S}", text, to=to)
    production.thaw(unit, project, row)
    return said


def _refuse_without_the_holder(
    unit: Unit, project: ProjectConfig, commit: CommitSha, held: Mapping[CommitSha, Held]
) -> None:
    """Refuse to go on from a commit without what waits for its verdict: the shop itself may still run it.

    Its rollback brings the shop back, too; whoever has done that by hand breaks its lock first.
    """
    row = unit.books.lock_project(project.name)
    for promotion in production.in_doubt(unit, project):
        waits = promotion.state in OPEN_PROMOTIONS - {PromotionState.ROLLING_BACK}
        gone = held[promotion.candidate] in {Held.ABSENT, Held.TAKEN_BACK}
        if waits and gone and row.lock_feature_id == promotion.feature_id:
            key = unit.books.feature_by_id(promotion.feature_id).key
            raise Refused(
                f"{commit[:10]} was not adopted: {key} waits for its verdict, and this commit does not hold it. Roll "
                f"it back with 'feature-delivery rollback {key}', which goes on from there and deploys; or break its "
                "lock first, if the shop itself was brought back by hand."
            )
