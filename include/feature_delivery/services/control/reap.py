"""The reaper: what may be destroyed because nobody needs it, what must run. It cannot destroy anything alive.

Pure rules over what the ledger knows and what the platform lists. An environment goes only when it carries this
installation's id, is not production, and belongs to a feature that the ledger knows to have ended. Everything that
cannot be explained is reported for people and left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Environment, EnvironmentState, FeatureState, now
from feature_delivery.domain.upkeep import Doomed, Found, ReapPlan
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control import brake
from feature_delivery.services.control.history import record
from feature_delivery.services.control.scene import WRITES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit


def plan_reaping(unit: Unit, project: ProjectConfig, listing: Sequence[Found]) -> ReapPlan:
    """Say what may be destroyed now: at most ``destroy_at_most`` environments, else none, and the brake goes on.

    Raises:
        Unavailable: The ledger may be a copy, or the project is another instance's.
    """
    brake.must_not_be_held(unit.books, project.name)
    unit.books.lock_project(project.name)
    instance = unit.books.instance()
    doomed: list[tuple[Found, Environment]] = []
    report, needed = [], []
    for found in listing:
        if found.foreign or found.instance != instance:
            report.append(f"{found.name} was not made by this installation; left alone.")
            continue
        row = unit.books.environment(project.name, found.name)
        if _is_needed(unit, project, found, row):
            needed.append(found.name)
        if found.kind == EnvironmentKind.PRODUCTION:
            continue
        if row is None or row.feature_id is None:
            report.append(f"{found.name} is not in the ledger; left alone. Remove it by hand if it is nobody's.")
        elif row.state is EnvironmentState.DESTROYED or _ended(unit, row):
            doomed.append((found, row))
    if doomed and (stopped := _stopped(unit, project, {found.name: row.id for found, row in doomed})):
        report.append(stopped)
        doomed = []
    for _found, row in doomed:
        row.generation += 1
    return ReapPlan(
        instance=instance,
        destroy=tuple(
            Doomed(name=found.name, kind=found.kind, key=found.key, generation=row.generation) for found, row in doomed
        ),
        report=tuple(report),
        needed=tuple(needed),
    )


def _stopped(unit: Unit, project: ProjectConfig, doomed: dict[str, int]) -> str:
    """Return why none of ``doomed`` may go; those that an operator has let go count for nothing."""
    if why := brake.keeps_alive(unit.books, project.name):
        return why
    let_go = brake.released_for(unit.books, project.name)
    unseen = {name: row for name, row in doomed.items() if let_go.get(name) != row}
    return brake.too_many(unit, project, unseen) if len(unseen) > project.choices.destroy_at_most else ""


def _is_needed(unit: Unit, project: ProjectConfig, found: Found, row: Environment | None) -> bool:
    """Say whether an environment must run, and no task is changing it: that one brings it up itself."""
    if found.kind == EnvironmentKind.PRODUCTION:
        books = unit.books.project(project.name)
        owner = books.lock_feature_id if books is not None else None
    elif row is None or row.state is not EnvironmentState.READY or row.feature_id is None:
        return False
    else:
        owner = row.feature_id
        if unit.books.feature_by_id(owner).state is not FeatureState.ACTIVE:
            return False
    if owner is None:
        return True
    return not any(
        p.state == "granted" and p.step in WRITES for p in unit.books.permits(unit.books.feature_by_id(owner))
    )


def _ended(unit: Unit, row: Environment) -> bool:
    """Say whether the feature of an environment has ended and its own teardown is over."""
    assert row.feature_id is not None
    feature = unit.books.feature_by_id(row.feature_id)
    if feature.state is FeatureState.ACTIVE:
        return False
    teardown = {Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD}
    return not any(p.state == "granted" and p.step in teardown for p in unit.books.permits(feature))


def reaped(unit: Unit, project: ProjectConfig, name: str, generation: int) -> None:
    """Write down that an environment was destroyed and found gone."""
    unit.books.lock_project(project.name)
    row = unit.books.environment(project.name, name)
    if row is not None and row.generation == generation and row.feature_id is not None:
        row.state, row.destroyed_at, row.commit = EnvironmentState.DESTROYED, row.destroyed_at or now(), None
        text = f"The reaper destroyed {name}, which nobody needed any more, and found it gone."
        record(unit, unit.books.feature_by_id(row.feature_id), "reaped", text)
