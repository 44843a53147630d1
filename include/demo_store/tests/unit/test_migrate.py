import dataclasses
import sqlite3

import pytest

from store import db, migrate


def tables(settings):
    with db.reading(settings.database) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.fixture
def directory(tmp_path):
    """Two steps: ``a`` of the shop as it was, ``b`` of the feature."""
    directory = tmp_path / "steps"
    directory.mkdir()
    for name in ("0001_a", "0002_b"):
        (directory / f"{name}.up.sql").write_text(f"-- step\nCREATE TABLE t{name} (x);\nINSERT INTO t{name} VALUES (1);")
        (directory / f"{name}.down.sql").write_text(f"DROP TABLE t{name};")
    return directory


def released(settings, commit):
    return dataclasses.replace(settings, commit=commit)


def test_up_runs_each_step_once(settings, directory):
    assert migrate.up(settings, directory) == ["0001_a", "0002_b"]
    assert migrate.up(settings, directory) == []


def test_every_step_of_the_shop_goes_up_and_down_and_up_again(settings):
    ran = migrate.up(settings)
    assert migrate.down(settings) == ran[::-1]
    assert tables(settings) <= {"schema_steps", "sqlite_sequence"}
    assert migrate.up(settings) == ran


def test_down_takes_back_only_what_this_release_ran(settings, directory):
    feature = directory / "0002_b.up.sql"
    script = feature.read_text()
    feature.unlink()
    migrate.up(released(settings, "old"), directory)
    feature.write_text(script)
    migrate.up(released(settings, "new"), directory)
    assert migrate.down(released(settings, "new"), directory) == ["0002_b"]
    assert migrate.down(released(settings, "new"), directory) == []
    assert "t0001_a" in tables(settings)


def test_older_code_takes_back_what_it_does_not_know(settings, directory):
    migrate.up(settings, directory)
    for path in directory.glob("0002_b.*"):
        path.unlink()
    assert migrate.down(released(settings, "restored"), directory) == ["0002_b"]
    assert migrate.down(released(settings, "restored"), directory) == []


def test_a_step_that_fails_leaves_nothing_behind(settings, directory):
    (directory / "0002_b.up.sql").write_text("CREATE TABLE half (x);\nCREATE TABLE half (x);")
    with pytest.raises(sqlite3.OperationalError):
        migrate.up(settings, directory)
    assert "half" not in tables(settings)
    assert not any(migrate.status(settings, directory).values())


@pytest.mark.parametrize("arguments", [[], ["sideways"], ["up", "down"]])
def test_anything_but_up_down_status_is_a_usage_error(arguments):
    assert migrate.main(arguments) == 2
