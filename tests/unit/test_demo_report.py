"""The demo's report: what became of each step of the process."""

from __future__ import annotations

import pytest

from feature_delivery.cli.demo import report

GATE = "development.wait_for_rework"


@pytest.mark.parametrize("gate_is", ["waiting", "running"])
def test_the_work_before_an_open_gate_is_done_whether_the_gate_has_gone_to_sleep_or_not(gate_is: str) -> None:
    times = {"started": "2026-11-29T12:00:00Z", "ended": None, "try_number": 1}
    steps = [{"task": "production.roll_back", "state": "done", **times}, {"task": GATE, "state": gate_is, **times}]
    [row] = report._steps("R2", steps, GATE)
    assert (row["state"], row["task"]) == ("done", GATE)
