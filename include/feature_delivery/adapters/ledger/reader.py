"""What every part of the books stands on: reads that are never stale, writes that are never forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import inspect, select
from sqlalchemy.dialects import postgresql, sqlite

from feature_delivery.adapters.ledger.mapping import RECORDS, map_records

if TYPE_CHECKING:
    from sqlalchemy import CursorResult, Select, Table
    from sqlalchemy.orm import Session

T = TypeVar("T")


def insert_unless_there(session: Session, table: Table, **values: object) -> bool:
    """Insert one row; ``False`` when a unique rule says that it is there, even if another one writes it this moment."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    done = session.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())
    return cast("CursorResult[Any]", done).rowcount == 1


class Reader:
    """A session whose reads see what is stored now.

    Airflow's sessions do not flush by themselves, and an identity map keeps what it has read once. So every read
    first sends what was changed, and then overwrites the records in memory with what the database says: under READ
    COMMITTED that is everything others have committed until now.
    """

    def __init__(self, session: Session, *, new_instance: str = "") -> None:
        """Work inside ``session``; whoever opened it ends it.

        ``new_instance``: the id that a ledger without one takes; made up when empty.
        """
        map_records()
        self._session = session
        self._new_instance = new_instance

    def _rows(self, query: Select[Any]) -> list[Any]:
        self._session.flush()
        return list(self._session.scalars(query, execution_options={"populate_existing": True}))

    def _first(self, query: Select[Any]) -> Any:
        return next(iter(self._rows(query.limit(1))), None)

    def _refresh(self, *, besides: object) -> None:
        """Read again every record that this session holds: it may be older than a lock that was just got."""
        loaded: dict[type[Any], list[Any]] = {}
        for record in list(self._session.identity_map.values()):
            if type(record) in RECORDS and record is not besides:
                loaded.setdefault(type(record), []).append(record)
        for kind, known in loaded.items():
            key = inspect(kind).primary_key[0]
            numbers = [inspect(record).identity[0] for record in known]
            for record in known:
                self._session.expire(record)  # a row that is gone must not look alive
            self._rows(select(kind).where(key.in_(numbers)))
