"""What GitHub answers when it does not do what was asked, as this package's errors: the one place that maps them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import requests
from github import BadAttributeException, GithubException, IncompletableObject

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

SECONDARY_PAUSE_SECONDS = 60.0
"""What GitHub asks for where a limit is exceeded and no header says how long."""

_OF_ANOTHER_SHAPE = (AssertionError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)
"""What comes of reading an answer of another shape by PyGithub, of an address elsewhere, of a redirect in a circle."""

_LIMIT = re.compile(r"rate limit|abuse detection|submitted too quickly", re.IGNORECASE)
_REASON = 160


@dataclass(frozen=True, slots=True)
class Said:
    """GitHub's own words behind an error of ours: ``status``, its message and those about single fields."""

    status: int
    message: str
    details: tuple[Mapping[str, str], ...] = ()

    def mentions(self, *words: str) -> bool:
        """Say whether the message or a detail has one of ``words``, in any case."""
        text = " ".join([self.message, *(" ".join(one.values()) for one in self.details)]).lower()
        return any(word.lower() in text for word in words)

    def about(self, field: str) -> bool:
        """Say whether a detail names ``field``."""
        return any(one.get("field") == field for one in self.details)


def said(error: BaseException) -> Said | None:
    """Return what GitHub said, when ``error`` comes from an answer of GitHub's."""
    cause = error if isinstance(error, GithubException) else error.__cause__
    return _said(cause) if isinstance(cause, GithubException) else None


@contextmanager
def speaking(doing: str, *, right: str, connection: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into one of our errors.

    Args:
        doing: Completes *Could not ...*; names what it is about.
        right: What the token needs for it, in GitHub's words (``Pull requests: write``).
        connection: Where the token comes from.

    Raises:
        Error: The one that fits; ours pass as they are.
    """
    try:
        yield
    except IncompletableObject as error:
        raise _nonsense(doing) from error
    except GithubException as error:
        raise _failure(error, doing=doing, right=right, connection=connection) from error
    except requests.exceptions.SSLError as error:
        raise Misconfigured(
            f"Could not {doing} on GitHub: its TLS certificate is not trusted. Name the authority's file as 'ca_file' "
            f"in the Connection {connection!r}."
        ) from error
    except requests.exceptions.RequestException as error:
        raise Unavailable(
            f"Could not {doing} on GitHub: it did not answer ({type(error).__name__}). Try again later."
        ) from error
    except (BadAttributeException, *_OF_ANOTHER_SHAPE) as error:
        raise _nonsense(doing) from error


def _nonsense(doing: str) -> Unavailable:
    return Unavailable(
        f"Could not {doing} on GitHub: the answer is not one of GitHub's API. Check the address in the Connection; "
        "it is tried again."
    )


def _failure(error: GithubException, *, doing: str, right: str, connection: str) -> Error:
    words = _said(error)
    status, where = words.status, f"Could not {doing} on GitHub"
    headers = {name.lower(): str(value) for name, value in (error.headers or {}).items()}
    if status == 429 or (status == 403 and _limited(words, headers)):
        pause = _pause_seconds(headers)
        return RateLimited(f"{where}: it asks to wait for {pause:.0f} seconds (rate limit).", retry_after_seconds=pause)
    match status:
        case 401:
            return Misconfigured(
                f"{where}: it does not accept the token. Put a valid one into the Connection {connection!r}."
            )
        case 403:
            return Refused(f"{where}: {_lacking(words, headers, right, connection)}")
        case 404 | 410:
            return NotFound(f"{where}: it is not there, or the token of {connection!r} may not see it. Check the name.")
        case 408 | 425:
            return Unavailable(f"{where}: the request took too long. Try again later.")
        case 409:
            return Conflict(f"{where}: {_reason(words)}. Look at it there, then try again.")
        case _ if 300 <= status < 400:
            return Misconfigured(f"{where}: the repository has moved. Correct its name in the project file.")
        case _ if 400 <= status < 500:
            return Refused(f"{where}: {_reason(words)}. Correct it, then try again.")
        case _:
            return Unavailable(f"{where}: it answered {status}. Try again later.")


def _lacking(words: Said, headers: Mapping[str, str], right: str, connection: str) -> str:
    if "x-github-sso" in headers:
        return f"the organisation wants single sign-on. Authorise the token of {connection!r} for it."
    if words.mentions("archived"):
        return "the repository is archived. Unarchive it."
    if words.mentions("suspended"):
        return f"the account or App of {connection!r} is suspended. Let an owner of the organisation lift that."
    wanted = headers.get("x-accepted-github-permissions", "")
    shown = f" ({wanted})" if wanted and len(wanted) < _REASON else ""
    return f"the token of {connection!r} lacks the right '{right}'{shown}. Give it to the token or the App."


def _limited(words: Said, headers: Mapping[str, str]) -> bool:
    return "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0" or bool(_LIMIT.search(words.message))


def _pause_seconds(headers: Mapping[str, str]) -> float:
    """Return how long to wait: ``Retry-After``, else until the limit is renewed (by GitHub's clock), else a minute."""
    if (asked := asked_pause(headers)) is not None:
        return max(1.0, asked)
    now = http_date(headers.get("date", "")) or datetime.now(UTC)
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and re.fullmatch(r"[0-9]{1,11}", reset):
        return max(1.0, float(reset) - now.timestamp())
    return SECONDARY_PAUSE_SECONDS


def _said(error: GithubException) -> Said:
    data = error.data if isinstance(error.data, dict) else {}
    listed = data.get("errors")
    details = tuple(
        {str(key): str(value) for key, value in one.items() if value is not None}
        if isinstance(one, dict)
        else {"message": str(one)}
        for one in (listed if isinstance(listed, list) else [])
    )
    return Said(status=error.status, message=str(data.get("message") or ""), details=details)


def _reason(words: Said) -> str:
    """Return GitHub's reason in a few printable words: the first detail that has some, else its message."""
    told = [one["message"] for one in words.details if one.get("message")]
    fields = [f"{one.get('field', 'something')} is {one.get('code', 'wrong')}" for one in words.details]
    text = (told or fields or [words.message or f"it answered {words.status}"])[0]
    return " ".join(re.sub(r"[^\x20-\x7e]+", " ", text).split())[:_REASON].rstrip(".")
