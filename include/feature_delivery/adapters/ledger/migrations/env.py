"""How Alembic reaches the ledger's tables; called by Airflow's `db migrate` through the external DB manager."""

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from feature_delivery.adapters.ledger import local_tables  # noqa: F401 - completes the metadata
from feature_delivery.adapters.ledger.tables import VERSION_TABLE, metadata


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    # Airflow's own tables live in the same database and are none of our business.
    return kind != "table" or name in metadata.tables


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_name=_ours,
        compare_type=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # Whoever migrates at the same time waits here, and finds then that nothing is left to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('feature-delivery: migrations'))"))
        context.run_migrations()


if context.is_offline_mode():
    context.configure(
        url=context.config.get_main_option("sqlalchemy.url"),
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = context.config.attributes.get("engine") or create_engine(
        context.config.get_main_option("sqlalchemy.url", ""), poolclass=pool.NullPool
    )
    with engine.connect() as connection:
        _migrate(connection)
