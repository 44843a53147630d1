"""The reaper: what may be destroyed because nobody needs it, what must run. It cannot destroy anything alive.

Pure rules over what the ledger knows and what the platform lists. An environment goes only when it carries this
installation's id, is not production, and belongs to a feature that the ledger knows to have ended. Everything that
cannot be explained is reported for people and left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import commit_sha
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Environment, EnvironmentState, FeatureState, now
from feature_delivery.domain.upkeep import Doomed, Found, ReapPlan
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control import brake
from feature_delivery.services.control.history import record
from feature_delivery.services.control.scene import WRITES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit


_TEARDOWNS = frozenset({Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD})


class _Known:
    """What the ledger knows of a listing, read by a handful of queries: a cluster may list thousands."""

    def __init__(self, unit: Unit, project: ProjectName, names: Collection[str]) -> None:
        """Read it."""
        books = unit.books
        row = books.project(project)
        self.holder = row.lock_feature_id if row is not None else None
        self.rows = books.environments_named(project, names)
        unlisted = {row.name: row for row in books.environments(project) if row.name not in names}
        rows = [*self.rows.values(), *unlisted.values()]
        owners = {environment.feature_id for environment in rows} | {self.holder}
        ids = sorted(owner for owner in owners if owner is not None)
        self._features = books.features_by_id(ids)
        self._changing = books.at_work(ids, WRITES)
        self._tearing_down = books.at_work(ids, _TEARDOWNS)
        self._unlisted = tuple(unlisted.values())

    def is_needed(self, found: Found) -> bool:
        """Say whether an environment must run, and no task is changing it: that one brings it up itself."""
        row = self.rows.get(found.name)
        if found.kind == EnvironmentKind.PRODUCTION:
            return self.holder not in self._changing
        if row is None or row.state is not EnvironmentState.READY or row.feature_id is None:
            return False
        return self._is_active(row.feature_id) and row.feature_id not in self._changing

    def is_over(self, row: Environment) -> bool:
        """Say whether an environment is gone by the ledger, or its feature has ended and its own teardown is over."""
        assert row.feature_id is not None
        if row.state is EnvironmentState.DESTROYED:
            return True
        return not self._is_active(row.feature_id) and row.feature_id not in self._tearing_down

    def vanished(self, most: int) -> list[Doomed]:
        """Return what is over and was not gone by the ledger, and is not listed: it went when nobody waited any more.

        Destroyed once more and looked for by its name, like everything that is over: a listing alone proves no end.
        ``most``: so many at a time; the others have waited for long.
        """
        gone: list[Doomed] = []
        for row in self._unlisted:
            if row.kind == EnvironmentKind.PRODUCTION or row.feature_id is None or row.feature_id in self._changing:
                continue
            if len(gone) < most and self.is_over(row):
                row.generation += 1
                key = self._features[row.feature_id].key
                gone.append(Doomed(name=row.name, kind=row.kind, key=key, generation=row.generation))
        return gone

    def _is_active(self, feature_id: int) -> bool:
        return self._features[feature_id].state is FeatureState.ACTIVE


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
    known = _Known(unit, project.name, {found.name for found in listing})
    for found in listing:
        if found.foreign or found.instance != instance:
            report.append(f"{found.name} was not made by this installation; left alone.")
            continue
        row = known.rows.get(found.name)
        if known.is_needed(found):
            needed.append(found.name)
        if found.kind == EnvironmentKind.PRODUCTION:
            if known.is_needed(found):
                _learn_production(unit, project, found, row)
            continue
        if row is None or row.feature_id is None:
            report.append(f"{found.name} is not in the ledger; left alone. Remove it by hand if it is nobody's.")
        elif known.is_over(row):
            doomed.append((found, row))
    if doomed and (stopped := _stopped(unit, project, {found.name: row.id for found, row in doomed})):
        report.append(stopped)
        doomed = []
    for _found, row in doomed:
        row.generation += 1
    destroy = [Doomed(name=one.name, kind=one.kind, key=one.key, generation=row.generation) for one, row in doomed]
    if not brake.keeps_alive(unit.books, project.name):
        # They count for no brake: nothing of them is there.
        destroy += known.vanished(max(1, project.choices.destroy_at_most))
    return ReapPlan(
        instance=instance,
        destroy=tuple(destroy),
        report=tuple(report),
        needed=tuple(needed),
    )


def _learn_production(unit: Unit, project: ProjectConfig, found: Found, row: Environment | None) -> None:
    """Write down where production is, as long as no delivery has: it is scraped and probed from now on.

    A first delivery then has a past to be compared with. Nobody owns the row, so nobody's end takes it along, and what
    a delivery has written of another commit stands: the listing may be older than that.
    """
    if found.name != EnvironmentKind.PRODUCTION.value or found.commit is None or not found.address:
        return
    try:
        commit_sha(found.commit)
    except Refused:
        return  # what cannot be a commit is nothing to tell Prometheus, and no reason to reap nothing
    if row is None:
        row = Environment(project=project.name, name=found.name, kind=EnvironmentKind.PRODUCTION, feature_id=None)
        unit.books.add(row)
    if row.feature_id is None and row.commit in {None, found.commit}:
        row.state, row.address, row.commit = EnvironmentState.READY, found.address, found.commit
        row.metrics_path, row.health_path = found.metrics_path, found.health_path


def _stopped(unit: Unit, project: ProjectConfig, doomed: dict[str, int]) -> str:
    """Return why none of ``doomed`` may go; those that an operator has let go count for nothing."""
    if why := brake.keeps_alive(unit.books, project.name):
        return why
    let_go = brake.released_for(unit.books, project.name)
    unseen = {name: row for name, row in doomed.items() if let_go.get(name) != row}
    return brake.too_many(unit, project, unseen) if len(unseen) > project.choices.destroy_at_most else ""


def reaped(unit: Unit, project: ProjectConfig, name: str, generation: int) -> None:
    """Write down that an environment was destroyed and found gone."""
    unit.books.lock_project(project.name)
    row = unit.books.environment(project.name, name)
    if row is not None and row.generation == generation and row.feature_id is not None:
        row.state, row.destroyed_at, row.commit = EnvironmentState.DESTROYED, row.destroyed_at or now(), None
        text = f"The reaper saw to it that {name}, which nobody needed any more, is gone."
        record(unit, unit.books.feature_by_id(row.feature_id), "reaped", text)
