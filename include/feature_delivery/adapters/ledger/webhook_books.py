"""The ledger's books in SQL: webhooks, from their receipt until they are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, case, delete, func, select, update

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.reader import Reader
from feature_delivery.domain.records import LISTING_HOST, WebhookDelivery, WebhookState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import CursorResult

    from feature_delivery.domain.names import ProjectName

W = t.webhook.c
SENT = W.host != LISTING_HOST
STATE: ColumnElement[str] = case(
    (W.ignored != "", WebhookState.IGNORED.value),
    (W.processed_at.is_(None), WebhookState.WAITING.value),
    else_=WebhookState.PROCESSED.value,
)


class WebhookBooks(Reader):
    """The part of ``Books`` that is about webhooks. Bodies are read from the database when they are asked for."""

    def webhook(self, project: ProjectName, delivery_id: str) -> WebhookDelivery | None:
        """Return a webhook by the id its host gave it."""
        query = select(WebhookDelivery).where(W.project == project, W.delivery_id == delivery_id)
        return cast("WebhookDelivery | None", self._first(query))

    def webhook_by_id(self, project: ProjectName, webhook_id: int) -> WebhookDelivery | None:
        """Return a webhook by its number in the ledger."""
        query = select(WebhookDelivery).where(W.project == project, W.id == webhook_id, SENT)
        return cast("WebhookDelivery | None", self._first(query))

    def webhooks_to_process(self, limit: int = 100) -> Sequence[WebhookDelivery]:
        """Return stored webhooks that wait, those looked into least often first, of these the oldest."""
        query = select(WebhookDelivery).where(W.processed_at.is_(None)).order_by(W.tries, W.id).limit(limit)
        return self._rows(query.with_for_update(skip_locked=True))

    def webhooks(
        self, project: ProjectName, *, state: WebhookState | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[WebhookDelivery]:
        """Return the webhooks of a project, newest first, those with a number below ``before``."""
        query = select(WebhookDelivery).where(W.project == project, SENT).order_by(W.id.desc()).limit(limit)
        if state is not None:
            query = query.where(STATE.in_([state.value]))
        if before is not None:
            query = query.where(W.id < before)
        return self._rows(query)

    def webhook_counts(self, project: ProjectName) -> Mapping[WebhookState, int]:
        """Return how many webhooks of a project are kept, by their state."""
        query = select(STATE, func.count()).where(W.project == project, SENT).group_by(STATE)
        self._session.flush()
        found: dict[str, int] = dict(self._session.execute(query).all())
        return {state: found.get(state.value, 0) for state in WebhookState}

    def webhooks_ignored(self, project: ProjectName) -> Mapping[str, int]:
        """Return how many webhooks of a project were not for us, by the reason, the most frequent first."""
        number = func.count()
        query = select(W.ignored, number).where(W.project == project, W.ignored != "").group_by(W.ignored)
        self._session.flush()
        return dict(self._session.execute(query.order_by(number.desc(), W.ignored)).all())

    def prune_webhooks(self, *, bodies_before: datetime, rows_before: datetime) -> int:
        """Empty the bodies and headers of processed webhooks received before then, and forget those older still."""
        processed = (W.processed_at.is_not(None), SENT)
        full = (W.received_at < bodies_before, W.received_at >= rows_before, func.length(W.body) > 0)
        emptied = update(t.webhook).where(*processed, *full).values(body=b"", headers={})
        forgotten = delete(t.webhook).where(*processed, W.received_at < rows_before)
        self._session.flush()
        done = [cast("CursorResult[Any]", self._session.execute(one)).rowcount for one in (emptied, forgotten)]
        return sum(done)
