"""Ports for servers under test: of this test process alone, so that none is taken between its choice and its use.

They lie below the range from which systems choose ports for outgoing connections.
"""

from __future__ import annotations

import atexit
import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

BLOCK = 100
BLOCKS = range(20_000, 32_000, BLOCK)
FOR_ENVIRONMENTS = 60


@cache
def _block() -> int:
    """Return the first port of a block; it is held as long as we live, which is what makes the others ours."""
    for first in BLOCKS:
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", first))
        except OSError:
            holder.close()
        else:
            atexit.register(holder.close)
            return first
    raise RuntimeError("No block of ports is free. Stop other test runs on this machine.")


def port_range() -> range:
    """Return ports for the environments of a platform."""
    return range(_block() + 1, _block() + FOR_ENVIRONMENTS)


@cache
def _others() -> Iterator[int]:
    return itertools.cycle(range(_block() + FOR_ENVIRONMENTS + 1, _block() + BLOCK))


def free_port() -> int:
    """Return a port nobody listens on; the next caller gets another one."""
    for port in itertools.islice(_others(), BLOCK):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"All ports from {_block()} on are taken.")


@contextmanager
def unanswered_port() -> Iterator[int]:
    """Give a port that refuses connections until the end of the block: it is taken, and nobody listens."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        yield int(silent.getsockname()[1])
