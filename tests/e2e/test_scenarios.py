"""All eight scenarios by the command that users have, judged by exit code, report, Git, disk and process table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from feature_delivery.domain.process import PROCESS
from tests.support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

FIRST = ("delivered",)
TOGETHER = ("rejected", "superseded", "rolled_back", "redelivered", "uncertain", "conflict", "abandoned")
"""Played by a second start on the home of the first, one after another."""

OUTCOMES = {
    "delivered": "delivered",
    "rejected": "delivered",
    "superseded": "delivered",
    "rolled_back": "rolled_back",
    "redelivered": "delivered",
    "uncertain": "rolled_back",
    "conflict": "delivered",
    "abandoned": "abandoned",
}
COMMIT = re.compile(r"[0-9a-f]{40}")
COMMAND_TIMEOUT_SECONDS = 2100
PRODUCTION_WAS_MOVED = {"rolled_back", "uncertain"}


@dataclass(frozen=True)
class Played:
    """One whole command: how it ended, what it printed, what it reported."""

    home: Path
    code: int
    output: str
    reports: tuple[dict[str, Any], ...]

    def report(self, scenario: str) -> dict[str, Any]:
        found = [report for report in self.reports if report["scenario"] == scenario]
        assert len(found) == 1, f"no report of {scenario}; the command's last words:\n{self.output[-3000:]}"
        return found[0]

    def git(self, *arguments: str) -> str:
        bare = self.home / "repositories" / "demo_store.git"
        done = subprocess.run(
            ["git", "--git-dir", str(bare), *arguments], check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def branches(self, start: str) -> set[str]:
        """Branches called so, or so and a dash: SHOP-1 is not SHOP-10."""
        names = self.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        return {name for name in names if name == start or name.startswith(f"{start}-")}

    def tree(self, commit: str) -> str:
        return self.git("rev-parse", f"{commit}^{{tree}}")

    def files(self, commit: str) -> set[str]:
        return set(self.git("ls-tree", "-r", "--name-only", commit).splitlines())


Play = Callable[[str], Played]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """The command that played a scenario; each command runs once, the first before the second, on one home."""
    home = tmp_path_factory.mktemp("demo") / "a home with spaces"

    @cache
    def run(scenarios: tuple[str, ...]) -> Played:
        if scenarios is not FIRST:
            run(FIRST)
        report = home.parent / "reports" / f"{scenarios[0]}.json"
        arguments = [word for one in scenarios for word in ("--scenario", one)]
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("feature-delivery")), "demo", *arguments, "--exit"),
                *("--report", str(report), "--port", str(free_port()), "--timeout", "300"),
            ],
            env={**os.environ, "FEATURE_DELIVERY_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        found = json.loads(report.read_text("utf-8")) if report.exists() else []
        assert isinstance(found, dict if len(scenarios) == 1 else list), "one scenario: one object; several: a list"
        return Played(home, done.returncode, done.stdout, (found,) if isinstance(found, dict) else tuple(found))

    return lambda scenario: run(FIRST if scenario in FIRST else TOGETHER)


def states(report: dict[str, Any]) -> dict[str, str]:
    return {step["number"]: step["state"] for step in report["steps"]}


def numbers(*wanted: int | str) -> set[str]:
    return {str(one) for one in wanted}


def all_but(*other: int | str) -> set[str]:
    return {row.number for row in PROCESS} - numbers(*other)


def having(report: dict[str, Any], state: str) -> set[str]:
    return {number for number, found in states(report).items() if found == state}


def counted(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (one["gate"].rpartition("wait_for_")[2], one["kind"], one["who"], one["commit"])
        for one in report["decisions"]
        if one["counted"]
    ]


def signed_off(commit: str) -> list[tuple[str, str, str, str]]:
    return [
        ("review", "approve", "rita", commit),
        ("acceptance", "approve", "tess", commit),
        ("confirmation", "approve", "max", commit),
    ]


def shipped(commit: str) -> list[tuple[str, str, str, str]]:
    return [*signed_off(commit), ("verdict", "keep", "olga", commit), ("demonstration", "approve", "max", commit)]


def processes_of(home: Path) -> list[str]:
    """Every process that works in the home, names it in its arguments or was told of it."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            words = [*line, process.cwd(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(home) in word for word in words):
            found.append(" ".join(line))
    return found


@pytest.mark.parametrize("scenario", [*FIRST, *TOGETHER])
def test_it_ends_as_it_must(play: Play, scenario: str) -> None:
    played = play(scenario)
    report = played.report(scenario)
    assert [one for one in report["expectations"] if not one["met"]] == []
    assert (played.code, report["outcome"]) == (0, OUTCOMES[scenario]), played.output[-3000:]


