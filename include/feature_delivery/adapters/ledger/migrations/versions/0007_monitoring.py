"""Counts that only grow, begun with what has happened until now; where an environment has its metrics and health."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
loses = ("fd_tally", "fd_environment.metrics_path", "fd_environment.health_path")

ENVIRONMENT, TALLY = "fd_environment", "fd_tally"
# As they were when this was written: a migration must not change with the code.
BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


def upgrade() -> None:
    with op.batch_alter_table(ENVIRONMENT) as table:
        table.add_column(sa.Column("metrics_path", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("health_path", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table(ENVIRONMENT) as table:
        table.alter_column("metrics_path", server_default=None)
        table.alter_column("health_path", server_default=None)
    op.create_table(
        TALLY,
        sa.Column("project", sa.String(40), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("first", sa.String(60), nullable=False),
        sa.Column("second", sa.String(40), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "first", "second", "place", name="pk_fd_tally"),
    )
    for statement in counted():
        op.execute(statement)


def counted() -> list[sa.Insert]:
    """Return what counts the steps, webhooks, decisions and deployments there are."""
    feature = sa.table("fd_feature", sa.column("id"), sa.column("project"))
    names = ("feature_id", "step", "state", "granted_at", "ended_at")
    permit = sa.table("fd_permit", *(sa.column(name) for name in names))
    webhook = sa.table("fd_webhook", *(sa.column(name) for name in ("project", "host", "ignored", "processed_at")))
    tally = sa.table(TALLY, *(sa.column(n) for n in ("project", "name", "first", "second", "place", "count", "total")))
    took = sa.extract("epoch", permit.c.ended_at) - sa.extract("epoch", permit.c.granted_at)
    seconds = sa.case((took > 0, took), else_=0.0)
    place = sa.case(*((seconds <= bound, n) for n, bound in enumerate(BUCKETS)), else_=len(BUCKETS))
    ended = sa.and_(permit.c.ended_at.is_not(None), permit.c.state.in_(["done", "failed"]))
    per_permit = (
        sa.select(feature.c.project, permit.c.step, permit.c.state, place.label("place"), seconds.label("seconds"))
        .select_from(permit.join(feature, feature.c.id == permit.c.feature_id))
        .where(ended)
        .subquery()
    )
    p = per_permit.c
    steps = sa.select(
        p.project, sa.literal("steps"), p.step, p.state, p.place, sa.func.count(), sa.func.sum(p.seconds)
    ).group_by(p.project, p.step, p.state, p.place)
    result = sa.case((webhook.c.ignored != "", "ignored"), else_="processed")
    per_webhook = (
        sa.select(webhook.c.project, webhook.c.host, result.label("result"))
        .where(webhook.c.processed_at.is_not(None), webhook.c.host != "ls-remote")
        .subquery()
    )
    w = per_webhook.c
    webhooks = sa.select(
        w.project, sa.literal("webhooks"), w.host, w.result, sa.literal(0), sa.func.count(), sa.literal(0.0)
    ).group_by(w.project, w.host, w.result)
    names = ("feature_id", "step", "kind", "accepted", "withdrawn_at")
    decision = sa.table("fd_decision", *(sa.column(name) for name in names))
    counted_ = sa.or_(decision.c.accepted.is_(sa.true()), decision.c.withdrawn_at.is_not(None))
    said = decision.c.kind + sa.case((counted_, " counted"), else_=" refused")
    per_decision = (
        sa.select(feature.c.project, decision.c.step, said.label("said"))
        .select_from(decision.join(feature, feature.c.id == decision.c.feature_id))
        .subquery()
    )
    environment = sa.table(ENVIRONMENT, *(sa.column(n) for n in ("id", "project", "kind")))
    deployment = sa.table("fd_deployment", *(sa.column(n) for n in ("environment_id", "state")))
    per_deployment = (
        sa.select(environment.c.project, environment.c.kind, deployment.c.state)
        .select_from(deployment.join(environment, environment.c.id == deployment.c.environment_id))
        .where(deployment.c.state.in_(["done", "failed"]))
        .subquery()
    )
    plain = [
        sa.select(c[0], sa.literal(name), c[1], c[2], sa.literal(0), sa.func.count(), sa.literal(0.0)).group_by(*c)
        for name, c in (("decisions", list(per_decision.c)), ("deployments", list(per_deployment.c)))
    ]
    columns = ["project", "name", "first", "second", "place", "count", "total"]
    return [sa.insert(tally).from_select(columns, query) for query in (steps, webhooks, *plain)]


def downgrade() -> None:
    op.drop_table(TALLY)
    with op.batch_alter_table(ENVIRONMENT) as table:
        table.drop_column("health_path")
        table.drop_column("metrics_path")
