"""What was measured of releases: production before and after, the load in pre-production; how they were judged."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
loses = ("fd_observation",)

OBSERVATION = "fd_observation"


def upgrade() -> None:
    op.create_table(
        OBSERVATION,
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(60), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fd_observation"),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name="fk_fd_observation_feature_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_observation_feature_id_attempt_step", OBSERVATION, ["feature_id", "attempt", "step"])


def downgrade() -> None:
    op.drop_table(OBSERVATION)
