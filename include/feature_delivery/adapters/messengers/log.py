"""Messages without a chat: kept in the ledger for the board, and written to the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from feature_delivery.adapters.local_records import LocalMessage
from feature_delivery.domain.records import now

if TYPE_CHECKING:
    from feature_delivery.adapters.local_records import LocalRecords
    from feature_delivery.ports.messenger import Message

_log = logging.getLogger(__name__)


class LogMessenger:
    """``Messenger`` on local records; the same message again is neither kept nor logged twice."""

    def __init__(self, *, records: LocalRecords) -> None:
        """Keep messages in ``records``."""
        self._records = records

    def send(self, message: Message) -> None:
        """Keep it, and log it when it is new."""
        if message.key is None:
            return  # the board shows what waits, all day
        kept = LocalMessage(id=message.id, key=message.key, to=message.to, text=message.text, at=now())
        if self._records.keep_message(message.project, kept):
            to = ", ".join(message.to) or "everybody"
            # One line per message: a title from outside must not write lines of its own into the log.
            _log.info("%s %s, to %s: %s", message.project, message.key, to, " ".join(message.text.split()))

    def update(self, message: Message) -> None:
        """Leave it: the board shows messages as they were sent, and beside them what is so now."""
