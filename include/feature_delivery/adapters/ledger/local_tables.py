"""Tables of the local Git host, the local tracker and the log messenger: what a real host would keep itself."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, UniqueConstraint

from feature_delivery.adapters.ledger.columns import json_list, word
from feature_delivery.adapters.ledger.tables import (
    BRANCH,
    KEY,
    MARKER,
    NAME,
    SHA,
    ident,
    moment,
    short,
    table,
    text,
    unique_where,
)
from feature_delivery.ports.git_host import RequestState, ReviewKind, StatusState
from feature_delivery.ports.tracker import IssueState

issue = table(
    "fd_local_issue",
    ident(),
    short("project", KEY),
    short("key", KEY),
    text("title"),
    text("description"),
    Column("state", word(IssueState), nullable=False),
    short("assignee", NAME, nullable=True),
    text("reporter"),
    moment("created_at"),
    moment("updated_at"),
    UniqueConstraint("project", "key"),
)

issue_comment = table(
    "fd_local_issue_comment",
    ident(),
    short("project", KEY),
    short("key", KEY),
    short("marker", MARKER),
    text("author"),
    text("text"),
    moment("at"),
    UniqueConstraint("project", "key", "marker"),
)

# Numbers are given out over all projects: a count per project would need a lock for each new request.
request = table(
    "fd_local_request",
    ident("number"),
    short("project", KEY),
    short("source", BRANCH),
    short("target", BRANCH),
    short("head", SHA),
    text("author"),
    text("title"),
    text("body"),
    Column("state", word(RequestState), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    Index("ix_fd_local_request_project_source", "project", "source"),
)
unique_where(
    "uq_fd_local_request_open",
    request.c.project,
    request.c.source,
    where=request.c.state == RequestState.OPEN,
)

request_comment = table(
    "fd_local_request_comment",
    ident(),
    Column("number", sa.ForeignKey("fd_local_request.number"), nullable=False),
    short("marker", MARKER),
    text("author"),
    text("text"),
    moment("at"),
    UniqueConstraint("number", "marker"),
)

review = table(
    "fd_local_review",
    ident(),
    Column("number", sa.ForeignKey("fd_local_request.number"), nullable=False),
    short("person", NAME),
    Column("kind", word(ReviewKind), nullable=False),
    short("commit", SHA),
    text("comment"),
    moment("at"),
    UniqueConstraint("number", "person", "commit"),
)

status = table(
    "fd_local_status",
    ident(),
    short("project", KEY),
    short("commit", SHA),
    short("name", 200),
    Column("state", word(StatusState), nullable=False),
    text("description"),
    text("url"),
    moment("at"),
    UniqueConstraint("project", "commit", "name"),
)

message = table(
    "fd_message",
    ident(),
    short("project", KEY),
    short("message_id", MARKER),
    short("key", KEY),
    Column("recipients", json_list(), nullable=False),
    text("text"),
    moment("at"),
    UniqueConstraint("project", "message_id"),
    Index("ix_fd_message_project_key", "project", "key"),
)
