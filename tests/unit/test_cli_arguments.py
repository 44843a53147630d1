"""What the command line says to wrong usage: exit codes, help, and one sentence for each bad name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from feature_delivery.cli.embedded.home import Home
from feature_delivery.cli.main import app
from feature_delivery.domain.errors import Conflict
from tests.support.command_line import Command

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
NOBODY = "http://127.0.0.1:9"


def instance_in(home: Path, *, address: str = NOBODY) -> Path:
    """Make what the command line reads of a running instance."""
    (home / "airflow").mkdir(parents=True)
    (home / "instance.lock").write_text(json.dumps({"pid": 1, "address": address}))
    (home / "airflow" / "passwords.json").write_text(json.dumps({"admin": "a", "nina": "n"}))
    (home / "cli.json").write_text(json.dumps({"user": "nina"}))
    return home


def test_every_command_of_the_readme_is_there() -> None:
    assert {"demo", "up", "init", "doctor", "start", "status", "take", "approve", "reject", "keep", "rollback"} < {
        *COMMANDS
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_shows_an_example_that_names_it(command: Command, name: str) -> None:
    answer = command(name, "--help")
    assert answer.code == 0
    assert f"Example: feature-delivery {name}" in " ".join(answer.out.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("status", "--frobnicate"),
        ("start",),
        ("start", "SHOP-1", "--title"),
        ("approve", "SHOP-1"),
        ("approve", "SHOP-1", "--gate", "nope"),
        ("reject", "SHOP-1", "--gate", "turn;id"),
        ("break-lock",),
        ("adopt",),
        ("up",),
        ("up", "--repository", "x", "--project-file", "y"),
        ("up", "--repository", "x", "--port", "0"),
        ("up", "--repository", "x", "--port", "65536"),
        ("demo", "--scenario", "nope"),
        ("demo", "--timeout", "0"),
        ("demo", "--port", "many"),
        ("init", "/nonexistent/../nowhere"),
    ],
)
def test_wrong_usage_ends_with_2_and_changes_nothing(command: Command, arguments: tuple[str, ...]) -> None:
    answer = command(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert not list(Path.cwd().iterdir())


BAD_KEYS = [
    "nope",
    "SHOP-1;id",
    "SHOP-1$(id)",
    "../SHOP-1",
    "SHOP-1/..",
    "shop-1",
    "SHOP-0",
    "SHOP-1\n",
    "SHOP-1 x",
    "'",
]


@pytest.mark.parametrize("key", BAD_KEYS)
@pytest.mark.parametrize(
    "words", [("status",), ("start",), ("take",), ("keep",), ("rollback",), ("cancel",), ("logs",)]
)
def test_a_key_with_shell_or_path_characters_goes_nowhere(
    command: Command, tmp_path: Path, words: tuple[str, ...], key: str
) -> None:
    home = instance_in(tmp_path / "home")
    # Nobody listens there: the key must have been refused before anything was sent.
    command(*words, key, "--home", home).refused("is not an issue key", "SHOP-123")


@pytest.mark.parametrize("branch", ["feature/a;b", "../../etc", "-x", "feature/a b", "feature/$(id)", "a..b", "x.lock"])
def test_a_branch_with_shell_or_path_characters_goes_nowhere(command: Command, tmp_path: Path, branch: str) -> None:
    home = instance_in(tmp_path / "home")
    command("start", "SHOP-1", f"--branch={branch}", "--home", home).refused("is not a branch name")


@pytest.mark.parametrize("commit", ["abc", "HEAD", "main;id", "Z" * 40, "../x", "0" * 39])
@pytest.mark.parametrize("name", ["explain", "adopt"])
def test_what_is_no_commit_goes_nowhere(command: Command, tmp_path: Path, name: str, commit: str) -> None:
    home = instance_in(tmp_path / "home")
    command(name, "--home", home, "--project", "shop", commit).refused("is not a full commit id")


@pytest.mark.parametrize("project", ["../x", "Shop", "a b", "a;b", "x" * 41])
def test_what_is_no_project_name_goes_nowhere(command: Command, tmp_path: Path, project: str) -> None:
    home = instance_in(tmp_path / "home")
    command("status", "--project", project, "--home", home).refused("is not a project name")


def test_to_speak_as_another_is_refused_outside_of_the_demo(command: Command, tmp_path: Path) -> None:
    home = instance_in(tmp_path / "home")
    command("approve", "SHOP-1", "--gate", "review", "--as", "admin", "--home", home).refused("--as", "demo only")


def test_an_instance_that_does_not_run_is_said_so(command: Command, tmp_path: Path) -> None:
    command("status", "--home", tmp_path / "nothing").refused("Nothing runs in", "feature-delivery up")


def test_an_instance_that_has_gone_is_said_so(command: Command, tmp_path: Path) -> None:
    home = instance_in(tmp_path / "home")
    command("status", "--home", home).refused(NOBODY, "does not answer")


def test_an_unknown_user_is_told_who_is_known(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_USER", "eve")
    command("status", "--home", instance_in(tmp_path / "home")).refused("'eve'", "admin, nina")


def test_an_installation_elsewhere_needs_user_and_password(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_URL", NOBODY)
    command("status").refused("FEATURE_DELIVERY_USER", "FEATURE_DELIVERY_PASSWORD")


def test_a_direct_rollback_without_an_instance_says_so(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    command("rollback", "SHOP-1", "--direct", "--home", tmp_path / "nothing").refused("holds no instance", "--home")


def test_a_home_that_is_a_file_is_refused(command: Command, tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("mine")
    for place in (home, home / "below"):
        command("up", "--repository", tmp_path, "--home", place).refused("Could not write", "FEATURE_DELIVERY_HOME")
    assert home.read_text() == "mine"


@pytest.mark.parametrize("name", ["up", "demo"])
def test_a_home_in_use_is_refused_before_anything_in_it_changes(command: Command, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    with Home(home) as held:
        held.announce(address="http://127.0.0.1:12345")
        before = sorted(home.rglob("*"))
        arguments = ("--repository", str(tmp_path)) if name == "up" else ()
        command(name, *arguments, "--home", home).refused("in use", "http://127.0.0.1:12345", "Stop that one")
        assert sorted(home.rglob("*")) == before


def test_a_home_entered_twice_stays_locked_until_it_is_left_twice(tmp_path: Path) -> None:
    with Home(tmp_path) as held:
        with held:
            pass
        with pytest.raises(Conflict), Home(tmp_path):
            pass
    with Home(tmp_path):
        pass


def test_the_demos_home_is_not_taken_for_a_shop_of_ones_own(command: Command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "demo").touch()
    command("up", "--repository", tmp_path, "--home", home).refused("demo's home")
