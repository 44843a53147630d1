"""The end of a freeze window, as the API server's worker and housekeeping see to it; no task asks for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_delivery.domain import records
from feature_delivery.web import rounds, workers
from tests.support.web_app import Shop

SATURDAY, MONDAY = datetime(2026, 11, 28, 12, tzinfo=UTC), datetime(2026, 11, 30, 8, tzinfo=UTC)
CALENDAR = "freezes: {windows: [{name: Weekend, when: Fri 16:00 - Mon 08:00}]}\n"


@pytest.fixture
def frozen(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    workers.stop_all()  # the test is the worker
    file = tmp_path / "projects" / "shop.yaml"
    file.write_text(file.read_text() + CALENDAR)
    monkeypatch.setattr(rounds, "_frozen_until", {})
    monkeypatch.setattr(records, "time_source", lambda: SATURDAY)
    return shop


def test_the_worker_sleeps_until_the_end_and_gives_out_the_turn_then(
    frozen: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[datetime] = []
    monkeypatch.setattr(rounds, "_grant", lambda _project: given.append(records.now()))
    assert rounds.end_freezes() == rounds.FREEZE_LOOK_SECONDS
    monkeypatch.setattr(records, "time_source", lambda: MONDAY - timedelta(seconds=20))
    assert rounds.end_freezes() == 20
    assert given == []
    monkeypatch.setattr(records, "time_source", lambda: MONDAY)
    rounds.end_freezes()
    rounds.end_freezes()
    assert given == [MONDAY], "once"


def test_the_project_says_that_it_is_frozen_until_when_and_who_may_override_it(
    frozen: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = frozen.person("max").get("/projects/shop").json()["freeze"]
    assert (found["name"], found["until"]) == ("Weekend", "2026-11-30T08:00:00Z")
    assert found["sentence"] == (
        "Weekend freezes production until Mon 2026-11-30 08:00 (UTC). May override it, with a reason: olga."
    )
    monkeypatch.setattr(records, "time_source", lambda: MONDAY)
    assert frozen.person("max").get("/projects/shop").json()["freeze"] is None
    assert rounds.housekeeping()["turns_given"] == 0, "nobody waits"
