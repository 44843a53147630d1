"""The brake: what stops when a ledger may be a copy, a project is another instance's, or much is to go at once.

Three things, from the widest to the narrowest. A ledger that may be a copy has no effect at all. A project of a fork
has none until it has a repository of its own. More than a few destructions at once destroy nothing, and nothing of the
project after it, until an operator has looked and released the brake. No brake lets go by itself.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.people import Answer
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import Brake, BrakeKind, Event, FeatureState, now
from feature_delivery.ports.runs import RunRef
from feature_delivery.services.control.posting import announce

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.domain.names import PersonName, ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit

AT_ONCE = timedelta(minutes=10)
"""What happens within this time happens at once."""

GIVEN_UP = tuple(state for state in FeatureState if state.ended_without_shipping)
RELEASE = "feature-delivery brake release"


def held(books: Books, project: ProjectName | None = None) -> str:
    """Return why nothing at all may be done, here or for ``project``; empty when there is no reason."""
    if fault := books.installation().fault:
        return fault
    return foreign(books, project) if project is not None else ""


def foreign(books: Books, project: ProjectName) -> str:
    """Return why a project is another instance's; empty when it is ours."""
    brake = books.brake(project)
    return brake.reason if brake is not None and brake.kind is BrakeKind.FORK else ""


def must_not_be_held(books: Books, project: ProjectName | None = None) -> None:
    """Stop whoever is about to have an effect.

    Raises:
        Unavailable: The ledger may be a copy, or the project is another instance's. Temporary: an operator's word ends
            it, and what waits goes on then.
    """
    if why := held(books, project):
        raise Unavailable(why)


def keeps_alive(books: Books, project: ProjectName) -> str:
    """Return why nothing of a project may be destroyed; empty when its brake is off."""
    brake = books.brake(project)
    return brake.reason if brake is not None else ""


def released_for(books: Books, project: ProjectName) -> dict[str, int]:
    """Return the environments an operator has looked at and let go, with the number of their row each.

    By the row: an environment that is made later under the same name was not looked at.
    """
    found: dict[str, int] = {}
    for brake in books.brakes(project):
        if brake.kind is BrakeKind.DESTRUCTIONS and brake.released_at is not None:
            found |= {name: int(row) for name, row in brake.about.items()}
    return found


def too_many(unit: Unit, project: ProjectConfig, doomed: Mapping[str, int]) -> str:
    """Put the brake on because of what could go at once, and say so to everybody; returns the sentence.

    ``doomed``: the environments by their name, with the number of their row.
    """
    names = ", ".join(sorted(doomed))
    brake = Brake(project=project.name, kind=BrakeKind.DESTRUCTIONS, reason="", about=dict(doomed))
    unit.books.add(brake)  # the sentence holds its number
    brake.reason = (
        f"{len(doomed)} environments of {project.name} could go at once ({names}), more than "
        f"{project.choices.destroy_at_most}: nothing is destroyed. Look why, then let them go with "
        f"'{RELEASE} --project {project.name} --brake {brake.id} --reason …'."
    )
    _tell_it_is_on(unit, project, brake)
    return brake.reason


def after_giving_up(unit: Unit, project: ProjectConfig) -> None:
    """Put the brake on when more than a few features were given up at once: their environments are not torn down yet.

    A host that shows no branch, a tracker that shows every issue as closed: it has been seen to be a fault of theirs.
    """
    if unit.books.brake(project.name) is not None:
        return
    since = now() - AT_ONCE
    over = [
        feature
        for feature in unit.books.features(project.name, GIVEN_UP)
        if feature.ended_at is not None and feature.ended_at >= since
    ]
    if len(over) <= project.choices.destroy_at_most:
        return
    let_go = released_for(unit.books, project.name)
    doomed = {one.name: one.id for feature in over for one in unit.books.environments(project.name, feature)}
    unseen = {name: row for name, row in doomed.items() if let_go.get(name) != row}
    if len(unseen) > project.choices.destroy_at_most:
        too_many(unit, project, unseen)


