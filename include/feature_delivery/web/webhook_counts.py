"""Webhooks that are not stored, or only to be ignored: counted here, and added to the ledger every few seconds.

Not in the transaction of a request: a burst would queue for one row, and strangers would make the ledger write. What a
process that is killed has not added yet is lost, a few seconds' worth; the count in the ledger never shrinks.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict

from feature_delivery.domain.errors import Error
from feature_delivery.domain.names import ProjectName
from feature_delivery.services.control import tallies
from feature_delivery.web.transaction import begin

WORKER = "counts"
PAUSE_SECONDS = 5.0

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_pending: Counter[tuple[ProjectName, str, str]] = Counter()


def note(project: ProjectName, host: str, result: str) -> None:
    """Count one; the project must be known and the host be one of ours, so that labels stay bounded."""
    with _lock:
        _pending[project, host, result] += 1


def flush() -> float | None:
    """Add what was counted to the ledger; returns when to come again."""
    with _lock:
        taken = Counter(_pending)
        _pending.clear()
    if taken:
        per_project: dict[ProjectName, dict[tuple[str, str], int]] = defaultdict(dict)
        for (project, host, result), count in taken.items():
            per_project[project][host, result] = count
        try:
            with begin() as unit:
                for project, counts in sorted(per_project.items()):
                    tallies.webhooks_done(unit.books, project, counts)
        except Error as error:
            _log.warning("Could not add the counts of webhooks: %s", error)
            with _lock:
                _pending.update(taken)
    return PAUSE_SECONDS
