"""Column types that behave the same on PostgreSQL and on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.types import TypeDecorator

from feature_delivery.domain.errors import Refused

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

E = TypeVar("E", bound=StrEnum)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always with its zone: stored and returned in UTC; SQLite keeps no zones itself."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Bring the moment to UTC; one without a zone is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"The ledger stores no moment without its zone: {value!r}.")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC, whatever zone the session of the database speaks."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def storable(text: str) -> str:
    """Return ``text`` without what no database takes: NUL and lone surrogates become U+FFFD.

    Titles and comments come from outside; a strange character must not make a webhook impossible to store for ever.
    """
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class FreeText(TypeDecorator[str]):
    """Text of people, of any length."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Clean the text."""
        return None if value is None else storable(value)


class Short(TypeDecorator[str]):
    """A name of at most ``length`` characters; SQLite would not look at the length."""

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        """Keep the length for the check."""
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Clean and measure the name."""
        if value is not None and len(value) > self.length:
            raise Refused(f"{value[:40]!r}… has {len(value)} characters: the ledger takes {self.length}. Shorten it.")
        return None if value is None else storable(value)


def word(words: type[E]) -> sa.Enum:
    """Return a column type that stores a ``StrEnum`` as its short text and gives the member back.

    No check constraint: a new member is then an additive change that needs no migration.
    """
    return sa.Enum(
        words,
        native_enum=False,
        create_constraint=False,
        length=60,
        values_callable=lambda members: [member.value for member in members],
    )


def json_dict() -> sa.types.TypeEngine[dict[str, Any]]:
    """Return a JSON object; changed keys of the top level are seen, deeper changes need a new dict."""
    return MutableDict.as_mutable(sa.JSON(none_as_null=True))


def json_list() -> sa.types.TypeEngine[list[Any]]:
    """Return a JSON list; ``append`` and the like are seen, changes inside an item need a new list."""
    return MutableList.as_mutable(sa.JSON())
