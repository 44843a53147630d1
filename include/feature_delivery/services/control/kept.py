"""What looking keeps for itself from one time to the next, in the place where everything is kept that hosts tell us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.records import LISTING_HOST, LISTING_MARKS, WebhookDelivery, now

if TYPE_CHECKING:
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.ports.ledger import Unit

LISTING, MARKS, PUSHERS = "listing", LISTING_MARKS, "pushers"
"""Delivery ids: the last listing of branches, how far we have looked, who pushed to branches of no feature."""

RESERVED = frozenset({LISTING, MARKS, PUSHERS})


def recall(unit: Unit, project: ProjectName, name: str) -> bytes | None:
    """Return what was kept under ``name``, one of ``RESERVED``."""
    kept = unit.books.webhook(project, name)
    return bytes(kept.body) if kept is not None else None


def keep(unit: Unit, project: ProjectName, name: str, body: bytes) -> None:
    """Keep something under ``name``, one of ``RESERVED``."""
    kept = unit.books.webhook(project, name)
    if kept is None:
        kept = WebhookDelivery(project=project, delivery_id=name, host=LISTING_HOST, event=name, body=body)
        kept.processed_at = now()
        unit.books.add(kept)
    kept.body = body
