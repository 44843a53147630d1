"""A small client of Redmine's REST API: time limits, whole listings, and errors that mean something.

Redmine fails in silence where others refuse: a key that it does not know makes the request one of a stranger's, who
sees public projects, and an empty list of everything else. So the key is checked before anything else is asked.
"""

from __future__ import annotations

import time
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from feature_delivery.adapters.trackers.failures import (
    Asked,
    address,
    certificates,
    failure,
    no_answer,
    no_data,
    token,
)
from feature_delivery.adapters.trackers.redmine.answers import Answer, Project, ProjectBox, User, UserBox, reasons
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from feature_delivery.domain.login import Login

Model = TypeVar("Model", bound=Answer)
Page = TypeVar("Page", bound=Answer)

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
LISTING_SECONDS = 120.0
"""A listing of many pages ends by then, or is given up."""

PAGE = 100
"""The most that Redmine gives at once."""


class RedmineClient:
    """Speaks for one Connection about one project; one thread at a time.

    Only reading is repeated by itself, once, when the connection broke.
    """

    def __init__(self, login: Login, project: str, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: ``url``: Redmine's address, with the sub path it lives under; ``secret``: an API key; ``options``:
                ``ca_file``, certificates to trust in place of the system's.
            project: Its identifier.
            timeout: For each request.

        Raises:
            Misconfigured: Something of that is missing or wrong.
        """
        self.url = address(login)
        self.shown = f"Redmine at {httpx.URL(self.url).netloc.decode('ascii')}"
        self.connection = login.connection
        self._identifier = project
        https = self.url.startswith("https:")
        self._http = httpx.Client(
            headers={"X-Redmine-API-Key": token(login), "Accept": "application/json"},
            timeout=timeout,
            verify=certificates(login) if https else False,
            # A proxy of the environment is for the world outside; reading it takes time that plain HTTP does not need.
            trust_env=https,
        )
        weakref.finalize(self, self._http.close)

    @cached_property
    def me(self) -> User:
        """Whose key it is, asked once: no other answer tells a wrong key from one that may see nothing.

        Raises:
            Misconfigured: The key is wrong, or Redmine's REST API is off.
        """
        asked = self._asked("find out whose key it is")
        answer = self._once("GET", path("users", "current"), {"include": "memberships"}, None, asked)
        if answer.status_code in {401, 403}:
            raise Misconfigured(
                f"{self.shown} does not accept the API key of the Connection {self.connection!r}. Put the key from "
                "the user's account page into its password, and let Redmine's administrator enable the REST API."
            )
        return self._read(answer, UserBox, asked).user

    @cached_property
    def project(self) -> Project:
        """The project, asked once.

        Raises:
            Misconfigured: There is none, or our user may not see it.
        """
        where = path("projects", self._identifier)
        try:
            return self.read(where, ProjectBox, doing="find the project", query={"include": "trackers"}).project
        except (NotFound, Refused) as error:
            raise Misconfigured(
                f"{self.shown} has no project {self._identifier!r} that the user {self.me.login!r} may see. "
                "Correct 'tracker.project' in the project file, or make the user a member."
            ) from error

    def read(
        self,
        where: str,
        model: type[Model],
        *,
        doing: str,
        query: Mapping[str, str | int] | None = None,
        right: str = "",
    ) -> Model:
        """Return what is at ``where``.

        Args:
            where: The path, made by ``path``.
            model: What is read of the answer.
            doing: What could not be done, for sentences: ``read SHOP-7``.
            query: Parameters.
            right: The permission that it takes, for sentences.

        Raises:
            Error: As ``failures`` says.
        """
        asked = self._asked(doing, right)
        return self._read(self._ask("GET", where, query, None, asked), model, asked)

    def change(self, where: str, body: Mapping[str, Any], *, doing: str, right: str = "") -> None:
        """Change what is at ``where``. Success says nothing: Redmine leaves out what it does not take, in silence.

        Raises:
            Error: As ``failures`` says.
        """
        self._ask("PUT", where, None, body, self._asked(doing, right))

    def make(self, where: str, body: Mapping[str, Any], model: type[Model], *, doing: str, right: str = "") -> Model:
        """Make something, and return it.

        Raises:
            Error: As ``failures`` says.
        """
        asked = self._asked(doing, right)
        return self._read(self._ask("POST", where, None, body, asked), model, asked)

    def pages(
        self,
        where: str,
        model: type[Page],
        size: Callable[[Page], tuple[int, int]],
        *,
        doing: str,
        query: Mapping[str, str | int] | None = None,
        right: str = "",
    ) -> Iterator[Page]:
        """Return a listing page by page. ``size``: how many members a page has, and how many there are in all."""
        ends, offset = time.monotonic() + LISTING_SECONDS, 0
        while True:
            page = self.read(
                where, model, doing=doing, query={**(query or {}), "offset": offset, "limit": PAGE}, right=right
            )
            yield page
            count, total = size(page)
            offset += count
            if not count or offset >= total:
                return
            if time.monotonic() > ends:
                raise Unavailable(
                    f"Could not {doing} in {self.shown}: the listing took more than {LISTING_SECONDS:.0f} seconds."
                )

    def _asked(self, doing: str, right: str = "") -> Asked:
        return Asked(doing=doing, where=self.shown, connection=self.connection, right=right)

    def _ask(
        self, method: str, where: str, query: Mapping[str, str | int] | None, body: Any, asked: Asked
    ) -> httpx.Response:
        self.me  # noqa: B018 - the key is checked before any answer is believed
        answer = self._once(method, where, query, body, asked)
        if not answer.is_success:
            raise failure(answer.status_code, answer.headers, asked=asked, reasons=reasons(_json(answer)))
        if "html" in answer.headers.get("Content-Type", "").lower():
            raise no_data("html", asked=asked)
        return answer

    def _once(
        self, method: str, where: str, query: Mapping[str, str | int] | None, body: Any, asked: Asked
    ) -> httpx.Response:
        tries = 2 if method == "GET" else 1
        while True:
            try:
                return self._http.request(method, f"{self.url}{where}", params=query, json=body)
            except httpx.HTTPError as error:
                # A kept connection that the server has closed meanwhile is a network or protocol error.
                tries -= 1
                if not tries or not isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
                    raise no_answer(error, asked=asked) from error

    def _read(self, answer: httpx.Response, model: type[Model], asked: Asked) -> Model:
        if not answer.is_success:
            raise failure(answer.status_code, answer.headers, asked=asked, reasons=reasons(_json(answer)))
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            raise no_data(answer.headers.get("Content-Type", ""), asked=asked) from error


def path(*parts: str | int) -> str:
    """Return a path of the API; every part is quoted, so that none reaches beyond its place."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts) + ".json"


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
