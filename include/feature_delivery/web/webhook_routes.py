"""Where hosts tell what happened: signature first, then stored, then answered; looked into afterwards."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from feature_delivery.adapters.webhooks.reading import content_type
from feature_delivery.bootstrap import dialects, settings
from feature_delivery.domain.errors import Conflict, RateLimited, Refused
from feature_delivery.domain.names import ProjectName, project_name
from feature_delivery.domain.records import now
from feature_delivery.ports.webhook import Dialect
from feature_delivery.services.control import tallies
from feature_delivery.services.control.webhooks import Incoming, receive
from feature_delivery.web import webhook_counts
from feature_delivery.web.errors import Unauthorized, answer, problems
from feature_delivery.web.rate_limit import RateLimit
from feature_delivery.web.transaction import begin
from feature_delivery.web.workers import wake

router = APIRouter(tags=["webhooks"])
BODY_LIMIT = 5 * 1024 * 1024
"""Pushes of thousands of commits stay below it. What is larger is lost as a webhook, and found by reconciliation."""

DRAIN_LIMIT = 32 * 1024 * 1024
"""Hosts send at most 25 MB: so much is read to its end, because who is cut off while sending sees no answer."""

READ_SECONDS = 30
"""Hosts themselves wait 10 s for the whole of it."""

UNKNOWN = ProjectName("unknown")
"""Stands for projects that are none, so that they cost as much work as one."""

limit = RateLimit()
_log = logging.getLogger(__name__)


class Accepted(BaseModel):
    """The webhook is stored; ``repeated``: it was already."""

    repeated: bool


@router.post(
    "/webhooks/{project}", status_code=202, response_model=Accepted, responses=problems(401, 408, 413, 415, 429)
)
async def webhook(project: str, request: Request) -> Accepted | JSONResponse:
    """Take a webhook of GitHub, GitLab, Gitea, Forgejo, Jira or a local repository, told by its headers.

    It must be signed with one of the project's secrets. 202: it is stored, for good, and will be looked into; the same
    delivery may come again. At most 5 MiB, JSON; from GitHub also a form.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await _read(request)
    except ClientDisconnect:
        return answer(400, "Invalid", "The body did not come to its end.")  # nobody reads this any more
    except TimeoutError:
        return answer(408, "Invalid", f"The body did not come within {READ_SECONDS} s. Send it again.")
    if body is None:
        return answer(413, "Invalid", f"A webhook is at most {BODY_LIMIT // 1024 // 1024} MiB.")
    return await run_in_threadpool(_take, project, dict(request.headers), body)


async def _read(request: Request) -> bytes | None:
    """Read the body, at most up to the limit: a sender is not believed about its length."""
    body, seen = bytearray(), 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > DRAIN_LIMIT:
            return None
        if seen > BODY_LIMIT:
            body.clear()
        else:
            body += chunk
    return bytes(body) if seen <= BODY_LIMIT else None


def _take(project: str, headers: Mapping[str, str], body: bytes) -> Accepted | JSONResponse:
    """Check, store and answer.

    Raises:
        Unauthorized: It is not signed by a project here.
        RateLimited: The project has sent too much.
    """
    dialect = dialects.dialect_of(headers)
    name = _authentic(project, dialect or dialects.DIALECTS[0], headers, body)
    if dialect is None or name is None:
        _refused(project, dialect)
        raise Unauthorized("The signature is not that of a project here. Compare the webhook's secret.")
    wait = limit.take(name, per_minute=settings.webhooks_per_minute())
    if wait:
        webhook_counts.note(name, dialect.name, tallies.REFUSED)
        sentence = f"{name} sends more webhooks than are taken in a minute. Wait, or let its host send fewer events."
        raise RateLimited(sentence, retry_after_seconds=wait)
    kind = content_type(headers)
    if kind and kind not in dialect.content_types:
        wanted = " or ".join(sorted(dialect.content_types))
        return answer(415, "Invalid", f"Webhooks of {dialect.name} are {wanted}. Set that as their content type.")
    delivery = dialect.delivery_id(headers, body)
    if not delivery:
        return answer(422, "Invalid", "The header 'X-Feature-Delivery-Delivery' must name the delivery.")
    read = dialects.read(dialect, headers, body)
    incoming = Incoming(
        host=dialect.name,
        delivery_id=delivery,
        event=read.event,
        headers=dialects.without_secrets(headers),
        body=read.body,
        hint=read.hint,
    )
    repeated = not _store(name, incoming)
    _log.info("Webhook of %s from %s: %s, delivery %s", name, dialect.name, read.event, delivery)
    if not read.hint.ignored:
        wake("webhooks")
    elif not repeated:
        webhook_counts.note(name, dialect.name, tallies.IGNORED)
    return Accepted(repeated=repeated)


def _refused(project: str, dialect: Dialect | None) -> None:
    """Count a webhook that is not signed as it must be, for a project that is ours."""
    try:
        asked = project_name(project)
    except Refused:
        return
    if asked in settings.projects():
        webhook_counts.note(asked, dialect.name if dialect else "unknown", tallies.REFUSED)


def _authentic(project: str, dialect: Dialect, headers: Mapping[str, str], body: bytes) -> ProjectName | None:
    """Return the project one of whose secrets signed the body; an unknown one costs the same work."""
    try:
        asked = project_name(project)
    except Refused:
        asked = None
    known = asked in settings.projects()
    found = settings.webhook_secrets(asked or UNKNOWN)
    usable = found if known and found else (secrets.token_bytes(32),)
    return asked if dialect.authentic(headers, body, usable, at=now()) else None


def _store(project: ProjectName, incoming: Incoming) -> bool:
    try:
        with begin() as unit:
            return receive(unit, project, incoming)
    except Conflict:
        return False  # the same delivery, at the same moment
