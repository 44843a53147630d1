"""The code of a branch that tries something, run as its test suite or behind a bare fence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from feature_delivery.adapters.platforms.local import fence
from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.adapters.platforms.local.processes import base_interpreter
from feature_delivery.adapters.platforms.local.variables import handed
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


def behind(*rules: str, command: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """Return what a command behind a fence says, in lines."""
    with handed({"PATH": os.environ["PATH"]}) as given:
        start = (base_interpreter(), "-I", "-S", fence.__file__)
        done = subprocess.run([*before, *start, *rules, "--", *command], stdin=given, capture_output=True, check=False)
    return [*done.stdout.decode().splitlines(), *done.stderr.decode().splitlines()]
