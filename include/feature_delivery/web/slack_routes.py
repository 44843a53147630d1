"""Where Slack tells what people press: signature first, then stored, then answered; decided afterwards.

One address for all projects: an app in Slack has only one. Whose button it was says the button's own signature.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from fastapi import APIRouter, BackgroundTasks, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from feature_delivery.adapters.messengers.slack import Form, Interactions, TooOld
from feature_delivery.adapters.messengers.slack.blocks import COMMENT
from feature_delivery.bootstrap import messengers, settings
from feature_delivery.domain.errors import Conflict, Error, Misconfigured
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import now
from feature_delivery.ports.messenger import Press
from feature_delivery.services.control.hearing import store
from feature_delivery.web.access import address_of
from feature_delivery.web.errors import Unauthorized, answer, problems
from feature_delivery.web.transaction import begin, session

router = APIRouter(tags=["slack"])
BODY_LIMIT = 256 * 1024
"""What Slack sends of a press holds the whole message: some ten kilobytes."""

READ_SECONDS = 3
"""Slack waits no longer for the whole of it."""

FORM_FAILED = "The form did not open. Press the button once more, or decide on the board."
BUTTON_TOO_OLD = (
    "This button decides nothing: the secret that signed it is not used any more. Press it again in some minutes, when "
    "it has been signed anew, or decide on the board."
)
FORM_TOO_OLD = "This form decides nothing: the secret that signed it is not used any more. Decide on the board."

_log = logging.getLogger(__name__)


class Complaint(BaseModel):
    """What Slack shows in a form that was sent as it cannot count; every other answer is empty."""

    response_action: Literal["errors"] = "errors"
    errors: dict[str, str]


@router.post(
    "/slack/interactions",
    responses={**problems(401, 408, 413), 200: {"model": Complaint, "description": "Taken; mostly there is no body"}},
)
async def interaction(request: Request, background: BackgroundTasks) -> Response:
    """Take what somebody pressed in Slack. It must be signed with the signing secret of a project's app.

    200: it is stored, for good, and will be decided; whoever pressed hears when it does not count.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await _read(request)
    except ClientDisconnect:
        return answer(400, "Invalid", "The body did not come to its end.")
    except TimeoutError:
        return answer(408, "Invalid", f"The body did not come within {READ_SECONDS} s.")
    if body is None:
        return answer(413, "Invalid", f"An interaction is at most {BODY_LIMIT // 1024} KiB.")
    return await run_in_threadpool(_take, dict(request.headers), body, background, address_of(request))


async def _read(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)


def _take(headers: Mapping[str, str], body: bytes, background: BackgroundTasks, address: str) -> Response:
    """Check, store and answer.

    Raises:
        Unauthorized: It is not signed by the app of a project here, or it is old.
    """
    at = now()
    # Every project's secret is tried whatever came before: time tells nothing about them.
    believing = [(project, reader) for project, reader in list(_readers()) if reader.authentic(headers, body, at=at)]
    if not believing:
        raise Unauthorized("The signature is not that of a Slack app here. Compare 'signing_secret' in the Connection.")
    unread: list[tuple[ProjectConfig, TooOld]] = []
    for project, reader in believing:
        match reader.read(body):
            case None:
                continue
            case TooOld() as said:
                unread.append((project, said))  # perhaps it is another project's
                continue
            case str(said):
                return _complaint(said)
            case Form() as said:
                background.add_task(_ask_why, project, said)
            case said:
                _store(project, said, address)
        return Response(status_code=200)
    return _too_old(unread, background) if unread else Response(status_code=200)


def _complaint(said: str) -> Response:
    return JSONResponse(Complaint(errors={COMMENT: said}).model_dump())


def _too_old(unread: Sequence[tuple[ProjectConfig, TooOld]], background: BackgroundTasks) -> Response:
    """Tell whoever pressed that it decides nothing, by the project whose channel it is, as far as that is known."""
    project, said = next(((one, said) for one, said in unread if one.messages.channel == said.place), unread[0])
    _log.info("Slack: %s pressed a button in %s that no secret of ours has signed", said.user, project.name)
    if said.form:
        return _complaint(FORM_TOO_OLD)
    background.add_task(_whisper, project, said, BUTTON_TOO_OLD)
    return Response(status_code=200)


def _readers() -> Iterator[tuple[ProjectConfig, Interactions]]:
    for project in settings.projects().values():
        if project.messages.kind == CHAT:
            try:
                yield project, messengers.interactions(project)
            except Misconfigured as error:
                _log.warning("Slack interactions of %s are not read: %s", project.name, error)


def _store(project: ProjectConfig, press: Press, address: str) -> None:
    try:
        with begin() as unit:
            stored = store(unit, project, press, address=address)
    except Conflict:
        stored = False  # the same press, at the same moment
    _log.info("Slack: %s pressed %s in %s%s", press.user, press.kind, project.name, "" if stored else ", as before")


def _ask_why(project: ProjectConfig, form: Form) -> None:
    """Open the form for a rejection, after Slack has its answer: it opens one only once."""
    try:
        chat = messengers.slack(project, session)
        chat.ask_why(form.trigger, form.value, key=form.key, place=form.place, thread=form.thread)
    except Error as error:
        _log.warning("Could not open the form for a rejection in %s: %s", project.name, error)
        _whisper(project, form, FORM_FAILED)


def _whisper(project: ProjectConfig, to: Form | TooOld, text: str) -> None:
    try:
        messengers.slack(project, session).whisper(to.user, to.place, to.thread, text)
    except Error as error:
        _log.warning("Could not tell %s in Slack of %s: %s", to.user, project.name, error)
