"""What GitLab answers when it does not do what was asked, as this package's errors: the one place that maps them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import requests
from gitlab.exceptions import GitlabError

from feature_delivery.adapters.retry_after import asked_pause, http_date
from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)

PAUSE_SECONDS = 60.0
"""Where a limit is exceeded and no header says how long: GitLab counts most limits by the minute."""

_OF_ANOTHER_SHAPE = (AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What comes of reading an answer of another shape; pydantic's errors are among them."""

_REASON = 160


class Answered(Exception):  # noqa: N818 - an answer, which the client below us would have turned into a sentence
    """GitLab answered something else than that it did it.

    Attributes:
        status: Of HTTP.
        words: What it said, for its meaning: every text in the answer.
        scope: The scopes that would do, where the token lacks one.
        headers: Of the answer, names in lower case.
    """

    def __init__(self, status: int, words: str, headers: Mapping[str, str], *, scope: str = "") -> None:
        super().__init__(status)
        self.status, self.words, self.scope = status, words, scope
        self.headers = {name.lower(): str(value) for name, value in headers.items()}

    def mentions(self, *words: str) -> bool:
        """Say whether one of ``words`` is in what it said, in any case."""
        return any(word.lower() in self.words.lower() for word in words)


def answered(response: requests.Response, *, token: str) -> Answered:
    """Return what went wrong; ``token`` is never kept, not even where a server repeats it."""
    try:
        body: Any = response.json()
    except ValueError:
        body = None
    told = body if isinstance(body, dict) else {}
    words = " ".join(_texts([told.get(name) for name in ("message", "error", "error_description")]))
    scope = str(told.get("scope", "")) if told.get("error") == "insufficient_scope" else ""
    clean = [re.sub(r"[^\x20-\x7e]+", " ", text.replace(token, "…")).strip() for text in (words, scope)]
    return Answered(response.status_code, clean[0][:2000], response.headers, scope=clean[1][:100])


def said(error: BaseException) -> Answered | None:
    """Return what GitLab said, when ``error`` comes from an answer of GitLab's."""
    cause = error if isinstance(error, Answered) else error.__cause__
    return cause if isinstance(cause, Answered) else None


@contextmanager
def speaking(doing: str, *, right: str, connection: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into one of our errors.

    Args:
        doing: Completes *Could not ...*; names what it is about.
        right: The role or the right that it takes, in GitLab's words (``the role Developer``).
        connection: Where the token comes from.

    Raises:
        Error: The one that fits; ours pass as they are.
    """
    try:
        yield
    except Answered as error:
        raise _failure(error, doing=doing, right=right, connection=connection) from error
    except requests.exceptions.SSLError as error:
        raise Misconfigured(
            f"Could not {doing} on GitLab: its TLS certificate is not trusted. Name the authority's file as 'ca_file' "
            f"in the Connection {connection!r}."
        ) from error
    except OSError as error:  # all of requests' own, and a 'ca_file' that is not there
        if not isinstance(error, requests.exceptions.RequestException):
            raise Misconfigured(
                f"Could not {doing} on GitLab: the 'ca_file' of the Connection {connection!r} cannot be read. "
                "Correct its path."
            ) from error
        raise Unavailable(
            f"Could not {doing} on GitLab: it did not answer ({type(error).__name__}). Try again later."
        ) from error
    except (GitlabError, *_OF_ANOTHER_SHAPE) as error:
        raise Unavailable(
            f"Could not {doing} on GitLab: the answer is not one of GitLab's API. Check the address in the Connection "
            f"{connection!r}; it is tried again."
        ) from error


def _failure(error: Answered, *, doing: str, right: str, connection: str) -> Error:
    status, where = error.status, f"Could not {doing} on GitLab"
    if status == 429:
        pause = _pause_seconds(error.headers)
        return RateLimited(f"{where}: it asks to wait for {pause:.0f} seconds (rate limit).", retry_after_seconds=pause)
    match status:
        case 401:
            return Misconfigured(
                f"{where}: it does not accept the token{_why_not(error)}. Put a valid one into the Connection "
                f"{connection!r}."
            )
        case 403:
            return _forbidden(error, where=where, right=right, connection=connection)
        case 404 | 410:
            return NotFound(f"{where}: it is not there, or the token of {connection!r} may not see it. Check the name.")
        case 408 | 425:
            return Unavailable(f"{where}: the request took too long. Try again later.")
        case 409 if error.mentions("in progress", "try again", "lock"):
            return Unavailable(f"{where}: something else is changing it at this moment. Try again.")
        case 409:
            return Conflict(f"{where}: {reason(error)}. Look at it there, then try again.")
        case _ if 300 <= status < 400:
            return Misconfigured(
                f"{where}: it leads to another address. Correct the project's path in the project file, or the address "
                f"in the Connection {connection!r}."
            )
        case _ if 400 <= status < 500:
            return Refused(f"{where}: {reason(error)}. Correct it, then try again.")
        case _:
            return Unavailable(f"{where}: it answered {status}. Try again later.")


def _why_not(error: Answered) -> str:
    return next((f" (it is {word})" for word in ("expired", "revoked") if error.mentions(word)), "")


def _forbidden(error: Answered, *, where: str, right: str, connection: str) -> Error:
    if error.mentions("read-only", "maintenance mode"):
        return Unavailable(f"{where}: it takes no changes at the moment (maintenance). Try again later.")
    if error.scope or error.mentions("insufficient_scope"):
        wanted = error.scope if "api" in error.scope.split() or not error.scope else f"api ({error.scope})"
        return Refused(
            f"{where}: the token of {connection!r} lacks the scope '{wanted or 'api'}'. Make one that has it."
        )
    if error.mentions("archived"):
        return Refused(f"{where}: the project is archived. Unarchive it.")
    return Refused(f"{where}: the account of the token of {connection!r} lacks {right}. Give it to the account.")


def _pause_seconds(headers: Mapping[str, str]) -> float:
    """Return how long to wait: ``Retry-After``, else until the limit is renewed (by GitLab's clock), else a minute."""
    if (asked := asked_pause(headers)) is not None:
        return max(1.0, asked)
    now = http_date(headers.get("date", "")) or datetime.now(UTC)
    reset = headers.get("ratelimit-reset", "")
    if re.fullmatch(r"[0-9]{1,11}", reset):
        return min(max(1.0, float(reset) - now.timestamp()), 86_400.0)
    return PAUSE_SECONDS


def reason(error: Answered) -> str:
    """Return GitLab's reason in a few printable words."""
    text = re.sub(r"\A(\d{3} )", "", " ".join(error.words.split())) or f"it answered {error.status}"
    return text[:_REASON].rstrip(". ")


def _texts(value: Any) -> Iterator[str]:
    """Return every text in an answer's message: GitLab sends one, a list of them, or lists of them by field."""
    match value:
        case str():
            yield value
        case list():
            for one in value:
                yield from _texts(one)
        case dict():
            for name, one in value.items():
                yield from (f"{name} {text}" for text in _texts(one))
