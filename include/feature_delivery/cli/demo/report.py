"""The report of a scenario: what happened, in one JSON file for programs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from feature_delivery.cli.demo.checks import Expectation, Facts
from feature_delivery.cli.status_view import row_state, rows


def make_report(
    *,
    scenario: str,
    facts: Facts,
    found: dict[str, Any],
    before: str,
    began: float,
    expected: list[Expectation],
) -> dict[str, Any]:
    """Return the report; ``before``: production's commit before the scenario, ``began``: by ``time.monotonic``."""
    attempt = found["attempts"][-1] if found["attempts"] else None
    at = found["gate"]["step"] if found["gate"] else ""
    return {
        "project": found["project"],
        "feature": found["key"],
        "scenario": scenario,
        "outcome": facts.outcome(found),
        "steps": [step for number, steps in rows(found["steps"]).items() for step in _steps(number, steps, at)],
        "attempts": [
            {"number": one["number"], "commit": one["commit"], "state": one["state"], "reason": one["reason"]}
            for one in found["attempts"]
        ],
        "commits": {
            "feature": attempt["commit"] if attempt else None,
            "candidate": found["candidate"]["commit"] if found["candidate"] else None,
            "production_before": before,
            "production_after": facts.production_commit(),
        },
        "environments": [{"kind": kind} for kind in facts.environments(found["key"])],
        "decisions": [
            {
                "gate": one["gate"],
                "who": one["who"],
                "kind": one["kind"],
                "commit": one["commit"],
                "when": one["when"],
                "counted": one["accepted"],
            }
            for one in found["decisions"]
        ],
        "expectations": [
            {"what": one.what, "expected": one.expected, "found": one.found, "met": one.met} for one in expected
        ],
        "total_seconds": round(time.monotonic() - began, 2),
        "seconds_waited_for_people": round(found["seconds_waited_for_people"], 2),
    }


def _steps(number: str, steps: list[dict[str, Any]], at: str) -> list[dict[str, Any]]:
    """Return one entry per number: the last task of the row, the row's state, its first start and last end.

    ``at``: the gate that is open; its task may not have gone to sleep yet.
    """
    started = sorted(step["started"] for step in steps if step["started"])
    ended = sorted(step["ended"] for step in steps if step["ended"])
    # A row whose work is done while its gate waits for what comes next has been done: after a rollback, the rework.
    worked = [step for step in steps if step["state"] != "waiting" and step["task"] != at]
    state = row_state(worked or steps)
    return [
        {
            "number": number,
            "task": steps[-1]["task"],
            "state": state if state in {"done", "rejected", "failed"} else "skipped",
            "started": started[0] if started else None,
            "ended": ended[-1] if ended else None,
            "try": max(step["try_number"] for step in steps),
        }
    ]


def write_report(path: Path, report: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write one scenario's report, or a list of several, at once or not at all."""
    fresh = path.with_name(path.name + ".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
