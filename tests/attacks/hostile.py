"""The code of a branch that tries something, run as its test suite."""

from __future__ import annotations

from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.domain.suites import SuiteReport
from feature_delivery.ports.platform import Release
from tests import shops
from tests.local_bench import Bench, reference

OPEN = "def opens(path, mode='r'):\n    try:\n        return open(path, mode).read(100) or 'empty'\n"
OPEN += "    except OSError as error:\n        return type(error).__name__\n"


def attack(
    bench: Bench, release: Release, script: str, *, platform: LocalPlatform | None = None
) -> tuple[SuiteReport, str]:
    """Run a script as a branch's test suite; returns what it printed as well."""
    suite = shops.suite(OPEN + script, junit=None, seconds=30)
    at = len(bench.said)
    report = (platform or bench.platform).run_suite(
        reference(), name="unit", suite=suite, release=release, variables={}, say=bench.say
    )
    return report, "\n".join(bench.said[at:])
