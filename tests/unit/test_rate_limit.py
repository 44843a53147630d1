"""How much somebody may send, in virtual time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.web.rate_limit import NAMES_LIMIT, RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_come_at_once_and_then_as_much_as_flows_in() -> None:
    clock = Clock()
    limit = RateLimit(clock=clock)
    assert [limit.take("shop", per_minute=60) for _ in range(60)] == [0.0] * 60
    assert limit.take("shop", per_minute=60) == 1.0
    assert limit.take("toys", per_minute=60) == 0.0, "each project has its own"
    clock.now += 0.5
    assert limit.take("shop", per_minute=60) == 0.5
    clock.now += 0.5
    assert [limit.take("shop", per_minute=60) for _ in range(2)] == [0.0, 1.0]
    clock.now += 3600
    assert [limit.take("shop", per_minute=60) == 0 for _ in range(61)] == [True] * 60 + [False]


@given(st.integers(1, 600), st.lists(st.floats(0, 100), max_size=200))
def test_never_more_than_a_burst_and_what_flowed_in_meanwhile(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    limit = RateLimit(clock=clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        wait = limit.take("shop", per_minute=per_minute)
        taken += wait == 0
        assert 0 <= wait <= 60 / per_minute
        assert taken <= per_minute + clock.now * per_minute / 60 + 1e-6


def test_who_waits_as_long_as_told_is_let_in() -> None:
    clock = Clock()
    limit = RateLimit(clock=clock)
    for _ in range(50):
        wait = limit.take("shop", per_minute=7)
        clock.now += wait + 1e-9
        assert not wait or limit.take("shop", per_minute=7) == 0.0


def test_its_memory_has_a_bound() -> None:
    limit = RateLimit(clock=Clock())
    for number in range(NAMES_LIMIT + 500):
        limit.take(f"project {number}", per_minute=1)
    assert len(limit._buckets) == NAMES_LIMIT
    assert limit.take(f"project {NAMES_LIMIT + 499}", per_minute=1) > 0, "the latest are remembered"


def test_threads_take_no_more_than_there_is() -> None:
    limit = RateLimit(clock=Clock())
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: limit.take("shop", per_minute=100), range(400)))
    assert waits.count(0.0) == 100
