"""Ledgers of every released version, with data, come up to this one and can be read whole; each migration goes back."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, pool, select

from feature_delivery.adapters.ledger.board_books import SqlBoardBooks
from feature_delivery.adapters.ledger.mapping import RECORDS
from feature_delivery.adapters.ledger.session import ledger_begin
from feature_delivery.adapters.ledger.tables import VERSION_TABLE, metadata
from feature_delivery.domain.records import FeatureState
from feature_delivery.services.control.board import cards
from feature_delivery.services.control.status import feature_view
from feature_delivery.web.database import newer
from tests.support.ledger_dumps import DUMPS, HOME, Rows, config, filled, restore, rows_of, without
from tests.support.postgres import PostgresServer
from tests.support.shop_project import shop_project

RELEASED = sorted(DUMPS.glob("*.sql.gz"))
ROOT = Path(__file__).parents[2]
PROJECT = shop_project()
MIGRATE = """
import sys
from alembic import command
from tests.support.ledger_dumps import config
command.upgrade(config(sys.argv[1]), "head")
"""


@pytest.fixture(scope="module", params=RELEASED, ids=lambda path: path.name.removesuffix(".sql.gz"))
def released(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    """Name of a database as a released version left it."""
    url = postgres_server.create()
    restore(request.param, url.set(drivername="postgresql").render_as_string(hide_password=False))
    assert url.database
    yield url.database
    postgres_server.drop(url)


@pytest.fixture
def old(released: str, postgres_server: PostgresServer) -> Iterator[Engine]:
    """A copy of it for one test."""
    url = postgres_server.create(template=released)
    engine = create_engine(url, poolclass=pool.NullPool)
    yield engine
    engine.dispose()
    postgres_server.drop(url)


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def revision(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision())


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def scripts() -> ScriptDirectory:
    found = config("postgresql://")
    found.set_main_option("script_location", str(HOME / "migrations"))
    return ScriptDirectory.from_config(found)


def losses(newest: str, oldest: str) -> tuple[str, ...]:
    """What the migrations declare as lost on the way back."""
    return tuple(name for one in scripts().iterate_revisions(newest, oldest) for name in one.module.loses)


def test_every_release_left_a_ledger_behind() -> None:
    """A release without one cannot be tested to be upgraded: scripts/dump_ledger.py, before the tag."""
    headings = re.findall(r"^## (\d+\.\d+\.\d+)( \(unreleased\))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    there = {path.name for path in RELEASED}
    assert {f"{version}.sql.gz" for version, unreleased in headings if not unreleased} <= there
    assert RELEASED, "there is at least one of a version before the first release"
    newest, unreleased = headings[0]
    if unreleased:
        assert f"{newest}.sql.gz" not in there, "one that was made before the release has not the release's tables"
    else:
        held = gzip.decompress((DUMPS / f"{newest}.sql.gz").read_bytes()).decode()
        assert f"{VERSION_TABLE} VALUES ('{scripts().get_current_head()}');" in held


def test_a_released_ledger_comes_up_to_date_and_is_read_whole_through_the_ports(old: Engine) -> None:
    before = {name: len(held) for name, held in rows_of(old).items()}
    assert min(before.values()) >= 1, "a row in every table"
    command.upgrade(config(address(old)), "head")
    assert differences(old) == []
    after = {name: len(held) for name, held in rows_of(old).items()}
    assert {name: after[name] for name in before} == before
    with ledger_begin(old)() as (session, books):
        for record, table in RECORDS.items():
            read = session.scalars(select(record)).all()
            assert len(read) == after[table.name]
            for one in read:
                assert all(hasattr(one, each.name) for each in fields(record)), record
        features = books.features()
        assert {f.state for f in features} == set(FeatureState), "features in every stage"
        for feature in features:
            view = feature_view(books, PROJECT, feature, tasks={}, run_state="running")
            assert view.key == feature.key
        facts = SqlBoardBooks(session).facts(ended_per_project=50)
        assert len(cards(facts, {PROJECT.name: PROJECT})) == len(features)
        assert books.installation().fault != "", "restored elsewhere it is a copy, whatever the version"


def test_going_back_to_a_released_version_and_up_again_loses_what_is_declared_and_no_more(old: Engine) -> None:
    release, before = revision(old), rows_of(old)
    command.upgrade(config(address(old)), "head")
    newest = rows_of(old)
    command.downgrade(config(address(old)), release)
    assert rows_of(old) == before, "the older version finds its own records"
    command.upgrade(config(address(old)), "head")
    lost = losses(revision(old), release)
    assert without(rows_of(old), lost) == without(newest, lost)


def test_every_migration_goes_back_and_forward_alone_with_rows_in_every_table(old: Engine) -> None:
    settings = config(address(old))
    command.upgrade(settings, "head")
    filled(old)
    at: str | None = revision(old)
    seen: list[str] = []
    while at is not None:
        script = scripts().get_revision(at)
        assert script is not None
        before: Rows = rows_of(old)
        assert min(len(held) for held in before.values()) >= 1, f"a table of {at} is empty"
        command.downgrade(settings, "-1")
        command.upgrade(settings, "+1")
        lost = script.module.loses
        assert without(rows_of(old), lost) == without(before, lost), f"{at} loses more than it declares"
        command.downgrade(settings, "-1")
        seen.append(at)
        at = str(script.down_revision) if script.down_revision else None
    assert seen == [one.revision for one in scripts().walk_revisions()]
    assert rows_of(old) == {}


def test_two_that_migrate_at_once_do_it_once(old: Engine) -> None:
    command.downgrade(config(address(old)), "0005")
    line = [sys.executable, "-c", MIGRATE, address(old)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert differences(old) == []


GUARDS = """
import sys
from airflow.utils.session import create_session
from feature_delivery.web.database import LedgerDBManager, must_fit
def said(act):
    try:
        act()
    except (SystemExit, Exception) as refused:
        print(str(refused))
    else:
        print("done")
with create_session() as session:
    manager = LedgerDBManager(session)
    said(lambda: manager.downgrade("0008"))
    said(must_fit)
    session.connection().exec_driver_sql("UPDATE fd_alembic_version SET version_num = '9999'")
    session.commit()
    said(manager.upgradedb)
    said(manager.check_migration)
    said(lambda: manager.downgrade("0008"))
    said(must_fit)
"""


def test_a_newer_ledger_is_refused_and_nothing_is_forgotten_by_mistake(old: Engine, tmp_path: Path) -> None:
    command.upgrade(config(address(old)), "head")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address(old),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    line = [sys.executable, "-c", GUARDS]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    forgets, fits, *newer_ones = [one for one in done.stdout.splitlines() if one.strip()][-6:]
    assert re.match(
        r"Going back to 0008 forgets .*fd_brake.* for good\. Restore a backup .* FEATURE_DELIVERY_MAY_LOSE=0008",
        forgets,
    )
    assert fits == "done"
    assert all("The ledger is at 9999, which this version does not know" in one for one in newer_ones)
    assert len(newer_ones) == 4


def test_only_an_unknown_revision_is_newer() -> None:
    assert newer("0001", scripts()) == newer(None, scripts()) == ""
    assert "knows up to" in newer("9999", scripts())
