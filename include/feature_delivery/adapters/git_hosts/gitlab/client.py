"""The wire to GitLab: python-gitlab with our time limits, no retries of its own and no address but the Connection's.

Callers retry (tasks, the outbox), so python-gitlab's waiting and retrying never comes to it: a process that sleeps in
here would hold a worker for as long as GitLab says.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import requests
from gitlab import Gitlab

from feature_delivery.adapters.git_hosts.gitlab.answers import Answer, Me
from feature_delivery.adapters.git_hosts.gitlab.failures import Answered, answered, speaking
from feature_delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitlab.access import Entry

Model = TypeVar("Model", bound=Answer)

TIMEOUT_SECONDS = (5.0, 20.0)
"""For the connection, and for every pause within an answer."""

LISTING_SECONDS = 120.0
"""A listing of many pages ends by then, or is given up."""

PAGE = 100


class Wire(requests.Session):
    """Sends to one server only, follows nothing, and says itself what was answered: python-gitlab loses the headers."""

    def __init__(self, entry: Entry) -> None:
        """``entry``: the checked Connection."""
        super().__init__()
        self._entry = entry
        # A proxy of the environment is for the world outside.
        self.trust_env = entry.url.startswith("https://")

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request; one that only reads is sent once more when the connection broke.

        Raises:
            Answered: Anything but a success came back.
            RequestException: Nothing came back.
        """
        if not (request.url or "").startswith(f"{self._entry.url}/api/"):
            raise ValueError("the answer leads to another server")  # and the token is in the headers
        kwargs.update(timeout=TIMEOUT_SECONDS, allow_redirects=False)
        try:
            response = super().send(request, **kwargs)
        except requests.Timeout:
            raise
        except requests.exceptions.SSLError:
            raise
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            if request.method != "GET":
                raise
            response = super().send(request, **kwargs)
        if not 200 <= response.status_code < 300:
            raise answered(response, token=self._entry.token)
        return response


class Client:
    """One project on GitLab, as one Connection may see it. Ask inside ``doing``."""

    def __init__(self, entry: Entry) -> None:
        """``entry``: the checked Connection. Nothing is asked yet."""
        self.entry = entry
        self._wire = Wire(entry)
        self._gitlab = Gitlab(
            entry.url,
            private_token=entry.token,
            ssl_verify=entry.ca_file or True,
            user_agent="feature-delivery",
            keep_base_url=True,
            session=self._wire,
        )
        weakref.finalize(self, self._wire.close)

    def doing(self, what: str, *, right: str) -> AbstractContextManager[None]:
        """Return the block in which ``what`` is done: errors come out of it as ours (``failures.speaking``)."""
        return speaking(what, right=right, connection=self.entry.connection)

    def project(self, *parts: str | int) -> str:
        """Return the path of something in the project; every part is quoted."""
        return path("projects", self.entry.project, *parts)

    @cached_property
    def me(self) -> Me:
        """The account that the token belongs to."""
        return self.get("/user", Me)

    def get(self, where: str, model: type[Model], **query: Any) -> Model:
        """Return what is at ``where``, a path made by ``project`` or ``path``."""
        return model.model_validate(self._gitlab.http_get(where, query_data=query))

    def find(self, where: str, model: type[Model], **query: Any) -> Model | None:
        """Return what is at ``where``, ``None`` when GitLab says that there is nothing (or nothing for us to see)."""
        try:
            return self.get(where, model, **query)
        except Answered as error:
            if error.status == 404:
                return None
            raise

    def walk(self, where: str, model: type[Model], **query: Any) -> Iterator[Model]:
        """Return a listing, page by page as it is read.

        Raises:
            Unavailable: It goes on and on.
        """
        end = time.monotonic() + LISTING_SECONDS
        found = self._gitlab.http_list(where, query_data={"per_page": PAGE, **query}, iterator=True)
        for one in found:
            if time.monotonic() > end:
                raise Unavailable(
                    f"Could not read a listing of {self.entry.project} on GitLab to its end in "
                    f"{LISTING_SECONDS:.0f} seconds. Try again later."
                )
            yield model.model_validate(one)

    def all(self, where: str, model: type[Model], **query: Any) -> list[Model]:
        """Return a whole listing."""
        return list(self.walk(where, model, **query))

    def newest(self, where: str, model: type[Model], **query: Any) -> Model | None:
        """Return the first one of a listing."""
        return next(self.walk(where, model, **{**query, "per_page": 1}), None)

    def post(self, where: str, model: type[Model], **body: Any) -> Model:
        """Make something and return it."""
        return model.model_validate(self._gitlab.http_post(where, post_data=body))

    def put(self, where: str, model: type[Model], **body: Any) -> Model:
        """Change something and return it as it is now."""
        return model.model_validate(self._gitlab.http_put(where, post_data=body))


def path(*parts: str | int) -> str:
    """Return a path below the API's address; every part is quoted."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)
