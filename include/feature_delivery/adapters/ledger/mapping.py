"""How the records of the domain are rows: mapped from here, so that the domain knows no database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sqlalchemy import event as events
from sqlalchemy.orm import deferred, registry

from feature_delivery.adapters.ledger import tables
from feature_delivery.domain import outbox, records

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table
    from sqlalchemy.orm import Mapper

RECORDS: dict[type[Any], Table] = {
    records.Project: tables.project,
    records.Feature: tables.feature,
    records.Attempt: tables.attempt,
    records.CandidateRecord: tables.candidate,
    records.Environment: tables.environment,
    records.Deployment: tables.deployment,
    records.SuiteResult: tables.suite_result,
    records.Observation: tables.observation,
    records.KeptLooks: tables.looks,
    records.Gate: tables.gate,
    records.Decision: tables.decision,
    records.HeardComment: tables.heard,
    records.PermitRecord: tables.permit,
    records.Promotion: tables.promotion,
    records.QueuePlace: tables.queue_place,
    records.WebhookDelivery: tables.webhook,
    outbox.OutboxEntry: tables.outbox,
    outbox.Post: tables.post,
    records.Alert: tables.alert,
    records.Event: tables.event,
    records.Brake: tables.brake,
}

HEAVY: dict[type[Any], tuple[str, ...]] = {
    records.WebhookDelivery: ("body",),
    records.SuiteResult: ("report",),
}
"""Fields that are megabytes at times, and that most who read the record do not look at: read when asked for."""

_mapping = threading.Lock()
_registry = registry(metadata=tables.metadata)


def map_records() -> None:
    """Map every record once; again changes nothing.

    A record made before this cannot be stored, so whatever opens the ledger calls it first. JSON fields see changes
    of their top level; a change deeper down needs a new value to be assigned.
    """
    with _mapping:
        if next(iter(_registry.mappers), None) is not None:
            return
        for record, table in RECORDS.items():
            _registry.map_imperatively(record, table, properties=_late(record, table))
            if "id" in table.c:
                events.listen(record, "before_insert", _unnumber)
        _registry.configure()


def _late(record: type[Any], table: Table) -> dict[str, Any]:
    return {name: deferred(table.c[name]) for name in HEAVY.get(record, ())}


def _unnumber(_mapper: Mapper[Any], _connection: Connection, record: Any) -> None:
    # 0 means "not stored yet"; only the database gives numbers.
    if record.id == 0:
        record.id = None
