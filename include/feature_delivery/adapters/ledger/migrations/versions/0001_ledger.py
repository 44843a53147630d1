"""The ledger's records.

These tables, as they were at this version: a migration never reads today's tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
loses = ("fd_",)

TABLES = (
    "fd_feature",
    "fd_instance",
    "fd_outbox",
    "fd_project",
    "fd_webhook",
    "fd_attempt",
    "fd_candidate",
    "fd_decision",
    "fd_environment",
    "fd_event",
    "fd_gate",
    "fd_permit",
    "fd_promotion",
    "fd_queue_place",
    "fd_suite_result",
    "fd_deployment",
)


def upgrade() -> None:
    op.create_table(
        "fd_feature",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("delivery", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("branch", sa.String(250), nullable=True),
        sa.Column("wanted_commit", sa.String(64), nullable=True),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("issue_url", sa.Text(), nullable=False),
        sa.Column("request_number", sa.Integer(), nullable=True),
        sa.Column("request_url", sa.Text(), nullable=False),
        sa.Column("request_author", sa.Text(), nullable=False),
        sa.Column("started", sa.Boolean(), nullable=False),
        sa.Column("branch_seen_gone", sa.DateTime(timezone=True), nullable=True),
        sa.Column("branch_head", sa.String(64), nullable=True),
        sa.Column("next_commit", sa.String(64), nullable=True),
        sa.Column("rejected_commit", sa.String(64), nullable=True),
        sa.Column("branch_is_ours", sa.Boolean(), nullable=False),
        sa.Column("rewind_to", sa.String(60), nullable=True),
        sa.Column("run_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_feature")),
        sa.UniqueConstraint("project", "key", "delivery", name=op.f("uq_fd_feature_project_key_delivery")),
        sa.UniqueConstraint("project", "run_id", name=op.f("uq_fd_feature_project_run_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_feature_project_state", "fd_feature", ["project", "state"])
    op.create_index("ix_fd_feature_state", "fd_feature", ["state"])
    op.create_table(
        "fd_instance",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.String(12), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_instance")),
    )
    op.create_table(
        "fd_outbox",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("marker", sa.String(250), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_outbox")),
        sa.UniqueConstraint("project", "marker", name=op.f("uq_fd_outbox_project_marker")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_fd_outbox_due_at",
        "fd_outbox",
        ["due_at", "id"],
        postgresql_where=sa.text("sent_at IS NULL"),
        sqlite_where=sa.text("sent_at IS NULL"),
    )
    op.create_index("ix_fd_outbox_feature_id", "fd_outbox", ["feature_id"])
    op.create_table(
        "fd_project",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("production_commit", sa.String(64), nullable=True),
        sa.Column("lock_feature_id", sa.Integer(), nullable=True),
        sa.Column("lock_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("frozen_reason", sa.Text(), nullable=False),
        sa.Column("frozen_commit", sa.String(64), nullable=True),
        sa.Column("last_delivery", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_fd_project")),
    )
    op.create_table(
        "fd_webhook",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("delivery_id", sa.String(200), nullable=False),
        sa.Column("host", sa.String(40), nullable=False),
        sa.Column("event", sa.String(100), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_webhook")),
        sa.UniqueConstraint("project", "delivery_id", name=op.f("uq_fd_webhook_project_delivery_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_fd_webhook_waiting",
        "fd_webhook",
        ["id"],
        postgresql_where=sa.text("processed_at IS NULL"),
        sqlite_where=sa.text("processed_at IS NULL"),
    )
    op.create_table(
        "fd_attempt",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("authors", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_attempt_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_attempt")),
        sa.UniqueConstraint("feature_id", "number", name=op.f("uq_fd_attempt_feature_id_number")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "fd_candidate",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("tree", sa.String(64), nullable=False),
        sa.Column("base", sa.String(64), nullable=False),
        sa.Column("feature_commit", sa.String(64), nullable=False),
        sa.Column("plan_changed", sa.Boolean(), nullable=False),
        sa.Column("integration_green", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_candidate_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_candidate")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_candidate_commit", "fd_candidate", ["commit"])
    op.create_index("ix_fd_candidate_feature_id_attempt", "fd_candidate", ["feature_id", "attempt"])
    op.create_table(
        "fd_decision",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(60), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("commit", sa.String(64), nullable=True),
        sa.Column("person", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("candidate", sa.String(64), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_decision_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_decision")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_decision_feature_id_attempt", "fd_decision", ["feature_id", "attempt"])
    op.create_table(
        "fd_environment",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("commit", sa.String(64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_environment_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_environment")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_environment_feature_id", "fd_environment", ["feature_id"])
    op.create_index("ix_fd_environment_project_name", "fd_environment", ["project", "name"])
    op.create_index(
        "uq_fd_environment_alive",
        "fd_environment",
        ["project", "name"],
        unique=True,
        postgresql_where=sa.text("state != 'destroyed'"),
        sqlite_where=sa.text("state != 'destroyed'"),
    )
    op.create_table(
        "fd_event",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("step", sa.String(60), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_event_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_event")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_event_feature_id", "fd_event", ["feature_id"])
    op.create_table(
        "fd_gate",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(60), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("blocked", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_gate_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_gate")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_fd_gate_deadline",
        "fd_gate",
        ["deadline"],
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_fd_gate_feature_id_step", "fd_gate", ["feature_id", "step"])
    op.create_index(
        "ix_fd_gate_to_end", "fd_gate", ["id"], postgresql_where=sa.text("NOT ended"), sqlite_where=sa.text("NOT ended")
    )
    op.create_index(
        "uq_fd_gate_open",
        "fd_gate",
        ["feature_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "fd_permit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(60), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("task_instance", sa.String(250), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("work", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_permit_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_permit")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_permit_feature_id", "fd_permit", ["feature_id"])
    op.create_table(
        "fd_promotion",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("before", sa.String(64), nullable=False),
        sa.Column("candidate", sa.String(64), nullable=False),
        sa.Column("tree", sa.String(64), nullable=False),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("restored", sa.String(64), nullable=True),
        sa.Column("irreversible", sa.Boolean(), nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_promotion_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_promotion")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_promotion_feature_id_attempt", "fd_promotion", ["feature_id", "attempt"])
    op.create_index("ix_fd_promotion_project_state", "fd_promotion", ["project", "state"])
    op.create_index(
        "uq_fd_promotion_open",
        "fd_promotion",
        ["project"],
        unique=True,
        postgresql_where=sa.text("state IN ('deployed', 'moved', 'rolling_back', 'uncertain')"),
        sqlite_where=sa.text("state IN ('deployed', 'moved', 'rolling_back', 'uncertain')"),
    )
    op.create_table(
        "fd_queue_place",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_queue_place_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_queue_place")),
        sa.UniqueConstraint("feature_id", name=op.f("uq_fd_queue_place_feature_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_queue_place_project_since", "fd_queue_place", ["project", "since"])
    op.create_table(
        "fd_suite_result",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(60), nullable=False),
        sa.Column("suite", sa.String(80), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("tests", sa.Integer(), nullable=False),
        sa.Column("executed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(precision=53), nullable=False),
        sa.Column("red", sa.Text(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_suite_result_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_suite_result")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_suite_result_feature_id_attempt_step", "fd_suite_result", ["feature_id", "attempt", "step"])
    op.create_table(
        "fd_deployment",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("feature_id", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["fd_environment.id"], name=op.f("fk_fd_deployment_environment_id")
        ),
        sa.ForeignKeyConstraint(["feature_id"], ["fd_feature.id"], name=op.f("fk_fd_deployment_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fd_deployment")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fd_deployment_environment_id", "fd_deployment", ["environment_id"])
    op.create_index("ix_fd_deployment_feature_id", "fd_deployment", ["feature_id"])


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
