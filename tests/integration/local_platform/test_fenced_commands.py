"""The program that starts each command of a shop, by itself."""

from __future__ import annotations

import signal
import subprocess

import pytest

from feature_delivery.adapters.platforms.local import fence
from feature_delivery.adapters.platforms.local.processes import base_interpreter
from tests.attacks.hostile import behind


@pytest.mark.parametrize("rules", [["off"], [], ["stays"]])
def test_a_command_ends_by_the_signals_that_our_python_ignores(rules: list[str]) -> None:
    """``while :; do echo yes; done | ./setup`` would never end."""
    ignored = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    looks = "grep SigIgn /proc/self/status; { yes; echo $? >&2; } | head -n 1"
    mask, _, ended = behind(*rules, command=("sh", "-c", looks))
    assert int(mask.split()[1], 16) & ignored == 0
    assert int(ended) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("rules", [["off"], ["stays"]])
def test_a_task_that_began_before_its_files_were_replaced_starts_nothing(rules: list[str]) -> None:
    """An earlier version handed the command's variables on as those of this program."""
    done = subprocess.run(
        [base_interpreter(), "-I", "-S", fence.__file__, *rules, "--", "sh", "-c", "echo started"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (126, "")
    assert "was replaced while it was used" in done.stderr
