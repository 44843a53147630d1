"""Lets ``airflow db migrate`` look after the ledger's tables.

Set ``[database] external_db_managers = feature_delivery.web.database.LedgerDBManager``. On a fresh database Airflow
makes the tables from the metadata and notes the newest migration as done; later versions are migrated.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow import settings
from airflow.utils.db_manager import BaseDBManager
from alembic import command

from feature_delivery.adapters import ledger
from feature_delivery.adapters.ledger import local_tables  # noqa: F401 - completes the metadata
from feature_delivery.adapters.ledger.tables import VERSION_TABLE, metadata

if TYPE_CHECKING:
    from alembic.config import Config

_HOME = Path(ledger.__file__).parent


class LedgerDBManager(BaseDBManager):  # type: ignore[misc] # Airflow is not followed by the type checker
    """The ledger, as one of Airflow's external databases."""

    metadata = metadata
    version_table_name = VERSION_TABLE
    migration_dir = str(_HOME / "migrations")
    alembic_file = str(_HOME / "alembic.ini")
    supports_table_dropping = True

    def get_alembic_config(self) -> Config:
        """Return the configuration with Airflow's own engine, which knows the connection's arguments."""
        config: Any = super().get_alembic_config()
        config.attributes["engine"] = settings.engine
        return config  # type: ignore[no-any-return]

    def downgrade(self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False) -> None:  # noqa: FBT001, FBT002 - Airflow's signature
        """Take migrations back, down to ``to_revision`` (``base``: all of them, and the records with them)."""
        revision = f"{from_revision}:{to_revision}" if show_sql_only and from_revision else to_revision
        command.downgrade(self.get_alembic_config(), revision=revision, sql=show_sql_only)
