"""What ``doctor`` finds of a running instance whose steps wait in a triggerer."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feature_delivery.adapters.platforms.local import fence, fencing
from feature_delivery.cli import doctor
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.project import WATCHED_HERE, ProjectConfig
from tests.support.world import shop

SHOP = shop()
LONG = replace(SHOP, choices=replace(SHOP.choices, observe_for=timedelta(minutes=10)))
SHORT = replace(SHOP, choices=replace(SHOP.choices, observe_for=WATCHED_HERE))
WELL = {
    "metadatabase": {"status": "healthy"},
    "scheduler": {"status": "healthy"},
    "dag_processor": {"status": "healthy"},
}


def found(
    project: ProjectConfig, triggerer: dict[str, Any] | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Finding]:
    class Running:
        def __init__(self, login: object) -> None:
            self.login = login

        def airflow(self, _method: str, path: str) -> Any:
            return {"import_errors": []} if path == "/importErrors" else {**WELL, "triggerer": triggerer}

        def get(self, _path: str) -> Any:
            return [{"name": project.name}]

    (home / "projects").mkdir()
    (home / "projects" / "shop.yaml").write_text("name: shop\n", encoding="utf-8")
    monkeypatch.setattr(doctor, "project_faults", lambda _file: ())
    monkeypatch.setattr(doctor, "read_project_file", lambda _file: project)
    monkeypatch.setattr(doctor, "find_login", lambda home, **_: home)
    monkeypatch.setattr(doctor, "Api", Running)
    return {one.what: one for one in doctor.examine(home)}


@pytest.mark.parametrize("state", [None, {"status": None}, {"status": "unhealthy"}])
def test_a_long_watch_without_a_triggerer_is_told_before_it_waits_for_ever(
    state: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = found(LONG, state, tmp_path, monkeypatch)["triggerer"]
    assert not one.well
    assert "airflow triggerer" in one.sentence
    assert SHOP.name in one.sentence


def test_a_triggerer_that_runs_is_well_and_one_that_nobody_needs_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(LONG, {"status": "healthy"}, tmp_path, monkeypatch)["triggerer"].well
    (tmp_path / "other").mkdir()
    assert "triggerer" not in found(SHORT, None, tmp_path / "other", monkeypatch)


@pytest.mark.parametrize(
    ("wanted", "ports", "kernel", "said"),
    [
        ("off", "", (7, "x86_64"), "without limit"),
        ("auto", "", (0, "x86_64"), "no Landlock"),
        ("auto", "80", (3, "x86_64"), "closes nothing"),
        ("auto", "80", (7, "riscv64"), "closes nothing"),
        ("auto", "", (4, "x86_64"), "Not closed: signals to other processes (Linux 6.12), ports"),
        ("auto", "", (7, "riscv64"), "Not closed: limits and priorities of other processes"),
        ("auto", "80 443", (7, "aarch64"), "use is limited."),
    ],
)
def test_doctor_says_what_the_fence_cannot_do_on_this_machine(
    wanted: str, ports: str, kernel: tuple[int, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_FENCE", wanted)
    monkeypatch.setenv("FEATURE_DELIVERY_FENCE_PORTS", ports)
    monkeypatch.setattr(fence, "version", lambda: kernel[0])
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=kernel[1]))
    one = next(finding for finding in doctor.examine(Path("nowhere")) if finding.what == "fence")
    assert said in one.sentence
    assert one.well == (kernel[0] >= 4 and wanted == "auto" and "closes nothing" not in said)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("auto", "Not closed: the machine's shared memory (/dev/shm). Shops have no terminals (pexpect) here."),
        ("required", "shared memory (pools of Python) by FEATURE_DELIVERY_FENCE_OPEN=/dev/shm alone."),
    ],
)
def test_doctor_says_what_shops_lack_where_they_can_have_no_memory_of_their_own(
    wanted: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_FENCE", wanted)
    monkeypatch.setenv("FEATURE_DELIVERY_FENCE_PORTS", "80")
    monkeypatch.setattr(fence, "version", lambda: 7)
    monkeypatch.setattr(fencing, "can_set_apart", lambda: False)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    one = next(finding for finding in doctor.examine(Path("nowhere")) if finding.what == "fence")
    assert one.sentence.endswith(said)


def test_project_files_are_looked_for_where_the_instance_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With docker-compose their folder is not in the home."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("FEATURE_DELIVERY_PROJECTS", str(elsewhere))
    one = found(SHORT, None, tmp_path, monkeypatch)["projects"]
    assert not one.well
    assert one.sentence == f"FEATURE_DELIVERY_PROJECTS, {elsewhere}, holds no project file. Put one there."
    (elsewhere / "shop.yaml").write_text("name: shop\n", encoding="utf-8")
    assert {"projects", "shop.yaml"} & {each.what for each in doctor.examine(tmp_path)} == {"shop.yaml"}


def test_a_team_that_can_sign_nothing_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    persons = {name: one for name, one in SHORT.people.persons.items() if name in {"dan", "rita", "max"}}
    one = found(replace(SHORT, people=replace(SHORT.people, persons=persons)), None, tmp_path, monkeypatch)
    assert not one["shop: sign-offs"].well
    assert "Review and acceptance take 2 people" in one["shop: sign-offs"].sentence
