"""Open boards beside working tasks: what a request of a task waits while many people look on.

On the embedded instance, whose one API server does everything: with docker-compose and Helm, heartbeats have servers of
their own, and only permits and gates share one with the boards. The overview shows a thousand features.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from board import FEATURES, clear, token_of
from figures import Figure, percentile
from sqlalchemy.orm import Session
from stage import EMPTY

from feature_delivery.bootstrap.settings import URL_PREFIX

if TYPE_CHECKING:
    from stage import Stage

REQUESTS = 100
PAUSE_SECONDS = 0.1
"""Between two requests of a task, and a change comes once a second: a busy instance."""

CHANGE = """
INSERT INTO fd_event (project, kind, text, person, attempt, at) VALUES (:project, 'bench', '', '', 1, now())
"""
OVERVIEW = f"{URL_PREFIX}/board/"
PATIENCE_SECONDS = 120.0


def measure(stage: Stage, *, number: int) -> list[Figure]:
    """Ask as tasks do: while nobody looks, while pages are open, while each of them fetches what has changed."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the rows are those of the tests
    from tests.support.board_world import crowd  # noqa: PLC0415

    with Session(stage.engine) as session, session.begin():
        crowd(session, FEATURES, project=EMPTY)
    try:
        _ask(stage)  # once before it counts
        with _changing(stage):
            alone = _ask(stage)
        with _looking(stage, number, fetch=False):
            quiet = _ask(stage)
        with _looking(stage, number, fetch=True) as viewers, _changing(stage):
            busy = _ask(stage)
    finally:
        clear(stage)
    ages = viewers.ages
    return [
        Figure(
            "streams", "a task's request, p95, nobody looks", percentile(alone, 0.95), "ms", None, _note(alone), alone
        ),
        Figure("streams", f"{number} boards open", percentile(quiet, 0.95), "ms", None, _note(quiet), quiet),
        Figure(
            "streams",
            f"{number} boards fetch each change",
            percentile(busy, 0.95),
            "ms",
            None,
            f"{_note(busy)}; a change each second",
            busy,
        ),
        Figure("streams", "pages fetched meanwhile", len(ages), "", None, f"{viewers.failed} failed"),
        Figure("streams", "from the word of a change to the page, p95", percentile(ages, 0.95), "s", None, ""),
    ]


def _note(found: list[float]) -> str:
    return f"median {percentile(found, 0.5):.0f} ms, the longest {max(found):.0f} ms"


def _ask(stage: Stage) -> list[float]:
    """Return how long each of some requests took, in milliseconds: one row of the ledger, like a permit's."""
    took = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        stage.api.get(f"/projects/{EMPTY}")
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE_SECONDS)
    return took


@contextmanager
def _changing(stage: Stage) -> Iterator[None]:
    """Change something that every overview shows, once a second."""
    done = threading.Event()

    def change() -> None:
        while not done.wait(1.0):
            stage.change(CHANGE, project=EMPTY)

    worker = threading.Thread(target=change)
    worker.start()
    try:
        yield
    finally:
        done.set()
        worker.join()


@dataclass
class _Viewers:
    """Open pages, as the board's script keeps them."""

    address: str
    token: str
    number: int
    fetch: bool
    open: int = 0
    failed: int = 0
    ages: list[float] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(
            base_url=self.address, cookies={"_token": self.token}, timeout=60, trust_env=False, limits=limits
        ) as client:
            page = (await client.get(OVERVIEW)).text
            part, changes = (unescape(re.findall(f'data-{name}="([^"]+)"', page)[0]) for name in ("part", "changes"))
            viewers = [asyncio.create_task(self._view(client, part, changes)) for _ in range(self.number)]
            await self.stop.wait()
            for viewer in viewers:
                viewer.cancel()
            await asyncio.gather(*viewers, return_exceptions=True)

    async def _view(self, client: httpx.AsyncClient, part: str, changes: str) -> None:
        opened = False
        while True:
            try:
                async with client.stream("GET", changes) as answer:
                    self.open += not opened
                    opened = True
                    async for line in answer.aiter_lines():
                        if line == "event: changed" and self.fetch:
                            await self._fetch(client, part)
            except httpx.HTTPError:
                self.failed += 1
                await asyncio.sleep(2)

    async def _fetch(self, client: httpx.AsyncClient, part: str) -> None:
        began = time.perf_counter()
        answer = await client.get(part)
        self.failed += answer.status_code != httpx.codes.OK
        self.ages.append(time.perf_counter() - began)


@contextmanager
def _looking(stage: Stage, number: int, *, fetch: bool) -> Iterator[_Viewers]:
    """Keep so many pages open."""
    viewers = _Viewers(stage.instance.address, token_of(stage), number, fetch)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(viewers.run(),))
    thread.start()
    try:
        stage.until("the streams", lambda: viewers.open == number, patience=PATIENCE_SECONDS)
        yield viewers
    finally:
        loop.call_soon_threadsafe(viewers.stop.set)
        thread.join()
        loop.close()
