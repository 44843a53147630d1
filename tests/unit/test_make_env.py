"""The one command that makes every secret of the production stack."""

from __future__ import annotations

import ast
import base64
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.make_env import filled, generate, main

ROOT = Path(__file__).parents[2]
EXAMPLE = "# About\nSITE=a.example\nKEY=generate:token\nFERNET=generate:fernet\nINSTANCE=generate:instance\n"


def values(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_each_secret_is_new_and_of_its_kind() -> None:
    first, second = values(filled(EXAMPLE, "")), values(filled(EXAMPLE, ""))
    assert re.fullmatch("[0-9a-f]{64}", first["KEY"])
    assert len(base64.urlsafe_b64decode(first["FERNET"])) == 32
    assert re.fullmatch("fd-[0-9a-f]{8}", first["INSTANCE"])
    assert first["SITE"] == second["SITE"] == "a.example"
    assert not {first[name] for name in ("KEY", "FERNET", "INSTANCE")} & set(second.values())


def test_an_upgrade_adds_what_is_missing_and_changes_nothing_else() -> None:
    existing = "KEY=mine\n# my remark\nINSTANCE=fd-1"
    text = filled(EXAMPLE, existing)
    assert text.startswith(f"{existing}\n")
    assert set(values(text)) == {"SITE", "KEY", "FERNET", "INSTANCE"}
    assert filled(EXAMPLE, text) == text


def test_an_emptied_setting_is_not_filled_again() -> None:
    assert values(filled(EXAMPLE, "SITE=\n"))["SITE"] == ""


def test_an_unknown_kind_of_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'magic'"):
        generate("magic")


def test_the_file_is_its_owners_alone_and_the_command_says_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    main(tmp_path)
    said, path = capsys.readouterr().out, tmp_path / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "SITE, KEY, FERNET, INSTANCE added" in said
    assert not [value for name, value in values(path.read_text()).items() if name != "SITE" and value in said]


def test_the_file_for_more_settings_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(f"{EXAMPLE}SETTINGS_FILE=settings.env\n")
    main(tmp_path)
    more = tmp_path / "settings.env"
    assert stat.S_IMODE(more.stat().st_mode) == 0o600
    assert values(more.read_text()) == {}
    more.write_text("FEATURE_DELIVERY_FENCE=required\n")
    main(tmp_path)
    assert more.read_text() == "FEATURE_DELIVERY_FENCE=required\n"


def test_it_needs_nothing_but_python(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "make_env.py"), str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0


@pytest.mark.parametrize("page", ["production", "helm"])
def test_it_runs_on_the_oldest_python_that_the_docs_promise(page: str) -> None:
    """A server has what its distribution ships."""
    promised = re.search(r"Python 3\.(\d+) or newer", (ROOT / "docs" / f"{page}.md").read_text("utf-8"))
    assert promised is not None
    for script in ("make_env.py", "helm_secrets.py"):
        text = (ROOT / "scripts" / script).read_text("utf-8")
        ast.parse(text, script, feature_version=(3, int(promised[1])))


def test_git_ignores_what_it_writes() -> None:
    """And what the docs have one write into the checkout: `git add -A` must not commit a token."""
    written = [".env", "settings.env", "helm.env", "connections.env", "site.yaml", "backups/1/database.dump"]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *written], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == written
    assert not re.search(r"(PASSWORD|KEY|SECRET|TOKEN)=(?!generate:).", (ROOT / ".env.example").read_text())
