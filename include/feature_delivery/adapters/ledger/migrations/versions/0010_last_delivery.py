"""A counter per project that nobody has ever read."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
loses = ()

PROJECT = "fd_project"


def upgrade() -> None:
    with op.batch_alter_table(PROJECT) as table:
        table.drop_column("last_delivery")


def downgrade() -> None:
    with op.batch_alter_table(PROJECT) as table:
        table.add_column(sa.Column("last_delivery", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table(PROJECT) as table:
        table.alter_column("last_delivery", server_default=None)
