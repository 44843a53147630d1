"""What messengers remember, in the ledger's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, delete, select, update

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.adapters.ledger.reader import insert_unless_there
from feature_delivery.adapters.messengers.posts import Sent
from feature_delivery.domain.records import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy.orm import Session

    from feature_delivery.domain.names import ProjectName

P = t.post.c


def _which(project: ProjectName, channel: str, marker: str) -> ColumnElement[bool]:
    return and_(P.project == project, P.channel == channel, P.marker == marker)


class SqlPosts:
    """``Posts``; each message belongs to the feature that its errand in the outbox belongs to."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Session]]) -> None:
        """Open a transaction by ``begin`` for each call."""
        self._begin = begin

    def find(self, project: ProjectName, channel: str, marker: str) -> Sent | None:
        """Return what is known of a message."""
        columns = (P.place, P.ts, P.digest, P.settled, P.at)
        with self._begin() as session:
            row = session.execute(select(*columns).where(_which(project, channel, marker))).one_or_none()
        return Sent(*row) if row is not None else None

    def intend(self, project: ProjectName, channel: str, marker: str) -> None:
        """Write down that a message is about to be sent; again changes nothing."""
        with self._begin() as session:
            insert_unless_there(
                session,
                t.post,
                project=project,
                feature_id=_feature(session, project, channel, marker),
                channel=channel,
                marker=marker,
                place="",
                ts="",
                digest="",
                settled=True,
                at=now(),
            )

    def withdraw(self, project: ProjectName, channel: str, marker: str) -> None:
        """Write down that it was not sent, for certain."""
        with self._begin() as session:
            session.execute(delete(t.post).where(_which(project, channel, marker), P.place == ""))

    def keep(self, project: ProjectName, channel: str, marker: str, sent: Sent) -> None:
        """Write down that a message is there, and what it says."""
        said = {"place": sent.place, "ts": sent.ts, "digest": sent.digest, "settled": sent.settled}
        with self._begin() as session:
            session.execute(update(t.post).where(_which(project, channel, marker)).values(**said))


def _feature(session: Session, project: ProjectName, channel: str, marker: str) -> int:
    """Return the feature of a message, as its errand says; 0 for one about the project, and for a thread's begin."""
    o = t.outbox.c
    query = select(o.feature_id).where(o.project == project, o.marker == f"{channel}>{marker}")
    return session.execute(query).scalar() or 0
