"""Lets ``airflow db migrate`` look after the ledger's tables.

Set ``[database] external_db_managers = feature_delivery.web.database.LedgerDBManager``. On a fresh database Airflow
makes the tables from the metadata and notes the newest migration as done; later versions are migrated. ``airflow db
downgrade`` takes back Airflow's own tables alone: ``airflow db-manager downgrade`` is the ledger's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow import settings
from airflow.utils.db_manager import BaseDBManager
from airflow.utils.session import create_session
from alembic import command

from feature_delivery.adapters import ledger
from feature_delivery.adapters.ledger import local_tables  # noqa: F401 - completes the metadata
from feature_delivery.adapters.ledger.tables import VERSION_TABLE, metadata
from feature_delivery.bootstrap.variables import name_of, read
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

_HOME = Path(ledger.__file__).parent
MAY_LOSE = name_of("may_lose")
"""Set to the revision that is gone back to, it says that what the migrations declare as lost may be."""


def newer(revision: str | None, scripts: ScriptDirectory) -> str:
    """Return why a ledger at ``revision`` is not for this version; empty when it is."""
    known = {one.revision for one in scripts.walk_revisions()}
    if revision is None or revision in known:
        return ""
    return (
        f"The ledger is at {revision}, which this version does not know: a newer one has migrated it. Install that "
        f"version again, or restore the backup from before the upgrade. This version knows up to {max(known)}."
    )


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

    def check_migration(self) -> bool:
        """Say whether the ledger is as this version wants it.

        Raises:
            SystemExit: It is newer: waiting would not help.
        """
        self._must_know()
        return bool(super().check_migration())

    def upgradedb(self, *args: Any, **kwargs: Any) -> None:
        """Bring the ledger up to date.

        Raises:
            SystemExit: It is newer than this version.
        """
        self._must_know()
        super().upgradedb(*args, **kwargs)

    def _must_know(self) -> None:
        if sentence := newer(self.get_current_revision(), self.get_script_object()):
            raise SystemExit(sentence)

    def downgrade(self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False) -> None:  # noqa: FBT001, FBT002 - Airflow's signature
        """Take migrations back, down to ``to_revision`` (``base``: all of them, and the records with them).

        Raises:
            SystemExit: Records would be lost, and nobody has said that they may be.
        """
        self._must_know()
        revision = f"{from_revision}:{to_revision}" if show_sql_only and from_revision else to_revision
        if not show_sql_only and read("may_lose").may_lose != to_revision and (lost := self._lost(to_revision)):
            raise SystemExit(
                f"Going back to {to_revision} forgets {', '.join(lost)} for good. Restore a backup from before the "
                f"upgrade instead, or set {MAY_LOSE}={to_revision} and do it once more."
            )
        command.downgrade(self.get_alembic_config(), revision=revision, sql=show_sql_only)

    def _lost(self, to_revision: str) -> list[str]:
        """Return what the migrations between here and there declare as lost."""
        scripts, current = self.get_script_object(), self.get_current_revision()
        if current is None:
            return []
        back = scripts.iterate_revisions(current, to_revision)
        return [name for one in back for name in getattr(one.module, "loses", ())]


def must_fit() -> None:
    """Stop an API server whose code is older than the ledger.

    Raises:
        Misconfigured: It is; the sentence says what to do.
    """
    with create_session(scoped=False) as session:
        manager = LedgerDBManager(session)
        if sentence := newer(manager.get_current_revision(), manager.get_script_object()):
            raise Misconfigured(sentence)
