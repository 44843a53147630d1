"""Whose ledger it is and where, and the brakes that stop a project."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from sqlalchemy import String, delete, insert, literal_column, select, text, update

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.reader import Reader, insert_unless_there
from feature_delivery.domain.installation import Installation
from feature_delivery.domain.marks import ANY
from feature_delivery.domain.records import Brake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from feature_delivery.domain.names import ProjectName

_MAY_ASK: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()
"""Per engine, whether its user may ask for the server's identifier."""

_MARKS_KEPT = 500

_DATABASE = "(SELECT oid::text FROM pg_database WHERE datname = current_database())"
_SERVER = "(SELECT system_identifier::text FROM pg_control_system())"
_ALLOWED = text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")


class IdentityBooks(Reader):
    """Part of ``SqlBooks``."""

    def instance(self) -> str:
        """Return the id of this installation, made up at its first use."""
        return self.installation().id

    def installation(self) -> Installation:
        """Return whose ledger this is, and where it is now.

        Asked anew each time: a database may be put in the place of another one while this process runs.
        """
        place = literal_column(self._here(), String).label("here")
        query = select(t.instance.c.value, t.instance.c.place, t.instance.c.accepted, t.instance.c.contested, place)
        known = self._session.execute(query.where(t.instance.c.id == 1)).first()
        if known is None:
            value, here = self._new_instance or uuid.uuid4().hex[:12], self._session.scalar(select(place))
            insert_unless_there(self._session, t.instance, id=1, value=value, place=here, accepted="", contested="")
            known = self._session.execute(query.where(t.instance.c.id == 1)).one()
        return Installation(
            id=known.value,
            place=known.place,
            here=known.here,
            claimed=self._new_instance,
            accepted=known.accepted,
            contested=known.contested,
        )

    def settle(self, instance: str) -> None:
        """Note that the ledger belongs to ``instance``, here, and that whoever works with it now speaks for it."""
        found = self.installation()
        change = update(t.instance).where(t.instance.c.id == 1)
        accepted = found.claimed if found.claimed != instance else ""
        self._session.execute(change.values(value=instance, place=found.here, accepted=accepted, contested=""))
        marked = {*self._session.scalars(select(t.mark.c.project)), *self._session.scalars(select(t.project.c.name))}
        self._session.execute(delete(t.mark))
        if marked:
            # Whatever is found from now on is the past of this ledger, which goes on.
            self._session.execute(insert(t.mark), [{"project": name, "mark": ANY} for name in sorted(marked)])

    def contest(self, why: str) -> None:
        """Note that another control plane of the instance works beside this one; ``settle`` ends it."""
        self._session.execute(update(t.instance).where(t.instance.c.id == 1).values(contested=why))

    def new_mark(self, project: ProjectName, mark: str) -> Sequence[str]:
        """Note a mark that is about to be left; returns those that may be found where it is left, newest first."""
        m = t.mark.c
        known = list(self._session.scalars(select(m.mark).where(m.project == project).order_by(m.id.desc())))
        if len(known) > _MARKS_KEPT:
            # A place that was out of reach for hours: what was left there last is the oldest, or one of the newest.
            dropped = known[_MARKS_KEPT:-1]
            self._session.execute(delete(t.mark).where(m.project == project, m.mark.in_(dropped)))
        self._session.execute(insert(t.mark).values(project=project, mark=mark))
        return known

    def mark_left(self, project: ProjectName, mark: str) -> None:
        """Forget the marks before one that has been left."""
        m = t.mark.c
        at = select(m.id).where(m.project == project, m.mark == mark).scalar_subquery()
        self._session.execute(delete(t.mark).where(m.project == project, m.id < at))

    def is_our_mark(self, project: ProjectName, mark: str) -> bool:
        """Say whether this ledger made a mark up and has not forgotten it."""
        m = t.mark.c
        return self._session.scalar(select(m.id).where(m.project == project, m.mark == mark).limit(1)) is not None

    def _here(self) -> str:
        """Return the SQL of what no copy of the ledger has in common with it: the server's identifier, the database's.

        A server that is stopped, upgraded within its major version, or replaced by its standby keeps the identifier; a
        dump that is restored elsewhere gets another one. A user without the right to ask knows the database alone.
        """
        bind = self._session.get_bind()
        if bind.dialect.name != "postgresql":
            return "'memory'"
        if bind.engine not in _MAY_ASK:
            _MAY_ASK[bind.engine] = bool(self._session.scalar(_ALLOWED))
        server = _SERVER if _MAY_ASK[bind.engine] else "''"
        return f"{server} || '/' || {_DATABASE}"

    def brake(self, project: ProjectName) -> Brake | None:
        """Return the project's brake that is on."""
        query = select(Brake).where(t.brake.c.project == project, t.brake.c.released_at.is_(None))
        return cast("Brake | None", self._first(query))

    def brakes_on(self) -> Sequence[Brake]:
        """Return every brake that is on, the newest first."""
        return self._rows(select(Brake).where(t.brake.c.released_at.is_(None)).order_by(t.brake.c.id.desc()))

    def brakes(self, project: ProjectName | None = None, *, limit: int = 100) -> Sequence[Brake]:
        """Return brakes, newest first, released ones included."""
        query = select(Brake).order_by(t.brake.c.id.desc()).limit(limit)
        return self._rows(query if project is None else query.where(t.brake.c.project == project))
