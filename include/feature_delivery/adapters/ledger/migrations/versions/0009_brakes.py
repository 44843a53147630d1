"""Where the ledger is, so that a copy of it is found out; brakes that stop a project until an operator lets go."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
loses = ("fd_brake", "fd_instance.place", "fd_instance.accepted")

INSTANCE, BRAKE = "fd_instance", "fd_brake"


def upgrade() -> None:
    with op.batch_alter_table(INSTANCE) as table:
        table.add_column(sa.Column("place", sa.String(80), nullable=False, server_default=""))
        table.add_column(sa.Column("accepted", sa.String(12), nullable=False, server_default=""))
    with op.batch_alter_table(INSTANCE) as table:
        table.alter_column("place", server_default=None)
        table.alter_column("accepted", server_default=None)
    if op.get_context().dialect.name == "postgresql":
        op.execute(settled())
    op.create_table(
        BRAKE,
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.Column("release_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fd_brake"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_fd_brake_on",
        BRAKE,
        ["project"],
        unique=True,
        postgresql_where=sa.text("released_at IS NULL"),
        sqlite_where=sa.text("released_at IS NULL"),
    )


def settled() -> str:
    """Return what notes that the ledger is at home where it is migrated; as ``adapters.ledger.identity_books`` asks."""
    server = "(SELECT system_identifier::text FROM pg_control_system())"
    if not op.get_context().as_sql:
        may = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"
        server = server if op.get_bind().scalar(sa.text(may)) else "''"
    database = "(SELECT oid::text FROM pg_database WHERE datname = current_database())"
    return f"UPDATE {INSTANCE} SET place = {server} || '/' || {database}"  # noqa: S608 - all of it is written here


def downgrade() -> None:
    op.drop_table(BRAKE)
    with op.batch_alter_table(INSTANCE) as table:
        table.drop_column("accepted")
        table.drop_column("place")
