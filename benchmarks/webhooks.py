"""A burst of webhooks: each stored before it is answered, none lost, none processed twice."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING

import httpx
from figures import Figure, percentile
from stage import EMPTY

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli.up import webhook_secret

if TYPE_CHECKING:
    from stage import Stage

GOAL_P99_MS = 500.0
SENDERS = 16
"""Senders at once: one host's workers, not a thousand hosts; the burst is as long as the server makes it."""


def measure(stage: Stage, *, number: int) -> list[Figure]:
    """Send ``number`` signed pushes as fast as they are taken."""
    secret = webhook_secret(stage.home, stage.shops[EMPTY].project.name).encode()
    mark = uuid.uuid4().hex
    limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
    with httpx.Client(base_url=stage.instance.address, timeout=60, trust_env=False, limits=limits) as client:

        def send(which: int) -> tuple[int, float]:
            push = {"project": EMPTY, "ref": f"refs/heads/feature/BURST-{which}", "old": "", "new": "", "pusher": ""}
            body = json.dumps(push).encode()
            headers = {
                "X-Feature-Delivery-Delivery": f"{mark}-{which}",
                "X-Feature-Delivery-Signature": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(),
            }
            began = time.perf_counter()
            status = client.post(f"{URL_PREFIX}/webhooks/{EMPTY}", content=body, headers=headers).status_code
            return status, 1000 * (time.perf_counter() - began)

        began = time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as senders:
            answers = list(senders.map(send, range(number)))
        seconds = time.perf_counter() - began
    stored = "SELECT count(*), count(processed_at) FROM fd_webhook WHERE delivery_id LIKE :mark"
    kept = int(stage.rows(stored, mark=f"{mark}-%")[0][0])
    stage.until("the burst's processing", lambda: stage.rows(stored, mark=f"{mark}-%")[0][1] == kept)
    accepted = [took for status, took in answers if status == 202]
    note = f"{number} signed pushes, {SENDERS} senders at once, {number / seconds:.0f} a second"
    return [
        Figure("webhooks", "accepted, p99", percentile(accepted, 0.99), "ms", GOAL_P99_MS, note, accepted),
        Figure("webhooks", "accepted, p50", median(accepted), "ms"),
        Figure("webhooks", "lost", number - kept, "", 0, "sent, but not stored and processed"),
    ]
