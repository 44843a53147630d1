"""What an answer of a tracker's server means, in the errors of ``domain.errors``.

What the server wrote is shown only where it names what has to be changed: fields and reasons, cut short. Servers put
whole pages, and at times what was sent to them, into their errors.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

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

LONGEST_REASON = 160


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a server, for sentences.

    Attributes:
        doing: ``move SHOP-1 to done``.
        where: ``Jira at shop.atlassian.net``.
        connection: Id of the Connection.
        right: What it takes, in the tracker's own words.
    """

    doing: str
    where: str
    connection: str
    right: str = ""

    @property
    def failed(self) -> str:
        """How the sentence begins."""
        return f"Could not {self.doing} in {self.where}"


def failure(status: int, headers: Mapping[str, str], *, asked: Asked, reasons: Sequence[str] = ()) -> Error:
    """Return the error that an answer stands for.

    Args:
        status: HTTP's.
        headers: Of the answer; told apart regardless of case by whoever made the mapping.
        asked: What was asked.
        reasons: What the server says itself, each one short sentence.
    """
    begin, said = asked.failed, "".join(f" It says: {shortened(reason)}" for reason in reasons[:3])
    if status == 429 or (status in {403, 503} and headers.get("Retry-After")):
        return RateLimited(f"{begin}: it asks us to wait.", retry_after_seconds=asked_pause(headers))
    if status >= 500:
        return Unavailable(f"{begin}: the server answered {status}. It is tried again later.")
    match status:
        case 401:
            return Misconfigured(
                f"{begin}: it does not accept the token of the Connection {asked.connection!r}. Put a valid one there."
            )
        case 403:
            right = f"the right {asked.right!r}" if asked.right else "a right"
            return Refused(f"{begin}: our user lacks {right}.{said} Give it to the user there.")
        case 404:
            return NotFound(f"{begin}: it is not there, or our user may not see it.")
        case 409:
            return Conflict(f"{begin}: it was being changed at the same time (409).")
    if 300 <= status < 400:
        return Misconfigured(
            f"{begin}: it sends us elsewhere ({status}). Write the address as it is by now into the Connection "
            f"{asked.connection!r}, and a token instead of single sign-on."
        )
    takes = f" It takes the right {asked.right!r}." if asked.right else ""
    return Refused(f"{begin}: it is refused ({status}).{said}{takes}")


def no_data(content_type: str, *, asked: Asked) -> Error:
    """Return the error for a success whose body cannot be read: a page for people, or nonsense."""
    if "html" in content_type.lower():
        return Misconfigured(
            f"{asked.failed}: it answered with a page for people, as for a login. Check the address in the Connection "
            f"{asked.connection!r}, and that its token gets past single sign-on."
        )
    return Unavailable(f"{asked.failed}: the answer was none that it should give. It is tried again later.")


def no_answer(error: Exception, *, asked: Asked) -> Error:
    """Return the error for a request that got no answer; raise it from ``error``."""
    return Unavailable(f"{asked.failed}: no answer ({type(error).__name__}). It is tried again later.")


def shortened(reason: str) -> str:
    """Return a sentence of the server's on one line, at most ``LONGEST_REASON`` characters, with its full stop."""
    line = " ".join(reason.split())
    line = line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."


def address(login: Login) -> str:
    """Return the address of a Connection, checked; without a trailing slash.

    Raises:
        Misconfigured: It is none, or holds more than an address.
    """
    try:
        parts = urlsplit(login.url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise Misconfigured(
            f"The Connection {login.connection!r} holds no address. Write one like https://tracker.example.com."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Misconfigured(
            f"The Connection {login.connection!r} has more than an address in its host. "
            "User and token belong into the fields for them."
        )
    return login.url.rstrip("/")


def certificates(login: Login) -> ssl.SSLContext | bool:
    """Return whom to trust: the certificates in the Connection's ``ca_file``, else the system's (``True``).

    Raises:
        Misconfigured: The file cannot be read.
    """
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


def token(login: Login) -> str:
    """Return the secret of a Connection, checked to be one that a header can carry.

    Raises:
        Misconfigured: There is none, or it is none.
    """
    if not login.secret or not login.secret.isascii() or not login.secret.isprintable():
        raise Misconfigured(
            f"The Connection {login.connection!r} holds no token, or not only a token. Put one into its password."
        )
    return login.secret
