"""The board's addresses. Everything reads, but decisions: they go through the same service as everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Literal, cast

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel, Field

from feature_delivery.adapters.ledger.board_books import SqlBoardBooks
from feature_delivery.bootstrap import settings
from feature_delivery.bootstrap.outside import repository
from feature_delivery.domain.errors import NotFound, Refused, Unavailable
from feature_delivery.domain.names import CommitSha, PersonName, ProjectName, commit_sha, feature_key
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Who
from feature_delivery.domain.process import gate as gate_named
from feature_delivery.domain.records import Feature, now
from feature_delivery.domain.team import why_stuck
from feature_delivery.domain.ways import Way
from feature_delivery.services.control import brake, decide, figures, glass
from feature_delivery.services.control.board import Card, ended_card
from feature_delivery.web.access import address_of, readable_project, visible
from feature_delivery.web.board import changes_page, csrf, pulse
from feature_delivery.web.board.feature_page import NO_CANDIDATE, comparison, feature_page
from feature_delivery.web.board.figures_page import csv_rows, figures_page
from feature_delivery.web.board.language import COOKIE
from feature_delivery.web.board.overview import QUERY_LIMIT, Filters, Overview, Stop, overview
from feature_delivery.web.board.pages import YEAR_SECONDS, Reader, page, reader_of
from feature_delivery.web.held import not_held
from feature_delivery.web.transaction import WebUnit, begin, session

router = APIRouter(include_in_schema=False, dependencies=[Depends(not_held)])

OLDER_FOUND = 50
WEEKS = (4, 12, 26, 52)
DAG_PREFIX = "feature_delivery_"


def reader(request: Request, user: GetUserDep) -> Reader:
    """Return who reads, logged in by Airflow."""
    return reader_of(request, str(user.get_name()))


ReaderDep = Annotated[Reader, Depends(reader)]


def filters(request: Request, who: ReaderDep) -> Filters:
    """Return what the address asks for; ``me`` stands for the reader, so that the address can be passed on."""
    asked = {name: request.query_params.get(name, "")[:QUERY_LIMIT] for name in ("project", "person", "q", "all")}
    person = who.name if asked["person"] == "me" else asked["person"]
    return Filters(project=asked["project"], person=person, text=asked["q"].strip(), whole=asked["all"])


FiltersDep = Annotated[Filters, Depends(filters)]


class Place:
    """The feature that an address is about; ``run``: one of its deliveries, the newest when empty."""

    def __init__(self, user: GetUserDep, project: str, key: str, run: str = "") -> None:
        """Find the project.

        Raises:
            NotFound: No such project.
            Refused: Not for this user, or the key is none.
        """
        self.project = readable_project(ProjectName(project), user)
        self.key = feature_key(key)
        self.run = run

    def feature(self, unit: WebUnit) -> Feature:
        """Return the feature.

        Raises:
            NotFound: No such delivery.
        """
        project = self.project.name
        found = unit.books.feature_of_run(project, self.run) if self.run else unit.books.feature(project, self.key)
        if found is None or found.key != self.key:
            raise NotFound(f"{project} has no feature {self.key} under delivery. Start it first.")
        return found


PlaceDep = Annotated[Place, Depends(Place)]


class GlassForm(BaseModel):
    """What the form sends by which an operator breaks glass."""

    gate: str = Field(default="", max_length=60)
    kind: str = Field(default="", max_length=20)
    reason: str = Field(default="", max_length=2000)
    commit: str = Field(default="", max_length=64)
    attempt: int | None = Field(default=None, ge=0)
    candidate: str = Field(default="", max_length=64)
    token: str = Field(default="", max_length=200)


class DecisionForm(BaseModel):
    """What the form of a feature's page sends."""

    gate: str = Field(default="", max_length=60)
    kind: str = Field(default="", max_length=20)
    comment: str = Field(default="", max_length=4000)
    commit: str = Field(default="", max_length=64)
    attempt: int | None = Field(default=None, ge=0)
    candidate: str = Field(default="", max_length=64)
    token: str = Field(default="", max_length=200)


@router.get("/")
def board(who: ReaderDep, user: GetUserDep, asked: FiltersDep) -> Response:
    """Show the overview."""
    answer = page("overview.html", who, board=_overview(who, user, asked))
    return _remember_language(answer, who)


@router.get("/live")
def board_live(who: ReaderDep, user: GetUserDep, asked: FiltersDep) -> HTMLResponse:
    """Show the part of the overview that changes."""
    with pulse.pulse.shown():
        return page("overview_live.html", who, board=_overview(who, user, asked))


