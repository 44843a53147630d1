"""The ledger's tables come from Airflow's ``db migrate``, from the metadata or file by file, and are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import URL, Engine, create_engine, inspect, pool, text

from feature_delivery.adapters import ledger
from feature_delivery.adapters.ledger.session import ledger_begin
from feature_delivery.adapters.ledger.tables import VERSION_TABLE, metadata

HOME = Path(ledger.__file__).parent

COLUMNS = """
    SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
    FROM information_schema.columns WHERE starts_with(table_name, 'fd_') ORDER BY 1, 2
"""
INDEXES = "SELECT tablename, indexdef FROM pg_indexes WHERE starts_with(tablename, 'fd_') ORDER BY 1, 2"
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE starts_with(conrelid::regclass::text, 'fd_') ORDER BY 1, 2
"""


@pytest.fixture
def empty(empty_postgres_url: URL) -> Iterator[Engine]:
    engine = create_engine(empty_postgres_url, poolclass=pool.NullPool)
    yield engine
    engine.dispose()


def config(url: URL) -> Config:
    found = Config(HOME / "alembic.ini")
    found.set_main_option("sqlalchemy.url", url.render_as_string(hide_password=False).replace("%", "%%"))
    return found


def schema(engine: Engine) -> list[list[tuple[object, ...]]]:
    with engine.connect() as connection:
        found = [connection.execute(text(query)) for query in (COLUMNS, INDEXES, CONSTRAINTS)]
        return [[tuple(row) for row in rows if row[0] != VERSION_TABLE] for rows in found]


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_the_migration_files_make_exactly_the_tables_of_the_metadata(empty: Engine, postgres_engine: Engine) -> None:
    command.upgrade(config(empty.url), "head")
    assert differences(empty) == []
    assert differences(postgres_engine) == []
    by_files, by_metadata = schema(empty), schema(postgres_engine)
    assert by_files == by_metadata
    assert len(by_files[0]) > 150


def test_a_downgrade_leaves_nothing_and_can_be_taken_back(empty: Engine) -> None:
    command.upgrade(config(empty.url), "head")
    command.downgrade(config(empty.url), "base")
    assert inspect(empty).get_table_names() == [VERSION_TABLE]
    command.upgrade(config(empty.url), "head")
    assert differences(empty) == []


def test_every_migration_can_be_taken_back_alone(empty: Engine) -> None:
    command.upgrade(config(empty.url), "head")
    command.downgrade(config(empty.url), "-1")
    command.upgrade(config(empty.url), "head")
    assert differences(empty) == []


def test_webhooks_stored_before_are_kept_and_still_looked_into(empty: Engine) -> None:
    command.upgrade(config(empty.url), "0002")
    row = "INSERT INTO fd_webhook (project, delivery_id, host, event, body, received_at, result, tries)"
    with empty.begin() as connection:
        connection.execute(text(f"{row} VALUES ('shop', 'old', 'webhook', 'push', 'x', now(), '', 0)"))
    command.upgrade(config(empty.url), "head")
    with ledger_begin(empty)() as (_, books):
        (stored,) = books.webhooks_to_process()
        assert (stored.body, stored.headers, stored.hint, stored.ignored) == (b"x", {}, None, "")
    command.downgrade(config(empty.url), "0002")
    with empty.connect() as connection:
        assert connection.execute(text("SELECT delivery_id, event FROM fd_webhook")).all() == [("old", "push")]


