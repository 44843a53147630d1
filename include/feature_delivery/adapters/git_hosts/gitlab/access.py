"""How to get into GitLab: what the Connection says, without asking anybody and without a heavy import."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from feature_delivery.adapters.git.address import GitAccess
from feature_delivery.adapters.git.ssh import ssh_command
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.project import HostConfig

SITE = "https://gitlab.com"
GIT_USER = "oauth2"
"""The user name that GitLab documents for tokens over HTTPS."""

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
"""One part of a project's path: nothing that means something else in a URL."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A checked Connection for one project.

    Attributes:
        connection: Its id, for sentences.
        url: The server's address with the path it lives under, without a trailing slash.
        project: The project's whole path, with all its groups.
        token: An access token.
        ca_file: Certificates to trust instead of the system's.
    """

    connection: str
    url: str
    project: str
    token: str = field(repr=False)
    ca_file: str = ""


def entry(login: Login, project: str) -> Entry:
    """Return what ``login`` says, checked.

    Raises:
        Misconfigured: Something is missing or is not what it must be; names the field.
    """
    url = _url(login)
    if not re.fullmatch(r"[\x21-\x7e]{1,500}", login.secret):
        raise Misconfigured(
            f"The Connection {login.connection!r} holds no token, or not only a token. "
            "Put an access token of GitLab into its password, without spaces."
        )
    authority = login.options.get("ca_file") or ""
    if not isinstance(authority, str):
        raise Misconfigured(f"The Connection {login.connection!r} has a field 'ca_file' that is no text. Correct it.")
    return Entry(
        connection=login.connection,
        url=url,
        project=_project(project, url),
        token=login.secret,
        ca_file=authority,
    )


def git_access(login: Login, config: HostConfig) -> GitAccess:  # noqa: ARG001 - the same for every project
    """Return how Git gets in: with the Connection's token, or the key that it names for addresses of SSH.

    Options of the Connection: ``ssh_key_file`` and ``known_hosts_file`` (paths), ``ca_file`` (for HTTPS).

    Raises:
        Misconfigured: One of the paths is none.
    """
    command = ssh_command(login.options, connection=login.connection)
    authority = login.options.get("ca_file")
    return GitAccess(
        username=GIT_USER,
        password=login.secret,
        ssh_command=command or GitAccess().ssh_command,
        variables={"GIT_SSL_CAINFO": str(authority)} if authority else {},
    )


def _url(login: Login) -> str:
    url = login.url.rstrip("/") or SITE
    where = f"The Connection {login.connection!r}"
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Misconfigured(
            f"{where} names no address of a GitLab. Leave its host empty for gitlab.com, or write "
            "https://gitlab.example.com."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Misconfigured(f"{where} has more than an address in its host. The token belongs into its password.")
    # Whoever copies it from the API's documentation has this at its end; the client adds it itself.
    return re.sub(r"/api(/v4)?\Z", "", url)


def _project(project: str, url: str) -> str:
    """Return the path without the sub path that the server lives under: addresses for cloning begin with that."""
    parts = project.strip("/").removesuffix(".git").split("/")
    below = [part for part in urlsplit(url).path.split("/") if part]
    if below and parts[: len(below)] == below and len(parts) >= len(below) + 2:
        parts = parts[len(below) :]
    if len(parts) < 2 or not all(_PART.fullmatch(part) for part in parts):
        raise Misconfigured(
            f"{project[:80]!r} is no project on GitLab. Name its whole path, like 'shop/cart' or 'shop/web/cart'."
        )
    return "/".join(parts)
