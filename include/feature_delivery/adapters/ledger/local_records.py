"""The local host's records in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from feature_delivery.adapters.ledger import local_tables as t
from feature_delivery.adapters.ledger.reader import insert_unless_there
from feature_delivery.adapters.local_records import (
    OURSELVES,
    LocalComment,
    LocalIssue,
    LocalMessage,
    LocalRequest,
    LocalReview,
    LocalStatus,
    Place,
)
from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.records import now
from feature_delivery.ports.git_host import RequestState, ReviewKind
from feature_delivery.ports.tracker import IssueState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from sqlalchemy import Row, Table
    from sqlalchemy.orm import Session

    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName


class SqlLocalRecords:
    """``LocalRecords`` in the ledger's database; ``begin`` opens one transaction per call (see ``transactions``)."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Session]]) -> None:
        """Open a transaction by ``begin`` for each call; ``lambda: nullcontext(session)`` joins a running one."""
        self._begin = begin

    def issues(self, project: ProjectName, *, key: FeatureKey | None = None) -> tuple[LocalIssue, ...]:
        """Return issues, newest first; the one with ``key`` when named."""
        with self._begin() as session:
            return _issues(session, project, key)

    def create_issue(
        self, project: ProjectName, key: FeatureKey, *, title: str, description: str, reporter: str
    ) -> LocalIssue:
        """Find the issue, or create it."""
        at = now()
        with self._begin() as session:
            insert_unless_there(
                session,
                t.issue,
                project=project,
                key=key,
                title=title,
                description=description,
                reporter=reporter,
                state=IssueState.OPEN,
                created_at=at,
                updated_at=at,
            )
            return _issues(session, project, key)[0]

    def change_issue(
        self, project: ProjectName, key: FeatureKey, *, state: IssueState | None = None, assignee: str | None = None
    ) -> LocalIssue:
        """Change what is named; an empty ``assignee`` gives the issue back."""
        changes: dict[str, Any] = {} if state is None else {"state": state}
        if assignee is not None:
            changes["assignee"] = assignee or None
        with self._begin() as session:
            _change(session, t.issue, changes, (t.issue.c.project == project) & (t.issue.c.key == key))
            return _the_issue(session, project, key)

    def requests(
        self, project: ProjectName, *, number: int | None = None, source: BranchName | None = None
    ) -> tuple[LocalRequest, ...]:
        """Return requests with their reviews, open ones first, then newest first; those that fit what is named."""
        with self._begin() as session:
            return _requests(session, project, number=number, source=source)

    def open_request(
        self,
        project: ProjectName,
        *,
        source: BranchName,
        target: BranchName,
        head: CommitSha,
        title: str,
        body: str,
        author: str,
    ) -> LocalRequest:
        """Find the open request from ``source``, or open one."""
        at = now()
        with self._begin() as session:
            found = _requests(session, project, source=source)
            if found and found[0].state is RequestState.OPEN:
                return found[0]
            # Two may open it at the same moment: the second one waits for the first and then finds its request.
            insert_unless_there(
                session,
                t.request,
                project=project,
                source=source,
                target=target,
                head=head,
                title=title,
                body=body,
                author=author,
                state=RequestState.OPEN,
                created_at=at,
                updated_at=at,
            )
            return _requests(session, project, source=source)[0]

    def change_request(
        self,
        project: ProjectName,
        number: int,
        *,
        target: BranchName | None = None,
        head: CommitSha | None = None,
        state: RequestState | None = None,
    ) -> LocalRequest:
        """Change what is named."""
        named = {"target": target, "head": head, "state": state}
        changes = {name: value for name, value in named.items() if value is not None}
        with self._begin() as session:
            _change(session, t.request, changes, (t.request.c.project == project) & (t.request.c.number == number))
            return _the_request(session, project, number)

    def review(
        self, project: ProjectName, number: int, *, person: str, kind: ReviewKind, commit: CommitSha, comment: str
    ) -> LocalRequest:
        """Store a person's word about a commit in the place of the earlier one."""
        with self._begin() as session:
            request = _the_request(session, project, number)
            if request.state is not RequestState.OPEN:
                raise Refused(f"Request {number} of {project} is {request.state}: it takes no reviews. Open a new one.")
            _put(
                session,
                t.review,
                {"number": number, "person": person, "commit": commit},
                {"kind": kind, "comment": comment, "at": now()},
            )
            _touch(session, number)
            return _the_request(session, project, number)

    def comment(self, project: ProjectName, comment: LocalComment, *, replace: bool) -> None:
        """Write a comment; one with this marker stays as it is, or takes the new text with ``replace``."""
        with self._begin() as session:
            table, key = _thread(session, project, comment.place, comment.on)
            content = {"author": comment.author, "text": comment.text, "at": comment.at}
            natural = key | {"marker": comment.marker}
            if comment.place is Place.REQUEST and comment.author != OURSELVES:
                _touch(session, key["number"])
            if replace:
                _put(session, table, natural, content, keep=("author", "at"))
            else:
                insert_unless_there(session, table, **natural, **content)

    def comments(self, project: ProjectName, place: Place, on: str) -> tuple[LocalComment, ...]:
        """Return the comments of an issue or a request, oldest first."""
        with self._begin() as session:
            table, key = _thread(session, project, place, on)
            found = session.execute(sa.select(table).filter_by(**key).order_by(table.c.id))
            return tuple(
                LocalComment(place=place, on=on, marker=row.marker, author=row.author, text=row.text, at=row.at)
                for row in found
            )

    def set_status(self, project: ProjectName, status: LocalStatus) -> None:
        """Store a status in the place of the one of the same commit and name."""
        with self._begin() as session:
            _put(
                session,
                t.status,
                {"project": project, "commit": status.commit, "name": status.name},
                {"state": status.state, "description": status.description, "url": status.url, "at": status.at},
            )

    def statuses(self, project: ProjectName, commit: CommitSha) -> tuple[LocalStatus, ...]:
        """Return the statuses of a commit, by name."""
        s = t.status.c
        query = sa.select(s.commit, s.name, s.state, s.description, s.url, s.at)
        with self._begin() as session:
            found = session.execute(query.where(s.project == project, s.commit == commit).order_by(s.name))
            return tuple(LocalStatus(**row) for row in found.mappings())

    def keep_message(self, project: ProjectName, message: LocalMessage) -> bool:
        """Store a message once; ``False`` when its id is known."""
        with self._begin() as session:
            return insert_unless_there(
                session,
                t.message,
                project=project,
                message_id=message.id,
                key=message.key,
                recipients=list(message.to),
                text=message.text,
                at=message.at,
            )

    def messages(self, project: ProjectName, key: FeatureKey) -> tuple[LocalMessage, ...]:
        """Return the messages of a feature, oldest first."""
        m = t.message.c
        with self._begin() as session:
            found = session.execute(sa.select(t.message).where(m.project == project, m.key == key).order_by(m.id))
            return tuple(
                LocalMessage(id=row.message_id, key=row.key, to=tuple(row.recipients), text=row.text, at=row.at)
                for row in found
            )


