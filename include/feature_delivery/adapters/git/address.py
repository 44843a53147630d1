"""Where the repository is, and the secrets to reach it, kept apart from what is shown and what is in an argument."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from feature_delivery.domain.errors import Misconfigured

SCHEMES = frozenset({"file", "ssh", "http", "https"})
_SCP_LIKE = re.compile(r"^(?![A-Za-z]:\\)(?P<host>[^/\s:]+):(?!:)(?P<path>\S.*)$")


@dataclass(frozen=True, slots=True)
class GitAccess:
    """How to get in. Everything here travels in the environment of the Git process, never in its arguments.

    Attributes:
        username: For HTTP; hosts that take tokens accept any name, ``oauth2`` is what most document.
        password: Password or token for HTTP; sent as a header to the remote's own host only.
        ssh_command: Replaces ``ssh`` (``ssh -i /run/secrets/key -o UserKnownHostsFile=...``).
        variables: More environment for Git: ``GIT_ASKPASS``, ``SSH_AUTH_SOCK``, ``https_proxy`` ...
        config_file: A Git configuration file to read as the user's (``safe.directory``, ``http.sslCAInfo``,
            a credential helper). None is read otherwise.
    """

    username: str = "oauth2"
    password: str = field(default="", repr=False)
    ssh_command: str = "ssh -oBatchMode=yes -oConnectTimeout=20"
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    config_file: Path | None = None


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """A checked address: ``url`` for Git, without a password; ``shown`` for people; ``settings`` hold the secrets."""

    url: str
    shown: str
    settings: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def remote_address(remote: str, access: GitAccess) -> RemoteAddress:
    """Return the checked address of ``remote``: a path, ``file://``, ``ssh://``, ``user@host:path`` or ``http(s)://``.

    Raises:
        Misconfigured: It is something else. Transports that start programs (``ext::``) never pass.
    """
    if not remote or remote.startswith("-") or re.search(r"[\x00-\x1f]", remote):
        raise Misconfigured(f"{remote!r} is not the address of a Git repository. Name a path or a URL.")
    if "://" in remote:
        return _from_url(remote, access)
    if "::" in remote.split("/", 1)[0]:
        raise Misconfigured(
            f"The transport of {remote.split('::', 1)[0]!r} is not allowed. Use a path, ssh or http(s)."
        )
    if match := _SCP_LIKE.match(remote):
        host = match["host"].rsplit("@", 1)[-1]
        if host.startswith("-"):
            raise Misconfigured(f"{host!r} is not a host name. Name a path or a URL.")
        return RemoteAddress(url=remote, shown=f"{host}:{match['path']}")
    path = str(Path(remote).expanduser().absolute())
    return RemoteAddress(url=path, shown=path)


def _from_url(remote: str, access: GitAccess) -> RemoteAddress:
    parts = urlsplit(remote)
    if parts.scheme not in SCHEMES:
        raise Misconfigured(
            f"A Git repository cannot be reached by {parts.scheme!r}. Use {', '.join(sorted(SCHEMES))}."
        )
    if parts.scheme == "file":
        return RemoteAddress(url=remote, shown=parts.path)
    host = parts.netloc.rsplit("@", 1)[-1]
    if not parts.hostname or parts.hostname.startswith("-"):
        raise Misconfigured("The address of the Git repository names no host. Use https://host/path.")
    shown = urlunsplit(SplitResult(parts.scheme, host, parts.path, "", ""))
    if parts.scheme == "ssh":
        user = f"{parts.username}@" if parts.username else ""
        return RemoteAddress(url=urlunsplit(parts._replace(netloc=user + host)), shown=shown)
    username = unquote(parts.username or "") or access.username
    password = unquote(parts.password or "") or access.password
    if parts.username and not parts.password and not access.password:
        # https://token@host: the whole secret is the user name.
        password, username = unquote(parts.username), "oauth2"
    clean = urlunsplit(parts._replace(netloc=host))
    if not password:
        return RemoteAddress(url=clean, shown=shown)
    basic = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
    # Bound to the remote's own origin, so that a redirect elsewhere does not carry it along.
    return RemoteAddress(
        url=clean,
        shown=shown,
        settings=((f"http.{parts.scheme}://{host}/.extraHeader", f"Authorization: Basic {basic}"),),
    )
