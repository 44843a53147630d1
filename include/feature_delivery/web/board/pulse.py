"""What has changed, asked once for everybody: one thread looks, every open page is told.

Looking costs one small query a second while somebody watches, and none otherwise. Pages then fetch what they show;
the cards behind them are read once per change, however many look. All of it together keeps to a share of a core:
tasks ask the same servers for their permits.
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feature_delivery.adapters.ledger.board_books import SqlBoardBooks
from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.bootstrap import settings
from feature_delivery.services.control.board import cards
from feature_delivery.web.board.overview import Snapshot
from feature_delivery.web.transaction import session
from feature_delivery.web.workers import wake

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.project import ProjectConfig

WORKER = "board"
BEAT_SECONDS = 1.0
STREAM_SECONDS = 55.0
"""A stream ends after so long and the browser opens the next one: what stands between may cut longer ones."""

LISTENERS_LIMIT = 400
"""Open streams per API server process; who comes later sees the page without live updates."""

SHARE = 0.25
"""Of a core: what showing changes may take, and reading them as much again; when it is more, both come later."""

LONGEST_PAUSE_SECONDS = 30.0

ENDED_PER_PROJECT = 30
_SNAPSHOT_SECONDS = 15.0
"""Addresses and other small things change without a trace in the revision: cards are never older than this."""


class Listener:
    """One open page; lives in its event loop."""

    def __init__(self, revision: str) -> None:
        """``revision``: the one that the page knows."""
        self.revision = revision
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Say that something has changed; from any thread."""
        self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self, *, seconds: float) -> bool:
        """Return whether something has changed within ``seconds``."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Pulse:
    """The newest revision of the ledger, and who wants to know of the next."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._cost = 0.0
        self.revision = ""
        self.told_at = -math.inf

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Note what it costs to show the part of a page that changes, in processor time: waiting is no cost."""
        began = time.thread_time()
        try:
            yield
        finally:
            self._cost += (time.thread_time() - began - self._cost) / 8

    @property
    def pause(self) -> float:
        """Seconds that a page waits for the word of a change, in the middle, so that all together keep to ``SHARE``.

        Each of them fetches then; tasks ask the same server for their permits.
        """
        return min(LONGEST_PAUSE_SECONDS, len(self._listeners) * self._cost / SHARE)

    def beat(self) -> float | None:
        """Look once, for the background worker; ``None``: nobody listens."""
        with self._lock:
            if not self._listeners:
                return None
        with session() as opened:
            revision = SqlBoardBooks(opened).revision()
        with self._lock:
            if revision != self.revision and not snapshots.resting():
                self.revision, self.told_at = revision, time.monotonic()
                for listener in self._listeners:
                    listener.tell()
        return BEAT_SECONDS

    @contextmanager
    def listening(self) -> Iterator[Listener | None]:
        """Be told of changes; ``None`` when too many are."""
        listener = Listener(self.revision)
        with self._lock:
            full = len(self._listeners) >= LISTENERS_LIMIT
            if not full:
                self._listeners.add(listener)
        try:
            if full:
                yield None
            else:
                wake(WORKER)
                yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        """How many pages are open here."""
        return len(self._listeners)


pulse = Pulse()


async def stream(known: str) -> AsyncGenerator[str, None]:
    """Yield server-sent events: ``changed`` with the new revision whenever it is not the one that the page knows.

    ``known``: the revision of the page (``Last-Event-ID`` of a stream that was opened again), perhaps empty.
    """
    end = time.monotonic() + STREAM_SECONDS
    with pulse.listening() as listener:
        if listener is None:
            yield "retry: 60000\nevent: full\ndata:\n\n"
            return
        yield f"retry: 2000\nid: {pulse.revision}\ndata:\n\n"
        quiet, due = 0, 0.0
        while time.monotonic() < end and not _stopping():
            await listener.wait(seconds=min(1.0, max(0.05, due - time.monotonic())) if due else 1.0)
            revision, quiet = pulse.revision, quiet + 1
            changed = revision not in {"", known}
            if changed and not due:
                # Not all of them in the same moment.
                due = time.monotonic() + pulse.pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            if changed and time.monotonic() >= due:
                known, due = revision, 0.0
                yield f"id: {revision}\nevent: changed\ndata: {revision}\n\n"
            elif quiet % 15 == 0:
                yield ": still here\n\n"


def _stopping() -> bool:
    """Say whether this server has been told to stop: uvicorn waits for open streams, and tells them nothing."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))


class Snapshots:
    """The newest snapshot, shared by all requests of this process."""

    def __init__(self) -> None:
        """Nothing has been read yet."""
        self._lock = threading.Lock()
        self._held: Snapshot | None = None
        self._rests_until = -math.inf

    def get(self) -> Snapshot:
        """Return the cards as they are now, read again only when something has changed, and not all the time.

        What is read often rests in between; a page that gets older cards is told of the change when the rest is over.
        """
        projects = settings.projects()
        # Whoever comes while another one reads waits for that one and shares what it found: without a connection.
        with self._lock:
            held, at = self._held, time.monotonic()
            known = held is not None and held.projects == projects and at - held.read_at < _SNAPSHOT_SECONDS
            if held is not None and known and self.resting() and held.read_at > pulse.told_at:
                return held
            with session() as opened:
                books = SqlBoardBooks(opened)
                revision = books.revision()
                if held is None or not known or held.revision != revision:
                    held = self._held = self._read(opened, books, revision, projects)
        return held

    def _read(
        self, opened: Session, books: SqlBoardBooks, revision: str, projects: dict[ProjectName, ProjectConfig]
    ) -> Snapshot:
        at, began = time.monotonic(), time.thread_time()
        facts = books.facts(ended_per_project=ENDED_PER_PROJECT)
        stops = SqlBooks(opened, new_instance=settings.new_instance())
        read = Snapshot(
            revision,
            projects,
            cards(facts, projects),
            facts.ended,
            at,
            brakes={one.project: (one.id, one.reason) for one in stops.brakes_on()},
            held=stops.installation().fault,
        )
        self._rests_until = time.monotonic() + (time.thread_time() - began) / SHARE
        return read

    def resting(self) -> bool:
        """Say whether the cards were read a moment ago, for what that costs."""
        return time.monotonic() < self._rests_until

    def forget(self) -> None:
        """Read again at the next request."""
        with self._lock:
            self._held = None


snapshots = Snapshots()
