"""Nothing is changed where the ledger may be a copy: asked before every request that could have an effect."""

from __future__ import annotations

from fastapi import Request

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.bootstrap.settings import new_instance
from feature_delivery.services.control.brake import must_not_be_held
from feature_delivery.web.transaction import session

READING = frozenset({"GET", "HEAD", "OPTIONS"})


def not_held(request: Request) -> None:
    """Let through what only reads, and everything where the ledger is its instance's own.

    Webhooks are stored all the same: storing has no effect, and they are processed when an operator has spoken.

    Raises:
        Unavailable: The ledger may be a copy.
    """
    if request.method in READING:
        return
    with session() as opened:
        must_not_be_held(SqlBooks(opened, new_instance=new_instance()))
