"""Jira over HTTP, by atlassian-python-api: time limits, and errors that mean something.

The library knows how to get in (Basic or a bearer token, certificates, connections); which addresses, and what an
answer means, is ours: its own methods turn every error into one, and wait by themselves when Jira asks us to.

A token that Jira does not know makes a request a stranger's at some addresses: it gets "not found" and empty lists.
Jira says so in a header, mostly; before an absence is believed, we ask who we are.
"""

from __future__ import annotations

import logging
import time
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import TypeAdapter, ValidationError

from feature_delivery.adapters.trackers.failures import (
    Asked,
    address,
    certificates,
    failure,
    no_answer,
    no_data,
    token,
)
from feature_delivery.adapters.trackers.jira.answers import Answer, Problems, Server, User
from feature_delivery.domain.errors import Misconfigured, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from atlassian.rest_client import AtlassianRestAPI
    from requests import Response

    from feature_delivery.domain.login import Login

Model = TypeVar("Model", bound=Answer)
Page = TypeVar("Page", bound=Answer)

TIMEOUT_SECONDS = 20
LISTING_SECONDS = 120.0
"""A listing of many pages ends by then, or is given up."""

PAGE = 100
_CLOUD = (".atlassian.net", ".jira.com", ".atlassian-us-gov-mod.net")
_GATEWAY = "api.atlassian.com"
_CLOUD_LOGIN = "Jira Cloud takes the e-mail address of an account as login, and an API token of it as password."
_DENIED = ("AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED")


class JiraClient:
    """Speaks for one Connection; one thread at a time. Only reading is repeated, once, when the connection broke."""

    def __init__(self, login: Login, *, timeout_seconds: int = TIMEOUT_SECONDS) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: ``url``: Jira's address, with the sub path it lives under; ``user`` and ``secret``: an e-mail
                address and an API token (Cloud), a user and a password, or no user and a personal access token (Data
                Center); ``options``: ``ca_file``, and ``deployment`` (``cloud`` or ``data_center``) where Jira is not
                to be asked which it is.
            timeout_seconds: For connecting, and for each piece of an answer.

        Raises:
            Misconfigured: Something of that is missing or wrong.
        """
        self.url = address(login)
        self.connection = login.connection
        self._host = urlsplit(self.url).hostname or ""
        self.shown = f"Jira at {urlsplit(self.url).netloc}"
        self._deployment = str(login.options.get("deployment") or "").lower().replace(" ", "_").replace("-", "_")
        if self._deployment not in {"", "cloud", "data_center"}:
            raise Misconfigured(
                f"The Connection {login.connection!r} has a 'deployment' that is neither 'cloud' nor 'data_center'."
            )
        self._user = login.user
        self._api = _api(login, self.url, timeout_seconds)
        weakref.finalize(self, self._api.close)

    @cached_property
    def cloud(self) -> bool:
        """Whether it is Jira Cloud: by the Connection, by its address, else by what it says itself.

        Raises:
            Misconfigured: It is, and the Connection has no e-mail address to go with the token.
        """
        if self._deployment:
            cloud = self._deployment == "cloud"
        elif self._host.endswith(_CLOUD) or self._host == _GATEWAY:
            cloud = True
        elif self.server.deployment:
            cloud = self.server.deployment.casefold() == "cloud"
        else:
            cloud = "@" in self._user
        if cloud and not self._user:
            raise Misconfigured(f"The Connection {self.connection!r} has no login. {_CLOUD_LOGIN}")
        return cloud

    @cached_property
    def server(self) -> Server:
        """What Jira says of itself, asked once; nothing where it does not say."""
        try:
            return self._read("GET", "/rest/api/2/serverInfo", Server, doing="find out which Jira it is")
        except NotFound:
            return Server()
        except Misconfigured as error:
            if self._user:
                raise
            raise Misconfigured(f"{error} {_CLOUD_LOGIN}") from error

    @property
    def site(self) -> str:
        """The address of Jira's pages, for people."""
        known = self._host.endswith(_CLOUD) or ("server" not in self.__dict__ and self._host != _GATEWAY)
        base = "" if known else self.server.base.rstrip("/")
        return base if urlsplit(base).scheme in {"http", "https"} else self.url

    @cached_property
    def me(self) -> User:
        """Whose token it is, asked once.

        Raises:
            Misconfigured: Nobody's: the token is wrong or too old.
        """
        return self.read(path("myself"), User, doing="find out whose token it is")

    def read(
        self, where: str, model: type[Model], *, doing: str, query: Mapping[str, Any] | None = None, right: str = ""
    ) -> Model:
        """Return what is at ``where``.

        Args:
            where: Below the API's root, made by ``path``.
            model: What is read of the answer.
            doing: What could not be done, for sentences: ``read SHOP-7``.
            query: Parameters.
            right: The permission that it takes, for sentences.

        Raises:
            Error: As ``failures`` says.
        """
        return self._read("GET", self._below_root(where), model, doing=doing, query=query, right=right)

    def send(
        self,
        method: str,
        where: str,
        body: Any,
        model: type[Model],
        *,
        doing: str,
        right: str = "",
        query: Mapping[str, Any] | None = None,
    ) -> Model:
        """Send ``body`` and return the answer; arguments and errors as those of ``read``."""
        return self._read(method, self._below_root(where), model, doing=doing, body=body, right=right, query=query)

    def tell(self, method: str, where: str, body: Any, *, doing: str, right: str = "") -> None:
        """Send ``body``; what comes back is of no interest. Errors as those of ``read``."""
        asked = self._asked(doing, right)
        self._checked(self._once(method, self._below_root(where), None, body, asked), asked)

    def members(
        self, where: str, model: type[Model], *, doing: str, query: Mapping[str, Any] | None = None
    ) -> list[Model]:
        """Return a bare list, whole; arguments and errors as those of ``read``."""
        asked = self._asked(doing)
        answer = self._once("GET", self._below_root(where), query, None, asked)
        self._checked(answer, asked)
        adapter: TypeAdapter[list[Model]] = TypeAdapter(list[model])  # type: ignore[valid-type]
        try:
            return adapter.validate_json(answer.content)
        except ValidationError as error:
            raise no_data(answer.headers.get("Content-Type", ""), asked=asked) from error

    def walk(self, ask: Callable[[Page | None, int], Page | None], *, doing: str) -> Iterator[Page]:
        """Return a listing page by page.

        Args:
            ask: Returns the page after the one given (``None``: the first) and so many pages; ``None``: there is none.
            doing: What is going on, for sentences.

        Raises:
            Unavailable: It took too long.
        """
        ends, page, number = time.monotonic() + LISTING_SECONDS, ask(None, 0), 1
        while page is not None:
            yield page
            if time.monotonic() > ends:
                raise Unavailable(
                    f"Could not {doing} in {self.shown}: the listing took more than {LISTING_SECONDS:.0f} seconds."
                )
            page = ask(page, number)
            number += 1

    def _below_root(self, where: str) -> str:
        return f"/rest/api/{3 if self.cloud else 2}{where}"

    def _asked(self, doing: str, right: str = "") -> Asked:
        return Asked(doing=doing, where=self.shown, connection=self.connection, right=right)

    def _read(
        self,
        method: str,
        where: str,
        model: type[Model],
        *,
        doing: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        right: str = "",
    ) -> Model:
        asked = self._asked(doing, right)
        answer = self._once(method, where, query, body, asked)
        self._checked(answer, asked)
        return _parsed(answer.content, answer, model, asked)

    def _once(self, method: str, where: str, query: Mapping[str, Any] | None, body: Any, asked: Asked) -> Response:
        from requests import RequestException  # noqa: PLC0415 - comes with the library, as late as it
        from requests.exceptions import ConnectionError as Broken  # noqa: PLC0415 - as above

        tries = 2 if method == "GET" else 1
        while True:
            try:
                return self._api.request(
                    method, where, params=dict(query or {}), data=body, advanced_mode=True, allow_redirects=False
                )
            except RequestException as error:
                # A kept connection that the server has closed meanwhile looks like a broken one.
                tries -= 1
                if not tries or not isinstance(error, Broken):
                    raise no_answer(error, asked=asked) from error

    def _checked(self, answer: Response, asked: Asked) -> None:
        """Raise what the answer stands for, unless it is a success that was given to us and not to a stranger."""
        denied = answer.headers.get("X-Authentication-Denied-Reason", "")
        if "CAPTCHA" in denied.upper():
            raise Misconfigured(
                f"{asked.failed}: it wants a CAPTCHA solved, after wrong passwords. Log in once by browser as the "
                f"user of the Connection {self.connection!r}, and put a token there instead of a password."
            )
        if any(one in answer.headers.get("X-Seraph-LoginReason", "") for one in _DENIED):
            raise failure(401, {}, asked=asked)
        if not answer.ok or answer.is_redirect:
            raise failure(answer.status_code, answer.headers, asked=asked, reasons=_reasons(answer))
        if "html" in answer.headers.get("Content-Type", "").lower():
            raise no_data("html", asked=asked)


