"""Settings: one table of them all, faults that name the variable, project files that are read again by themselves."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from feature_delivery.bootstrap import settings, variables
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.names import ProjectName
from scripts.make_env import generate
from scripts.reference import made
from tests.support.shop_project import project_text

ROOT = Path(__file__).parents[2]
SHOP = ProjectName("shop")


@pytest.mark.parametrize("path", made(), ids=lambda path: path.name)
def test_what_is_made_from_the_code_is_what_is_committed(path: Path) -> None:
    assert path.read_text("utf-8") == made()[path], "run: make reference"


def test_every_variable_that_is_read_is_in_the_table() -> None:
    known = {variables.name_of(field) for field in variables.Variables.model_fields}
    read: set[str] = set()
    for folder in ("include/feature_delivery", "dags", "plugins"):
        for file in (ROOT / folder).rglob("*.py"):
            read |= set(re.findall(r"FEATURE_DELIVERY_[A-Z_]*[A-Z]", file.read_text("utf-8")))
    assert {name for name in read if "WEBHOOK_SECRET" not in name} <= known
    assert known <= set(re.findall(r"FEATURE_DELIVERY_[A-Z_]+", (ROOT / "docs" / "settings.md").read_text("utf-8")))


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE", "")
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", "")
    assert settings.webhooks_per_minute() == 6000
    assert settings.settings().home == Path(".feature-delivery").absolute()


def test_ports_are_written_as_numbers_and_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_FENCE_PORTS", "80 443, 8000-8999")
    assert variables.read("fence_ports").fence_ports == ((80, 80), (443, 443), (8000, 8999))
    for wrong in ("http", "0", "70000", "90-80", "80-"):
        monkeypatch.setenv("FEATURE_DELIVERY_FENCE_PORTS", wrong)
        with pytest.raises(Misconfigured, match="Write ports and spans of them"):
            variables.read("fence_ports")


def test_the_id_that_make_env_makes_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_INSTANCE", generate("instance"))
    assert settings.new_instance().startswith("fd-")


def test_a_fault_names_its_variable_stops_nothing_else_and_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_INSTANCE", "Not an id")
    monkeypatch.setenv("FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE", "many")
    monkeypatch.setenv("FEATURE_DELIVERY_TASK_TOKEN", "the-secret")
    assert settings.settings().task_token == "the-secret"
    with pytest.raises(Misconfigured, match=r"FEATURE_DELIVERY_INSTANCE is 'Not an id'\. Use at most 12 small letters"):
        settings.new_instance()
    monkeypatch.setenv("FEATURE_DELIVERY_TASK_TOKN", "the-secret")
    found = {one.what: one for one in variables.examine()}
    assert "Set a number from 1." in found["FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE"].sentence
    assert "Is FEATURE_DELIVERY_TASK_TOKEN meant?" in found["FEATURE_DELIVERY_TASK_TOKN"].sentence
    assert not any(one.well for one in found.values())
    assert "the-secret" not in " ".join(one.sentence for one in found.values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of project files with one shop."""
    found = tmp_path / "projects"
    found.mkdir()
    (found / "shop.yaml").write_text(project_text())
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEATURE_DELIVERY_PROJECTS", str(found))
    monkeypatch.setattr(settings, "_read", {})
    return found


def write(file: Path, text: str) -> None:
    """Change a file as an editor does; its time may be the same, its size too."""
    new = file.with_suffix(".new")
    new.write_text(text)
    before = file.stat() if file.exists() else new.stat()
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(file)


def test_a_changed_file_counts_at_once_and_a_new_one_too(folder: Path) -> None:
    assert settings.project("shop").title == "The shop"
    write(folder / "shop.yaml", project_text().replace("The shop", "Our shop"))
    assert settings.project("shop").title == "Our shop"
    (folder / "other.yaml").write_text(project_text(name="other"))
    assert set(settings.projects()) == {"shop", "other"}
    (folder / "other.yaml").unlink()
    assert set(settings.projects()) == {"shop"}


@pytest.mark.parametrize("remembers", [True, False], ids=["the same process", "a new process"])
def test_a_file_that_has_become_wrong_counts_as_it_was_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, remembers: bool
) -> None:
    before = settings.project("shop")
    write(folder / "shop.yaml", project_text().replace("title:", "titel:"))
    if not remembers:
        monkeypatch.setattr(settings, "_read", {})
    found = settings.survey()
    assert found.projects == {SHOP: before}
    assert set(found.outdated) == {SHOP}
    assert "field 'titel' (line 3): it is not known here. Is 'title' meant?" in found.faults["shop.yaml"]
    assert "Until that is mended, the file counts as it was when it was right." in found.faults["shop.yaml"]
    write(folder / "shop.yaml", project_text().replace("The shop", "Mended"))
    assert (settings.project("shop").title, settings.survey().faults) == ("Mended", {})


def test_a_file_that_was_never_right_is_no_project_and_takes_no_other_down(folder: Path) -> None:
    write(folder / "other.yaml", "name: other\nrepository: [")
    found = settings.survey()
    assert set(found.projects) == {"shop"}
    assert "no valid YAML" in found.faults["other.yaml"]


def test_a_home_that_cannot_be_written_keeps_nothing_and_stops_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", str(tmp_path / "file"))
    assert set(settings.projects()) == {"shop"}
