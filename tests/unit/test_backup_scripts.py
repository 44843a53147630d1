"""The shell scripts around docker-compose, against a compose that only writes down what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMPOSE = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    *"count(*)"*) echo "$TABLES";;
    *pg_dump*) [ "$DUMP" = fails ] && exit 1; echo dump;;
    *tar*-czf*) tar -C "$LIVE" -czf - .;;
    *pg_restore*|*-xzf*) [ "$FULL" = yes ] && exit 1; cat >>"$CALLS";;
esac
"""


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    path = tmp_path / "compose"
    path.write_text(COMPOSE)
    path.chmod(0o755)
    (tmp_path / "calls").touch()
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "shop.yaml").write_text("name: shop\n")
    return path


def run(script: str, argument: Path, compose: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "COMPOSE": str(compose),
        "CALLS": str(compose.parent / "calls"),
        "DUMP": "",
        "FULL": "",
        "LIVE": str(compose.parent / "live"),
        "PROJECTS": str(compose.parent / "projects"),
        **given,
    }
    command = ["sh", str(SCRIPTS / script), str(argument)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=30, umask=0o077
    )


def test_a_backup_goes_back_into_an_empty_database(compose: Path, tmp_path: Path) -> None:
    made = run("backup.sh", tmp_path / "backups", compose)
    folder = Path(made.stdout.strip())
    assert {file.name for file in folder.iterdir()} == {"database.dump", "state.tar.gz", "projects.tar.gz"}
    assert folder.stat().st_mode & 0o077 == 0
    done = run("restore.sh", folder, compose, TABLES="0")
    assert done.returncode == 0, done.stderr
    for choice in ("adopt", "fork"):
        migrated = f"bash -c 'airflow db migrate && feature-delivery instance {choice}'"  # the dump may be an older one
        assert f"{compose} run --rm migrations {migrated}" in done.stdout
    calls = (tmp_path / "calls").read_text(errors="replace")
    assert calls.index("-xzf -\n\x1f") < calls.index("--single-transaction --exit-on-error\ndump\n")


def test_a_restore_that_failed_at_its_first_half_has_not_touched_the_database(compose: Path, tmp_path: Path) -> None:
    """The second half is one transaction: whichever fails, the database is empty still, and the same call works."""
    shutil.copytree(Path(run("backup.sh", tmp_path / "backups", compose).stdout.strip()), tmp_path, dirs_exist_ok=True)
    assert run("restore.sh", tmp_path, compose, TABLES="0", FULL="yes").returncode == 1
    assert "pg_restore" not in (tmp_path / "calls").read_text(errors="replace")
    assert run("restore.sh", tmp_path, compose, TABLES="0").returncode == 0


def test_project_files_come_back_where_there_are_none_and_replace_none(compose: Path, tmp_path: Path) -> None:
    """They are the only record of people, roles, gates and hosts; and a removed project must not come back."""
    folder = Path(run("backup.sh", tmp_path / "backups", compose).stdout.strip())
    for _ in range(2):
        done = run("restore.sh", folder, compose, TABLES="0")
        assert (tmp_path / "projects" / "shop.yaml").read_text() == "name: shop\n", done.stderr
    assert "not empty and stays as it is" in done.stdout
    assert (tmp_path / "projects" / "shop.yaml").stat().st_mode & 0o004, "Airflow is another user than the operator"
    (tmp_path / "projects" / "shop.yaml").rename(tmp_path / "projects" / "new.yaml")
    assert run("restore.sh", folder, compose, TABLES="0").returncode == 0
    assert [one.name for one in (tmp_path / "projects").iterdir()] == ["new.yaml"]


