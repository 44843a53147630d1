"""Open boards are told of changes, and never take from the tasks what these need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, suppress

import pytest

from feature_delivery.web.board import pulse as pulses
from feature_delivery.web.board.pulse import LONGEST_PAUSE_SECONDS, SHARE, Pulse, stream


@pytest.fixture
def pulse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulse]:
    made = Pulse()
    monkeypatch.setattr(pulses, "pulse", made)
    monkeypatch.setattr(pulses, "wake", lambda _worker: None)
    yield made
    assert made.listeners == 0, "every stream has ended"


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_all_pages_together_keep_to_their_share_of_a_core_however_many_they_are(pulse: Pulse) -> None:
    async def pauses() -> list[float]:
        found = []
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(pulse.listening())
                found.append(pulse.pause)
        return found

    assert asyncio.run(pauses()) == [0.0] * 3, "nobody knows yet what showing costs"
    for _ in range(60):
        with pulse.shown():
            burn(0.005)
    with pulse.shown():
        time.sleep(0.3)  # waiting for the database, or for the processor, is no cost
    each = asyncio.run(pauses())
    assert each == pytest.approx([each[0], 2 * each[0], 3 * each[0]])
    assert 0.002 < each[0] * SHARE < 0.02
    pulse._cost = 1e6
    assert asyncio.run(pauses()) == [LONGEST_PAUSE_SECONDS] * 3


@pytest.mark.parametrize(("cost", "told"), [(0.0, ["now"]), (100.0, [])], ids=["one reader", "a crowd"])
def test_a_page_is_told_at_once_or_when_its_turn_comes(pulse: Pulse, cost: float, told: list[str]) -> None:
    pulse._cost = cost

    async def listen() -> list[str]:
        heard: list[str] = []
        pulse.revision = "before"
        async with aclosing(stream("before")) as words:
            assert (await anext(words)).startswith("retry: 2000")
            pulse.revision = "now"
            for listener in pulse._listeners:
                listener.tell()
            with suppress(TimeoutError):
                heard.append(await asyncio.wait_for(anext(words), 10 if told else 0.5))
        return [line.removeprefix("id: ").partition("\n")[0] for line in heard]

    assert asyncio.run(listen()) == told
