"""How to get into GitHub: what the Connection says, without asking anybody and without a heavy import."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from feature_delivery.adapters.git.address import GitAccess
from feature_delivery.adapters.git.ssh import ssh_command
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.project import HostConfig

API = "https://api.github.com"
GIT_USER = "x-access-token"
"""The user name that GitHub documents for tokens of any kind over HTTPS."""

_SITE = frozenset({"github.com", "www.github.com"})


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App. ``installation``: where it is installed; ``None``: found by the repository."""

    id: str
    private_key: str = field(repr=False)
    installation: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A checked Connection for one repository.

    Attributes:
        connection: Its id, for sentences.
        api: Address of the REST API, without a trailing slash.
        owner: Who owns the repository.
        name: The repository's own name.
        token: A personal access token; empty where there is an App.
        app: The App; it goes before the token where both are given.
        ca_file: Certificates to trust instead of the system's.
    """

    connection: str
    api: str
    owner: str
    name: str
    token: str = field(repr=False)
    app: App | None = None
    ca_file: str = ""

    @property
    def full_name(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"


def entry(login: Login, repository: str) -> Entry:
    """Return what ``login`` says, checked.

    Raises:
        Misconfigured: Something is missing or is not what it must be; names the field.
    """
    # Nothing that means something else in a path: the name stands in every URL.
    match = re.fullmatch(r"([A-Za-z0-9](?:[A-Za-z0-9_-]*)?)/((?!\.{1,2}$)[A-Za-z0-9._-]+)", repository)
    if match is None:
        raise Misconfigured(f"{repository[:80]!r} is no repository on GitHub. Name it like 'shop/cart'.")
    app = _app(login)
    if app is None and not login.secret:
        raise Misconfigured(
            f"The Connection {login.connection!r} has no token. Put a personal access token into its password, or "
            "'app_id' and 'private_key' of a GitHub App into its extra fields."
        )
    return Entry(
        connection=login.connection,
        api=_api(login),
        owner=match[1],
        name=match[2],
        token="" if app else login.secret,
        app=app,
        ca_file=_text(login, "ca_file"),
    )


def git_access(login: Login, config: HostConfig) -> GitAccess:
    """Return how Git gets in: over HTTPS with the token, over SSH with the key that the Connection names.

    An App's token is good for an hour: whoever keeps the answer longer asks again.

    Raises:
        Misconfigured: The Connection lacks something, or GitHub does not know the App.
        Unavailable: GitHub did not answer with a token for the App.
    """
    command = ssh_command(login.options, connection=login.connection)
    if command and not login.secret and "app_id" not in login.options:
        return GitAccess(ssh_command=command)
    found = entry(login, config.repository)
    token = found.token
    if found.app is not None:
        from feature_delivery.adapters.git_hosts.github.app import LONG, tokens  # noqa: PLC0415 - PyGithub is heavy

        token = tokens.token(found, lasting=LONG)
    variables = {"GIT_SSL_CAINFO": found.ca_file} if found.ca_file else {}
    access = GitAccess(username=GIT_USER, password=token, variables=variables)
    return replace(access, ssh_command=command) if command else access


def _api(login: Login) -> str:
    url = login.url.rstrip("/") or API
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise Misconfigured(
            f"The Connection {login.connection!r} names no address of a GitHub API. Leave its host empty for "
            "github.com, or write https://github.example.com/api/v3."
        )
    return API if parts.hostname in _SITE else url


def _app(login: Login) -> App | None:
    app_id = _text(login, "app_id")
    if not app_id:
        return None
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", app_id):
        raise Misconfigured(f"The Connection {login.connection!r} has an 'app_id' that is none. Copy it from the App.")
    installation = _text(login, "installation_id")
    if installation and not re.fullmatch(r"[1-9][0-9]{0,17}", installation):
        raise Misconfigured(
            f"The Connection {login.connection!r} has an 'installation_id' that is no number. Leave it out, or copy it "
            "from the address of the installation's page."
        )
    return App(id=app_id, private_key=_private_key(login), installation=int(installation) if installation else None)


def _private_key(login: Login) -> str:
    """Return the key in PEM form, however it came through a form field: with real or with written line ends."""
    key = _text(login, "private_key")
    if not key and (file := _text(login, "private_key_file")):
        try:
            key = Path(file).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(
                f"The Connection {login.connection!r} names a 'private_key_file' that cannot be read "
                f"({type(error).__name__}). Put the App's .pem file there."
            ) from error
    if not key:
        raise Misconfigured(
            f"The Connection {login.connection!r} has an 'app_id' but no 'private_key' and no 'private_key_file'. "
            "Add the key that GitHub made for the App."
        )
    return key.replace("\\n", "\n").strip() + "\n"


def _text(login: Login, name: str) -> str:
    value = login.options.get(name)
    if value is None or isinstance(value, bool):
        return ""
    if not isinstance(value, str | int):
        raise Misconfigured(f"The Connection {login.connection!r} has a field {name!r} that is no text. Correct it.")
    return str(value).strip()
