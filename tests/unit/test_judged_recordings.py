"""The judge on what a real Prometheus recorded of real shops, their really worse releases included."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Counter[str]]]:
    """Outcomes by what the release did; of the shops that the rules were not chosen on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        from recording import recordings  # noqa: PLC0415 - as the benchmark imports them
        from replays import lived  # noqa: PLC0415

        found: dict[str, Counter[str]] = {}
        for one in recordings():
            for deployed, outcome in () if one.tuned_on else lived(one):
                kind = "equal" if deployed.equal else "slower" if deployed.slower > 1 else "failing"
                found.setdefault(kind, Counter())[outcome] += 1
        yield found


def test_no_more_than_two_of_a_hundred_equal_releases_raise_an_alarm(outcomes: dict[str, Counter[str]]) -> None:
    assert outcomes["equal"].total() >= 80
    assert outcomes["equal"]["fail"] <= 0.02 * outcomes["equal"].total(), outcomes


@pytest.mark.parametrize("kind", ["slower", "failing"])
def test_of_releases_that_were_really_worse_no_more_than_one_in_twenty_is_missed(
    outcomes: dict[str, Counter[str]], kind: str
) -> None:
    assert outcomes[kind].total() >= 12
    assert outcomes[kind].total() - outcomes[kind]["fail"] <= 0.05 * outcomes[kind].total(), outcomes
