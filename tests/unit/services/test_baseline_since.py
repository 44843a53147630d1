"""How far back a baseline goes when production was bad meanwhile."""

from __future__ import annotations

import pytest

from feature_delivery.services.work.observing import LONGEST_LOOK_BACK_SECONDS, baseline_since

NOW, HOUR = 1_000_000.0, 3600.0


@pytest.mark.parametrize(
    ("bad", "since"),
    [
        ((), NOW - HOUR),
        (((NOW - 9000, NOW - 8000),), NOW - HOUR),  # long over
        (((NOW - 1000, NOW - 400),), NOW - HOUR - 600),
        (((NOW - 5000, NOW - 3000),), NOW - HOUR - 2000),  # begun before the hour
        (((NOW - 4500, NOW - 3700), (NOW - 1000, NOW - 400)), NOW - HOUR - 600 - 800),  # the older one by the newer
        (((NOW - 1000, NOW + 50),), NOW - HOUR - 1000),
        (((NOW - 200_000, NOW - 10),), NOW - HOUR - LONGEST_LOOK_BACK_SECONDS),
    ],
)
def test_the_baseline_is_as_long_as_without_and_no_more_than_a_day_older(
    bad: tuple[tuple[float, float], ...], since: float
) -> None:
    assert baseline_since(NOW, HOUR, bad) == since