def _overview(who: Reader, user: object, asked: Filters) -> Overview:
    seen = visible(user)
    snapshot = pulse.snapshots.get()
    older: tuple[Card, ...] = ()
    if asked.text and not asked.person:
        with session() as opened:
            among = seen & {asked.project} if asked.project else seen
            rows = SqlBoardBooks(opened).search_ended(asked.text, among, limit=OLDER_FOUND)
            older = tuple(ended_card(row) for row in rows)
    found = overview(snapshot, filters=asked, visible=seen, reader=who.name, found=older)
    wrong = settings.survey().outdated
    outdated = tuple((one.title, wrong[one.name]) for one in found.projects if one.name in wrong)
    stops = tuple(_stops(found, snapshot.brakes, who.name))
    stuck = tuple((one.title, said) for one in found.projects if (said := why_stuck(one.people)))
    return replace(found, held=snapshot.held, stops=stops, outdated=outdated, stuck=stuck)


def _stops(found: Overview, brakes: Mapping[ProjectName, tuple[int, str]], reader: str) -> Iterator[Stop]:
    for project in found.projects:
        if found.filters.project in {"", project.name} and (on := brakes.get(project.name)) is not None:
            number, reason = on
            mine = reader in project.people.with_role(Who.OPERATOR)
            yield Stop(project=project.name, title=project.title, brake=number, reason=reason, mine=mine)


class ReleaseForm(BaseModel):
    """What the form sends by which an operator releases a brake; ``brake``: the number of the one that was shown."""

    brake: int | None = None
    reason: str = Field(default="", max_length=2000)
    token: str = Field(default="", max_length=200)


@router.post("/{project}/brake/release")
def release_brake(
    request: Request, who: ReaderDep, user: GetUserDep, project: str, form: Annotated[ReleaseForm, Form()]
) -> Response:
    """Release a project's brake; a refusal is a page with its reason.

    Raises:
        Refused: Not by this reader, or not now.
    """
    csrf.check(request, who.name, form.token)
    config = readable_project(ProjectName(project), user)
    with begin() as unit:
        answer = brake.release(unit, config, form.reason, person=cast("PersonName", who.name), number=form.brake)
    pulse.snapshots.forget()
    if not answer:
        raise Refused(answer.reason)
    return RedirectResponse(f"{who.root}/", status_code=303)


@router.get("/changes")
async def changes(request: Request, _who: ReaderDep, revision: str = "") -> StreamingResponse:
    """Tell by server-sent events when something has changed."""
    known = request.headers.get("last-event-id") or revision
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(pulse.stream(known[:200]), media_type="text/event-stream", headers=headers)


@router.get("/figures")
def show_figures(who: ReaderDep, user: GetUserDep, project: str = "", weeks: int = 12) -> Response:
    """Show DORA's four figures, and where the time goes."""
    names, span = _asked(user, project, weeks)
    projects = [settings.project(name) for name in sorted(visible(user))]
    several = projects if len(names) > 1 else []
    answer = page(
        "figures.html",
        who,
        **figures_page(_figures(names, span), who.language, span),
        by_project=[(one, _figures(frozenset({one.name}), span).total) for one in several],
        asked=project,
        projects=projects,
        spans=WEEKS,
    )
    return _remember_language(answer, who)


@router.get("/figures.csv")
def figures_csv(user: GetUserDep, project: str = "", weeks: int = 12) -> Response:
    """Give the figures by week as CSV."""
    names, span = _asked(user, project, weeks)
    text = io.StringIO()
    csv.writer(text).writerows(csv_rows({name: _figures(frozenset({name}), span) for name in sorted(names)}))
    name = f"feature-delivery-{project or 'all'}-{now():%Y-%m-%d}.csv" if project in names else "feature-delivery.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return PlainTextResponse(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _asked(user: object, project: str, weeks: int) -> tuple[frozenset[ProjectName], int]:
    names = frozenset({readable_project(ProjectName(project), user).name}) if project else visible(user)
    return names, weeks if weeks in WEEKS else 12


def _figures(names: frozenset[ProjectName], weeks: int) -> figures.Figures:
    until = now()
    since = figures.first_monday(until, weeks=weeks)
    with session() as opened:
        facts = SqlBoardBooks(opened).figure_facts(names, since=since)
    return figures.figures(facts, since=since, until=until)


@router.get("/run")
def of_run(who: ReaderDep, user: GetUserDep, dag: str = "", run: str = "") -> RedirectResponse:
    """Lead from a run in Airflow's pages to its feature."""
    name = dag.removeprefix(DAG_PREFIX)
    if name == dag:
        raise NotFound(f"{dag[:80]!r} carries no feature: only runs of {DAG_PREFIX}… do.")
    project = readable_project(ProjectName(name), user)
    with begin() as unit:
        feature = unit.books.feature_of_run(project.name, run)
        if feature is None:
            raise NotFound(f"Run {run[:80]!r} carries no feature yet: it registers it with its first task.")
        return RedirectResponse(who.feature(project.name, feature.key, run=feature.run_id), status_code=303)


