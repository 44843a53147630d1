"""The web app's people API, as one of its users."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx

from feature_delivery.bootstrap.variables import read
from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)
from feature_delivery.domain.ways import CLI_AGENT

PREFIX = "/feature-delivery"
TIMEOUT_SECONDS = 30
_BY_STATUS: dict[int, type[Error]] = {
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    422: Misconfigured,
    429: RateLimited,
}


@dataclass(frozen=True, slots=True)
class Login:
    """Where the instance answers and who is speaking: by password, or by a token that Airflow gave out.

    ``user`` is empty with a token: whose it is only the server knows.
    """

    address: str
    user: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def find_login(home: Path, *, user: str | None = None) -> Login:
    """Return how to reach the instance: from the environment, else from the embedded instance in ``home``.

    ``FEATURE_DELIVERY_URL``, ``FEATURE_DELIVERY_USER`` and ``FEATURE_DELIVERY_PASSWORD`` name any installation;
    ``FEATURE_DELIVERY_TOKEN``, a token of Airflow's own (``POST /auth/token``), stands for user and password.

    Raises:
        Unavailable: Nothing runs in ``home``.
        Misconfigured: The user is unknown there.
    """
    told = read("url", "user", "password", "token")
    address = told.url
    if address:
        token = told.token.strip()
        if token and not user:
            return Login(address, "", token=token)
        name = user or told.user
        password = told.password
        if not name or not password:
            raise Misconfigured(
                "FEATURE_DELIVERY_URL is set: set FEATURE_DELIVERY_TOKEN, or FEATURE_DELIVERY_USER and "
                "FEATURE_DELIVERY_PASSWORD, too."
            )
        return Login(address, name, password)
    running = _read(home / "instance.lock")
    if not running.get("address"):
        raise Unavailable(
            f"Nothing runs in {str(home)!r}. Start it with 'feature-delivery up --repository …' or 'make demo', "
            "or name an installation by FEATURE_DELIVERY_URL."
        )
    name = user or told.user or str(_read(home / "cli.json").get("user", "admin"))
    passwords = _read(home / "airflow" / "passwords.json")
    if name not in passwords:
        raise Misconfigured(f"{name!r} is no user of this instance. Its users: {', '.join(sorted(passwords))}.")
    return Login(str(running["address"]), name, str(passwords[name]))


def _version() -> str:
    try:
        return version("airflow-feature-delivery")
    except PackageNotFoundError:
        return "0"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def authorities(address: str) -> ssl.SSLContext | bool:
    """Return whose certificates count: those that ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` names, else the usual ones.

    Raises:
        Misconfigured: They cannot be read.
    """
    given = [f"{name}={value}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if (value := os.environ.get(name))]
    if not given or not address.startswith("https:"):
        return True
    try:
        return httpx.create_ssl_context(trust_env=True)
    except OSError as error:  # SSLError is one
        raise Misconfigured(
            f"Could not read the certificates of {', '.join(given)}: {error.strerror or error}. "
            "Name a file of certificates in PEM form."
        ) from error


def _certificate_fault(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return why the other side's certificate was not accepted, where that is the cause."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


class Api:
    """Calls of one user; every answer is JSON, every refusal one of our errors with the server's sentence."""

    def __init__(self, login: Login, *, transport: httpx.BaseTransport | None = None) -> None:
        """Nothing is sent before the first call; ``transport`` is for tests."""
        self.login = login
        self._client = httpx.Client(
            base_url=login.address,
            timeout=TIMEOUT_SECONDS,
            # No proxy and no .netrc of the environment; the authorities that are trusted are its own to say.
            trust_env=False,
            verify=authorities(login.address),
            transport=transport,
            headers={"User-Agent": f"{CLI_AGENT}{_version()}"},
        )
        if login.token:
            self._client.headers["Authorization"] = f"Bearer {login.token}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
        """Return what is at ``path`` below the web app's address."""
        return self._call("GET", PREFIX + path, timeout_seconds=timeout_seconds)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send ``body`` to ``path`` below the web app's address."""
        return self._call("POST", PREFIX + path, body or {})

    def airflow(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call Airflow's own REST API."""
        return self._call(method, "/api/v2" + path, body)

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        if "Authorization" not in self._client.headers:
            self._log_in()
        answer = self._send(method, path, body, timeout_seconds)
        if answer.status_code == 401 and not self.login.token:
            self._log_in()
            answer = self._send(method, path, body, timeout_seconds)
        if answer.is_success:
            return self._content(answer)
        raise self._error(answer)

    def _content(self, answer: httpx.Response) -> Any:
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise Unavailable(
                f"{self.login.address} answered {answer.request.url.path} with something else than JSON. "
                "Look whether it is this package's Airflow."
            ) from error

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body if method != "GET" else None, timeout=timeout_seconds)
        except httpx.HTTPError as error:
            if (fault := _certificate_fault(error)) is not None:
                raise Misconfigured(
                    f"The certificate of {self.login.address} was refused ({fault.verify_message}). If an authority of "
                    "your own has signed it, name the file with the authority's certificate by SSL_CERT_FILE; else do "
                    "not trust who answers there."
                ) from error
            raise Unavailable(
                f"{self.login.address} does not answer ({type(error).__name__}). Look whether the instance runs."
            ) from error

    def _log_in(self) -> None:
        self._client.headers.pop("Authorization", None)
        answer = self._send("POST", "/auth/token", {"username": self.login.user, "password": self.login.password})
        if answer.status_code != 201:
            raise Refused(f"{self.login.address} did not let {self.login.user!r} in. Check the password.")
        try:
            token = str(answer.json()["access_token"])
        except (ValueError, KeyError, TypeError) as error:
            raise Misconfigured(
                f"{self.login.address} is no Airflow with this package: look at the address."
            ) from error
        self._client.headers["Authorization"] = f"Bearer {token}"

    def _error(self, answer: httpx.Response) -> Error:
        try:
            body = answer.json()
        except ValueError:
            body = {}
        sentence = body.get("message") if isinstance(body, dict) else None
        if not sentence and isinstance(body, dict) and isinstance(body.get("detail"), str):
            sentence = body["detail"]
        kind = _BY_STATUS.get(answer.status_code, Unavailable)
        return kind(sentence or f"{answer.request.url.path} answered {answer.status_code} without a reason.")
