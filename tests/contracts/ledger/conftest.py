"""Every method of ``Books`` on PostgreSQL, and on the ledger in memory that unit tests use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from feature_delivery.adapters.ledger import SqlBooks, ledger_begin
from tests.contracts.ledger.rows import Begin
from tests.fakes.ledger import memory_ledger


@pytest.fixture(params=["postgresql", "memory"])
def begin(request: pytest.FixtureRequest) -> Iterator[Begin]:
    if request.param == "postgresql":
        opened, close = ledger_begin(request.getfixturevalue("postgres_engine")), None
    else:
        memory = memory_ledger()
        opened, close = memory.begin, memory.close

    @contextmanager
    def books() -> Iterator[SqlBooks]:
        with opened() as (_session, found):
            yield found

    yield books
    if close:
        close()