@router.get("/{project}/{key}")
def show_feature(who: ReaderDep, place: PlaceDep, said: str = "") -> Response:
    """Show one feature."""
    return _remember_language(_feature_page(who, place, said=said), who)


@router.get("/{project}/{key}/live")
def feature_live(who: ReaderDep, place: PlaceDep) -> HTMLResponse:
    """Show the part of a feature's page that changes."""
    with pulse.pulse.shown():
        return _feature_page(who, place, template="feature_live.html")


@router.get("/{project}/{key}/changes")
def show_changes(who: ReaderDep, place: PlaceDep) -> HTMLResponse:
    """Show what a feature changes, for repositories whose host has no page for it (any may be asked)."""
    with begin() as unit:
        feature = place.feature(unit)
        asked = comparison(unit.books, place.project, feature)
        title = feature.title
    if asked is None:
        raise NotFound(f"{place.key} has no commit to compare yet: nothing has been pushed.")
    # Outside the transaction: this may fetch from the host.
    source = repository(place.project)
    source.fetch(asked.old, asked.new)
    files = changes_page.files_of(source.patch(asked.old, asked.new))
    return page("changes.html", who, where=place, title=title, asked=asked, files=files)


@router.post("/{project}/{key}/decisions")
def decide_here(request: Request, who: ReaderDep, place: PlaceDep, form: Annotated[DecisionForm, Form()]) -> Response:
    """Take a decision; what is refused, or has to wait, is shown on the page with its reason, the comment kept."""
    csrf.check(request, who.name, form.token)
    say = _said(request, who, form, form.comment)
    try:
        with begin() as unit:
            answer = decide.decide(unit, place.project, place.feature(unit).run_id, say)
    except Unavailable as error:
        return _feature_page(who, place, refused=str(error), comment=form.comment, status=503)
    pulse.snapshots.forget()
    if not answer:
        return _feature_page(who, place, refused=answer.reason, comment=form.comment, status=409)
    return _back(who, place, said=form.kind)


@router.post("/{project}/{key}/override")
def break_glass(request: Request, who: ReaderDep, place: PlaceDep, form: Annotated[GlassForm, Form()]) -> Response:
    """Break glass for a feature; what is refused is shown on the page with why, and what was written."""
    csrf.check(request, who.name, form.token)
    say = _said(request, who, form, form.reason)
    try:
        with begin() as unit:
            answer = glass.override(unit, place.project, place.feature(unit).run_id, say)
    except Unavailable as error:
        return _feature_page(who, place, refused=str(error), reason=form.reason, status=503)
    pulse.snapshots.forget()
    if not answer:
        return _feature_page(who, place, refused=answer.reason, reason=form.reason, status=409)
    return _back(who, place, said=form.kind)


def _said(request: Request, who: Reader, form: DecisionForm | GlassForm, comment: str) -> decide.Say:
    step = gate_named(form.gate)
    if step is None or form.kind not in set(DecisionKind):
        raise Refused("This form does not name a gate and a decision that there are. Load the page again.")
    return decide.Say(
        person=cast("PersonName", who.name),
        gate=step,
        kind=DecisionKind(form.kind),
        comment=comment.strip(),
        commit=commit_sha(form.commit) if form.commit else None,
        attempt=form.attempt,
        candidate=_candidate(form.candidate),
        way=Way.BOARD,
        address=address_of(request),
    )


def _candidate(text: str) -> CommitSha | Literal[""] | None:
    """Return which candidate was looked at; ``None``: the page, of an older version, does not say."""
    if text == NO_CANDIDATE:
        return ""
    return commit_sha(text) if text else None


def _back(who: Reader, place: Place, *, said: str) -> Response:
    target = who.feature(place.project.name, place.key, run=place.run)
    return RedirectResponse(f"{target}{'&' if place.run else '?'}said={said}", status_code=303)


def _feature_page(
    who: Reader,
    place: Place,
    *,
    template: str = "feature.html",
    status: int = 200,
    said: str = "",
    refused: str = "",
    comment: str = "",
    reason: str = "",
) -> HTMLResponse:
    with session() as opened:
        revision = SqlBoardBooks(opened).revision()
    with begin() as unit:
        shown = feature_page(unit, place.project, place.feature(unit), reader=who.name)
        return page(
            template,
            who,
            status=status,
            page=shown,
            run=place.run,
            revision=revision,
            said=said if said in set(DecisionKind) else "",
            refused=refused,
            comment=comment,
            reason=reason,
        )


def _remember_language(answer: Response, who: Reader) -> Response:
    """Keep the language that was asked for; it is not worth a form."""
    if f"lang={who.language.code}" in who.here.partition("?")[2].split("&"):
        answer.set_cookie(
            COOKIE, who.language.code, max_age=YEAR_SECONDS, path=who.root or "/", samesite="lax", httponly=True
        )
    return answer
