"""Airflow Connections as ``Login``: the one place where secrets of hosts and trackers are read."""

from __future__ import annotations

from typing import Any

from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.login import Login


def login(connection: str, *, kind: str = "HTTP") -> Login:
    """Return a Connection: in a task, in the API server or from the command line.

    Type HTTP: ``host`` is the address (with or without ``https://``; ``schema`` says which, https by default),
    ``password`` the token, ``login`` the user where one is needed, ``extra`` whatever the adapter documents. ``kind``:
    another type, where a provider has one.

    Raises:
        Misconfigured: There is no such Connection.
    """
    from airflow.sdk import BaseHook  # noqa: PLC0415 - the command line reads project files without Airflow

    try:
        found: Any = BaseHook.get_connection(connection)
    except Exception as error:  # the SDK's own errors differ by where the code runs
        raise Misconfigured(
            f"There is no Airflow Connection {connection!r} ({type(error).__name__}). Add one of type {kind}."
        ) from error
    return Login(
        connection=connection,
        url=_url(found),
        user=found.login or "",
        secret=found.password or "",
        options=dict(found.extra_dejson or {}),
    )


def _url(found: Any) -> str:
    host = (found.host or "").rstrip("/")
    if not host:
        return ""
    if "://" not in host:
        host = f"{found.schema or 'https'}://{host}"
    scheme, _, rest = host.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place}{f':{found.port}' if found.port else ''}{slash}{path}"
