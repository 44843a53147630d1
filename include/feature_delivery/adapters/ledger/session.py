"""Transactions over the ledger, and the sentences that a database's errors become."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Index, UniqueConstraint
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.orm import Session, sessionmaker

from feature_delivery.adapters.ledger import local_tables  # noqa: F401 - completes the metadata
from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.mapping import map_records
from feature_delivery.adapters.ledger.tables import metadata
from feature_delivery.domain.errors import Conflict, Error, Misconfigured, Refused, Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Table

Sessions = Engine | Callable[[], AbstractContextManager[Session]]
"""Where sessions come from: an engine, a ``sessionmaker``, or Airflow's ``create_session`` with its arguments bound."""

RULES = {
    "uq_fd_feature_project_key_delivery": "this delivery of the issue has been started already",
    "uq_fd_feature_project_run_id": "another feature is carried by this run already",
    "uq_fd_attempt_feature_id_number": "this attempt of the feature is recorded already",
    "uq_fd_environment_alive": "an environment of this name exists already",
    "uq_fd_gate_open": "the feature waits at a gate already",
    "uq_fd_promotion_open": "another promotion of the project has not been decided yet",
    "uq_fd_queue_place_feature_id": "the feature is in the queue for production already",
    "uq_fd_webhook_project_delivery_id": "this webhook has been stored already",
    "uq_fd_heard_comment_project_comment": "this comment has been acted upon already",
    "uq_fd_post_project_channel_marker": "this message has been sent to this channel already",
    "uq_fd_alert_open": "an alert about this step of the feature is open already",
    "uq_fd_brake_on": "the project's brake is on already",
    "uq_fd_outbox_project_marker": "this word to the outside is in the outbox already",
}
"""What each unique rule means to people."""


@contextmanager
def sentences() -> Iterator[None]:
    """Turn the database's errors into ours; broken foreign keys and nulls are programming errors and stay.

    After any of them the transaction is over: nothing in it can be rescued.

    Raises:
        Conflict: A unique rule was broken: somebody else was first.
        Unavailable: The database cannot be reached, no connection to it was free in time, or it chose this transaction
            as the victim of a deadlock.
        Misconfigured: The tables are not there.
        Refused: A value is not one that the ledger can hold.
    """
    try:
        yield
    except IntegrityError as error:
        rule = broken_rule(error)
        if rule is None:
            raise
        meaning = RULES.get(rule, f"another record breaks the rule {rule!r}")
        raise Conflict(f"Could not store a record in the ledger: {meaning}. Read the ledger again.") from error
    except DataError as error:
        nul = getattr(error.orig, "pgcode", None) == "22P05"  # in JSON of Airflow's; our columns take none
        wrong = "a text holds a NUL character. Remove it" if nul else "a value is out of range. Shorten it"
        raise Refused(f"Could not store a record in the ledger: {wrong}.") from error
    except (OperationalError, ProgrammingError) as error:
        if (ours := _of_the_server(error)) is None:
            raise
        raise ours from error
    except NoneFree as error:
        # All are taken: whoever waited gives up, and comes back when others have ended.
        raise Unavailable("No connection to the ledger's database was free in time. Try again.") from error
    except StatementError as error:
        if isinstance(error.orig, Error):
            raise error.orig from error
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise Unavailable(f"The ledger's database was lost ({_cause(error)}). Try again.") from error
        raise


def _of_the_server(error: OperationalError | ProgrammingError) -> Error | None:
    if _tables_are_missing(error):
        return Misconfigured(
            "The ledger's tables are missing or old. Run `airflow db migrate`, with the external DB manager."
        )
    if isinstance(error, ProgrammingError):
        return None
    return Unavailable(f"The ledger's database did not answer ({_cause(error)}). Try again.")


def _cause(error: DBAPIError) -> str:
    code = getattr(error.orig, "pgcode", None)
    known = {"40001": "serialization failure", "40P01": "deadlock", "55P03": "lock timeout", "57014": "timeout"}
    return known.get(str(code), type(error.orig).__name__)


def _tables_are_missing(error: DBAPIError) -> bool:
    code = getattr(error.orig, "pgcode", None)
    return code in {"42P01", "42703"} or str(error.orig).startswith(("no such table", "no such column"))


def broken_rule(error: IntegrityError) -> str | None:
    """Return the name of the unique rule that was broken; ``None`` for every other broken rule."""
    diagnostics = getattr(error.orig, "diag", None)
    if diagnostics is not None:
        unique = getattr(error.orig, "pgcode", None) == "23505"
        return str(diagnostics.constraint_name) if unique else None
    # SQLite names the columns, not the rule.
    head, colon, columns = str(error.orig).partition("UNIQUE constraint failed: ")
    if head or not colon:
        return None
    wanted = {column.strip() for column in columns.split(",")}
    found = (name for table in metadata.sorted_tables for name, parts in _unique_rules(table) if parts == wanted)
    return next(found, columns)


def _unique_rules(table: Table) -> Iterator[tuple[str, set[str]]]:
    unique: list[Any] = [rule for rule in table.constraints if isinstance(rule, UniqueConstraint)]
    unique += [index for index in table.indexes if isinstance(index, Index) and index.unique]
    for rule in unique:
        yield str(rule.name), {f"{table.name}.{column.name}" for column in rule.columns}


def transactions(sessions: Sessions) -> Callable[[], AbstractContextManager[Session]]:
    """Return what opens a transaction: committed at the end, rolled back when an exception leaves it."""
    map_records()
    source: Callable[[], AbstractContextManager[Session]]
    if isinstance(sessions, Engine):
        source = sessionmaker(sessions, autoflush=False, expire_on_commit=False)
    else:
        source = sessions

    @contextmanager
    def transaction() -> Iterator[Session]:
        with sentences(), source() as session:
            try:
                yield session
                session.commit()
            except BaseException:
                with suppress(SQLAlchemyError):
                    session.rollback()
                raise

    return transaction


def ledger_begin(sessions: Sessions) -> Callable[[], AbstractContextManager[tuple[Session, SqlBooks]]]:
    """Return what opens the ledger for one transaction; the session is for whoever else must change with it."""
    transaction = transactions(sessions)

    @contextmanager
    def begin() -> Iterator[tuple[Session, SqlBooks]]:
        with transaction() as session:
            yield session, SqlBooks(session)

    return begin
