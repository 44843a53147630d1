"""A burst of webhooks in the words of every host: each stored before it is answered, none lost, none processed twice.

The second burst loses the API server to ``kill -9`` in its middle: what was answered with 202 before must be processed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import httpx
import psutil
from figures import Figure, percentile
from stage import EMPTY

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli.shop import webhook_secret

if TYPE_CHECKING:
    from stage import Stage

GOAL_P99_MS = 500.0
SENDERS = 16
"""Senders at once: one host's workers, not a thousand hosts; the burst is as long as the server makes it."""

PADDING = "x" * 8000
"""Real pushes carry a repository, a sender and commits: about so much."""

TRY_AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 120.0


def sent(which: int, delivery: str, secret: str) -> tuple[bytes, dict[str, str]]:
    """Return a push of one feature's branch as one of the hosts sends it."""
    ref, after = f"refs/heads/feature/BURST-{which}", f"{which:040x}"
    push: dict[str, object] = {"ref": ref, "after": after, "sender": {"login": "bench"}, "commits": [PADDING]}
    if which % 4 == 1:
        push |= {"object_kind": "push", "user_username": "bench"}
    elif which % 4 == 3:
        push = {"ref": ref, "old": "", "new": after, "pusher": ""}
    body = json.dumps(push).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    github = {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": f"sha256={digest}"}
    headers = (
        github,
        {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret, "Idempotency-Key": delivery},
        {**github, "X-Gitea-Event": "push", "X-Gitea-Delivery": delivery, "X-Gitea-Signature": digest},
        {"X-Feature-Delivery-Delivery": delivery, "X-Feature-Delivery-Signature": f"sha256={digest}"},
    )[which % 4]
    return body, {"Content-Type": "application/json", **headers}


@dataclass
class Burst:
    """Signed pushes, sent as fast as they are taken; each is sent again until it is answered."""

    stage: Stage
    number: int
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    took: list[float] = field(default_factory=list)
    answered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seconds: float = 0.0

    def run(self) -> None:
        """Send them all."""
        secret = webhook_secret(self.stage.home, self.stage.shops[EMPTY].project.name)
        limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
        address = self.stage.instance.address
        began = time.perf_counter()
        with (
            httpx.Client(base_url=address, timeout=60, trust_env=False, limits=limits) as client,
            ThreadPoolExecutor(SENDERS) as senders,
        ):
            list(senders.map(lambda which: self._send(client, which, secret), range(self.number)))
        self.seconds = time.perf_counter() - began

    def _send(self, client: httpx.Client, which: int, secret: str) -> None:
        body, headers = sent(which, f"{self.mark}-{which}", secret)
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            began = time.perf_counter()
            try:
                answer = client.post(f"{URL_PREFIX}/webhooks/{EMPTY}", content=body, headers=headers)
            except httpx.HTTPError:
                time.sleep(TRY_AGAIN_SECONDS)
                continue
            if answer.status_code == 202:
                self.took.append(1000 * (time.perf_counter() - began))
                self.answered.release()
                return
            time.sleep(TRY_AGAIN_SECONDS)

    def lost(self) -> int:
        """Return how many were answered, but are not stored, or not processed in the end."""
        stored = "SELECT count(*), count(processed_at) FROM fd_webhook WHERE delivery_id LIKE :mark"
        mark = f"{self.mark}-%"
        kept = int(self.stage.rows(stored, mark=mark)[0][0])
        self.stage.until("the burst's processing", lambda: self.stage.rows(stored, mark=mark)[0][1] == kept)
        return self.number - kept if len(self.took) == self.number else self.number


def measure(stage: Stage, *, number: int) -> list[Figure]:
    """Send ``number`` signed pushes, and once more with the API server killed midway."""
    burst = Burst(stage, number)
    burst.run()
    lost = burst.lost()
    note = f"{number} signed pushes of four hosts, {SENDERS} senders at once, {number / burst.seconds:.0f} a second"
    return [
        Figure("webhooks", "accepted, p99", percentile(burst.took, 0.99), "ms", GOAL_P99_MS, note, burst.took),
        Figure("webhooks", "accepted, p50", median(burst.took), "ms"),
        Figure("webhooks", "lost", lost, "", 0, "sent, but not stored and processed"),
        _killed(stage, number=number),
    ]


def _killed(stage: Stage, *, number: int) -> Figure:
    burst = Burst(stage, number)
    sending = threading.Thread(target=burst.run)
    sending.start()
    for _ in range(number // 2):
        burst.answered.acquire()
    guard = psutil.Process(stage.instance.processes()["api-server"])
    family = guard.children(recursive=True)
    for process in family:
        process.kill()
    sending.join()
    stage.until("the API server's return", stage.instance.is_ready)
    note = f"the API server killed after half of {number}; senders try again, {burst.seconds:.0f} s in all"
    return Figure("webhooks", "lost with a kill -9", burst.lost(), "", 0, note)
