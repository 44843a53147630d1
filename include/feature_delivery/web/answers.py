"""Answers on Airflow's *Required Actions* page, met in the very request that gives them.

Airflow takes whatever anybody answers, and tells nobody's address. So while such a request is handled, our policy is
asked before the answer is kept: what may not count is refused there and then, with the sentence that every other way
gives, and is in the audit like anywhere else. What gets past this (another API server, an older answer) meets the same
policy when its task asks at the gate.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.models.hitl import HITLDetail
from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import event
from sqlalchemy.orm import object_session

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.bootstrap import settings
from feature_delivery.domain.errors import Error
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import GATES, Step
from feature_delivery.domain.records import now
from feature_delivery.services.control import decide as decisions
from feature_delivery.services.control.gates import run_of
from feature_delivery.web import native
from feature_delivery.web.airflow_runs import AirflowRuns
from feature_delivery.web.questions import question
from feature_delivery.web.transaction import WebUnit, begin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from feature_delivery.domain.project import ProjectConfig

_log = logging.getLogger(__name__)

ANSWERED = re.compile(r"/dags/feature_delivery_[^/]+/dagRuns/[^/]+/taskInstances/[^/]+/-?\d+/hitlDetails/?$")
DAG_PREFIX = "feature_delivery_"


@dataclass(slots=True)
class _Answering:
    """One request that answers a question of ours; ``refused``: what was said in vain."""

    address: str
    project: ProjectConfig | None = None
    run_id: str = ""
    refused: decisions.Say | None = None
    reason: str = ""


_answering: ContextVar[_Answering | None] = ContextVar("feature_delivery_answering", default=None)


class AtAnswers:
    """Knows, while a question of ours is answered, from where; writes down what was refused before that is told."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "PATCH" or not ANSWERED.search(str(scope["path"])):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        answering = _Answering(address=str(client[0])[:64] if client else "")

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and answering.refused is not None:
                await run_in_threadpool(_keep, answering)
            await send(message)

        token = _answering.set(answering)
        try:
            await self._app(scope, receive, tell)
        finally:
            _answering.reset(token)


def listen() -> None:
    """Have answers looked at as they are given; safe to repeat."""
    for attribute, listener, options in (
        (HITLDetail.responded_by, _with_address, {"retval": True}),
        (HITLDetail.params_input, _examine, {}),
    ):
        if not event.contains(attribute, "set", listener):
            event.listen(attribute, "set", listener, **options)


def _with_address(_detail: HITLDetail, user: Any, _before: object, _initiator: object) -> Any:
    """Keep with the answer where it came from; Airflow's own pages read id and name alone."""
    answering = _answering.get()
    return {**user, "address": answering.address} if answering is not None and isinstance(user, dict) else user


def _examine(detail: HITLDetail, comment: Mapping[str, Any], _before: object, _initiator: object) -> None:
    """Ask the policy once everything of the answer is known: its parameters are written last.

    In Airflow's own transaction, by reading only: the rows it has locked must not be waited for.
    """
    answering, task, session = _answering.get(), detail.task_instance, object_session(detail)
    if answering is None or task is None or session is None or task.task_id not in GATES:
        return
    said = {
        "chosen_options": detail.chosen_options,
        "params_input": comment,
        "responded_by_user": detail.responded_by,
    }
    with session.no_autoflush:
        books = SqlBooks(session)
        try:
            project = settings.project(ProjectName(str(task.dag_id).removeprefix(DAG_PREFIX)))
        except Error:
            return
        feature = books.feature_of_run(project.name, str(task.run_id))
        unit = WebUnit(books, AirflowRuns(session, books))
        say = native.understood(unit, feature, Step(task.task_id), said) if feature is not None else None
        if feature is None or say is None:
            return
        unclear = decisions.unclear(books, project, feature, say)
        answer = decisions.may(unit, project, feature, say)
    if unclear:
        raise HTTPException(503, unclear)  # it counts for nothing, and is not refused: it can be given again
    if not answer:
        answering.project, answering.run_id = project, str(task.run_id)
        answering.refused, answering.reason = replace(say, address=answering.address), answer.reason
        raise HTTPException(403, answer.reason)


def _keep(answering: _Answering) -> None:
    """Write the refusal down and show it with the question; it is told either way."""
    assert answering.project is not None
    assert answering.refused is not None
    try:
        with begin() as unit:
            feature = decisions.refuse(
                unit, answering.project, answering.run_id, answering.refused, reason=answering.reason
            )
            gate = unit.books.open_gate(feature)
            if gate is not None and gate.step is answering.refused.gate and gate.requested_at is not None:
                asked = question(unit.books, answering.project, feature, gate)
                unit.runs.ask_people(run_of(feature), gate.step, asked, parked_before=now())
    except Error as error:
        _log.warning("Could not keep a refused answer to %s: %s", answering.run_id, error)
