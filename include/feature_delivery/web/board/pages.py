"""Rendering: one template environment per language, everything escaped, and what every page knows of its reader."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from feature_delivery.domain.process import Step
from feature_delivery.domain.records import now
from feature_delivery.services.control import report
from feature_delivery.services.control.board import Pace, Stage
from feature_delivery.web.board import csrf, words
from feature_delivery.web.board.language import COOKIE, NOTHING, Language, chosen, languages
from feature_delivery.web.board.sentences import translated
from feature_delivery.web.board.shown import host_name, row_title, safe_url, short, task_place
from feature_delivery.web.paths import path_of

HERE = Path(__file__).parent
STATIC = HERE / "static"
YEAR_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at a page, and where the board is for them.

    Attributes:
        name: Airflow's user name; empty for nobody.
        language: How they read.
        root: Path of the board, ``airflow``: of Airflow itself; both without a slash at the end.
        here: Path and query of this very page below the board.
    """

    name: str
    language: Language
    root: str
    airflow: str
    here: str

    def login(self) -> str:
        """Return where Airflow asks who they are, with the way back here."""
        return f"{self.airflow}/api/v2/auth/login?{urlencode({'next': self.root + self.here})}"

    def feature(self, project: str, key: str, *, run: str = "") -> str:
        """Return the address of a feature's page."""
        query = f"?{urlencode({'run': run})}" if run else ""
        return f"{self.root}/{quote(project, safe='')}/{quote(key, safe='')}{query}"

    def task(self, dag: str, run: str, task: str) -> str:
        """Return Airflow's page of a task, with its log."""
        return f"{self.airflow}/dags/{quote(dag, safe='')}/runs/{quote(run, safe='')}/tasks/{quote(task, safe='')}"

    def run(self, dag: str, run: str) -> str:
        """Return Airflow's page of a run."""
        return f"{self.airflow}/dags/{quote(dag, safe='')}/runs/{quote(run, safe='')}"

    def static(self, name: str) -> str:
        """Return the address of a static file; it changes with the file, so that browsers may keep it for ever."""
        return f"{self.root}/static/{quote(name, safe='')}?v={_digest(name)}"


def reader_of(request: Request, name: str) -> Reader:
    """Return who sent a request."""
    query = f"?{request.url.query}" if request.url.query else ""
    return Reader(
        name=name,
        language=chosen(
            request.query_params.get("lang", ""),
            request.cookies.get(COOKIE, ""),
            request.headers.get("accept-language", ""),
        ),
        root=str(request.scope.get("root_path", "")).rstrip("/"),
        airflow=str(request.scope.get("app_root_path", "")).rstrip("/"),
        here=(quote(path_of(request.scope)) or "/") + query,
    )


def page(template: str, reader: Reader, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a rendered page, or a part of one."""
    text = (
        _environment(reader.language.code)
        .get_template(template)
        .render(
            reader=reader,
            languages=tuple(languages().values()),
            token=csrf.token(reader.name) if reader.name else "",
            now=now(),
            **values,
        )
    )
    # An open page asks for its parts: whoever has logged in meanwhile in another tab must not speak from it.
    return HTMLResponse(
        text, status_code=status, headers={"Cache-Control": "no-store", "Board-Reader": quote(reader.name)}
    )


@cache
def _environment(code: str) -> Environment:
    language = languages()[code]
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    made.install_gettext_translations(language.catalogue, newstyle=True)  # type: ignore[attr-defined] # by the extension

    def word(value: object, kind: str) -> str:
        return language.text(words.word(kind, value))

    def moment(at: datetime | None) -> Markup | str:
        """A moment in UTC; the script writes it in the reader's own time."""
        if at is None:
            return NOTHING
        return Markup('<time datetime="{}">{} UTC</time>').format(at.isoformat(timespec="seconds"), language.moment(at))

    def since(at: datetime) -> Markup:
        """How long ago; the script keeps it going."""
        seconds = max(1.0, (now() - at).total_seconds())  # "0" says nothing
        return Markup('<time class="since" datetime="{}">{}</time>').format(
            at.isoformat(timespec="seconds"), language.duration(seconds, coarse=True)
        )

    def percent(share: float | None) -> str:
        return NOTHING if share is None else f"{share * 100:.0f} %"

    def sentence(text: str) -> str:
        return translated(text, language.text)

    made.filters.update(
        sentence=sentence,
        word=word,
        moment=moment,
        since=since,
        duration=language.duration,
        day=language.day,
        percent=percent,
        safe_url=safe_url,
        host_name=host_name,
        short=short,
        row_title=row_title,
        task_place=task_place,
        level=report.shown,
    )
    made.globals.update(Stage=Stage, Pace=Pace, Step=Step, language=language)
    return made


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
