"""What became of the same files before is asked at every gate before production: without reading every promotion."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
loses = ()

INDEX = "ix_fd_promotion_project_tree"


def upgrade() -> None:
    op.create_index(INDEX, "fd_promotion", ["project", "tree"])


def downgrade() -> None:
    op.drop_index(INDEX, "fd_promotion")
