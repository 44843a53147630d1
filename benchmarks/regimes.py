"""The shops that ``record.py`` records: what is asked of them, how they answer, what they are used for."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

FASTER = 6.0
"""Time in a recording runs so many times as fast as in a shop's day, everything with it: traffic, scrapes, windows."""

SCRAPE_SECONDS = 15.0 / FASTER
STEP_SECONDS = 30.0 / FASTER
WINDOW_SECONDS = 600.0 / FASTER
BASELINE_SECONDS = 3600.0 / FASTER
"""What the project files ship: scraped each 15 s, samples of 30 s, watched for 10 min, compared with an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """One shop.

    Attributes:
        rate: Requests a second on the day's average; ``swing``: by which share the hour of the day changes it.
        hour: Of the day at the recording's start.
        waits: Seconds that an answer waits for somebody else, median; ``spread``: of one wait's logarithm.
        noise: Spread of the logarithm of how that wait wanders; ``memory``: correlation of neighbouring steps.
        fails: Share of answers that fail; ``clouds``: spread of the logarithm of how that wanders.
        bursts: Spread of the logarithm of the traffic.
        work: It is django-oscar, whose answers are work and wait for nobody.
        tuned_on: The judge's rules were chosen while looking at it; the others only report.
    """

    name: str
    rate: float
    hour: float
    waits: float = 0.0
    spread: float = 0.5
    noise: float = 0.05
    memory: float = 0.5
    fails: float = 0.001
    clouds: float = 0.3
    bursts: float = 0.1
    swing: float = 0.6
    work: bool = False
    tuned_on: bool = False

    def asked_per_second(self, passed: float) -> float:
        """Return how much traffic there is so many seconds after the start, apart from bursts."""
        hour = self.hour + passed * FASTER / 3600
        return self.rate * (1 + self.swing * math.sin(2 * math.pi * (hour - 9) / 24))


REGIMES = (
    Regime(name="steady", rate=12, hour=11, waits=0.03, spread=0.4, noise=0.04, tuned_on=True),
    Regime(
        name="evening", rate=10, hour=18, waits=0.08, spread=0.6, noise=0.08, memory=0.7, fails=0.004, tuned_on=True
    ),
    Regime(name="morning", rate=10, hour=6, waits=0.05, noise=0.06, fails=0.002),
    Regime(name="busy", rate=20, hour=13, waits=0.02, spread=0.8, noise=0.1, fails=0.005, clouds=0.5, bursts=0.3),
    Regime(name="night", rate=12, hour=1, waits=0.15, spread=0.3, noise=0.05, memory=0.8, fails=0.0005),
    Regime(name="oscar", rate=4, hour=13, fails=0.002, work=True),
)


def wander(spread: float, memory: float, rng: random.Random) -> Iterator[float]:
    """Give factors around 1, one after the other, whose neighbours resemble each other."""
    state = rng.gauss(0, spread)
    while True:
        yield math.exp(state)
        state = memory * state + rng.gauss(0, spread) * math.sqrt(1 - memory**2)
