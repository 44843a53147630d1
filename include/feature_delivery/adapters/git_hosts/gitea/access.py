"""How Git gets into a repository on Gitea or Forgejo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.git.address import GitAccess
from feature_delivery.adapters.git.ssh import ssh_command

if TYPE_CHECKING:
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.project import HostConfig


def git_access(login: Login, config: HostConfig) -> GitAccess:  # noqa: ARG001 - the same for every repository
    """Return how Git gets in: with the Connection's token, or the key that it names for addresses of SSH.

    Options of the Connection: ``ssh_key_file`` and ``known_hosts_file`` (paths), ``ca_file`` (for HTTPS).

    Raises:
        Misconfigured: One of the paths is none.
    """
    plain = GitAccess()
    command = ssh_command(login.options, connection=login.connection)
    authority = login.options.get("ca_file")
    return GitAccess(
        # Whatever stands here, the token decides; logs of the server show it, though.
        username=login.user or plain.username,
        password=login.secret,
        ssh_command=command or plain.ssh_command,
        variables={"GIT_SSL_CAINFO": str(authority)} if authority else {},
    )
