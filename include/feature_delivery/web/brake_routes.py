"""The brake by REST: whose ledger this is, what is stopped and why, and the operator's word that lets go."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.people import Answer
from feature_delivery.domain.records import Brake, BrakeKind
from feature_delivery.services.control import brake as brakes
from feature_delivery.web.access import CallerDep, Readable, json_only
from feature_delivery.web.errors import problems
from feature_delivery.web.feature_routes import NO_PROJECT, Sentence, answers, invalid, refused
from feature_delivery.web.transaction import begin

router = APIRouter(tags=["people"], dependencies=[Depends(json_only)])

SHOWN = 20
SAMPLE: dict[str, Any] = {
    "number": 7,
    "kind": "destructions",
    "reason": "6 environments of shop could go at once (development-shop-1, …), more than 5: nothing is destroyed.",
    "environments": ["development-shop-1", "development-shop-2"],
    "person": "",
    "set_at": "2026-11-27T15:04:05Z",
    "released_at": None,
    "released_by": "",
    "release_reason": "",
}


class InstanceView(BaseModel):
    """Whose ledger this is; ``held``: why nothing at all is done, empty when all is well."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "0a1b2c3d4e5f", "held": ""}]})

    id: str
    held: str


class BrakeView(BaseModel):
    """One time that a project was stopped; it is still when ``released_at`` is null."""

    model_config = ConfigDict(json_schema_extra={"examples": [SAMPLE]})

    number: int
    kind: BrakeKind
    reason: str
    environments: list[str]
    person: str
    set_at: datetime
    released_at: datetime | None
    released_by: str
    release_reason: str


class WhyBody(BaseModel):
    """Why; everybody who decides is told."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The tracker was down; all of it is over."}]})

    reason: str = Field(min_length=1, max_length=2000)


class ReleaseBody(WhyBody):
    """Why, and which brake was looked at by its number: another one stays on. Left out, whichever is on is released."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "The tracker was down; all of it is over.", "brake": 7}]}
    )

    brake: int | None = None


_USE = answers(
    refused("max is no operator of shop: olga may use its brake."),
    refused("The brake of shop is off: there is nothing to release."),
    refused("The brake of shop that is on is number 8 by now, not 7: look again. olga stopped all destruction …"),
    NO_PROJECT,
    invalid("Field 'reason': Field required. Correct it and send it again."),
)


@router.get("/instance", responses=problems(401))
def show_instance(_user: GetUserDep) -> InstanceView:
    """Show whose ledger this is, and whether it may be a copy: then nothing is done until an operator has spoken."""
    with begin() as unit:
        found = unit.books.installation()
        return InstanceView(id=found.id, held=found.fault)


@router.get("/projects/{project}/brakes", responses=answers(NO_PROJECT))
def list_brakes(project: Readable) -> list[BrakeView]:
    """List the times a project was stopped, newest first; one that is still has no ``released_at``."""
    with begin() as unit:
        return [_view(one) for one in unit.books.brakes(project.name, limit=SHOWN)]


@router.post("/projects/{project}/brakes", status_code=201, responses=_USE)
def pull(who: CallerDep, body: WhyBody) -> Sentence:
    """Put the brake on: nothing of the project is destroyed until an operator releases it. For operators."""
    with begin() as unit:
        answer = brakes.pull(unit, who.project, body.reason, person=who.name)
    return _said(answer, f"Nothing of {who.project.name} is destroyed until its brake is released.")


@router.post("/projects/{project}/brakes/release", responses=_USE)
def release(who: CallerDep, body: ReleaseBody) -> Sentence:
    """Release the brake: what it names was looked at and may go, however much it is. For operators."""
    with begin() as unit:
        answer = brakes.release(unit, who.project, body.reason, person=who.name, number=body.brake)
    return _said(answer, answer.reason)


def _said(answer: Answer, sentence: str) -> Sentence:
    if not answer:
        raise Refused(answer.reason)
    return Sentence(message=sentence)


def _view(one: Brake) -> BrakeView:
    return BrakeView(
        number=one.id,
        kind=one.kind,
        reason=one.reason,
        environments=sorted(one.about) if one.kind is BrakeKind.DESTRUCTIONS else [],
        person=one.person,
        set_at=one.set_at,
        released_at=one.released_at,
        released_by=one.released_by,
        release_reason=one.release_reason,
    )
