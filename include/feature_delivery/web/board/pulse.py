"""What has changed, asked once for everybody: one thread looks, every open page is told.

Looking costs one small query a second while somebody watches, and none otherwise. Pages then fetch what they show;
the cards behind them are read once per change, however many look.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from feature_delivery.adapters.ledger.board_books import SqlBoardBooks
from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.bootstrap import settings
from feature_delivery.services.control.board import cards
from feature_delivery.web.board.overview import Snapshot
from feature_delivery.web.transaction import session
from feature_delivery.web.workers import wake

WORKER = "board"
BEAT_SECONDS = 1.0
STREAM_SECONDS = 55.0
"""A stream ends after so long and the browser opens the next one: what stands between may cut longer ones."""

LISTENERS_LIMIT = 400
"""Open streams per API server process; who comes later sees the page without live updates."""

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
        self.revision = ""

    def beat(self) -> float | None:
        """Look once, for the background worker; ``None``: nobody listens."""
        with self._lock:
            if not self._listeners:
                return None
        with session() as opened:
            revision = SqlBoardBooks(opened).revision()
        with self._lock:
            if revision != self.revision:
                self.revision = revision
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


async def stream(known: str) -> AsyncIterator[str]:
    """Yield server-sent events: ``changed`` with the new revision whenever it is not the one that the page knows.

    ``known``: the revision of the page (``Last-Event-ID`` of a stream that was opened again), perhaps empty.
    """
    end = time.monotonic() + STREAM_SECONDS
    with pulse.listening() as listener:
        if listener is None:
            yield "retry: 60000\nevent: full\ndata:\n\n"
            return
        yield f"retry: 2000\nid: {pulse.revision}\ndata:\n\n"
        quiet = 0
        while time.monotonic() < end and not _stopping():
            await listener.wait(seconds=1.0)
            revision, quiet = pulse.revision, quiet + 1
            if revision and revision != known:
                known = revision
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

    def get(self) -> Snapshot:
        """Return the cards as they are now, read again only when something has changed."""
        projects = settings.projects()
        with session() as opened:
            books = SqlBoardBooks(opened)
            revision = books.revision()
            # Whoever comes while another one reads waits for that one and shares what it found.
            with self._lock:
                held = self._held
                fresh = held is not None and time.monotonic() - held.read_at < _SNAPSHOT_SECONDS
                if held is None or not fresh or held.revision != revision or held.projects != projects:
                    facts = books.facts(ended_per_project=ENDED_PER_PROJECT)
                    stops = SqlBooks(opened, new_instance=settings.new_instance())
                    held = Snapshot(
                        revision,
                        projects,
                        cards(facts, projects),
                        facts.ended,
                        time.monotonic(),
                        brakes={one.project: one.reason for one in stops.brakes_on()},
                        held=stops.installation().fault,
                    )
                    self._held = held
        return held

    def forget(self) -> None:
        """Read again at the next request."""
        with self._lock:
            self._held = None


snapshots = Snapshots()
