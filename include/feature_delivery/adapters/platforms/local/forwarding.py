"""The forwarder that holds an environment's stable address, and the ports of addresses and releases."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import psutil

from feature_delivery.adapters.platforms.local import processes
from feature_delivery.adapters.platforms.local.processes import Marks
from feature_delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from feature_delivery.adapters.platforms.local.layout import Layout
    from feature_delivery.adapters.platforms.local.settings import Settings

ROLE = "forwarder"
_PROGRAM = Path(__file__).with_name("forwarder.py")
_HOST = "127.0.0.1"
_DRAIN_LOOK_SECONDS = 0.03


def start_forwarder(layout: Layout, settings: Settings, *, port: int | None) -> tuple[int, str | None]:
    """Start the forwarder on ``port``, or on another one when that is taken or ``None``; return port and process.

    The socket is bound here and inherited: the address answers when this returns, and nobody can take it between.
    One that lost its entry in the record (a crash in between) is stopped first: it would hold the port.
    """
    processes.stop_marked(str(layout.directory), lambda marks: marks.role == ROLE, grace_seconds=1)
    with _listen(layout, settings, port) as listener:
        log = layout.logs / "forwarder.log"
        process = processes.launch(
            [
                processes.base_interpreter(),
                "-I",
                "-S",
                str(_PROGRAM),
                str(layout.directory),
                str(listener.fileno()),
            ],
            variables={"PATH": "/usr/bin:/bin", **Marks(str(layout.directory), ROLE).as_variables()},
            directory=layout.directory,
            log=log,
            keep=(listener.fileno(),),
        )
        return int(listener.getsockname()[1]), process


def _listen(layout: Layout, settings: Settings, port: int | None) -> socket.socket:
    taken = ports_of_others(layout)
    # Each environment begins at a place of its own, so that two that start at once rarely meet.
    offset = crc32(str(layout.directory).encode()) % len(settings.ports)
    candidates = [*settings.ports[offset:], *settings.ports[:offset]]
    remembered = [] if port is None else [port]
    for candidate in [*remembered, *(free for free in candidates if free not in taken)]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, candidate))
            listener.listen(512)
        except OSError:
            listener.close()
        else:
            return listener
    raise Unavailable(
        f"Could not give {layout.project}/{layout.name} an address: no port from {settings.ports.start} to "
        f"{settings.ports.stop - 1} is free. Destroy environments or configure more ports."
    )


def ports_of_others(layout: Layout) -> frozenset[int]:
    """Return the stable ports of all other environments, of those that are stopped too."""
    found = set()
    for file in layout.root.glob("*/*/environment.json"):
        if file != layout.state_file:
            with suppress(OSError, ValueError, KeyError, TypeError):
                found.add(int(json.loads(file.read_bytes())["port"]))
    return frozenset(found)


def free_port() -> int:
    """Return a port for a release; whoever takes it before the release does is noticed by ``listens``."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Say whether a server could listen on ``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


def listens(candidates: list[psutil.Process], *, port: int) -> bool:
    """Say whether one of these listens on ``port``: a stranger's 200 must not pass for the release's."""
    for process in candidates:
        with suppress(psutil.Error):
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp")):
                return True
    return False


def listening_elsewhere(candidates: list[psutil.Process], *, port: int) -> tuple[int, ...]:
    """Return the ports but ``port`` that these listen on: a shop that was not told where to listen."""
    found: set[int] = set()
    for process in candidates:
        with suppress(psutil.Error):
            found |= {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return tuple(sorted(found - {port}))


def drain(forwarder: str | None, *, port: int | None, timeout_seconds: float) -> None:
    """Wait until the forwarder has no connection to ``port`` any more, or time is up."""
    end = time.monotonic() + timeout_seconds
    process = processes.find(forwarder)
    while process is not None and time.monotonic() < end:
        # First the pause: a connection may be just about to be made to the port that was read a moment ago.
        time.sleep(_DRAIN_LOOK_SECONDS)
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            return
        if not any(connection.raddr and connection.raddr.port == port for connection in connections):
            return