def test_counts_begin_with_what_has_happened_until_now(empty: Engine) -> None:
    command.upgrade(config(empty.url), "0005")
    feature = """INSERT INTO fd_feature (project, key, delivery, run_id, title, description, requester, state,
        attempt_number, issue_url, request_url, request_author, started, branch_is_ours, created_at, reason)
        VALUES ('shop', 'SHOP-1', 1, 'SHOP-1', '', '', '', 'active', 1, '', '', '', true, true, now(), '')"""
    permit = """INSERT INTO fd_permit (feature_id, attempt, step, try_number, task_instance, generation, state, work,
        result, reason, granted_at, ended_at) SELECT 1, 1, 'preprod.deploy', n, 'x', 1,
        CASE n WHEN 4 THEN 'void' ELSE 'done' END, '{}', '{}', '', now(), now() + n * interval '3 seconds'
        FROM generate_series(1, 4) n"""
    webhook = """INSERT INTO fd_webhook (project, delivery_id, host, event, body, headers, ignored, received_at,
        processed_at, result, tries) SELECT 'shop', n::text, 'github', 'push', '', '{}',
        CASE n WHEN 1 THEN 'another branch' ELSE '' END, now(), CASE n WHEN 4 THEN NULL ELSE now() END, '', 0
        FROM generate_series(1, 4) n"""
    with empty.begin() as connection:
        for statement in (feature, permit, webhook):
            connection.exec_driver_sql(statement)
    command.upgrade(config(empty.url), "head")
    query = text("SELECT name, first, second, place, count, total FROM fd_tally ORDER BY 1, 3, 4")
    with empty.connect() as connection:
        assert [tuple(row) for row in connection.execute(query)] == [
            ("steps", "preprod.deploy", "done", 2, 1, 3.0),
            ("steps", "preprod.deploy", "done", 3, 2, 15.0),
            ("webhooks", "github", "ignored", 0, 1, 0.0),
            ("webhooks", "github", "processed", 0, 2, 0.0),
        ]


def test_decisions_said_before_know_their_way(empty: Engine) -> None:
    command.upgrade(config(empty.url), "0005")
    with empty.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO fd_feature (project, key, delivery, run_id, title, description, requester, state, "
                "attempt_number, issue_url, request_url, request_author, started, branch_is_ours, created_at, reason) "
                "VALUES ('shop', 'SHOP-1', 1, 'SHOP-1', '', '', '', 'active', 1, '', '', '', true, false, now(), '')"
            )
        )
        for source, origin in (("git", "request 1"), ("git", ""), ("api", ""), ("board", ""), ("direct", "")):
            row = (
                "INSERT INTO fd_decision (feature_id, step, attempt, person, kind, accepted, source, comment, reason, "
                "origin, at) SELECT id, 'review.wait_for_review', 1, 'rita', 'approve', true, :source, '', '', "
                ":origin, now() FROM fd_feature"
            )
            connection.execute(text(row), {"source": source, "origin": origin})
    command.upgrade(config(empty.url), "head")
    with ledger_begin(empty)() as (_, books):
        said = books.decisions(books.features()[0])
        assert [(d.way, d.role, d.address) for d in said] == [
            (way, "", "") for way in ("review", "comment", "rest", "board", "direct")
        ]
    command.downgrade(config(empty.url), "0005")
    with empty.connect() as connection:
        found = connection.execute(text("SELECT source FROM fd_decision ORDER BY id")).scalars().all()
    assert found == ["git", "git", "api", "board", "direct"]


def airflow(url: URL, home: Path, *arguments: str) -> str:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url.render_as_string(hide_password=False),
        "AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS": "feature_delivery.web.database.LedgerDBManager",
    }
    command_line = [sys.executable, "-m", "airflow", *arguments]
    done = subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_airflow_db_migrate_makes_the_ledger_and_is_content_with_it(
    empty: Engine, postgres_engine: Engine, tmp_path: Path
) -> None:
    airflow(empty.url, tmp_path, "db", "migrate")
    assert schema(empty) == schema(postgres_engine)
    assert "dag_run" in inspect(empty).get_table_names()
    airflow(empty.url, tmp_path, "db", "migrate")
    airflow(empty.url, tmp_path, "db", "check-migrations", "--migration-wait-timeout", "5")


def test_airflow_brings_an_older_ledger_up_to_date(empty: Engine, postgres_engine: Engine, tmp_path: Path) -> None:
    command.upgrade(config(empty.url), "0001")
    airflow(empty.url, tmp_path, "db", "migrate")
    assert schema(empty) == schema(postgres_engine)


DOWN = """
from airflow.utils.session import create_session
from feature_delivery.web.database import LedgerDBManager
with create_session() as session:
    LedgerDBManager(session).initdb(use_migration_files=True)
    assert LedgerDBManager(session).check_migration()
    LedgerDBManager(session).downgrade("base")
"""


def test_the_db_manager_runs_the_files_and_takes_them_back(empty: Engine, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": empty.url.render_as_string(hide_password=False),
        "FEATURE_DELIVERY_MAY_LOSE": "base",
    }
    command_line = [sys.executable, "-c", DOWN]
    done = subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert inspect(empty).get_table_names() == [VERSION_TABLE]
