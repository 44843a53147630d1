"""The customers of the recorded shops: a process of its own, so that nobody else's work holds them up.

Takes JSON from its standard input, one shop each line (``port``, ``paths``, ``shop``, ``seed``), then asks until it is
ended. Customers come at random and independently of how long they have to wait, as real ones do.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from regimes import REGIMES, SCRAPE_SECONDS, Regime, wander

TIMEOUT_SECONDS = 20.0
MOST_AT_ONCE = 40
"""Who finds so many others waiting goes away."""


async def ask(port: int, path: str) -> None:
    """Ask for one page; a shop that is being replaced is no concern of a customer's here."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
                await reader.read()
            finally:
                writer.close()


async def customers(regime: Regime, port: int, paths: Sequence[str], seed: int) -> None:
    """Ask one shop as often as its hour wants, without an end."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    bursts = wander(regime.bursts, 0.5, rng)
    began = time.monotonic()
    under_way: set[asyncio.Task[None]] = set()
    changes, factor, next_at = began, 1.0, began
    while True:
        if next_at >= changes:
            changes, factor = next_at + SCRAPE_SECONDS, next(bursts)
        next_at += rng.expovariate(regime.asked_per_second(next_at - began) * factor)
        await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        if len(under_way) < MOST_AT_ONCE:
            task = asyncio.create_task(ask(port, rng.choice(paths)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)


async def main() -> None:
    """Ask all shops."""
    known = {one.name: one for one in REGIMES}
    async with asyncio.TaskGroup() as group:
        for line in sys.stdin:
            said = json.loads(line)
            group.create_task(customers(known[said["shop"]], said["port"], said["paths"], said["seed"]))


if __name__ == "__main__":
    asyncio.run(main())
