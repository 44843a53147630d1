"""The ledger's tables, in Airflow's metadata database beside Airflow's own.

Nothing refers to ``fd_project`` by a foreign key: storing a child takes a share lock on the row it refers to, and
would wait for whoever holds the project's lock. A webhook must be stored at once, whatever goes on.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, UniqueConstraint

from feature_delivery.adapters.ledger.columns import FreeText, Short, UtcDateTime, json_dict, json_list, word
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    AttemptState,
    BrakeKind,
    EnvironmentState,
    FeatureState,
    GateState,
    PromotionState,
)

VERSION_TABLE = "fd_alembic_version"

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

KEY, SHA, NAME, RUN, MARKER = 40, 64, 80, 250, 250
BRANCH = 250


def ident(name: str = "id") -> Column[int]:
    """Return a number that grows and is never given twice."""
    return Column(name, sa.Integer, primary_key=True, autoincrement=True)


def of_feature(*, nullable: bool = False) -> Column[int]:
    """Return the reference of a record to its feature."""
    return Column("feature_id", ForeignKey("fd_feature.id"), nullable=nullable)


def text(name: str) -> Column[str]:
    """Return free text, empty rather than null."""
    return Column(name, FreeText, nullable=False)


def short(name: str, length: int = NAME, *, nullable: bool = False) -> Column[str]:
    """Return a name of limited length."""
    return Column(name, Short(length), nullable=nullable)


def moment(name: str, *, nullable: bool = False) -> Column[object]:
    """Return a moment in UTC."""
    return Column(name, UtcDateTime, nullable=nullable)


def number(name: str) -> Column[int]:
    """Return a count."""
    return Column(name, sa.Integer, nullable=False)


def truth(name: str) -> Column[bool]:
    """Return yes or no."""
    return Column(name, sa.Boolean, nullable=False)


def unique_where(name: str, *columns: Column[object], where: sa.ColumnElement[bool]) -> Index:
    """Return a rule that holds among some rows only, the same on PostgreSQL and SQLite."""
    return Index(name, *columns, unique=True, postgresql_where=where, sqlite_where=where)


def some(name: str, *columns: Column[object], where: sa.ColumnElement[bool]) -> Index:
    """Return an index over the few rows that wait among the many that are done."""
    return Index(name, *columns, postgresql_where=where, sqlite_where=where)


def table(name: str, *parts: Column[object] | Column[int] | sa.schema.SchemaItem) -> Table:
    """Return a table of the ledger."""
    return Table(name, metadata, *parts, sqlite_autoincrement=True)


instance = Table(
    "fd_instance",
    metadata,
    Column("id", sa.Integer, primary_key=True, autoincrement=False),
    short("value", 12),
    # Where the ledger was when somebody said whose it is: a copy is found by it.
    short("place", 80),
    short("accepted", 12),
    text("contested"),
)

mark = table("fd_mark", ident(), short("project", KEY), short("mark", 16), Index("ix_fd_mark_project", "project"))

project = Table(
    "fd_project",
    metadata,
    Column("name", Short(KEY), primary_key=True),
    short("production_commit", SHA, nullable=True),
    Column("lock_feature_id", sa.Integer, nullable=True),
    moment("lock_since", nullable=True),
    text("frozen_reason"),
    short("frozen_commit", SHA, nullable=True),
)

feature = table(
    "fd_feature",
    ident(),
    short("project", KEY),
    short("key", KEY),
    number("delivery"),
    short("run_id", RUN),
    text("title"),
    text("description"),
    text("requester"),
    short("branch", BRANCH, nullable=True),
    short("wanted_commit", SHA, nullable=True),
    Column("state", word(FeatureState), nullable=False),
    number("attempt_number"),
    text("issue_url"),
    Column("request_number", sa.Integer, nullable=True),
    text("request_url"),
    text("request_author"),
    Column("pushers", json_list(), nullable=False),
    Column("strangers", json_list(), nullable=False),
    truth("started"),
    moment("branch_seen_gone", nullable=True),
    short("branch_head", SHA, nullable=True),
    short("next_commit", SHA, nullable=True),
    short("rejected_commit", SHA, nullable=True),
    truth("branch_is_ours"),
    Column("rewind_to", word(Step), nullable=True),
    moment("run_after", nullable=True),
    moment("created_at"),
    moment("ended_at", nullable=True),
    text("reason"),
    UniqueConstraint("project", "key", "delivery"),
    UniqueConstraint("project", "run_id"),
    Index("ix_fd_feature_project_state", "project", "state"),
    Index("ix_fd_feature_state", "state"),
)

attempt = table(
    "fd_attempt",
    ident(),
    of_feature(),
    number("number"),
    short("commit", SHA),
    Column("authors", json_list(), nullable=False),
    Column("strangers", json_list(), nullable=False),
    Column("state", word(AttemptState), nullable=False),
    text("reason"),
    moment("created_at"),
    moment("ended_at", nullable=True),
    UniqueConstraint("feature_id", "number"),
)

candidate = table(
    "fd_candidate",
    ident(),
    of_feature(),
    number("attempt"),
    short("commit", SHA),
    short("tree", SHA),
    short("base", SHA),
    short("feature_commit", SHA),
    truth("plan_changed"),
    truth("integration_green"),
    moment("created_at"),
    Index("ix_fd_candidate_feature_id_attempt", "feature_id", "attempt"),
    Index("ix_fd_candidate_commit", "commit"),
)

environment = table(
    "fd_environment",
    ident(),
    short("project", KEY),
    short("name", 63),
    short("kind", 20),
    of_feature(nullable=True),
    Column("state", word(EnvironmentState), nullable=False),
    number("generation"),
    text("address"),
    text("metrics_path"),
    text("health_path"),
    short("commit", SHA, nullable=True),
    moment("created_at"),
    moment("destroyed_at", nullable=True),
    Index("ix_fd_environment_project_name", "project", "name"),
    Index("ix_fd_environment_feature_id", "feature_id"),
)
unique_where(
    "uq_fd_environment_alive",
    environment.c.project,
    environment.c.name,
    where=environment.c.state != EnvironmentState.DESTROYED,
)

deployment = table(
    "fd_deployment",
    ident(),
    Column("environment_id", ForeignKey("fd_environment.id"), nullable=False),
    of_feature(nullable=True),
    number("attempt"),
    short("commit", SHA),
    number("generation"),
    short("state", 20),
    text("reason"),
    moment("started_at"),
    moment("ended_at", nullable=True),
    Index("ix_fd_deployment_environment_id", "environment_id"),
    Index("ix_fd_deployment_feature_id", "feature_id"),
)

suite_result = table(
    "fd_suite_result",
    ident(),
    of_feature(),
    number("attempt"),
    Column("step", word(Step), nullable=False),
    short("suite"),
    short("commit", SHA),
    number("tests"),
    number("executed"),
    number("failed"),
    Column("seconds", sa.Float(53), nullable=False),
    text("red"),
    Column("report", json_dict(), nullable=False),
    moment("at"),
    Index("ix_fd_suite_result_feature_id_attempt_step", "feature_id", "attempt", "step"),
)

observation = table(
    "fd_observation",
    ident(),
    of_feature(),
    number("attempt"),
    Column("step", word(Step), nullable=False),
    short("commit", SHA),
    short("outcome", 20),
    Column("report", json_dict(), nullable=False),
    moment("at"),
    Index("ix_fd_observation_feature_id_attempt_step", "feature_id", "attempt", "step"),
)

looks = table(
    "fd_looks",
    ident(),
    of_feature(),
    number("permit_id"),
    Column("looks", json_list(), nullable=False),
    moment("at"),
    Index("ix_fd_looks_feature_id", "feature_id"),
    Index("ix_fd_looks_at", "at"),
)

gate = table(
    "fd_gate",
    ident(),
    of_feature(),
    Column("step", word(Step), nullable=False),
    number("attempt"),
    Column("state", word(GateState), nullable=False),
    text("outcome"),
    text("blocked"),
    moment("opened_at"),
    moment("deadline", nullable=True),
    moment("resolved_at", nullable=True),
    truth("ended"),
    moment("requested_at", nullable=True),
    moment("reminded_at", nullable=True),
    number("reminders"),
    Index("ix_fd_gate_feature_id_step", "feature_id", "step"),
)
unique_where("uq_fd_gate_open", gate.c.feature_id, where=gate.c.state == GateState.OPEN)
some("ix_fd_gate_deadline", gate.c.deadline, where=gate.c.state == GateState.OPEN)
some("ix_fd_gate_to_end", gate.c.id, where=sa.not_(gate.c.ended))

decision = table(
    "fd_decision",
    ident(),
    of_feature(),
    Column("step", word(Step), nullable=False),
    number("attempt"),
    short("commit", SHA, nullable=True),
    short("person"),
    Column("kind", word(DecisionKind), nullable=False),
    truth("accepted"),
    short("way", 40),
    short("role", 120),
    short("address", 64),
    text("comment"),
    text("reason"),
    short("candidate", SHA, nullable=True),
    short("origin"),
    moment("withdrawn_at", nullable=True),
    moment("at"),
    Index("ix_fd_decision_feature_id_attempt", "feature_id", "attempt"),
    Index("ix_fd_decision_at", "at"),
)

heard = table(
    "fd_heard_comment",
    ident(),
    short("project", KEY),
    short("comment", 120),
    of_feature(),
    number("request"),
    text("author"),
    short("verb", 20),
    text("answer"),
    moment("at"),
    UniqueConstraint("project", "comment"),
    Index("ix_fd_heard_comment_feature_id", "feature_id"),
)

permit = table(
    "fd_permit",
    ident(),
    of_feature(),
    number("attempt"),
    Column("step", word(Step), nullable=False),
    number("try_number"),
    short("task_instance", 250),
    number("generation"),
    short("state", 20),
    Column("work", json_dict(), nullable=False),
    Column("result", json_dict(), nullable=False),
    text("reason"),
    moment("granted_at"),
    moment("ended_at", nullable=True),
    Index("ix_fd_permit_feature_id", "feature_id"),
)

promotion = table(
    "fd_promotion",
    ident(),
    short("project", KEY),
    of_feature(),
    number("attempt"),
    short("before", SHA),
    short("candidate", SHA),
    short("tree", SHA),
    Column("state", word(PromotionState), nullable=False),
    short("restored", SHA, nullable=True),
    truth("irreversible"),
    moment("intended_at"),
    moment("moved_at", nullable=True),
    moment("ended_at", nullable=True),
    Index("ix_fd_promotion_project_state", "project", "state"),
    Index("ix_fd_promotion_project_tree", "project", "tree"),
    Index("ix_fd_promotion_feature_id_attempt", "feature_id", "attempt"),
)
unique_where(
    "uq_fd_promotion_open",
    promotion.c.project,
    where=promotion.c.state.in_(sorted(OPEN_PROMOTIONS)),
)

queue_place = table(
    "fd_queue_place",
    ident(),
    short("project", KEY),
    of_feature(),
    moment("since"),
    truth("waiting"),
    UniqueConstraint("feature_id"),
    Index("ix_fd_queue_place_project_since", "project", "since"),
)

webhook = table(
    "fd_webhook",
    ident(),
    short("project", KEY),
    short("delivery_id", 200),
    short("host", 40),
    short("event", 100),
    Column("body", sa.LargeBinary, nullable=False),
    Column("headers", json_dict(), nullable=False),
    Column("hint", json_dict(), nullable=True),
    short("ignored", 100),
    moment("received_at"),
    moment("processed_at", nullable=True),
    text("result"),
    number("tries"),
    UniqueConstraint("project", "delivery_id"),
    Index("ix_fd_webhook_project_id", "project", "id"),
)
some("ix_fd_webhook_waiting", webhook.c.id, where=webhook.c.processed_at.is_(None))

# No foreign key: a word about a project as a whole (a foreign commit on production) has the feature 0.
outbox = table(
    "fd_outbox",
    ident(),
    short("project", KEY),
    number("feature_id"),
    Column("kind", word(Errand), nullable=False),
    Column("payload", json_dict(), nullable=False),
    short("marker", MARKER),
    short("lane", 40),
    moment("created_at"),
    moment("due_at"),
    moment("sent_at", nullable=True),
    number("tries"),
    text("error"),
    UniqueConstraint("project", "marker"),
    Index("ix_fd_outbox_feature_id", "feature_id"),
)
some("ix_fd_outbox_due_at", outbox.c.due_at, outbox.c.id, where=outbox.c.sent_at.is_(None))

some("ix_fd_outbox_lane", outbox.c.feature_id, outbox.c.lane, outbox.c.id, where=outbox.c.sent_at.is_(None))

post = table(
    "fd_post",
    ident(),
    short("project", KEY),
    number("feature_id"),
    short("channel", 40),
    short("marker", MARKER),
    short("place"),
    short("ts"),
    short("digest", 64),
    truth("settled"),
    moment("at"),
    UniqueConstraint("project", "channel", "marker"),
)
some("ix_fd_post_open", post.c.feature_id, where=sa.not_(post.c.settled))

alert = table(
    "fd_alert",
    ident(),
    short("project", KEY),
    of_feature(),
    number("attempt"),
    Column("step", word(Step), nullable=False),
    text("text"),
    Column("details", json_list(), nullable=False),
    moment("opened_at"),
    moment("resolved_at", nullable=True),
    text("resolution"),
    Index("ix_fd_alert_feature_id", "feature_id"),
)
unique_where("uq_fd_alert_open", alert.c.feature_id, alert.c.step, where=alert.c.resolved_at.is_(None))

event = table(
    "fd_event",
    ident(),
    short("project", KEY),
    of_feature(nullable=True),
    short("kind", 60),
    text("text"),
    text("person"),
    Column("step", word(Step), nullable=True),
    number("attempt"),
    moment("at"),
    Index("ix_fd_event_feature_id", "feature_id"),
)

brake = table(
    "fd_brake",
    ident(),
    short("project", KEY),
    Column("kind", word(BrakeKind), nullable=False),
    text("reason"),
    Column("about", json_dict(), nullable=False),
    text("person"),
    moment("set_at"),
    moment("released_at", nullable=True),
    text("released_by"),
    text("release_reason"),
)
unique_where("uq_fd_brake_on", brake.c.project, where=brake.c.released_at.is_(None))

# Counts that only grow, kept beside the rows they were taken from: rows are pruned and replayed, and there are many.
tally = Table(
    "fd_tally",
    metadata,
    Column("project", Short(KEY), primary_key=True),
    Column("name", Short(40), primary_key=True),
    Column("first", Short(60), primary_key=True),
    Column("second", Short(40), primary_key=True),
    Column("place", sa.Integer, primary_key=True, autoincrement=False),
    Column("count", sa.BigInteger, nullable=False),
    Column("total", sa.Float(53), nullable=False),
)