@pytest.mark.parametrize("scenario", [*FIRST, *TOGETHER])
def test_its_report_is_whole(play: Play, scenario: str) -> None:
    report = play(scenario).report(scenario)
    assert report["project"] == "demo_store"
    assert re.fullmatch(r"SHOP-\d+", report["feature"])
    assert [step["number"] for step in report["steps"]] == [row.number for row in PROCESS], "each once, as text"
    assert set(states(report).values()) <= {"done", "skipped", "rejected", "failed"}
    for step in report["steps"]:
        assert step["task"] in {one.value for row in PROCESS if row.number == step["number"] for one in row.steps}
        if step["state"] in {"done", "failed"}:
            assert datetime.fromisoformat(step["started"]) <= datetime.fromisoformat(step["ended"]), step
            assert step["try"] >= 1, step
    assert [one["number"] for one in report["attempts"]] == list(range(1, len(report["attempts"]) + 1))
    commits = report["commits"]
    built = {"feature", "candidate"} if scenario != "abandoned" else {"feature"}
    assert all(COMMIT.fullmatch(commits[name]) for name in built | {"production_before", "production_after"}), commits
    assert report["attempts"][-1]["commit"] == commits["feature"]
    for decision in report["decisions"]:
        assert decision["who"] in {"dora", "dean", "rita", "tess", "max", "olga"}, decision
        assert datetime.fromisoformat(decision["when"]).tzinfo is not None
    assert report["total_seconds"] > report["seconds_waited_for_people"] > 0


@pytest.mark.parametrize("scenario", [*FIRST, *TOGETHER])
def test_it_leaves_what_it_must_and_nothing_else(play: Play, scenario: str) -> None:
    played = play(scenario)
    report = played.report(scenario)
    key, keeps = report["feature"], {"development"} if scenario in PRODUCTION_WAS_MOVED else set()
    kinds = [one["kind"] for one in report["environments"]]
    assert sorted(kinds) == sorted({"production", *keeps})
    directories = {path.name for path in (played.home / "environments" / "demo_store").iterdir() if path.is_dir()}
    assert "production" in directories
    # What a scenario keeps is there until the next one begins, which gives up what it finds under delivery.
    left = {name for name in directories if name.endswith(f"-{key.lower()}")}
    assert left <= {f"{kind}-{key.lower()}" for kind in keeps}
    assert bool(played.branches(f"feature/{key}")) == (scenario in PRODUCTION_WAS_MOVED)
    assert not played.branches(f"candidate/{key}") or scenario in PRODUCTION_WAS_MOVED


@pytest.mark.parametrize("scenario", [FIRST[0], TOGETHER[-1]])
def test_no_process_stays(play: Play, scenario: str) -> None:
    assert processes_of(play(scenario).home) == []


def test_a_delivery_goes_through_all_steps(play: Play) -> None:
    played = play("delivered")
    report = played.report("delivered")
    assert (having(report, "done"), having(report, "skipped")) == (all_but("R1", "R2"), numbers("R1", "R2"))
    commits = report["commits"]
    assert counted(report) == shipped(commits["feature"])
    assert commits["production_after"] == commits["candidate"]
    parents = played.git("log", "-1", "--format=%P", commits["candidate"]).split()
    assert parents == [commits["production_before"], commits["feature"]]
    assert [one["state"] for one in report["attempts"]] == ["shipped"]


def test_a_second_start_begins_with_the_shop_before_any_feature(play: Play) -> None:
    first, second = play("delivered").report("delivered"), play("rejected")
    before = second.report("rejected")["commits"]["production_before"]
    assert second.tree(before) == second.tree(first["commits"]["production_before"])
    assert (
        second.git("merge-base", first["commits"]["production_after"], before) == first["commits"]["production_after"]
    )
    assert len({report["feature"] for report in second.reports} | {first["feature"]}) == len(TOGETHER) + 1


def test_a_rejection_rewinds_and_the_mended_commit_ships(play: Play) -> None:
    played = play("rejected")
    report = played.report("rejected")
    first, second = report["attempts"]
    assert (first["state"], second["state"]) == ("rejected", "shipped")
    assert "wrong by cents" in first["reason"]
    assert counted(report) == [
        ("review", "approve", "rita", first["commit"]),
        ("acceptance", "reject", "tess", first["commit"]),
        *shipped(second["commit"]),
    ]
    tries = {step["number"]: step["try"] for step in report["steps"]}
    assert (tries["15"], tries["17"]) == (2, 1), "the run was rewound to before the acceptance, not started again"
    assert having(report, "done") == all_but("R1", "R2"), "what the steps came to in the end"
    assert played.tree(report["commits"]["production_after"]) == played.tree(report["commits"]["candidate"])