def path(*parts: str | int) -> str:
    """Return a path of the API; every part is quoted, so that none reaches beyond its place."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def _parsed(content: bytes, answer: Response, model: type[Model], asked: Asked) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise no_data(answer.headers.get("Content-Type", ""), asked=asked) from error


def _reasons(answer: Response) -> list[str]:
    try:
        return Problems.model_validate_json(answer.content).reasons
    except ValidationError:
        return []


def _api(login: Login, url: str, timeout_seconds: int) -> AtlassianRestAPI:
    from atlassian.rest_client import AtlassianRestAPI  # noqa: PLC0415 - a quarter of a second, not at DAG parse time

    # At its finest level the library logs what it sends and gets, whole.
    logging.getLogger("atlassian.rest_client").setLevel(logging.INFO)
    trusted, user, password, bearer = certificates(login), None, None, None
    if login.user and login.secret.isprintable() and login.secret:
        # As bytes: what is no Latin letter would be an error of the library below.
        user, password = login.user.encode(), login.secret.encode()
    else:
        bearer = token(login)
    api = AtlassianRestAPI(
        url,
        timeout=timeout_seconds,
        verify_ssl=trusted if isinstance(trusted, bool) else str(login.options["ca_file"]),  # type: ignore[arg-type]
        # Whoever called decides when to come back, and need not wait asleep.
        backoff_and_retry=False,
        retry_with_header=False,
        username=user,  # type: ignore[arg-type]
        password=password,  # type: ignore[arg-type]
        token=bearer,
    )
    # A proxy of the environment is for the world outside; nor is a login from ~/.netrc ours.
    api.session.trust_env = url.startswith("https:")
    return api