def _issues(session: Session, project: ProjectName, key: FeatureKey | None) -> tuple[LocalIssue, ...]:
    i = t.issue.c
    columns = (i.project, i.key, i.title, i.description, i.state, i.assignee, i.reporter, i.created_at, i.updated_at)
    query = sa.select(*columns).where(i.project == project).order_by(i.id.desc())
    if key is not None:
        query = query.where(i.key == key)
    return tuple(LocalIssue(**row) for row in session.execute(query).mappings())


def _the_issue(session: Session, project: ProjectName, key: FeatureKey) -> LocalIssue:
    found = _issues(session, project, key)
    if not found:
        raise NotFound(f"The local tracker of {project} has no issue {key}. Create it, or correct the key.")
    return found[0]


def _requests(
    session: Session, project: ProjectName, *, number: int | None = None, source: BranchName | None = None
) -> tuple[LocalRequest, ...]:
    r = t.request.c
    query = sa.select(t.request).where(r.project == project)
    query = query.order_by(sa.case((r.state == RequestState.OPEN, 0), else_=1), r.number.desc())
    if number is not None:
        query = query.where(r.number == number)
    if source is not None:
        query = query.where(r.source == source)
    rows = session.execute(query).all()
    reviews = _reviews(session, [row.number for row in rows])
    return tuple(LocalRequest(**row._mapping, reviews=tuple(reviews.get(row.number, ()))) for row in rows)  # noqa: SLF001 - SQLAlchemy's public name


def _reviews(session: Session, numbers: Iterable[int]) -> dict[int, list[LocalReview]]:
    found: dict[int, list[LocalReview]] = {}
    v = t.review.c
    rows: Iterable[Row[Any]] = session.execute(
        sa.select(t.review).where(v.number.in_(list(numbers))).order_by(v.at, v.id)
    )
    for row in rows:
        review = LocalReview(person=row.person, kind=row.kind, commit=row.commit, comment=row.comment, at=row.at)
        found.setdefault(row.number, []).append(review)
    return found


def _the_request(session: Session, project: ProjectName, number: int) -> LocalRequest:
    found = _requests(session, project, number=number)
    if not found:
        raise NotFound(f"The local Git host of {project} has no request {number}. Correct the number.")
    return found[0]


def _thread(session: Session, project: ProjectName, place: Place, on: str) -> tuple[Table, dict[str, Any]]:
    """Return the table and the key of the comments on something that exists."""
    if place is Place.ISSUE:
        issue = _the_issue(session, project, on)  # type: ignore[arg-type] # an unknown key is not found, whatever it is
        return t.issue_comment, {"project": project, "key": issue.key}
    if not on.isascii() or not on.isdigit() or len(on) > 9:
        raise NotFound(f"{on[:40]!r} is not the number of a request. Use a number like '12'.")
    return t.request_comment, {"number": _the_request(session, project, int(on)).number}


def _change(session: Session, table: Table, changes: dict[str, Any], which: sa.ColumnElement[bool]) -> None:
    """Change one row where it differs; repeating a change does not count as one."""
    if changes:
        differs = sa.or_(*(table.c[name].is_distinct_from(value) for name, value in changes.items()))
        session.execute(table.update().where(which, differs).values(**changes, updated_at=now()))


def _touch(session: Session, number: int) -> None:
    """Count what somebody said on a request as a change of it, as hosts do."""
    session.execute(t.request.update().where(t.request.c.number == number).values(updated_at=now()))


def _put(
    session: Session, table: Table, natural: dict[str, Any], content: dict[str, Any], *, keep: tuple[str, ...] = ()
) -> None:
    """Insert a row, or change the one with the same natural key, in one statement; ``keep``: what stays as it was."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    put = dialect.insert(table).values(**natural, **content)
    changed = {name: put.excluded[name] for name in content if name not in keep}
    session.execute(put.on_conflict_do_update(index_elements=list(natural), set_=changed))
