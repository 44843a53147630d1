"""Messages in channels, alerts, reminders; errands that keep an order."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
loses = ("fd_post", "fd_alert", "fd_outbox.lane", "fd_gate.reminders")

OUTBOX, GATE, POST, ALERT = "fd_outbox", "fd_gate", "fd_post", "fd_alert"


def upgrade() -> None:
    with op.batch_alter_table(OUTBOX) as table:
        table.add_column(sa.Column("lane", sa.String(40), nullable=False, server_default=""))
    with op.batch_alter_table(OUTBOX) as table:
        table.alter_column("lane", server_default=None)
    unsent = sa.text("sent_at IS NULL")
    op.create_index(
        "ix_fd_outbox_lane", OUTBOX, ["feature_id", "lane", "id"], postgresql_where=unsent, sqlite_where=unsent
    )
    # Gates that are open have been asked for, long ago perhaps: they are reminded of like any other.
    with op.batch_alter_table(GATE) as table:
        table.add_column(sa.Column("reminders", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table(GATE) as table:
        table.alter_column("reminders", server_default=None)
    op.create_table(
        POST,
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(40), nullable=False),
        sa.Column("marker", sa.String(250), nullable=False),
        sa.Column("place", sa.String(80), nullable=False),
        sa.Column("ts", sa.String(80), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fd_post"),
        sa.UniqueConstraint("project", "channel", "marker", name="uq_fd_post_project_channel_marker"),
        sqlite_autoincrement=True,
    )
    open_posts = sa.text("NOT settled")
    op.create_index("ix_fd_post_open", POST, ["feature_id"], postgresql_where=open_posts, sqlite_where=open_posts)
    op.create_table(
        ALERT,
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(60), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fd_alert"),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name="fk_fd_alert_feature_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_alert_feature_id", ALERT, ["feature_id"])
    unresolved = sa.text("resolved_at IS NULL")
    op.create_index(
        "uq_fd_alert_open",
        ALERT,
        ["feature_id", "step"],
        unique=True,
        postgresql_where=unresolved,
        sqlite_where=unresolved,
    )


def downgrade() -> None:
    op.drop_table(ALERT)
    op.drop_table(POST)
    with op.batch_alter_table(GATE) as table:
        table.drop_column("reminders")
    op.drop_index("ix_fd_outbox_lane", table_name=OUTBOX)
    with op.batch_alter_table(OUTBOX) as table:
        table.drop_column("lane")
