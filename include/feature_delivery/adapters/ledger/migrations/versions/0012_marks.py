"""Marks that a ledger leaves where its projects run, so that two control planes of one instance find each other."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
loses = ("fd_mark", "fd_instance.contested")

INSTANCE, MARK = "fd_instance", "fd_mark"


def upgrade() -> None:
    with op.batch_alter_table(INSTANCE) as table:
        table.add_column(sa.Column("contested", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table(INSTANCE) as table:
        table.alter_column("contested", server_default=None)
    op.create_table(
        MARK,
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("mark", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fd_mark"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_mark_project", MARK, ["project"])
    # A ledger that was brought back and up again has left marks that it knows nothing of any more: whatever is found
    # first is its past. Of two copies of it, the second to leave one is still found.
    op.execute(sa.text(f"INSERT INTO {MARK} (project, mark) SELECT name, '*' FROM fd_project"))  # noqa: S608 - ours


def downgrade() -> None:
    op.drop_table(MARK)
    with op.batch_alter_table(INSTANCE) as table:
        table.drop_column("contested")
