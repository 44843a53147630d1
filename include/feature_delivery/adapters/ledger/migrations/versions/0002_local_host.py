"""What the local Git host, the local tracker and the log messenger remember."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
loses = ("fd_local_", "fd_message")

TABLES = (
    "fd_local_issue",
    "fd_local_issue_comment",
    "fd_local_request",
    "fd_local_status",
    "fd_message",
    "fd_local_request_comment",
    "fd_local_review",
)


def upgrade() -> None:
    op.create_table(
        "fd_local_issue",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("assignee", sa.String(80), nullable=True),
        sa.Column("reporter", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_local_issue")),
        sa.UniqueConstraint("project", "key", name=op.f("uq_fd_local_issue_project_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "fd_local_issue_comment",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("marker", sa.String(250), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_local_issue_comment")),
        sa.UniqueConstraint("project", "key", "marker", name=op.f("uq_fd_local_issue_comment_project_key_marker")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "fd_local_request",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("source", sa.String(250), nullable=False),
        sa.Column("target", sa.String(250), nullable=False),
        sa.Column("head", sa.String(64), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_fd_local_request")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_local_request_project_source", "fd_local_request", ["project", "source"])
    op.create_index(
        "uq_fd_local_request_open",
        "fd_local_request",
        ["project", "source"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "fd_local_status",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_local_status")),
        sa.UniqueConstraint("project", "commit", "name", name=op.f("uq_fd_local_status_project_commit_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "fd_message",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("message_id", sa.String(250), nullable=False),
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("recipients", sa.JSON(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_message")),
        sa.UniqueConstraint("project", "message_id", name=op.f("uq_fd_message_project_message_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_message_project_key", "fd_message", ["project", "key"])
    op.create_table(
        "fd_local_request_comment",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("marker", sa.String(250), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["number"], ["fd_local_request.number"], name=op.f("fk_fd_local_request_comment_number")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_local_request_comment")),
        sa.UniqueConstraint("number", "marker", name=op.f("uq_fd_local_request_comment_number_marker")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "fd_local_review",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("person", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["fd_local_request.number"], name=op.f("fk_fd_local_review_number")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_local_review")),
        sa.UniqueConstraint("number", "person", "commit", name=op.f("uq_fd_local_review_number_person_commit")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
