"""The ledger in memory: the real books on SQLite, for unit tests that open thousands of transactions.

It passes the same contract suite as PostgreSQL. What it cannot show is concurrency: there is one connection, so a
second transaction inside a first one, which would deadlock in earnest, is an error here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine, create_engine, event, pool, text
from sqlalchemy.orm import Session

from feature_delivery.adapters.ledger import SqlBooks, ledger_begin, transactions
from feature_delivery.adapters.ledger.tables import metadata


@dataclass
class MemoryLedger:
    """``begin`` opens a transaction: ``with ledger.begin() as (session, books)``."""

    engine: Engine
    _open: bool = field(default=False, init=False)
    _begin: Callable[[], AbstractContextManager[tuple[Session, SqlBooks]]] = field(init=False)

    def __post_init__(self) -> None:
        self._begin = ledger_begin(self.engine)

    @contextmanager
    def begin(self) -> Iterator[tuple[Session, SqlBooks]]:
        assert not self._open, "a transaction was opened inside another one: on PostgreSQL this would deadlock"
        self._open = True
        try:
            with self._begin() as (session, books):
                yield session, books
        finally:
            self._open = False

    def clear(self) -> None:
        """Forget everything, numbers too, as if just made."""
        with transactions(self.engine)() as session:
            for table in reversed(metadata.sorted_tables):
                session.execute(table.delete())
            session.execute(text("DELETE FROM sqlite_sequence"))

    def close(self) -> None:
        self.engine.dispose()


def memory_ledger() -> MemoryLedger:
    """Return an empty ledger in memory; ``close`` it, and ``clear`` it to use it again at once."""
    engine = create_engine("sqlite://", poolclass=pool.StaticPool, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _keep_references(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    metadata.create_all(engine)
    return MemoryLedger(engine)
