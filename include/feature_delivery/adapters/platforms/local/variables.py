"""The environment variables of everything that a shop runs: a short list of ours, nothing inherited by accident.

The tasks that deploy hold Airflow's secrets, database addresses and tokens. Code of a branch runs under the same
user, which this cannot change, but it is not handed anything.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.local.processes import (
    MARK_HOME,
    MARK_OWNER,
    MARK_ROLE,
    Marks,
    myself,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from feature_delivery.adapters.platforms.local.layout import Layout
    from feature_delivery.adapters.platforms.local.state import EnvironmentRecord, ReleaseRecord

_INHERITED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
_INHERITED_BY_INSTALLS = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_CERT"),
        *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE"),
        *("UV_NATIVE_TLS", "UV_CONFIG_FILE", "UV_PYTHON_INSTALL_DIR"),
        *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "NPM_CONFIG_REGISTRY", "npm_config_registry"),
    }
)
_PLAIN_PATH = "/usr/local/bin:/usr/bin:/bin"


def variables_for(
    layout: Layout,
    record: EnvironmentRecord,
    release: ReleaseRecord,
    *,
    role: str,
    alone: bool = False,
    extra: Mapping[str, str] | None = None,
    temporary: Path | None = None,
) -> dict[str, str]:
    """Return the whole environment of one process of ``release``.

    Args:
        layout: Where the environment lies.
        record: The environment.
        release: What is run; its plan's variables come first and cannot replace ours.
        role: What the process is for, such as ``release:<launch>``.
        alone: The process outlives us; otherwise it is swept away when we die.
        extra: More variables, stronger than the plan's.
        temporary: A place for temporary files of its own; suites run side by side and clean up after each other.
    """
    marks = Marks(home=str(layout.directory), role=role, owner="" if alone else myself())
    venv = layout.directory / release.venv
    variables = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        "LANG": "C.UTF-8",
        **variables,
        "PYTHONUNBUFFERED": "1",
        **release.plan.variables,
        **(extra or {}),
        "PATH": os.pathsep.join([str(venv / "bin"), str(layout.commands), system_path()]),
        "VIRTUAL_ENV": str(venv),
        "HOME": str(layout.home),
        "TMPDIR": str(temporary or layout.temporary),
        "DATA_DIR": str(layout.data),
        "HOST": "127.0.0.1",
        "BASE_URL": record.address,
        "DELIVERY_PROJECT": layout.project,
        "DELIVERY_ENVIRONMENT": record.kind.value,
        "DELIVERY_COMMIT": release.commit,
        **marks.as_variables(),
    }


def of_ours(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a program of ours that is to become a process with ``variables``: its marks.

    A branch's variables are handed over beside it: ``LD_PRELOAD`` and its like would take effect before the fence.
    """
    return {"PATH": system_path(), **{name: variables[name] for name in (MARK_HOME, MARK_ROLE, MARK_OWNER)}}


@contextmanager
def handed(variables: Mapping[str, str]) -> Iterator[int]:
    """Yield a file with ``variables``, to be the standard input of ``fence.py``: on no command line, on no disk."""
    with os.fdopen(os.memfd_create("variables"), "w+b") as file:
        file.write(b"\0".join(os.fsencode(f"{name}={value}") for name, value in variables.items()))
        file.seek(0)
        yield file.fileno()


def system_path() -> str:
    """Return the machine's ``PATH`` without our own virtual environment: its ``pytest`` is not the shop's."""
    ours = Path(sys.prefix, "bin")
    entries = [
        entry for entry in os.environ.get("PATH", _PLAIN_PATH).split(os.pathsep) if entry and Path(entry) != ours
    ]
    return os.pathsep.join(entries) or _PLAIN_PATH


def variables_of_installs() -> dict[str, str]:
    """Return what package managers need to reach their registries: proxies, certificates, addresses.

    An address with a password in it is a secret, and stays here unless the operator configures it explicitly.
    """
    found = {name: value for name, value in os.environ.items() if name in _INHERITED_BY_INSTALLS}
    return {name: value for name, value in found.items() if "@" not in value}
