"""What unit tests of the control plane share: a world of their own, and how hard Hypothesis tries.

``HYPOTHESIS_PROFILE=thorough`` runs thousands of schedules instead of seconds' worth.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support.stage import Stage
from tests.support.world import World

QUIET = list(HealthCheck)
QUICK = [Phase.explicit, Phase.reuse, Phase.generate]
"""Shrinking a schedule of fifty moves takes minutes: the thorough profile does it."""

settings.register_profile(
    "default",
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=QUIET,
    phases=QUICK,
    # In CI the same schedules each time: others are looked for at people's desks, and by the thorough profile.
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile(
    "thorough", max_examples=5000, stateful_step_count=80, deadline=None, suppress_health_check=QUIET
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()
