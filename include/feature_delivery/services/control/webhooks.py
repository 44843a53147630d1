"""Webhooks: stored before they are looked into, and then only a hint to look at the host."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.errors import Error, Refused, Temporary
from feature_delivery.domain.names import BranchName, ProjectName, branch_name
from feature_delivery.domain.records import WebhookDelivery, now
from feature_delivery.services.control.reconcile import reconcile

if TYPE_CHECKING:
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control

GIVE_UP_AFTER = 50
"""Tries; after so many reconciliation alone is left, which finds the same."""


@dataclass(frozen=True, slots=True)
class Received:
    """One stored webhook, out of its transaction."""

    project: ProjectName
    delivery_id: str
    body: bytes
    tries: int


def receive(unit: Unit, project: ProjectName, *, delivery_id: str, host: str, event: str, body: bytes) -> bool:
    """Store a webhook whose signature was checked; ``False`` when it is known."""
    if unit.books.webhook(project, delivery_id) is not None:
        return False
    unit.books.add(WebhookDelivery(project=project, delivery_id=delivery_id, host=host, event=event[:100], body=body))
    return True


def process(control: Control, *, limit: int = 200) -> tuple[int, int]:
    """Process stored webhooks, all of a project by one look at its host; returns how many were done and are left.

    A crash in between repeats the look, which changes nothing the second time.
    """
    with control.begin() as unit:
        waiting: dict[ProjectName, list[Received]] = defaultdict(list)
        for row in unit.books.webhooks_to_process(limit):
            row.tries += 1
            waiting[row.project].append(Received(row.project, row.delivery_id, bytes(row.body), row.tries))
    done = left = 0
    for name, received in waiting.items():
        result, final = _look(control, name, received)
        final = final or received[0].tries >= GIVE_UP_AFTER
        with control.begin() as unit:
            for one in received:
                stored = unit.books.webhook(name, one.delivery_id)
                if stored is not None and stored.processed_at is None:
                    stored.result, stored.processed_at = result[:2000], now() if final else None
        done, left = (done + len(received), left) if final else (done, left + len(received))
    return done, left


def _look(control: Control, name: ProjectName, received: Iterable[Received]) -> tuple[str, bool]:
    pushed: dict[BranchName, str] = {}
    for one in received:
        pushed |= hint(one.body)
    try:
        changed = reconcile(control, control.project(name), pushed=pushed)
    except Temporary as error:
        return str(error), False
    except Error as error:
        return str(error), True
    return " ".join(changed) or "Nothing new.", True


def hint(body: bytes) -> dict[BranchName, str]:
    """Return the branch that a push names, with the login of who pushed; empty for anything else."""
    try:
        payload: Any = json.loads(body)
    except ValueError:
        return {}
    ref = payload.get("ref") if isinstance(payload, dict) else None
    if not isinstance(ref, str) or not ref.startswith("refs/heads/"):
        return {}
    try:
        branch = branch_name(ref.removeprefix("refs/heads/"))
    except Refused:
        return {}
    pusher = payload.get("pusher")
    return {branch: pusher[:80] if isinstance(pusher, str) else ""}
