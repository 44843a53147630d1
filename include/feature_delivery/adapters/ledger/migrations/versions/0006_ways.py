"""Decisions with the way, the role and the address of whoever said them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
loses = ("fd_decision.way", "fd_decision.role", "fd_decision.address")

DECISION = "fd_decision"
NEW = (("way", 40), ("role", 120), ("address", 64))


def upgrade() -> None:
    _add(*NEW)
    said = sa.table(DECISION, *(sa.column(name, sa.String) for name in ("way", "source", "origin")))
    reviewed = sa.case((said.c.origin != "", "review"), else_="comment")
    way = sa.case((said.c.source == "git", reviewed), (said.c.source == "api", "rest"), else_=said.c.source)
    op.execute(said.update().values(way=way))
    # Not renamed: PostgreSQL would keep the old name in the name of its constraint.
    with op.batch_alter_table(DECISION) as table:
        table.drop_column("source")
    op.create_index("ix_fd_decision_at", DECISION, ["at"])


def downgrade() -> None:
    op.drop_index("ix_fd_decision_at", DECISION)
    _add(("source", 40))
    said = sa.table(DECISION, sa.column("way", sa.String), sa.column("source", sa.String))
    old = {"review": "git", "comment": "git", "rest": "api", "break-glass": "api"}
    op.execute(said.update().values(source=sa.case(old, value=said.c.way, else_=said.c.way)))
    for name, _length in reversed(NEW):
        with op.batch_alter_table(DECISION) as table:
            table.drop_column(name)


def _add(*columns: tuple[str, int]) -> None:
    for name, length in columns:
        with op.batch_alter_table(DECISION) as table:
            table.add_column(sa.Column(name, sa.String(length), nullable=False, server_default=""))
        with op.batch_alter_table(DECISION) as table:
            table.alter_column(name, existing_type=sa.String(length), existing_nullable=False, server_default=None)
