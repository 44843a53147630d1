"""The wire to GitHub: PyGithub's requester with our headers, time limits and no retries of its own.

Callers retry (tasks, the outbox), so PyGithub's waiting and retrying is off: a process that sleeps in here would hold
a worker for as long as GitHub says.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from github import GithubException
from github.Auth import Auth, Token
from github.Repository import Repository
from github.Requester import Requester

from feature_delivery.adapters.git_hosts.github.app import tokens
from feature_delivery.adapters.git_hosts.github.failures import speaking

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.github.access import Entry

TIMEOUT_SECONDS = 15
"""For the connection, and for every pause within an answer."""

PAGE = 100
VERSION = "2022-11-28"
MEDIA_TYPE = "application/vnd.github+json"

# At DEBUG PyGithub logs whole answers, and the answer to an App is a token.
logging.getLogger("github.Requester").setLevel(logging.WARNING)


class InstallationAuth(Auth):
    """The token of an App's installation, asked for anew shortly before it ends."""

    def __init__(self, entry: Entry) -> None:
        """``entry``: whose installation."""
        self._entry = entry

    @property
    def token_type(self) -> str:
        """As for every other token."""
        return "token"

    @property
    def token(self) -> str:
        """The token of this moment."""
        return tokens.token(self._entry)

    def forget(self) -> None:
        """Let the next request ask for a new one."""
        tokens.forget(self._entry)


class Wire(Requester):
    """PyGithub's requester, with the media type GitHub recommends for everything it asks (also for old previews)."""

    def requestJson(  # noqa: N802, PLR0917 - PyGithub's name and order
        self,
        verb: str,
        url: str,
        parameters: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        input: Any | None = None,  # noqa: A002 - as above
        cnx: Any = None,
        follow_302_redirect: bool = False,  # noqa: FBT001, FBT002 - as above
    ) -> tuple[int, dict[str, Any], str]:
        """Send a request and return status, headers and body; a token that GitHub took back is replaced once."""
        send = super().requestJson
        given = {**(headers or {}), "Accept": MEDIA_TYPE}
        status, answered, body = send(verb, url, parameters, dict(given), input, cnx, follow_302_redirect)
        if status == 401 and isinstance(self.auth, InstallationAuth):
            self.auth.forget()
            status, answered, body = send(verb, url, parameters, dict(given), input, cnx, follow_302_redirect)
        if 300 <= status < 400:
            raise GithubException(status, {"message": "redirected"}, answered)
        if 200 <= status < 300 and body and "json" not in str(answered.get("content-type", "")):
            raise ValueError("the answer is no JSON")  # of a proxy's page, say; speaking() knows it
        return status, answered, body


def wire(entry: Entry, auth: Auth) -> Wire:
    """Return a requester; no connection is made yet."""
    return Wire(
        auth=auth,
        base_url=entry.api,
        timeout=TIMEOUT_SECONDS,
        user_agent="feature-delivery",
        per_page=PAGE,
        verify=entry.ca_file or True,
        retry=0,
        pool_size=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
        api_version=VERSION,
    )


class Client:
    """One repository on GitHub, as one Connection may see it."""

    def __init__(self, entry: Entry) -> None:
        """``entry``: the checked Connection. Nothing is asked yet."""
        self.entry = entry
        self.wire = wire(entry, InstallationAuth(entry) if entry.app else Token(entry.token))
        url = f"/repos/{entry.full_name}"
        self.repository = Repository(self.wire, {}, {"url": url, "full_name": entry.full_name}, completed=True)

    def doing(self, what: str, *, right: str) -> AbstractContextManager[None]:
        """Return the block in which ``what`` is done: errors come out of it as ours (``failures.speaking``)."""
        return speaking(what, right=right, connection=self.entry.connection)

    @cached_property
    def me(self) -> str:
        """The login that our comments carry. Ask inside ``doing``."""
        if self.entry.app is not None:
            return f"{tokens.installation(self.entry).slug}[bot]"
        return str(self.get("/user")[1]["login"])

    def add_labels(self, number: int, *names: str) -> None:
        """Add labels to an issue or a pull request, as an object: PyGithub's bare list is not described."""
        url = f"{self.repository.url}/issues/{number}/labels"
        self.wire.requestJsonAndCheck("POST", url, input={"labels": [*names]})

    def get(self, path: str, **parameters: str | int) -> tuple[dict[str, Any], Any]:
        """Return headers and body of a GET for which PyGithub has no object; names in ``path`` are quoted already."""
        return self.wire.requestJsonAndCheck("GET", path, parameters=dict(parameters))