def test_a_force_push_leaves_nothing_of_the_first_commit(play: Play) -> None:
    played = play("superseded")
    report = played.report("superseded")
    first, second = report["attempts"]
    assert (first["state"], second["state"]) == ("superseded", "shipped")
    assert counted(report)[2:] == shipped(second["commit"]), "what was said of the first commit was said again"
    only_first = played.files(first["commit"]) - played.files(second["commit"])
    assert only_first
    assert not only_first & played.files(report["commits"]["production_after"])


def test_a_rollback_brings_the_tree_of_before_on_top_of_history(play: Play) -> None:
    played = play("rolled_back")
    report = played.report("rolled_back")
    commits = report["commits"]
    assert played.tree(commits["production_after"]) == played.tree(commits["production_before"])
    assert played.git("rev-parse", f"{commits['production_after']}^") == commits["candidate"], "history is kept"
    assert having(report, "failed") == numbers(19)
    assert having(report, "skipped") == numbers(21, 22, 23)
    assert [one["state"] for one in report["attempts"]] == ["rolled_back"]
    verdict = ("verdict", "roll_back", "olga", commits["feature"])
    assert counted(report) == [*signed_off(commits["feature"]), verdict]


def test_after_a_rollback_the_whole_feature_ships(play: Play) -> None:
    played = play("redelivered")
    report = played.report("redelivered")
    first, second = report["attempts"]
    assert (first["state"], second["state"]) == ("rolled_back", "shipped")
    commits = report["commits"]
    whole = played.files(commits["feature"]) - played.files(commits["production_before"])
    assert whole
    assert whole <= played.files(commits["production_after"])
    assert played.git("rev-list", "--count", f"{first['commit']}..{second['commit']}") == "1", "only the fix was pushed"
    assert counted(report)[4:] == shipped(second["commit"])


def test_a_failed_deploy_still_comes_to_a_verdict(play: Play) -> None:
    played = play("uncertain")
    report = played.report("uncertain")
    commits = report["commits"]
    assert having(report, "failed") == numbers(18)
    assert having(report, "skipped") == numbers(19, 21, 22, 23), "nothing was tested in a production that is not there"
    assert played.tree(commits["production_after"]) == played.tree(commits["production_before"])
    assert [one["state"] for one in report["attempts"]] == ["rolled_back"]


def test_the_second_of_two_ships_on_top_of_the_first(play: Play) -> None:
    played = play("conflict")
    report = played.report("conflict")
    commits = report["commits"]
    base, mine = played.git("log", "-1", "--format=%P", commits["candidate"]).split()
    assert mine == commits["feature"]
    assert base != commits["production_before"], "the first has shipped in between"
    assert played.git("rev-parse", f"{base}^1") == commits["production_before"]
    assert commits["production_after"] == commits["candidate"]
    number = int(report["feature"].rpartition("-")[2])
    assert not any(played.branches(f"candidate/SHOP-{one}") for one in (number - 1, number, number + 1))
    third = played.branches(f"feature/SHOP-{number + 1}")
    assert len(third) == 1, "a developer's branch with work that has not shipped is not deleted"


def test_a_deleted_branch_ends_the_delivery_and_takes_nothing_else(play: Play) -> None:
    played = play("abandoned")
    report = played.report("abandoned")
    assert having(report, "done") == numbers(1, 2, 3, 4, 5, 6, 7, 21)
    assert [one["state"] for one in report["attempts"]] == ["dropped"]
    commits = report["commits"]
    assert commits["production_after"] == commits["production_before"]
    assert counted(report) == []


def test_production_holds_nothing_that_was_not_delivered_or_adopted(play: Play) -> None:
    played = play(TOGETHER[-1])
    reports = [*play("delivered").reports, *played.reports]
    history = set(played.git("rev-list", "--first-parent", "production").split())
    for report in reports:
        assert {report["commits"]["production_before"], report["commits"]["production_after"]} <= history, report


def test_production_is_not_left_answering(play: Play) -> None:
    address = re.findall(r"^Production +(\S+)$", play(TOGETHER[-1]).output, flags=re.MULTILINE)[-1]
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, timeout=5, trust_env=False)