def test_a_backup_of_before_they_were_in_it_goes_back_and_says_what_is_missing(compose: Path, tmp_path: Path) -> None:
    folder = Path(run("backup.sh", tmp_path / "backups", compose).stdout.strip())
    (folder / "projects.tar.gz").unlink()
    done = run("restore.sh", folder, compose, TABLES="0")
    assert (done.returncode, "without project files" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_the_folder_of_project_files_is_the_one_that_env_names(compose: Path, tmp_path: Path, quote: str) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "checkout" / "scripts", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (tmp_path / "checkout" / ".env").write_text(f"SITE=a\nPROJECTS={quote}{tmp_path}/my projects{quote}\nUSERS=b\n")
    folder = Path(run("backup.sh", tmp_path / "backups", compose).stdout.strip())
    restore = tmp_path / "checkout" / "scripts" / "restore.sh"
    assert run(str(restore), folder, compose, TABLES="0", PROJECTS="").returncode == 0
    assert (tmp_path / "my projects" / "shop.yaml").exists()
    (tmp_path / "checkout" / ".env").write_text(f"export PROJECTS={quote}~/mine{quote}  # ours\n")
    assert run(str(restore), folder, compose, TABLES="0", PROJECTS="", HOME=str(tmp_path)).returncode == 0
    assert (tmp_path / "mine" / "shop.yaml").exists()
    (tmp_path / "checkout" / ".env").write_text(f"PROJECTS={quote}${{HOME}}/else{quote}\n")
    refused = run(str(restore), folder, compose, TABLES="0", PROJECTS="", HOME=str(tmp_path))
    assert (refused.returncode, "write the folder's whole name" in refused.stderr) == (1, True)


def test_a_backup_that_failed_leaves_nothing_behind(compose: Path, tmp_path: Path) -> None:
    """One a night would fill the disk."""
    assert run("backup.sh", tmp_path / "backups", compose, DUMP="fails").returncode == 1
    assert list((tmp_path / "backups").iterdir()) == []


# By the real programs, in the place of the containers. Their state is in `$STATE`.
REAL = """#!/bin/sh
cd "$STATE" || exit
case "$*" in
    *pg_dump*) echo dump;;
    *"count(*)"*) echo 0;;
    *"tar -C /opt/airflow/projects"*) shift 6; exec tar -C "$LIVE" "$@";;
    *tar*-czf*) exec sh -c "$(printf %s "$6" | sed "s#cd /opt/airflow/state#true#")";;
    *-xzf*) exec tar --ignore-zeros -xzf -;;
esac
"""
KEPT = (
    "secrets/webhook-shop",
    "repositories/shop.git/HEAD",
    # The mark of an instance that somebody has called like an environment.
    "environments/.control/preprod-1/shop.json",
    "environments/shop/production/environment.json",
    "environments/shop/production/data/tmp/orders.sqlite3",
    "environments/shop/production/releases/a/suites/test.py",
    "environments/shop/preprod-shop-1/environment.json",
)
TEMPORARY = (
    "environments/shop/production/suites/unit-1/x",
    "environments/shop/production/tmp/x",
    "environments/shop/development-shop-1/suites/unit-1/closed/x",
    "environments/shop/.staging/1-a/copy/x",
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name in (*KEPT, *TEMPORARY):
        file = tmp_path / "state" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "state"


def test_everything_of_the_state_comes_back_but_what_suites_leave(compose: Path, state: Path, tmp_path: Path) -> None:
    compose.write_text(REAL)
    made = run("backup.sh", tmp_path / "backups", compose, STATE=str(state))
    assert made.returncode == 0, made.stderr
    back = tmp_path / "back"
    (back / "secrets").mkdir(parents=True)
    (back / "secrets" / "webhook-shop").write_text("another stack's")
    for _ in range(2):
        done = run("restore.sh", Path(made.stdout.strip()), compose, STATE=str(back))
        assert done.returncode == 0, done.stderr
    assert {str(one.relative_to(back)): one.read_text() for one in back.rglob("*") if one.is_file()} == {
        name: name for name in KEPT
    }
    # A release that is started again expects its folders.
    assert {one.name for one in (back / "environments" / "shop" / "production").iterdir()} >= {"suites", "tmp"}


@pytest.mark.parametrize(
    ("closed", "whole"),
    [
        ("environments/shop/development-shop-1/suites/unit-1/closed", True),
        ("environments/shop/preprod-shop-1/closed", True),
        ("environments/shop/production/closed", False),
    ],
)
def test_a_folder_that_a_branch_has_closed_ends_no_backup_and_one_of_production_does(
    compose: Path, state: Path, tmp_path: Path, closed: str, *, whole: bool
) -> None:
    # Nothing is closed to root; in its container Airflow is not.
    airflow = "" if os.geteuid() else "setpriv --reuid 65534 --clear-groups "
    compose.write_text(REAL.replace("exec sh -c", f"exec {airflow}sh -c"))
    (state / closed).mkdir(parents=True, exist_ok=True)
    for path in (state, *state.rglob("*")):
        path.chmod(0o755)
    (state / closed).chmod(0)
    made = run("backup.sh", tmp_path / "backups", compose, STATE=str(state))
    (state / closed).chmod(0o755)
    assert (made.returncode == 0) == bool(list((tmp_path / "backups").iterdir())) == whole, made.stderr
    if not whole:
        assert f"{closed}: Cannot open" in made.stderr
        assert "give Airflow's user the right to read it" in made.stderr
