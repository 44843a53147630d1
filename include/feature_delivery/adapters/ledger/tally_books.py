"""The ledger's books in SQL: counts that only grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects import postgresql, sqlite

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.reader import Reader

if TYPE_CHECKING:
    from feature_delivery.domain.names import ProjectName


class TallyBooks(Reader):
    """The part of ``Books`` that counts."""

    def tally(
        self,
        project: ProjectName,
        name: str,
        first: str,
        second: str,
        *,
        place: int = 0,
        count: int = 1,
        total: float = 0.0,
    ) -> None:
        """Add to a count; the row stays locked until the end of the transaction."""
        dialect = postgresql if self._session.get_bind().dialect.name == "postgresql" else sqlite
        row = {"project": project, "name": name, "first": first, "second": second, "place": place}
        new = dialect.insert(t.tally).values(**row, count=count, total=total)
        added = {"count": t.tally.c.count + new.excluded.count, "total": t.tally.c.total + new.excluded.total}
        self._session.execute(new.on_conflict_do_update(index_elements=list(t.tally.primary_key), set_=added))
