"""A project file of the user's own: it stays where it is, and what the instance needs beside it is made."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.cli import up as starting
from feature_delivery.cli.shop import use_project_file, webhook_secret
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.names import ProjectName
from tests.support.command_line import Command

FILE = """\
name: cart
repository: https://git.example/shop/cart.git
host: {kind: github, connection: github_cart}
tracker: {kind: github, prefix: SHOP}
people:
  ann: {roles: [developer, reviewer, tester, manager, operator]}
solo: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "cart.yaml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_the_file_stays_the_users_and_its_changes_are_seen(tmp_path: Path, file: Path) -> None:
    home = tmp_path / "home"
    for _ in range(2):
        shop = use_project_file(home, file)
    assert shop.repository is None
    assert (shop.project.host.repository, shop.project.tracker.project) == ("shop/cart", "shop/cart")
    file.write_text(FILE.replace("SHOP", "CART"))
    assert read_project_file(home / "projects" / "cart.yaml").tracker.prefix == "CART"
    assert len(webhook_secret(home, ProjectName("cart"))) > 30


def test_a_repository_on_this_machine_gets_its_hook(tmp_path: Path, file: Path) -> None:
    bare = tmp_path / "cart.git"
    bare.mkdir()
    file.write_text(FILE.replace("https://git.example/shop/cart.git", str(bare)).replace("host: {kind", "# {kind"))
    with pytest.raises(Misconfigured, match="connection"):
        use_project_file(tmp_path / "home", file)
    file.write_text(
        f"name: cart\nrepository: {bare}\npeople: {{ann: {{roles: [developer, reviewer, tester, manager]}}}}"
    )
    assert use_project_file(tmp_path / "home", file).repository == bare


def test_another_shop_of_that_name_is_not_replaced(tmp_path: Path, file: Path) -> None:
    home = tmp_path / "home"
    (home / "projects").mkdir(parents=True)
    (home / "projects" / "cart.yaml").write_text("name: cart")
    with pytest.raises(Refused, match="another shop 'cart'"):
        use_project_file(home, file)
    assert (home / "projects" / "cart.yaml").read_text() == "name: cart"


def test_up_says_that_a_team_can_sign_nothing_off(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    passwords = SimpleNamespace(passwords_file=tmp_path / "passwords.json")
    instance = SimpleNamespace(address="http://127.0.0.1:8080", settings=passwords)
    production = {ProjectName("cart"): SimpleNamespace(address="http://127.0.0.1:8081")}
    now = SimpleNamespace(instance=instance, shops=(), production=production)
    monkeypatch.setattr(starting, "running", lambda *_, **__: nullcontext(now))
    monkeypatch.setattr(starting, "wait_for_signal", lambda _: None)
    up = ("up", "--project-file", file, "--home", tmp_path / "home")
    assert "signed off" not in command(*up).out
    file.write_text(FILE.replace("solo: true\n", ""))
    assert "only ann may decide there: no feature can be signed off." in command(*up).out