def pull(unit: Unit, project: ProjectConfig, reason: str, *, person: PersonName) -> Answer:
    """Put the brake on by hand: nothing of the project is destroyed until it is released.

    Raises:
        Unavailable: Whether they are an operator is not known at the moment.
    """
    unit.books.lock_project(project.name)
    if not (able := _may(project, person, reason)):
        return able
    if (brake := unit.books.brake(project.name)) is not None:
        return Answer(yes=False, reason=f"The brake of {project.name} is on already: {brake.reason}")
    text = f"{person} stopped all destruction in {project.name}: {' '.join(reason.split())}"
    brake = Brake(project=project.name, kind=BrakeKind.HAND, reason=text[:2000], person=person)
    unit.books.add(brake)
    _tell_it_is_on(unit, project, brake)
    return Answer(yes=True)


def release(
    unit: Unit, project: ProjectConfig, reason: str, *, person: PersonName, number: int | None = None
) -> Answer:
    """Release the brake; what was looked at may go now, however much it is. The reason of a yes says what that is.

    ``number``: of the brake that was looked at; another one stays on. ``None``: whichever is on. Teardowns that the
    brake has refused run once more.

    Raises:
        Unavailable: As ``pull``.
    """
    stopped = _torn_down_in_part(unit, project.name)
    unit.books.lock_project(project.name)
    if not (able := _may(project, person, reason)):
        return able
    brake = unit.books.brake(project.name)
    if brake is None:
        return Answer(yes=False, reason=f"The brake of {project.name} is off: there is nothing to release.")
    if number is not None and brake.id != number:
        said = f"The brake of {project.name} that is on is number {brake.id} by now, not {number}: look again."
        return Answer(yes=False, reason=f"{said} {brake.reason}")
    if brake.kind is BrakeKind.FORK and brake.about.get("repository") == project.repository:
        return Answer(
            yes=False,
            reason=f"The project file of {project.name} still names the repository of the instance this one was forked "
            "from. Name another one there, with its host, tracker and channels, before the brake is released.",
        )
    brake.released_at, brake.released_by, brake.release_reason = now(), person, " ".join(reason.split())[:2000]
    for run in stopped:
        unit.runs.tear_down_again(run)
    freed = ", ".join(sorted(brake.about)) if brake.kind is BrakeKind.DESTRUCTIONS else ""
    text = f"{person} released the brake of {project.name}: {brake.release_reason}"
    _tell(unit, project, f"brake:{brake.id}:released", text, person=person)
    return Answer(yes=True, reason=f"{freed} may go now." if freed else "What is over may be destroyed again.")


def _torn_down_in_part(unit: Unit, project: ProjectName) -> list[RunRef]:
    """Lock and return the runs whose teardown the brake may have refused, in the order of their names.

    Those of features that are over and have environments still, or were over since shortly before it went on.
    """
    on = unit.books.brake(project)
    if on is None or on.kind is BrakeKind.FORK:
        return []  # what a fork brought along is the other instance's to tear down
    since = on.set_at - AT_ONCE
    owners = {one.feature_id for one in unit.books.environments(project)}
    over = [
        feature
        for feature in unit.books.features(project)
        if feature.state is not FeatureState.ACTIVE
        and (feature.id in owners or (feature.ended_at is not None and feature.ended_at >= since))
    ]
    runs = sorted({RunRef(project, feature.run_id) for feature in over}, key=lambda run: run.run_id)
    return [run for run in runs if unit.runs.lock(run)]


def _may(project: ProjectConfig, person: str, reason: str) -> Answer:
    if why := project.unclear(person, Who.OPERATOR):
        raise Unavailable(why)
    if person not in project.people.persons:
        return Answer(yes=False, reason=project.stranger(person))
    operators = project.people.with_role(Who.OPERATOR)
    if person not in operators:
        who = ", ".join(operators) or "nobody"
        return Answer(yes=False, reason=f"{person} is no operator of {project.name}: {who} may use its brake.")
    if not reason.strip():
        return Answer(yes=False, reason="The brake needs a reason: everybody is told, and it is kept.")
    return Answer(yes=True)


def _tell_it_is_on(unit: Unit, project: ProjectConfig, brake: Brake) -> None:
    _tell(unit, project, f"brake:{brake.id}:on", brake.reason, person=brake.person)


def _tell(unit: Unit, project: ProjectConfig, marker: str, text: str, *, person: str) -> None:
    unit.books.add(Event(project=project.name, feature_id=None, kind="brake", text=text[:2000], person=person))
    announce(unit, project, marker, text, to=project.people.with_role(Who.OPERATOR, Who.MANAGER))
