"""How a host tells us things: one dialect per host, pure functions of headers and raw bytes.

Header names are lower case everywhere here. ``authentic`` comes before anything else looks at the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.domain.hints import Hint


class Dialect(Protocol):
    """One host's way of sending webhooks."""

    name: str
    """``github``, ``gitlab``, ``gitea``, ``jira``, ``feature-delivery``."""
    content_types: frozenset[str]
    """Media types of the bodies it sends; ``payload`` below is what is in one, ``None`` when it cannot be read."""

    def speaks(self, headers: Mapping[str, str]) -> bool:
        """Say whether a request with these headers is in this dialect."""

    def authentic(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, at: datetime) -> bool:
        """Say whether one of ``secrets`` signed the raw ``body``, in constant time; no secrets: never.

        Where the host signs a time-stamp, one too far from ``at`` is refused.
        """

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the host's id of this delivery, the same when it sends it again; a digest where it has none.

        Empty: the dialect demands one, and it is missing.
        """

    def event(self, headers: Mapping[str, str], payload: Any) -> str:
        """Return the host's name of the event, for people and for ``hint``; not every host has a header for it."""

    def hint(self, event: str, payload: Any) -> Hint:
        """Return where to look. Whatever is missing or of a wrong type makes an ignored hint, never an error."""
