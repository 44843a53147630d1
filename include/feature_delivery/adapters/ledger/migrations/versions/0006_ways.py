"""Decisions with the way, the role and the address of whoever said them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DECISION = "fd_decision"
NEW = (("role", 120), ("address", 64))


def upgrade() -> None:
    with op.batch_alter_table(DECISION) as table:
        table.alter_column("source", new_column_name="way", existing_type=sa.String(40), existing_nullable=False)
    for column, length in NEW:
        with op.batch_alter_table(DECISION) as table:
            table.add_column(sa.Column(column, sa.String(length), nullable=False, server_default=""))
        with op.batch_alter_table(DECISION) as table:
            table.alter_column(column, existing_type=sa.String(length), existing_nullable=False, server_default=None)
    op.create_index("ix_fd_decision_at", DECISION, ["at"])
    decision = sa.table(DECISION, sa.column("way", sa.String), sa.column("origin", sa.String))
    reviewed = sa.case((decision.c.origin != "", "review"), else_="comment")
    op.execute(decision.update().where(decision.c.way == "git").values(way=reviewed))
    op.execute(decision.update().where(decision.c.way == "api").values(way="rest"))


def downgrade() -> None:
    decision = sa.table(DECISION, sa.column("way", sa.String))
    op.execute(decision.update().where(decision.c.way.in_(["review", "comment"])).values(way="git"))
    op.execute(decision.update().where(decision.c.way.in_(["rest", "break-glass"])).values(way="api"))
    op.drop_index("ix_fd_decision_at", DECISION)
    for column, _length in reversed(NEW):
        with op.batch_alter_table(DECISION) as table:
            table.drop_column(column)
    with op.batch_alter_table(DECISION) as table:
        table.alter_column("way", new_column_name="source", existing_type=sa.String(40), existing_nullable=False)
