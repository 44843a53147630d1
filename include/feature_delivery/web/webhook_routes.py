"""Where hosts tell what happened: signature first, then stored, then answered; looked into afterwards."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from feature_delivery.bootstrap import settings
from feature_delivery.domain.errors import Conflict, Refused
from feature_delivery.domain.names import ProjectName, project_name
from feature_delivery.services.control.webhooks import receive
from feature_delivery.web.errors import Unauthorized, answer, problems
from feature_delivery.web.transaction import begin
from feature_delivery.web.workers import wake

router = APIRouter(tags=["webhooks"])
BODY_LIMIT = 256 * 1024
DELIVERY_LIMIT = 200

_log = logging.getLogger(__name__)


class Accepted(BaseModel):
    """The webhook is stored; ``repeated``: it was already."""

    repeated: bool


@router.post("/webhooks/{project}", status_code=202, response_model=Accepted, responses=problems(401, 413))
async def webhook(
    project: str,
    request: Request,
    signature: Annotated[str, Header(alias="X-Feature-Delivery-Signature")] = "",
    delivery: Annotated[str, Header(alias="X-Feature-Delivery-Delivery")] = "",
    event: Annotated[str, Header(alias="X-Feature-Delivery-Event")] = "push",
) -> Accepted | JSONResponse:
    """Take a webhook: ``sha256=`` and the HMAC of the raw body with the project's secret. Repeats are welcome."""
    body = await _read(request)
    if body is None:
        return answer(413, "Invalid", f"A webhook is at most {BODY_LIMIT // 1024} KiB.")
    name = await run_in_threadpool(_authentic, project, body, signature)
    if not delivery or len(delivery) > DELIVERY_LIMIT or not delivery.isprintable():
        return answer(422, "Invalid", "The header 'X-Feature-Delivery-Delivery' must name the delivery.")
    repeated = not await run_in_threadpool(_store, name, delivery, event, body)
    _log.info("Webhook of %s: %s, delivery %s", name, event[:40], delivery)
    wake("webhooks")
    return Accepted(repeated=repeated)


async def _read(request: Request) -> bytes | None:
    """Read the body, at most up to the limit: a sender is not believed about its length."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)


def _authentic(project: str, body: bytes, signature: str) -> ProjectName:
    """Return the project whose secret signed the body.

    Raises:
        Unauthorized: None did; an unknown project answers the same, in the same time.
    """
    secret = b""
    try:
        name = project_name(project)
        if name in settings.projects():
            secret = settings.webhook_secret(name)
    except Refused:
        name = ProjectName("")
    wanted = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    right = hmac.compare_digest(signature.encode(), wanted.encode())
    if not right or not secret:
        raise Unauthorized("The signature is not that of a project here. Compare the webhook's secret.")
    return name


def _store(project: ProjectName, delivery: str, event: str, body: bytes) -> bool:
    try:
        with begin() as unit:
            return receive(unit, project, delivery_id=delivery, host="webhook", event=event, body=body)
    except Conflict:
        return False  # the same delivery, at the same moment
