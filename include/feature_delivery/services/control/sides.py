"""What those are called whom errands speak to."""

from __future__ import annotations

from feature_delivery.domain import outbox

TRACKER, MESSENGER, HOST = "tracker", "messenger", "host"


def side_of(kind: outbox.Errand) -> str:
    """Return whom an errand of this kind speaks to."""
    if kind in outbox.TRACKER:
        return TRACKER
    return HOST if kind in outbox.HOST else MESSENGER
