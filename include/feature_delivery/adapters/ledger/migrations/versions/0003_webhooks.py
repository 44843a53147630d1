"""What a webhook means, noted when it comes in; its headers, for who looks into it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
loses = ("fd_webhook.headers", "fd_webhook.hint", "fd_webhook.ignored")

TABLE, INDEX = "fd_webhook", "ix_fd_webhook_project_id"


def upgrade() -> None:
    # Rows from before have no hint: they are looked into without one.
    with op.batch_alter_table(TABLE) as table:
        table.add_column(sa.Column("headers", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("hint", sa.JSON(), nullable=True))
        table.add_column(sa.Column("ignored", sa.String(100), nullable=False, server_default=""))
    with op.batch_alter_table(TABLE) as table:
        table.alter_column("headers", server_default=None)
        table.alter_column("ignored", server_default=None)
    op.create_index(INDEX, TABLE, ["project", "id"])


def downgrade() -> None:
    op.drop_index(INDEX, table_name=TABLE)
    with op.batch_alter_table(TABLE) as table:
        table.drop_column("ignored")
        table.drop_column("hint")
        table.drop_column("headers")
