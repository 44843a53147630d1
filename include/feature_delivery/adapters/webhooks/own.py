"""Our own dialect: what the hook of a local bare repository sends after a push."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.webhooks import reading as r
from feature_delivery.adapters.webhooks.signatures import signed

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.domain.hints import Hint

PREFIX = "x-feature-delivery-"


class FeatureDelivery:
    """Implements ``Dialect``."""

    name = "feature-delivery"
    content_types = frozenset({r.JSON})

    def speaks(self, headers: Mapping[str, str]) -> bool:
        """Say whether it is our hook."""
        return any(name.startswith(PREFIX) for name in headers)

    def authentic(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, at: datetime) -> bool:  # noqa: ARG002 - no time-stamp is signed
        """Check the signature."""
        return signed(body, secrets, headers.get(f"{PREFIX}signature", ""), prefix="sha256=")

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:  # noqa: ARG002 - the header is ours to demand
        """Return the delivery's id; empty when there is none: our hook always gives one."""
        return r.first_id(headers, f"{PREFIX}delivery")

    def event(self, headers: Mapping[str, str], payload: Any) -> str:  # noqa: ARG002 - named in a header
        """Return the event's name."""
        return headers.get(f"{PREFIX}event", "push")

    def hint(self, event: str, payload: Any) -> Hint:  # noqa: ARG002 - there is one event
        """Return where to look."""
        ref, after = r.text(payload, "ref", limit=r.ID_LIMIT), r.text(payload, "new")
        return r.pushed(ref, after=after, person=r.text(payload, "pusher"))
