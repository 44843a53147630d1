"""Whose ledger it is and where, and the brakes that stop a project."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from sqlalchemy import String, literal_column, select, text, update

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.reader import Reader, insert_unless_there
from feature_delivery.domain.installation import Installation
from feature_delivery.domain.records import Brake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from feature_delivery.domain.names import ProjectName

_MAY_ASK: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()
"""Per engine, whether its user may ask for the server's identifier."""

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
        query = select(t.instance.c.value, t.instance.c.place, t.instance.c.accepted, place)
        known = self._session.execute(query.where(t.instance.c.id == 1)).first()
        if known is None:
            value, here = self._new_instance or uuid.uuid4().hex[:12], self._session.scalar(select(place))
            insert_unless_there(self._session, t.instance, id=1, value=value, place=here, accepted="")
            known = self._session.execute(query.where(t.instance.c.id == 1)).one()
        return Installation(
            id=known.value, place=known.place, accepted=known.accepted, here=known.here, claimed=self._new_instance
        )

    def settle(self, instance: str) -> None:
        """Note that the ledger belongs to ``instance``, here, and that whoever works with it now speaks for it."""
        found = self.installation()
        change = update(t.instance).where(t.instance.c.id == 1)
        accepted = found.claimed if found.claimed != instance else ""
        self._session.execute(change.values(value=instance, place=found.here, accepted=accepted))

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
