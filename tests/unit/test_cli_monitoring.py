"""``feature-delivery monitoring rules``: what is asked of the instance, what is written where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from feature_delivery.cli import monitoring_commands
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.watching import ShopMetrics
from feature_delivery.services.own_rules import own_rules
from tests.support.command_line import Command

NONE = {"requests": "", "errors": "", "duration": ""}
KNOWN = {"wine": NONE, "toys": {**NONE, "requests": "hits_total"}, "tea": {**NONE, "duration": "took_seconds"}}
TOYS, TEA = ProjectName("toys"), ProjectName("tea")
OWN = {TOYS: ShopMetrics(requests="hits_total"), TEA: ShopMetrics(duration="took_seconds")}


class FakeApi:
    """Answers as the web app does."""

    def get(self, path: str) -> Any:
        if path == "/projects":
            return [{"name": name} for name in KNOWN]
        return KNOWN[path.removeprefix("/projects/").removesuffix("/metrics")]


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring_commands, "connect", lambda *_, **__: FakeApi())


def test_rules_are_printed_for_every_project_with_names_of_its_own(command: Command) -> None:
    said = command("monitoring", "rules")
    assert (said.code, said.out) == (0, own_rules(OWN))


def test_a_file_is_written_whole_and_says_for_whom(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "own.yml"
    place.write_text("what was there before")
    said = command("monitoring", "rules", "--output", place)
    assert said.code == 0
    assert "rules for tea, toys." in said.out
    assert place.read_text() == own_rules(OWN)
    assert [path.name for path in tmp_path.glob("*own*")] == ["own.yml"], "nothing else is left there"


def test_one_project_may_be_named_and_one_without_own_names_needs_no_rule(command: Command, tmp_path: Path) -> None:
    assert command("monitoring", "rules", "--project", "toys").out == own_rules({TOYS: OWN[TOYS]})
    place = tmp_path / "own.yml"
    said = command("monitoring", "rules", "-p", "wine", "-o", place)
    assert "all keep to the common names" in said.out
    assert yaml.safe_load(place.read_text()) == {"groups": []}


def test_a_name_that_would_spoil_the_file_leaves_the_one_that_is_there(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "toys", {**NONE, "requests": "hits_total{bad}"})
    place = tmp_path / "own.yml"
    place.write_text("what was there before")
    command("monitoring", "rules", "--output", place).refused("toys", "hits_total{bad}")
    assert place.read_text() == "what was there before"


def test_a_place_that_cannot_be_written_is_said(command: Command, tmp_path: Path) -> None:
    command("monitoring", "rules", "--output", tmp_path / "nowhere" / "own.yml").refused("nowhere")
