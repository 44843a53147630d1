"""Who is spoken to by an errand."""

from __future__ import annotations

from feature_delivery.domain.outbox import Errand

TRACKER, MESSENGER, HOST = "tracker", "messenger", "host"

_SIDES = {
    Errand.MESSAGE: MESSENGER,
    Errand.POST: MESSENGER,
    Errand.MEND: MESSENGER,
    Errand.HEAR: MESSENGER,
    Errand.ISSUE_COMMENT: TRACKER,
    Errand.ISSUE_STATE: TRACKER,
    Errand.ISSUE_ASSIGNEE: TRACKER,
}


def side_of(kind: Errand) -> str:
    """Return whom an errand of this kind speaks to."""
    return _SIDES.get(kind, HOST)
