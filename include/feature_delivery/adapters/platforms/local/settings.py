"""What an operator may set of the local platform."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def users_uv_cache() -> Path:
    """Return uv's cache of this user, which our own installation has filled already."""
    if configured := os.environ.get("UV_CACHE_DIR"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one ``LocalPlatform``.

    Attributes:
        root: All environments lie below it.
        instance: Id of this installation; environments of another one are never touched.
        ports: Stable addresses are taken from here; below what the kernel hands out on its own (32768 and up).
        uv_cache: Shared by all installs, so that only the first one of a package needs the network.
        install_variables: Given to installs only, such as the address of a private registry.
        install_timeout: For each install command and each migration.
        drain_timeout: How long a release that was switched away from may finish its last requests.
        stop_timeout: How long a process may take to end itself before it is killed.
        lock_timeout: How long to wait for another process that changes the same environment.
    """

    root: Path
    instance: str
    ports: range = range(21000, 22000)
    uv_cache: Path = field(default_factory=users_uv_cache)
    install_variables: Mapping[str, str] = field(default_factory=dict)
    install_timeout: timedelta = timedelta(minutes=15)
    drain_timeout: timedelta = timedelta(seconds=10)
    stop_timeout: timedelta = timedelta(seconds=5)
    lock_timeout: timedelta = timedelta(seconds=60)
