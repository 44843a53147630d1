"""Webhooks of the fake hosts: really sent, in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx


@dataclass
class Delivery:
    """One webhook that was sent, or will be; ``status`` 0: no answer (yet)."""

    hook: int
    id: str
    event: str
    url: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    reason: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class WebhookSender:
    """Sends in the background, in order, each once; ``again`` repeats one as the host's page does."""

    def __init__(self, *, timeout_seconds: float = 10.0) -> None:
        self.deliveries: list[Delivery] = []
        self._timeout = timeout_seconds
        self._waiting: queue.Queue[Delivery | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def send(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._waiting.put(delivery)

    def again(self, delivery_id: str) -> None:
        """Send one a second time: same id, same body."""
        self._waiting.put(next(one for one in self.deliveries if one.id == delivery_id))

    def settle(self) -> None:
        """Wait until everything so far was sent."""
        self._waiting.join()

    @contextmanager
    def running(self) -> Iterator[WebhookSender]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._waiting.put(None)
            thread.join(timeout=self._timeout + 5)

    def _run(self) -> None:
        with httpx.Client(timeout=self._timeout, trust_env=False) as client:
            while (delivery := self._waiting.get()) is not None:
                try:
                    answer = client.post(delivery.url, content=delivery.body, headers=delivery.headers)
                    delivery.status, delivery.reason = answer.status_code, answer.reason_phrase
                except httpx.HTTPError as error:
                    delivery.status, delivery.reason = 0, type(error).__name__
                finally:
                    self._waiting.task_done()
        self._waiting.task_done()
