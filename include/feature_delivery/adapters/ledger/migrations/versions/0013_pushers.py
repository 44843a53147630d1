"""Who pushed to a feature's branch, as the host says: known before there is an attempt whose author they are."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
loses = ("fd_feature.pushers",)

FEATURE = "fd_feature"


def upgrade() -> None:
    with op.batch_alter_table(FEATURE) as table:
        table.add_column(sa.Column("pushers", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table(FEATURE) as table:
        table.alter_column("pushers", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table(FEATURE) as table:
        table.drop_column("pushers")
