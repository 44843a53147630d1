"""Transactions over Airflow's database: the ledger and the runs change together or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from airflow.utils.session import create_session
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.session import transactions
from feature_delivery.bootstrap.settings import new_instance
from feature_delivery.domain.outbox import OutboxEntry
from feature_delivery.domain.records import Gate, GateState
from feature_delivery.ports.ledger import Unit
from feature_delivery.web.airflow_runs import AirflowRuns
from feature_delivery.web.workers import wake

LOCK_TIMEOUT = "20s"
"""A request that waits longer for a lock gives its connection back and says so: the pool is Airflow's own."""

OUTBOX = "outbox"
"""The worker that begins errands."""

_transaction = transactions(partial(create_session, scoped=False))


class WebUnit(Unit):
    """``Unit`` whose runs can do a little more than their port: what only the web app needs."""

    __slots__ = ()
    runs: AirflowRuns


def session() -> AbstractContextManager[Session]:
    """Open a plain transaction on the session (for ``SqlLocalRecords``)."""
    return _transaction()


@contextmanager
def begin(*, besides: str = "") -> Iterator[WebUnit]:
    """Open a transaction; commits at the end, rolls back when an exception leaves it.

    After the commit the background workers are told what it left to do; ``besides``: the worker that asks itself.

    Raises:
        Unavailable: The database did not answer, or a lock was not to be had in time.
    """
    left: set[str] = set()
    with _transaction() as opened:
        event.listen(opened, "before_flush", partial(_note, left))
        opened.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        books = SqlBooks(opened, new_instance=new_instance())
        yield WebUnit(books, AirflowRuns(opened, books))
    for name in left - {besides}:
        wake(name)


def _note(left: set[str], opened: Session, *_flush: object) -> None:
    """Note who has work after this transaction, from what it writes: a session forgets records soon after."""
    for record in (*opened.new, *opened.dirty):
        if isinstance(record, Gate):
            if not record.ended:
                left.add("finisher")
            if record.state == GateState.OPEN and record.requested_at is None:
                left.add("asker")
        elif isinstance(record, OutboxEntry) and record.sent_at is None:
            left.add(OUTBOX)
