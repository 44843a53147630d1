"""Processes of the machine."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import psutil


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run."""
    found = []
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found
