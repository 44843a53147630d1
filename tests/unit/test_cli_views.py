"""What a terminal shows of features."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from feature_delivery.cli.status_view import (
    audit_table,
    explanation,
    feature_view,
    next_command,
    overview,
    steps_table,
    took,
)
from feature_delivery.domain.process import PROCESS


def feature(*, done: int = 0, gate: dict[str, Any] | None = None, title: str = "Gift cards") -> dict[str, Any]:
    steps = [
        {
            "number": row.number,
            "title": row.title,
            "who": ", ".join(row.who),
            "task": step,
            "state": "done" if place < done else "pending",
            "started": None,
            "ended": None,
        }
        for place, row in enumerate(PROCESS)
        for step in row.steps
    ]
    return {
        "key": "SHOP-1",
        "title": title,
        "state": "active",
        "attempt": 1,
        "steps": steps,
        "gate": gate,
        "host": "local",
        "branch": "feature/SHOP-1-gift-cards",
        "candidate": {"commit": "b7d04e2a91c35f68e0d1b2c3a4f5968778695a4b"},
        "environments": [],
    }


def gate_at(step: str, *, blocked: str = "") -> dict[str, Any]:
    return {"step": step, "waits_for": "somebody", "blocked": blocked}


def shown(view: Any, *, width: int = 100) -> str:
    plain = Console(width=width, force_terminal=False)
    with plain.capture() as caught:
        plain.print(view)
    return caught.get()


@pytest.mark.parametrize("done", range(len(PROCESS) + 1))
@pytest.mark.parametrize("most", [4, 10, 25, 99])
def test_a_small_terminal_shows_the_rows_around_where_the_feature_stands(done: int, most: int) -> None:
    table = steps_table(feature(done=done), most=most)
    numbers = list(table.columns[0].cells)
    assert len(numbers) == min(most, len(PROCESS))
    if done:
        assert PROCESS[done - 1].number in numbers
    if done < len(PROCESS):
        assert PROCESS[done].number in numbers


@pytest.mark.parametrize(
    ("gate", "command"),
    [
        (None, ""),
        (gate_at("intake.wait_for_start"), "feature-delivery take SHOP-1"),
        (gate_at("development.wait_for_code"), "git push delivery HEAD:feature/SHOP-1-gift-cards"),
        (gate_at("review.wait_for_merge_request"), "feature-delivery open-request SHOP-1"),
        (gate_at("review.wait_for_merge_request", blocked="red"), "feature-delivery logs SHOP-1"),
        (
            gate_at("preprod.wait_for_acceptance"),
            "feature-delivery approve SHOP-1 --gate acceptance --candidate b7d04e2a91",
        ),
        (gate_at("production.wait_for_turn"), "feature-delivery production"),
        (gate_at("rollback.wait_for_rework"), "git push delivery HEAD:feature/SHOP-1-gift-cards"),
        (gate_at("completion.wait_for_demonstration"), "feature-delivery approve SHOP-1 --gate demonstration"),
    ],
)
def test_at_each_gate_the_next_command_is_named(gate: dict[str, Any] | None, command: str) -> None:
    assert next_command(feature(gate=gate)) == command


def test_what_there_is_no_candidate_of_is_approved_without_one() -> None:
    at = feature(gate=gate_at("preprod.wait_for_acceptance")) | {"candidate": None}
    assert next_command(at) == "feature-delivery approve SHOP-1 --gate acceptance"


def test_where_the_project_had_to_be_named_the_next_command_names_it_too() -> None:
    at = feature(gate=gate_at("production.wait_for_verdict"))
    named = next_command(at, project="mill")
    assert named.startswith("feature-delivery keep SHOP-1 --project mill ")
    assert named.endswith("feature-delivery rollback SHOP-1 --project mill")
    assert next_command(feature(gate=gate_at("production.wait_for_turn")), project="mill").endswith("--project mill")
    pushed = next_command(feature(gate=gate_at("rollback.wait_for_rework")), project="mill")
    assert "--project" not in pushed, "Git knows nothing of projects"


def test_what_is_done_on_another_host_is_not_asked_of_the_local_one() -> None:
    at = feature(gate=gate_at("review.wait_for_merge_request")) | {"host": "github"}
    assert next_command(at) == ""
    pushed = next_command(at | {"gate": gate_at("development.wait_for_code")})
    assert pushed == "git push origin HEAD:feature/SHOP-1-gift-cards"


def test_both_verdicts_are_named() -> None:
    named = next_command(feature(gate=gate_at("production.wait_for_verdict")))
    assert "feature-delivery keep SHOP-1" in named
    assert "feature-delivery rollback SHOP-1" in named


def test_a_step_that_a_later_attempt_repeats_did_not_take_the_time_between_the_attempts() -> None:
    def ran(began: str, ended: str | None) -> dict[str, Any]:
        return {"started": f"2026-01-01T{began}Z", "ended": ended and f"2026-01-01T{ended}Z"}

    reserved, provisioned = ran("09:00:00", "09:00:01"), ran("11:00:00", "11:00:02.5")
    assert took([reserved, provisioned]) == "3.5 s"
    assert took([ran("09:00:00", "09:00:09"), ran("09:00:01", "09:00:05")]) == "9.0 s"
    assert took([reserved, ran("11:00:00", None)]) == "1.0 s"
    assert took([ran("09:00:09", "09:00:00")]) == took([]) == ""


def test_words_from_outside_are_no_markup() -> None:
    said = shown(feature_view(feature(title="[red]50%[/red] [link=http://evil]off[/link]")))
    assert "[red]50%[/red] [link=http://evil]off[/link]" in said
    assert "[bold]x" in shown(overview([feature(title="[bold]x")]))


def test_a_title_that_is_only_the_key_is_not_said_twice() -> None:
    assert shown(feature_view(feature(title="SHOP-1"))).count("SHOP-1") == 1


def test_no_feature_is_said_in_words() -> None:
    assert "feature-delivery start" in shown(overview([]))


def test_a_list_of_decisions_loses_nothing_on_a_narrow_terminal() -> None:
    one = {
        "when": "2026-01-01T10:00:00.5Z",
        "key": "SHOP-1",
        "gate": "production.wait_for_verdict",
        "who": "root",
        "role": "manager and operator",
        "kind": "roll_back",
        "accepted": True,
        "comment": "Too dear",
        "reason": "",
        "commit": "f63d008657" * 4,
        "way": "break-glass",
        "address": "127.0.0.1",
    }
    said = shown(audit_table([one]), width=80)
    assert "…" not in said
    assert "2026-01-01" in said
    assert "10:00:00" in said


def test_an_explanation_names_feature_tests_and_sign_offs() -> None:
    lines = explanation(
        {
            "commit": "c" * 40,
            "kind": "restoration",
            "tree": "",
            "feature": "SHOP-1",
            "title": "Gift cards",
            "attempt": 2,
            "feature_commit": "f" * 40,
            "predecessor": "p" * 40,
            "state": "rolled_back",
            "moved_at": "2026-01-01T10:00:00Z",
            "tests": [{"where": "rollback.integration_tests", "executed": 3, "failed": 1, "red": "1 tests failed."}],
            "sign_offs": [{"gate": "review", "who": "rita", "kind": "approve", "at": "2026-01-01T09:00:00Z"}],
        }
    )
    assert lines[0] == f"{'c' * 40} takes back SHOP-1 Gift cards, attempt 2 (rolled back)."
    assert not [line for line in lines if line.startswith("tree")]
    assert "  rollback.integration_tests: 3 run, 1 failed; 1 tests failed." in lines
    assert "  review: rita, approve, 2026-01-01T09:00:00" in lines
