"""The ``ssh`` command that Git is given: quoted for the shell that Git starts it by and for ssh's own parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from feature_delivery.domain.errors import Misconfigured

_PLAIN_PATH = re.compile(r"^/[^\x00-\x1f\x7f\"'\\%$~*?]*\Z")


def ssh_command(options: Mapping[str, object], *, connection: str) -> str | None:
    """Return the command for ``GIT_SSH_COMMAND`` when a Connection says how to use SSH, else ``None``.

    Args:
        options: ``ssh_key_file`` and ``known_hosts_file``: absolute paths on the machines that run Git.
        connection: The Connection's id, for sentences.

    Raises:
        Misconfigured: One of the paths is not absolute, or holds a character that ssh expands.
    """
    key, hosts = (_path(options, name, connection) for name in ("ssh_key_file", "known_hosts_file"))
    if not key and not hosts:
        return None
    parts = ["ssh", "-oBatchMode=yes", "-oConnectTimeout=20", "-oStrictHostKeyChecking=yes"]
    if key:
        parts += ["-oIdentitiesOnly=yes", f'-oIdentityFile="{key}"']
    if hosts:
        parts.append(f'-oUserKnownHostsFile="{hosts}"')
    return shlex.join(parts)


def _path(options: Mapping[str, object], name: str, connection: str) -> str:
    value = options.get(name) or ""
    if not value:
        return ""
    if not isinstance(value, str) or not _PLAIN_PATH.match(value):
        raise Misconfigured(
            f"The Connection {connection!r} has a field {name!r} that is no plain absolute path. "
            "Name a file like /run/secrets/deploy_key."
        )
    return value
