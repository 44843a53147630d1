"""What hosts have told, for people: listed, looked into, looked at anew."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from feature_delivery.bootstrap import dialects
from feature_delivery.domain.errors import NotFound
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import LISTING_HOST, WebhookDelivery, WebhookState
from feature_delivery.services.control.webhooks import replay
from feature_delivery.web.access import CallerDep, Readable, json_only
from feature_delivery.web.errors import problems
from feature_delivery.web.transaction import WebUnit, begin
from feature_delivery.web.workers import wake

router = APIRouter(prefix="/webhooks/{project}/deliveries", tags=["webhooks"], dependencies=[Depends(json_only)])
RESPONSES = problems(401, 403, 404, 409)
LIST_LIMIT = 200
BODY_SHOWN = 100_000
"""Characters; nobody reads more than that."""

NUMBER_DIGITS = 10
"""What is longer than any number of the ledger is a host's id."""

_log = logging.getLogger(__name__)


class DeliveryLine(BaseModel):
    """A webhook in a list. ``ignored``: why it is not for us; ``result``: what a look at its host brought."""

    id: int
    delivery: str
    host: str
    event: str
    received_at: datetime
    processed_at: datetime | None
    state: WebhookState
    ignored: str
    result: str
    tries: int


class Deliveries(BaseModel):
    """The newest webhooks; how many are kept by their state, and why those that were not for us were not."""

    deliveries: list[DeliveryLine]
    counts: dict[WebhookState, int]
    ignored: dict[str, int]


class DeliveryView(DeliveryLine):
    """A webhook as it came in, without secrets. Bodies are emptied after a week; ``body_bytes``: how long it is."""

    headers: dict[str, str]
    hint: dict[str, Any] | None
    body: str
    body_bytes: int


@router.get("", responses=RESPONSES)
def list_deliveries(
    project: Readable,
    state: WebhookState | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=LIST_LIMIT)] = 50,
) -> Deliveries:
    """List the webhooks of a project, newest first; ``before`` is the last number of the page before."""
    with begin() as unit:
        found = unit.books.webhooks(project.name, state=state, before=before, limit=limit)
        return Deliveries(
            deliveries=[DeliveryLine(**_line(one)) for one in found],
            counts=dict(unit.books.webhook_counts(project.name)),
            ignored=dict(unit.books.webhooks_ignored(project.name)),
        )


@router.get("/{delivery}", responses=RESPONSES)
def show_delivery(project: Readable, delivery: str) -> DeliveryView:
    """Show a webhook by its number, or by the id its host gave it."""
    with begin() as unit:
        found = _find(unit, project.name, delivery)
        return DeliveryView(
            **_line(found),
            headers={name: str(value) for name, value in found.headers.items()},
            hint=dict(found.hint) if found.hint is not None else None,
            body=found.body.decode("utf-8", "replace")[:BODY_SHOWN],
            body_bytes=len(found.body),
        )


@router.post("/{delivery}/replay", responses=RESPONSES)
def replay_delivery(who: CallerDep, delivery: str) -> DeliveryLine:
    """Look into a webhook once more, as an operator; what it told is done already is not done again."""
    who.must_be(Who.OPERATOR, what="replay webhooks")
    with begin() as unit:
        found = _find(unit, who.project.name, delivery)
        replay(found, _hint(found))
        line = DeliveryLine(**_line(found))
    _log.info("%s replays the webhook %s of %s", who.name, line.id, who.project.name)
    wake("webhooks")
    return line


def _find(unit: WebUnit, project: ProjectName, delivery: str) -> WebhookDelivery:
    """Return a webhook that was sent to the project.

    Raises:
        NotFound: There is none; or it is older than what is kept.
    """
    found = None
    if delivery.isascii() and delivery.isdigit() and len(delivery) <= NUMBER_DIGITS and int(delivery) < 2**31:
        found = unit.books.webhook_by_id(project, int(delivery))
    found = found or unit.books.webhook(project, delivery)
    if found is None or found.host == LISTING_HOST:
        shown = f"{project} has no webhook {delivery[:80]!r}."
        raise NotFound(f"{shown} Look for it in `feature-delivery webhooks list`; old ones are forgotten.")
    return found


def _hint(found: WebhookDelivery) -> Hint | None:
    """Return what the body says, read by today's rules; ``None`` when it is gone."""
    dialect = dialects.named(found.host)
    if dialect is None or not found.body:
        return None
    return dialects.read(dialect, {name: str(value) for name, value in found.headers.items()}, bytes(found.body)).hint


def _line(found: WebhookDelivery) -> dict[str, Any]:
    waiting = WebhookState.WAITING if found.processed_at is None else WebhookState.PROCESSED
    return {
        "id": found.id,
        "delivery": found.delivery_id,
        "host": found.host,
        "event": found.event,
        "received_at": found.received_at,
        "processed_at": found.processed_at,
        "state": WebhookState.IGNORED if found.ignored else waiting,
        "ignored": found.ignored,
        "result": found.result,
        "tries": found.tries,
    }
