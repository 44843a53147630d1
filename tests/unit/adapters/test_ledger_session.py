"""What a database's trouble means, where no database needs to be asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import QueuePool, create_engine, text

from feature_delivery.adapters.ledger import transactions
from feature_delivery.domain.errors import Unavailable


def test_a_pool_with_no_connection_free_is_unavailable(tmp_path: Path) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path / 'ledger'}", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    begin = transactions(engine)
    with begin() as holder:
        holder.execute(text("SELECT 1"))
        with (
            pytest.raises(Unavailable, match="No connection to the ledger's database was free in time"),
            begin() as other,
        ):
            other.execute(text("SELECT 1"))
    with begin() as later:
        assert later.scalar(text("SELECT 1")) == 1
    engine.dispose()
