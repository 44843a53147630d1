"""Containers without Docker: namespaces of Linux, by bubblewrap, iproute2 and util-linux.

Each has a root directory, host name, process table, network address and ports of its own, so that a program runs in it
by the very command, settings and paths it has in a container of Docker. Needs root; the network is cut off from all
others. What is in a container dies with the test.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.support.compose import ROOT

PROGRAMS = {"bwrap": "bubblewrap", "ip": "iproute2", "nsenter": "util-linux", "setpriv": "util-linux"}
CLONE_NEWNET: Final = 0x40000000
ETC = ("alternatives", "ca-certificates", "ld.so.cache", "localtime", "nsswitch.conf", "protocols", "services", "ssl")
PATIENCE_SECONDS = 20.0


def needs_containers() -> None:
    """Skip where there can be none, except in CI, which installs what is missing."""
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("Namespaces with a network between them need Linux and root.")
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)} missing: install Debian's packages")
    assert not missing, f"{missing} missing, though .ci/run installs them"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False, timeout=30)
    if tried.returncode:
        pytest.skip("This root may not make namespaces: it is in a container itself, without the right to.")


def namespace(kind: str, pid: int | None = None) -> Path:
    """Return what tells the namespace of a process from all others."""
    return Path(f"/proc/{pid or 'self'}/ns/{kind}").readlink()


@dataclass
class Network:
    """A switch in a network namespace of its own."""

    holder: subprocess.Popen[bytes]

    def run(self, *command: str) -> None:
        """Run a command that sees the switch."""
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"

    @contextmanager
    def entered(self, pid: int | None = None) -> Iterator[None]:
        """Put this thread, and what it starts, into the network; or into that of a process."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(file: int) -> None:
            assert libc.setns(file, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())

        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{pid or self.holder.pid}/ns/net", os.O_RDONLY)
        try:
            enter(there)
            yield
        finally:
            enter(home)
            os.close(home)
            os.close(there)


@contextmanager
def network(gate: str) -> Iterator[Network]:
    """Make a network without a way out; ``gate``: the address of the switch, and of whoever has entered."""
    holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
    try:
        made = Network(holder)
        _until("a network namespace", lambda: namespace("net", holder.pid) != namespace("net"))
        made.run("ip", "link", "set", "lo", "up")
        made.run("ip", "link", "add", "switch", "type", "bridge")
        made.run("ip", "address", "add", f"{gate}/24", "dev", "switch")
        made.run("ip", "link", "set", "switch", "up")
        yield made
    finally:
        holder.kill()
        holder.wait()


@dataclass(frozen=True)
class Image:
    """What a container has before compose says anything.

    Attributes:
        user: Who runs in it, as ``uid:gid``.
        owns: Directories that belong to that user; a volume takes the owner of the directory it covers.
        aliases: Programs that are called otherwise here than in the image.
    """

    user: str
    directory: str
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    mounts: Mapping[str, Path] = field(default_factory=dict)
    owns: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[int, int]:
        user, group = self.user.split(":")
        return int(user), int(group)


