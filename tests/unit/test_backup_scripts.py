"""The shell scripts around docker-compose, against a compose that only writes down what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMPOSE = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    *"count(*)"*) echo "$TABLES";;
    *pg_dump*) [ "$DUMP" = fails ] && exit 1; echo dump;;
    *tar*-czf*) echo archive;;
    *pg_restore*|*-xzf*) cat >>"$CALLS";;
esac
"""


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    path = tmp_path / "compose"
    path.write_text(COMPOSE)
    path.chmod(0o755)
    (tmp_path / "calls").touch()
    return path


def run(script: str, argument: Path, compose: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COMPOSE": str(compose), "CALLS": str(compose.parent / "calls"), "DUMP": "", **given}
    command = ["sh", str(SCRIPTS / script), str(argument)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)


def test_a_backup_goes_back_into_an_empty_database(compose: Path, tmp_path: Path) -> None:
    made = run("backup.sh", tmp_path / "backups", compose)
    folder = Path(made.stdout.strip())
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "database.dump": "dump\n",
        "state.tar.gz": "archive\n",
    }
    assert folder.stat().st_mode & 0o077 == 0
    done = run("restore.sh", folder, compose, TABLES="0")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    assert calls.index("--single-transaction --exit-on-error\ndump\n") < calls.index("-xzf -\narchive\n")


def test_a_backup_that_failed_halfway_has_not_the_name_of_one(compose: Path, tmp_path: Path) -> None:
    assert run("backup.sh", tmp_path / "backups", compose, DUMP="fails").returncode != 0
    assert [folder.suffix for folder in (tmp_path / "backups").iterdir()] == [".part"]


def test_a_database_that_holds_anything_is_not_restored_over(compose: Path, tmp_path: Path) -> None:
    for name in ("database.dump", "state.tar.gz"):
        (tmp_path / name).write_text("x")
    done = run("restore.sh", tmp_path, compose, TABLES="120")
    assert done.returncode == 1
    assert "holds 120 tables" in done.stderr
    assert "pg_restore" not in (tmp_path / "calls").read_text()


def test_a_folder_that_is_no_backup_is_refused_before_anything_starts(compose: Path, tmp_path: Path) -> None:
    done = run("restore.sh", tmp_path, compose)
    assert done.returncode == 1
    assert "no 'database.dump'" in done.stderr
    assert (tmp_path / "calls").read_text() == ""
