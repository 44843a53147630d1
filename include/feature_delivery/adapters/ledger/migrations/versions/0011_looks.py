"""Looks of the probe at production while it is watched: a triggerer that takes over goes on from them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
loses = ("fd_looks",)

LOOKS = "fd_looks"


def upgrade() -> None:
    op.create_table(
        LOOKS,
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("permit_id", sa.Integer(), nullable=False),
        sa.Column("looks", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fd_looks"),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name="fk_fd_looks_feature_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_looks_feature_id", LOOKS, ["feature_id"])
    op.create_index("ix_fd_looks_at", LOOKS, ["at"])


def downgrade() -> None:
    op.drop_table(LOOKS)
