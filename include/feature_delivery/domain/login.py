"""How to get into something outside: what an Airflow Connection says, without Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Login:
    """One Connection.

    Attributes:
        connection: Its id, for sentences.
        url: ``scheme://host[:port][/path]`` without a trailing slash; empty when the Connection names no host.
        user: Its login; may be empty.
        secret: Its password: a token, mostly. Never shown, logged or put into an address.
        options: Its extra fields (``app_id``, ``private_key``, ``ca_file`` …); may hold secrets.
    """

    connection: str
    url: str = ""
    user: str = ""
    secret: str = field(default="", repr=False)
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
