"""What an operator may set of the local platform."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from feature_delivery.ports.platform import EnvironmentKind

if TYPE_CHECKING:
    from collections.abc import Mapping


def users_uv_cache() -> Path:
    """Return uv's cache of this user, which our own installation has filled already."""
    if configured := os.environ.get("UV_CACHE_DIR"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"


def users_npm_cache() -> Path:
    """Return npm's cache of this user; npm checks what it takes from there against the lock file."""
    # npm's own spelling is the one in lower case.
    configured = os.environ.get("npm_config_cache")  # noqa: SIM112
    return Path(configured or os.environ.get("NPM_CONFIG_CACHE") or Path.home() / ".npm")


Fence = Literal["auto", "required", "off"]
MOST_PROCESSES = 2048
MOST_BYTES_OF_A_FILE = 8 << 30
_SHARE_OF_MEMORY = 0.75
_LIMITS_OF_CONTAINERS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def most_memory() -> int:
    """Return three quarters of the memory of the machine or container: one suite must not take Airflow along."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _LIMITS_OF_CONTAINERS:
        with suppress(OSError, ValueError):
            total = min(total, int(file.read_text("ascii")))
    return int(total * _SHARE_OF_MEMORY)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command of a shop may use of this machine, with all that it starts.

    Attributes:
        memory_bytes: Of all its processes together; no single one may have more either.
        processes: Threads count, too; so many may come to those that the machine runs already.
        file_bytes: Of a single file.
        ports: The only ports that may be connected to by TCP, besides the environment's own, from and to; empty: all.
    """

    memory_bytes: int = field(default_factory=most_memory)
    processes: int = MOST_PROCESSES
    file_bytes: int = MOST_BYTES_OF_A_FILE
    ports: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one ``LocalPlatform``.

    Attributes:
        root: All environments lie below it.
        instance: Id of this installation; environments of another one are never touched.
        ports: Stable addresses are taken from here; below what the kernel hands out on its own (32768 and up).
        uv_cache: Shared by production's installs, so that only the first one of a package needs the network. Branches
            have a part of it for theirs: uv takes what is unpacked there unseen, and they may write what they like.
        npm_cache: The same for npm: each environment has a ``$HOME`` of its own, which would be empty; and ``npx`` runs
            what is there.
        fence: Whether the code of branches is kept from what is not theirs (``fencing.py``).
        fence_open: More places that it may read and write.
        limits: What it may use of the machine; nothing is limited where there is no fence.
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
    npm_cache: Path = field(default_factory=users_npm_cache)
    fence: Fence = "auto"
    fence_open: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    install_variables: Mapping[str, str] = field(default_factory=dict)
    install_timeout: timedelta = timedelta(minutes=15)
    drain_timeout: timedelta = timedelta(seconds=10)
    stop_timeout: timedelta = timedelta(seconds=5)
    lock_timeout: timedelta = timedelta(seconds=60)

    def caches_of(self, environment: str) -> dict[str, tuple[Path, Path]]:
        """Return the caches for the installs of an environment, by its name: by variable, each with what it lies in."""
        part = "" if environment == EnvironmentKind.PRODUCTION else "branches"
        whole = {"UV_CACHE_DIR": self.uv_cache, "npm_config_cache": self.npm_cache}
        return {variable: (cache / part, cache) for variable, cache in whole.items()}
