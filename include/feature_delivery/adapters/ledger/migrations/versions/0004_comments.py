"""Commands given as comments, each acted upon once; where a decision was said, so that it can be taken back there."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
loses = ("fd_heard_comment", "fd_decision.origin", "fd_decision.withdrawn_at")

DECISION, HEARD = "fd_decision", "fd_heard_comment"


def upgrade() -> None:
    with op.batch_alter_table(DECISION) as table:
        table.add_column(sa.Column("origin", sa.String(80), nullable=False, server_default=""))
        table.add_column(sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table(DECISION) as table:
        table.alter_column("origin", server_default=None)
    op.create_table(
        HEARD,
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("comment", sa.String(120), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("request", sa.Integer(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("verb", sa.String(20), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fd_heard_comment"),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name="fk_fd_heard_comment_feature_id"),
        sa.UniqueConstraint("project", "comment", name="uq_fd_heard_comment_project_comment"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_heard_comment_feature_id", HEARD, ["feature_id"])


def downgrade() -> None:
    op.drop_table(HEARD)
    with op.batch_alter_table(DECISION) as table:
        table.drop_column("withdrawn_at")
        table.drop_column("origin")