class Container:
    """One container, empty until something is run in it."""

    def __init__(
        self,
        net: Network,
        *,
        address: str,
        hostname: str,
        image: Image,
        mounts: Mapping[str, tuple[Path, bool]],
        etc: Path,
        has_no_rights: bool = False,
    ) -> None:
        """Make it.

        Args:
            net: What it is connected to.
            address: Its own.
            hostname: Its own.
            image: What is in it.
            mounts: Paths within to paths of the machine, and whether they may be written.
            etc: Files that go to ``/etc``: ``hosts``, ``passwd``, ``group``.
            has_no_rights: Nothing in it can get any of root's capabilities, not even by a program that brings them.
        """
        self.image, self.hostname, self.address = image, hostname, address
        self._limits = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs") if has_no_rights else ()
        read, write = os.pipe()
        self._outer = subprocess.Popen(
            ["bwrap", "--info-fd", str(write), *_root(image, mounts, etc, hostname), "sleep", "infinity"],
            pass_fds=[write],
        )
        os.close(write)
        with os.fdopen(read) as info:
            self.pid = int(json.load(info)["child-pid"])
        # Told before its root directory is in place; what keeps it is started after that.
        _until("a container", lambda: any(child.name() == "sleep" for child in psutil.Process(self.pid).children()))
        _connect(net, self.pid, address)

    def enter(self, command: Sequence[str]) -> list[str]:
        """Return how a command is run in it, as its user."""
        user, group = self.image.user.split(":")
        return [
            *("nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--root"),
            *("setpriv", "--reuid", user, "--regid", group, "--clear-groups", *self._limits),
            *("env", f"--chdir={self.image.directory}", *command),
        ]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return what a process in it sees."""
        return {"PATH": self.image.path, "HOSTNAME": self.hostname, **self.image.environment, **given}

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], *, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; one that takes too long counts as failed, as in a health check."""
        try:
            return subprocess.run(
                self.enter(command),
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(list(command), 124, "", f"not within {timeout} s")

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start what the container is for."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.enter(command),
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def processes(self) -> list[psutil.Process]:
        """Return what runs in it, apart from what keeps it."""
        mine = namespace("pid", self.pid)
        kept = {self.pid, *(child.pid for child in psutil.Process(self.pid).children() if child.name() == "sleep")}
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if process.pid not in kept and namespace("pid", process.pid) == mine:
                    found.append(process)
        return found

    def kill(self) -> None:
        """Take it away at once, with all that runs in it: the kernel kills what is in a process table that ends."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self._outer.wait(PATIENCE_SECONDS)


def _root(image: Image, mounts: Mapping[str, tuple[Path, bool]], etc: Path, hostname: str) -> Iterator[str]:
    yield from ("--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-net", "--die-with-parent")
    yield from ("--hostname", hostname, "--proc", "/proc", "--dev", "/dev")
    for place in ("/dev/shm", "/tmp", "/run"):  # noqa: S108 - of the container
        yield from ("--perms", "1777", "--tmpfs", place)
    for place in ("/etc", "/usr"):
        yield from ("--perms", "0755", "--dir", place)
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib64"):
        where = Path("/", name)
        if where.is_symlink():
            yield from ("--symlink", str(where.readlink()), str(where))
        elif where.exists():
            yield from ("--ro-bind", str(where), str(where))
    for name in ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    binds = {str(ROOT): (ROOT, False), sys.base_prefix: (Path(sys.base_prefix), False)}
    binds |= {within: (path, False) for within, path in image.mounts.items()}
    binds |= {f"/etc/{file.name}": (file, False) for file in etc.iterdir()}
    binds |= mounts
    for place in sorted(image.owns):
        yield from ("--perms", "0775", "--dir", place)
    for within, (path, writable) in sorted(binds.items()):
        if not within.startswith("/usr/"):
            for parent in reversed(Path(within).parents[:-1]):
                yield from ("--perms", "0755", "--dir", str(parent))
        yield from ("--bind" if writable else "--ro-bind", str(path), within)
    yield from ("--perms", "0755", "--dir", "/run/programs")
    for name, program in image.aliases.items():
        yield from ("--symlink", program, f"/run/programs/{name}")
    yield from ("--chdir", "/")


def _connect(net: Network, pid: int, own: str) -> None:
    # Of the process: the port of one that was killed goes with its network, which takes the kernel a moment.
    plug = f"port{pid}"
    # As with Docker the hardware address goes with the network's: a container made anew is known to its neighbours.
    hardware = "02:42:" + ":".join(f"{int(part):02x}" for part in own.split("."))
    net.run("ip", "link", "add", plug, "type", "veth", "peer", "name", "eth0", "address", hardware, "netns", str(pid))
    net.run("ip", "link", "set", plug, "master", "switch", "up")
    ports = "/proc/sys/net/ipv4/ip_unprivileged_port_start"  # as Docker has it
    script = f"ip address add {own}/24 dev eth0; ip link set eth0 up; echo 0 >{ports}"
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-ec", script], check=True, timeout=30)


def _until(what: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.01)
