"""The SQLite file: connections and transactions."""

import sqlite3
from contextlib import contextmanager
from pathlib import Path


class SchemaMissing(Exception):
    """The database has no tables yet."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database. Transactions are begun by hand, see ``reading`` and ``writing``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    # Readers go on while one writes; an old and a new release share the file for a moment.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


@contextmanager
def reading(path: Path):
    """Give a connection for reading."""
    connection = connect(path)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def writing(path: Path):
    """Give a connection inside one transaction: all of it happens, or nothing."""
    connection = connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    finally:
        connection.close()


def require_schema(path: Path) -> None:
    """Raise ``SchemaMissing`` unless the shop's tables are there."""
    with reading(path) as db:
        found = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'products'").fetchone()
    if not found:
        raise SchemaMissing(f"{path} has no tables. Run: python -m store.migrate up")
