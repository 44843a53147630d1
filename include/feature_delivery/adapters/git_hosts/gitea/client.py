"""A small client of the API of Gitea and Forgejo: time limits, whole listings, and errors that mean something.

Every error of the server is turned into one of ``domain.errors`` here, and nowhere else. What the server wrote is read
for its meaning only and never repeated: Forgejo, for one, quotes a token that it does not know.
"""

from __future__ import annotations

import re
import ssl
import time
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from feature_delivery.adapters.git_hosts.gitea.answers import Answer, User
from feature_delivery.adapters.retry_after import asked_pause
from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)

if TYPE_CHECKING:
    from feature_delivery.domain.login import Login

Model = TypeVar("Model", bound=Answer)

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
LISTING_SECONDS = 120.0
"""A listing of many pages ends by then, or is given up."""

PAGE = 50
"""What the server is asked for; it may have a smaller maximum of its own."""

_SCOPES = re.compile(r"required\s+scope\(s\)\W*(?:required=)?\[([a-z:,_\s]{1,200})\]")


class GiteaClient:
    """Speaks for one Connection about one repository. May be used by several threads.

    Only reading is repeated by itself, once, when the connection broke.
    """

    def __init__(self, login: Login, repository: str, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: ``url``: the server's address, with the sub path it lives under; ``secret``: an access token;
                ``options``: ``ca_file``, certificates to trust in place of the system's.
            repository: ``owner/name``; the server's sub path before it is cut off.
            timeout: For each request.

        Raises:
            Misconfigured: Something of that is missing or wrong.
        """
        self.login = login
        self.url = _address(login)
        self.owner, self.name = _owner_and_name(repository, self.url)
        self.shown = f"{self.owner}/{self.name} on {self.url.netloc.decode('ascii')}"
        self._me: str | None = None
        self._http = httpx.Client(
            headers={"Authorization": f"token {_token(login)}", "Accept": "application/json"},
            timeout=timeout,
            verify=_certificates(login) if self.url.scheme == "https" else False,
            # A proxy of the environment is for the world outside; reading it takes time that plain HTTP does not need.
            trust_env=self.url.scheme == "https",
        )
        weakref.finalize(self, self._http.close)

    def in_repository(self, *parts: str | int) -> str:
        """Return the path of something in the repository; every part is quoted."""
        return path("repos", self.owner, self.name, *parts)

    @property
    def me(self) -> str:
        """The login that the token belongs to.

        Raises:
            Misconfigured: The token may not tell, and the Connection does not say either.
        """
        if self._me is None:
            try:
                self._me = self.read(path("user"), User, doing="find out whose token it is").login
            except Refused as error:
                if not self.login.user:
                    raise Misconfigured(
                        f"The token of the Connection {self.login.connection!r} may not say whose it is. "
                        "Give it the scope 'read:user', or write the user's name into the Connection's login."
                    ) from error
                self._me = self.login.user
        return self._me

    def is_me(self, user: User | None) -> bool:
        """Say whether this is the token's user; logins are told apart regardless of case there."""
        return user is not None and user.login.casefold() == self.me.casefold()

    def read(
        self,
        where: str,
        model: type[Model],
        *,
        doing: str,
        query: Mapping[str, str | int] | None = None,
        needs: str = "",
    ) -> Model:
        """Return what is at ``where``.

        Args:
            where: The path, made by ``path`` or ``in_repository``.
            model: What is read of the answer.
            doing: What could not be done, for sentences: ``read request 7``.
            query: Parameters.
            needs: The right that it takes, for sentences.

        Raises:
            Error: As the module says.
        """
        return self.parsed(self.ask("GET", where, doing=doing, query=query, needs=needs), model, doing)

    def send(self, method: str, where: str, body: Any, model: type[Model], *, doing: str, needs: str = "") -> Model:
        """Send ``body`` and return the answer; arguments and errors as those of ``read``."""
        return self.parsed(self.ask(method, where, doing=doing, body=body, needs=needs), model, doing)

    def parsed(self, answer: httpx.Response, model: type[Model], doing: str) -> Model:
        """Return what is read of an answer, or raise ``Unavailable``."""
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            self._nonsense(doing, error)

    def listing(
        self, where: str, model: type[Model], *, doing: str, query: Mapping[str, str | int] | None = None
    ) -> list[Model]:
        """Return a whole listing, each member once.

        When the number of members changes between two pages, one may have slipped through: the listing is read again.
        """
        for _ in range(3):
            totals: set[str] = set()
            found = [one for page in self._pages(where, model, doing, query, totals) for one in page]
            if len(totals) <= 1:
                break
        return found

    def walk(
        self, where: str, model: type[Model], *, doing: str, query: Mapping[str, str | int] | None = None
    ) -> Iterator[Model]:
        """Return a listing page by page, for who may stop early."""
        for page in self._pages(where, model, doing, query, set()):
            yield from page

    def ask(
        self,
        method: str,
        where: str,
        *,
        doing: str,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        needs: str = "",
        accept: Collection[int] = (),
    ) -> httpx.Response:
        """Send one request and return an answer that is a success, or whose status is in ``accept``.

        Raises:
            Error: As the module says.
        """
        try:
            answer = self._once(method, where, query, body)
        except httpx.TransportError as error:
            raise Unavailable(
                f"Could not {doing} ({self.shown}): no answer ({type(error).__name__}). It is tried again later."
            ) from error
        if answer.is_success or answer.status_code in accept:
            return answer
        raise self._error(answer, doing=doing, needs=needs)

    def _once(self, method: str, where: str, query: Mapping[str, str | int] | None, body: Any) -> httpx.Response:
        address, tries = f"{self.url}/api/v1{where}", 2 if method == "GET" else 1
        while True:
            try:
                return self._http.request(method, address, params=query, json=body)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                # A kept connection that the server has closed meanwhile looks like this.
                tries -= 1
                if not tries:
                    raise

    def _pages(
        self, where: str, model: type[Model], doing: str, query: Mapping[str, str | int] | None, totals: set[str]
    ) -> Iterator[list[Model]]:
        ends = time.monotonic() + LISTING_SECONDS
        known: set[str] = set()
        page, count = 1, 0
        while True:
            answer = self.ask("GET", where, doing=doing, query={**(query or {}), "page": page, "limit": PAGE})
            members = self._members(answer, model, doing)
            total = answer.headers.get("X-Total-Count", "")
            totals.add(total)
            count += len(members)
            new = {one.model_dump_json(): one for one in members}
            yield [one for name, one in new.items() if name not in known]
            # A page that brings nothing new is the last one, or that of a server that does not know pages here.
            if new.keys() <= known or not _goes_on(answer, total, count):
                return
            known |= new.keys()
            if time.monotonic() > ends:
                raise Unavailable(
                    f"Could not {doing} ({self.shown}): the listing took more than {LISTING_SECONDS:.0f} seconds."
                )
            page += 1

    def _members(self, answer: httpx.Response, model: type[Model], doing: str) -> list[Model]:
        adapter: TypeAdapter[list[Model] | None] = TypeAdapter(list[model] | None)  # type: ignore[valid-type, arg-type]
        try:
            found = adapter.validate_json(answer.content)
        except ValidationError as error:
            self._nonsense(doing, error)
        return found or []

    def _nonsense(self, doing: str, error: ValidationError) -> NoReturn:
        # The cause is left out on purpose: pydantic shows what it was given.
        fields = ", ".join(sorted({".".join(map(str, one["loc"])) or "all of it" for one in error.errors()})[:3])
        raise Unavailable(
            f"Could not {doing} ({self.shown}): the answer is not what Gitea or Forgejo answer ({fields}). "
            f"Look whether the address of the Connection {self.login.connection!r} is the server's, with its sub path."
        ) from None

    def _error(self, answer: httpx.Response, *, doing: str, needs: str) -> Error:
        status, begin = answer.status_code, f"Could not {doing} ({self.shown})"
        if status == 429 or (status == 403 and "Retry-After" in answer.headers):
            return RateLimited(f"{begin}: it asks us to wait.", retry_after_seconds=asked_pause(answer.headers))
        if status >= 500:
            return Unavailable(f"{begin}: the server answered {status}. It is tried again later.")
        match status:
            case 401:
                return Misconfigured(
                    f"{begin}: the token of the Connection {self.login.connection!r} is not accepted. "
                    "Put a valid access token into its password."
                )
            case 403:
                return Refused(f"{begin}: {self._lacking(answer, needs)}")
            case 404:
                return NotFound(f"{begin}: it is not there, or the token's user may not see it.")
            case 409:
                return Conflict(f"{begin}: it changed meanwhile (409).")
            case 412:
                return Refused(f"{begin}: it depends on something that is still open, or has been merged meanwhile.")
            case 423:
                return Refused(f"{begin}: the repository is archived. Take it out of the archive.")
        if 300 <= status < 400:
            return Misconfigured(
                f"{begin}: the server sends us elsewhere ({status}). Write the address and the repository as they "
                f"are by now into the Connection {self.login.connection!r} and the project file."
            )
        return Refused(f"{begin}: the server refuses it ({status}).")

    def _lacking(self, answer: httpx.Response, needs: str) -> str:
        scopes = _SCOPES.search(said(answer))
        if scopes:
            return (
                f"the token of the Connection {self.login.connection!r} lacks the scope {scopes[1].strip()!r}. "
                "Make a token that has it."
            )
        return f"the token's user lacks {needs or 'the right'}. Give it in the repository's settings."


def path(*parts: str | int) -> str:
    """Return a path of the API; every part is quoted, so that none reaches beyond its place."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def said(answer: httpx.Response) -> str:
    """Return the sentence in the server's error, to look for something in it; it is never shown."""
    try:
        content = answer.json()
    except ValueError:
        return ""
    message = content.get("message") if isinstance(content, dict) else None
    return message if isinstance(message, str) else ""


def _goes_on(answer: httpx.Response, total: str, count: int) -> bool:
    """Say whether there is another page: by the links, else by the total, else only an empty page ends it."""
    if "Link" in answer.headers:
        return "next" in answer.links
    return count < int(total) if total.isascii() and total.isdigit() else True


def _address(login: Login) -> httpx.URL:
    where = f"The Connection {login.connection!r}"
    try:
        url = httpx.URL(login.url.rstrip("/"))
    except httpx.InvalidURL as error:
        raise Misconfigured(f"{where} holds no address. Write one like https://git.example.com as its host.") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise Misconfigured(f"{where} holds no address. Write one like https://git.example.com as its host.")
    if url.userinfo or url.query or url.fragment:
        raise Misconfigured(f"{where} has more than an address in its host. The token belongs into its password.")
    return url


def _owner_and_name(repository: str, url: httpx.URL) -> Sequence[str]:
    parts = repository.strip("/").split("/")
    below = [part for part in url.path.split("/") if part]
    if below and parts[: len(below)] == below and len(parts) == len(below) + 2:
        parts = parts[len(below) :]
    if len(parts) != 2 or not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", part) for part in parts):
        raise Misconfigured(
            f"{repository[:80]!r} is no repository of Gitea or Forgejo. Name it as 'owner/name', like 'shop/cart'."
        )
    return parts


def _token(login: Login) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,500}", login.secret):
        raise Misconfigured(
            f"The Connection {login.connection!r} holds no token, or not only a token. "
            "Put an access token into its password, without spaces."
        )
    return login.secret


def _certificates(login: Login) -> ssl.SSLContext | bool:
    file = login.options.get("ca_file")
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=str(file))
    except OSError as error:
        raise Misconfigured(
            f"The Connection {login.connection!r} names a file of certificates (ca_file) that cannot be read "
            f"({type(error).__name__}). Correct it."
        ) from error
