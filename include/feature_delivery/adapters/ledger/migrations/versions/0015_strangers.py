"""Who wrote or pushed under an address or login that means nobody yet: asked anew who they are, whenever it matters."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
loses = ("fd_feature.strangers", "fd_attempt.strangers")

TABLES = ("fd_feature", "fd_attempt")


def upgrade() -> None:
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("strangers", sa.JSON(), nullable=False, server_default="[]"))
        with op.batch_alter_table(name) as table:
            table.alter_column("strangers", server_default=None)


def downgrade() -> None:
    for name in reversed(TABLES):
        with op.batch_alter_table(name) as table:
            table.drop_column("strangers")
