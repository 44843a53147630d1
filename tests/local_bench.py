"""What the tests of the local platform share: a platform, and looks at its processes that do not ask the platform."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import psutil

from feature_delivery.adapters.platforms.local import LocalPlatform, Settings
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef
from tests.support.ports import port_range

PROJECT = ProjectName("demo_store")


def settings(root: Path, *, ports: range | None = None, **changes: object) -> Settings:
    """Return settings with short patience."""
    short = Settings(
        root=root,
        instance="here",
        ports=ports or port_range(),
        drain_timeout=timedelta(seconds=10),
        stop_timeout=timedelta(seconds=3),
    )
    return replace(short, **changes)  # type: ignore[arg-type]


def reference(name: str = "development-shop-1", *, generation: int = 1, **changes: object) -> EnvironmentRef:
    """Return a reference to a development environment."""
    ref = EnvironmentRef(
        instance="here",
        project=PROJECT,
        name=name,
        kind=EnvironmentKind.DEVELOPMENT,
        key=FeatureKey("SHOP-1"),
        generation=generation,
    )
    return replace(ref, **changes)  # type: ignore[arg-type]


PRODUCTION = reference("production", kind=EnvironmentKind.PRODUCTION, key=None)


def get(address: str, path: str = "/", *, timeout: float = 20) -> str:
    """Return the body that an address answers with 200."""
    with urllib.request.urlopen(address + path, timeout=timeout) as response:  # noqa: S310
        return str(response.read().decode())


def wait_until(happens: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait for a fact; fail when it does not come true."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def processes_of(root: Path) -> list[psutil.Process]:
    """Return all processes whose environment or arguments name ``root``, those of this test run aside."""
    found = []
    ours = {os.getpid(), os.getppid()}
    for process in psutil.process_iter():
        try:
            text = "\n".join([*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())])
            if str(root) in text and process.status() != psutil.STATUS_ZOMBIE and process.pid not in ours:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _is_keeper(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(argument.endswith("/launcher.py") for argument in process.cmdline())
    return False


def run_python(code: str, *arguments: str) -> list[str]:
    """Return the command that runs ``code`` with our package and the tests on its path."""
    tests = Path(__file__).parent.parent
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tests)!r})\n{code}", *arguments]


@dataclass
class Bench:
    """A local platform in a directory of its own."""

    root: Path
    ports: range = field(default_factory=port_range)
    said: list[str] = field(default_factory=list)
    fence_open: tuple[Path, ...] = ()

    @property
    def platform(self) -> LocalPlatform:
        """A new object each time: nothing may live in memory."""
        return LocalPlatform(settings(self.root, ports=self.ports, fence_open=self.fence_open))

    def say(self, line: str) -> None:
        """Collect progress."""
        self.said.append(line)

    def directory(self, name: str = "development-shop-1") -> Path:
        """Return an environment's directory."""
        return self.root / PROJECT / name

    def releases(self) -> set[str]:
        """Return the releases on disk, without their launch."""
        return {path.name.partition("-")[0] for path in (self.directory() / "releases").iterdir()}

    def servers(self) -> list[psutil.Process]:
        """Return the processes of the root that are neither forwarder nor keeper."""
        others = {*self.running("forwarder"), *self.keepers()}
        return [process for process in processes_of(self.root) if process not in others]

    def keepers(self) -> list[psutil.Process]:
        """Return what stays above the servers."""
        return [process for process in processes_of(self.root) if _is_keeper(process)]

    def is_installing(self, code: str) -> bool:
        """Say whether an install runs whose Python code begins so; one that has just ended has no command line."""
        for process in self.running("install"):
            with suppress(psutil.Error):
                if "".join(process.cmdline()[-1:]).startswith(code):
                    return True
        return False

    def running(self, role: str) -> list[psutil.Process]:
        """Return the processes that are marked for something: ``forwarder``, ``release``, ``install``, ``suite``."""
        found = []
        for process in processes_of(self.root):
            try:
                marked = process.environ().get("DELIVERY_MARK_ROLE", "").partition(":")[0] == role
                if marked and not _is_keeper(process):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def deploying(bench: Bench, body: str) -> subprocess.Popen[bytes]:
    """Start another process that runs ``body`` with a platform of its own."""
    code = "from pathlib import Path\nfrom tests import shops\nfrom tests.local_bench import *\n"
    code += f"bench = Bench(Path({str(bench.root)!r}))\n{body}"
    return subprocess.Popen(run_python(code), start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
