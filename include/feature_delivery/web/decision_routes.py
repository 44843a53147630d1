"""What people say at gates, by REST and by the command line: decisions, broken glass, and the audit of both."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.names import CommitSha, commit_sha
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.process import gate as gate_named
from feature_delivery.domain.records import Feature
from feature_delivery.services.control import audit, glass
from feature_delivery.services.control import decide as decisions
from feature_delivery.web.access import Readable, Speaker, SpeakerDep, json_only
from feature_delivery.web.feature_routes import (
    NO_FEATURE,
    NO_PROJECT,
    ReasonBody,
    answers,
    feature_in,
    invalid,
    refused,
)
from feature_delivery.web.transaction import WebUnit, begin

router = APIRouter(prefix="/projects", tags=["people"], dependencies=[Depends(json_only)])

GATES = "There is no gate {0!r}. Say for example 'review', 'acceptance' or 'verdict'."
AUDIT_LIMIT = 10_000
_NEXT_PAGE = "Only rows with a smaller number: that of a full page's last row gives the next page."
SAMPLE_COMMIT = "3f1c9a7e5d2b4c6f8a0e1d3b5c7f9a2e4d6b8c0f"
SAMPLE_CANDIDATE = "b7d04e2a91c35f68e0d1b2c3a4f5968778695a4b"


class DecisionBody(BaseModel):
    """What somebody says at a gate; ``commit``, ``candidate``: what was looked at, whatever is there when empty."""

    gate: str = Field(max_length=60)
    kind: Literal["approve", "reject", "keep", "roll_back"]
    comment: str = Field(default="", max_length=4000)
    commit: str = Field(default="", max_length=64)
    candidate: str = Field(default="", max_length=64)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"gate": "acceptance", "kind": "approve", "comment": "Looks right.", "commit": SAMPLE_COMMIT},
                {"gate": "confirmation", "kind": "reject", "comment": "Totals are wrong with two cards."},
                {"gate": "verdict", "kind": "roll_back", "comment": "Checkout answers 500."},
                {"gate": "preprod.wait_for_acceptance", "kind": "approve", "candidate": SAMPLE_CANDIDATE},
            ]
        }
    )


class Decided(BaseModel):
    """Whether what was said counts."""

    accepted: bool
    reason: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"accepted": True, "reason": ""},
                {"accepted": True, "reason": "tess has said so already."},
            ]
        }
    )


class OverrideBody(BaseModel):
    """What an operator decides in the place of others, and why; ``turn`` is where a freeze window is overridden."""

    gate: str = Field(max_length=60)
    reason: str = Field(min_length=1, max_length=2000)
    kind: Literal["approve", "keep", "roll_back"] = "approve"
    commit: str = Field(default="", max_length=64)
    candidate: str = Field(default="", max_length=64)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"gate": "confirmation", "reason": "The manager is on a plane; the shop is down.", "kind": "approve"},
                {"gate": "turn", "reason": "A security fix cannot wait until Monday.", "commit": SAMPLE_COMMIT},
                {"gate": "verdict", "kind": "roll_back", "reason": "Nobody of the managers can be reached."},
            ]
        }
    )


class Broken(BaseModel):
    """Who held production."""

    holder: str

    model_config = ConfigDict(json_schema_extra={"examples": [{"holder": "SHOP-123"}]})


_DECISION = answers(
    NO_FEATURE,
    refused("rita is not tester of this project: tess may decide at preprod.wait_for_acceptance."),
    refused("A rejection needs a comment that tells the developer why."),
    refused("This was said about candidate b7d04e2a91, but SHOP-123 is at candidate 52c8e0f4d3: look again."),
    refused("mallory is nobody of shop: add them to 'people' in its project file."),
    (404, {"error": "NotFound", "message": GATES.format("acceptence")}),
    invalid("Field 'gate': Field required. Correct it and send it again."),
)


@router.post("/{project}/features/{key}/decisions", responses=_DECISION)
def decide(who: SpeakerDep, key: str, body: DecisionBody) -> Decided:
    """Say something at a gate; it is recorded in any case, and counted when it may count."""
    gate = _gate(body.gate)
    with begin() as unit:
        feature = feature_in(unit, who.project, key)
        say = decisions.Say(
            person=who.name,
            gate=gate,
            kind=DecisionKind(body.kind),
            comment=body.comment,
            commit=_seen_commit(unit, feature, body.commit),
            candidate=commit_sha(body.candidate) if body.candidate else None,
            way=who.way,
            address=who.address,
        )
        answer = decisions.decide(unit, who.project, feature.run_id, say)
    # Refused answers are kept, so the transaction must be over before they are refused.
    if not answer:
        raise Refused(answer.reason)
    return Decided(accepted=True, reason=answer.reason)


_OVERRIDE = answers(
    NO_FEATURE,
    refused("max is no operator of shop: olga may break glass."),
    refused("SHOP-123 does not wait at preprod.wait_for_confirmation: it waits at preprod.wait_for_acceptance."),
    refused(
        "An override stands for people, not for work or tests. 1 of 14 integration tests failed, first test_totals."
    ),
    refused("No freeze window keeps SHOP-123 from production: there is nothing to override."),
    invalid("Field 'reason': Field required. Correct it and send it again."),
)


@router.post("/{project}/features/{key}/override", responses=_OVERRIDE)
def override(who: SpeakerDep, key: str, body: OverrideBody) -> Decided:
    """Break glass: decide at the gate a feature waits at instead of those who may, or let it go in spite of a freeze.

    For operators. Everybody who decides is told; what was not tested is not let through.
    """
    with begin() as unit:
        feature = feature_in(unit, who.project, key)
        answer = glass.override(unit, who.project, feature.run_id, _override(unit, who, feature, body))
    if not answer:
        raise Refused(answer.reason)
    return Decided(accepted=True, reason=answer.reason)


def _override(unit: WebUnit, who: Speaker, feature: Feature, body: OverrideBody) -> decisions.Say:
    return decisions.Say(
        person=who.name,
        gate=_gate(body.gate),
        kind=DecisionKind(body.kind),
        comment=body.reason,
        commit=_seen_commit(unit, feature, body.commit),
        candidate=commit_sha(body.candidate) if body.candidate else None,
        address=who.address,
    )


_LOCK = answers(
    NO_PROJECT,
    refused("max is no operator of shop: olga may break glass."),
    refused("Nobody holds production of shop: there is no lock to break."),
    invalid("Field 'reason': Input should be a valid string. Correct it."),
)


@router.post("/{project}/lock/break", responses=_LOCK)
def break_lock(who: SpeakerDep, body: ReasonBody) -> Broken:
    """Break glass: free production from its holder. For operators; everybody who decides is told."""
    with begin() as unit:
        answer = glass.free_lock(unit, who.project, body.reason, person=who.name, address=who.address)
    if not answer:
        raise Refused(answer.reason)
    return Broken(holder=answer.reason)


_SAMPLE_ROW = {
    "number": 17,
    "when": "2026-11-27T15:04:05Z",
    "project": "shop",
    "key": "SHOP-123",
    "run": "SHOP-123",
    "attempt": 2,
    "gate": "review.wait_for_review",
    "kind": "approve",
    "accepted": False,
    "who": "rita",
    "role": "reviewer",
    "way": "review",
    "address": "",
    "commit": SAMPLE_COMMIT,
    "candidate": "",
    "comment": "Looks right.",
    "reason": "The approval of rita was taken back on merge request 12.",
    "withdrawn_at": "2026-11-27T16:20:00Z",
}
_SAMPLE_CSV = f"{','.join(_SAMPLE_ROW)}\r\n17,2026-11-27T15:04:05+00:00,shop,SHOP-123,SHOP-123,2,…\r\n"
_AUDIT = {
    **answers(
        refused("A moment needs its time zone. Write it like 2026-11-27T08:00:00Z."),
        NO_PROJECT,
        invalid("Field 'query.limit': Input should be less than or equal to 10000. Correct it and send it again."),
    ),
    200: {
        "description": "The newest first",
        "content": {
            "application/json": {"example": [_SAMPLE_ROW]},
            "text/csv": {"schema": {"type": "string"}, "example": _SAMPLE_CSV},
        },
    },
}


@router.get("/{project}/audit", responses=_AUDIT, response_model=list[audit.AuditRow])
def show_audit(
    project: Readable,
    since: Annotated[datetime | None, Query(description="Only what was said then or later.")] = None,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    limit: Annotated[int, Query(ge=1, le=AUDIT_LIMIT)] = 1000,
    before: Annotated[int | None, Query(ge=1, description=_NEXT_PAGE)] = None,
) -> Response | tuple[audit.AuditRow, ...]:
    """List what people said: who, as what, about which commit, when, by which way, from where; what was refused too."""
    if since is not None and since.tzinfo is None:
        raise Refused("A moment needs its time zone. Write it like 2026-11-27T08:00:00Z.")
    with begin() as unit:
        rows = audit.audit(unit.books, project, since=since, limit=limit, before=before)
    if form == "json":
        return rows
    headers = {"Content-Disposition": f'attachment; filename="audit-{project.name}.csv"', "Cache-Control": "no-store"}
    text = audit.as_csv(asdict(row) for row in rows)
    return PlainTextResponse(text, media_type="text/csv; charset=utf-8", headers=headers)


_EVENTS = {
    **answers(NO_PROJECT, refused("A moment needs its time zone. Write it like 2026-11-27T08:00:00Z.")),
    200: {"description": "The newest first", "content": {"text/csv": {"schema": {"type": "string"}}}},
}


@router.get("/{project}/events", responses=_EVENTS, response_model=list[audit.EventRow])
def show_events(
    project: Readable,
    since: Annotated[datetime | None, Query(description="Only what happened then or later.")] = None,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    limit: Annotated[int, Query(ge=1, le=AUDIT_LIMIT)] = 1000,
    before: Annotated[int | None, Query(ge=1, description=_NEXT_PAGE)] = None,
) -> Response | tuple[audit.EventRow, ...]:
    """List what happened: starts, cancels, adoptions, freezes, broken glass, rollbacks, the reaper's destructions."""
    if since is not None and since.tzinfo is None:
        raise Refused("A moment needs its time zone. Write it like 2026-11-27T08:00:00Z.")
    with begin() as unit:
        rows = audit.history(unit.books, project, since=since, limit=limit, before=before)
    if form == "json":
        return rows
    headers = {"Content-Disposition": f'attachment; filename="events-{project.name}.csv"'}
    text = audit.as_csv((asdict(row) for row in rows), kind=audit.EventRow)
    return PlainTextResponse(text, media_type="text/csv; charset=utf-8", headers=headers)


def _gate(text: str) -> Step:
    gate = gate_named(text)
    if gate is None:
        raise NotFound(GATES.format(text[:60]))
    return gate


def _seen_commit(unit: WebUnit, feature: Feature, text: str) -> CommitSha | None:
    """Return the commit that was looked at; the candidate stands for the feature commit in it."""
    if not text:
        return None
    commit = commit_sha(text)
    candidate = unit.books.candidate(feature, feature.attempt_number)
    return candidate.feature_commit if candidate is not None and candidate.commit == commit else commit
