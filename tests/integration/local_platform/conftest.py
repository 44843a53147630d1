"""A local platform for each test, with nothing left of it in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from feature_delivery.adapters.platforms.local import deployment, health
from tests.local_bench import (
    PROJECT,
    Bench,
    processes_of,
)

PatienceEnds = Callable[[Callable[[int | str], object]], None]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "environments")
    yield bench
    bench.platform.stop_all(PROJECT)
    assert processes_of(bench.root) == []


@pytest.fixture
def patience_ends(monkeypatch: pytest.MonkeyPatch) -> PatienceEnds:
    """Let a deploy's time be over as soon as what a test waits for can be told from the answer to a look.

    A short time would have to be long enough for the shop to start, which takes as long as the machine likes.
    """

    def ends(told: Callable[[int | str], object]) -> None:
        ahead = [0.0]
        really = health.answer

        def answer(port: int, path: str, *, timeout_seconds: float = health.REQUEST_SECONDS) -> int | str:
            found = really(port, path, timeout_seconds=timeout_seconds)
            if told(found):
                ahead[0] += 600
            return found

        monkeypatch.setattr(health, "answer", answer)
        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], sleep=time.sleep)
        monkeypatch.setattr(deployment, "time", clock)

    return ends
