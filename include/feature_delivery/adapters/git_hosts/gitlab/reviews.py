"""Who said what of which commit. GitLab's approvals name no commit: they count for what was the head when given.

Which head that was is told by the versions of the merge request, one for every push. GitLab may keep an approval when
somebody pushes (it does unless it is told otherwise, and always for a plain rebase): here it stays with the commit it
was given on, so that nobody has approved what they have not seen.

That changes were requested is told twice: by the state of those asked for a review, and by a note of GitLab's own,
which says when, and also tells of people who were not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitlab.answers import Approvals, Note, Reviewer, Version
from feature_delivery.domain.names import CommitSha, commit_sha
from feature_delivery.ports.git_host import Review, ReviewKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feature_delivery.adapters.git_hosts.gitlab.client import Client

APPROVED, REQUESTED = "approved this merge request", "requested changes"
REQUESTED_STATE = "requested_changes"

WORDS_BEFORE = timedelta(minutes=1)
WORDS_AFTER = timedelta(seconds=2)
"""A comment of the same person that belongs to a review: *Finish review* writes it in the same moment."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What GitLab has on the reviews of one merge request; ``notes`` are the oldest first."""

    approvals: Approvals
    reviewers: Sequence[Reviewer]
    notes: Sequence[Note]
    versions: Sequence[Version]


def reviews_of(client: Client, number: int) -> tuple[Review, ...]:
    """Return the latest word of each person about each commit. Inside ``doing``."""
    where = ("merge_requests", number)
    facts = Facts(
        approvals=client.get(client.project(*where, "approvals"), Approvals),
        reviewers=client.all(client.project(*where, "reviewers"), Reviewer),
        notes=client.all(client.project(*where, "notes"), Note, sort="asc", order_by="created_at"),
        # Read last: what was approved a moment ago must find its version.
        versions=client.all(client.project(*where, "versions"), Version),
    )
    return words_of(facts)


def words_of(facts: Facts) -> tuple[Review, ...]:
    """Return the latest word of each person about each commit; one that was taken back is not there."""
    words: dict[tuple[str, CommitSha], Review] = {}
    for review in sorted([*_rejections(facts), *_approvals(facts)], key=lambda one: one.at):
        words[review.person, review.commit] = review
    return tuple(sorted(words.values(), key=lambda one: one.at))


def _approvals(facts: Facts) -> Iterator[Review]:
    """Return what counts as an approval on GitLab now."""
    for one in facts.approvals.approved_by:
        person = one.user.username
        at = one.approved_at or max(_said(facts, person, APPROVED), default=None)
        if at is not None and (commit := _head_at(facts, at)):
            yield _review(facts, person, ReviewKind.APPROVE, commit, at)


def _rejections(facts: Facts) -> Iterator[Review]:
    """Return the requests for changes that still stand."""
    states = {one.user.username: one for one in facts.reviewers}
    newest = max(facts.versions, key=_order, default=None)
    people = {note.author.username for note in facts.notes if note.system and note.author}
    for person in sorted(people | {name for name, one in states.items() if one.state == REQUESTED_STATE}):
        asked = states.get(person)
        over = asked is not None and asked.state != REQUESTED_STATE
        approved = max(_said(facts, person, APPROVED), default=None)
        for at in _times_of_rejection(facts, person, asked):
            commit = _head_at(facts, at)
            # On its page GitLab knows the latest state only: what was said of older commits stays said.
            current = newest is not None and commit == newest.head_commit_sha
            if commit and not (current and (over or (approved is not None and approved > at))):
                yield _review(facts, person, ReviewKind.REJECT, commit, at)


def _times_of_rejection(facts: Facts, person: str, asked: Reviewer | None) -> list[datetime]:
    """Return when somebody requested changes; where GitLab left no note, when they last wrote or were asked."""
    found = _said(facts, person, REQUESTED)
    if found or asked is None or asked.state != REQUESTED_STATE:
        return found
    wrote = [note.created_at for note in facts.notes if not note.system and _is_by(note, person)]
    last = max(wrote, default=asked.created_at)
    return [last] if last is not None else []


def _said(facts: Facts, person: str, what: str) -> list[datetime]:
    return [
        note.created_at
        for note in facts.notes
        if note.system and _is_by(note, person) and note.body.strip().lower().startswith(what)
    ]


def _is_by(note: Note, person: str) -> bool:
    return note.author is not None and note.author.username == person


def _order(version: Version) -> tuple[datetime, int]:
    return version.created_at, version.id


def _head_at(facts: Facts, at: datetime) -> CommitSha | None:
    """Return the head of that moment; ``None`` before GitLab had looked at the first one."""
    known = [one for one in facts.versions if one.created_at <= at and one.head_commit_sha]
    return commit_sha(max(known, key=_order).head_commit_sha) if known else None


def _review(facts: Facts, person: str, kind: ReviewKind, commit: CommitSha, at: datetime) -> Review:
    before = [one for what in (APPROVED, REQUESTED) for one in _said(facts, person, what) if one < at]
    begin = max([at - WORDS_BEFORE, *before])
    words = [
        note.body
        for note in facts.notes
        if not note.system and _is_by(note, person) and begin <= note.created_at <= at + WORDS_AFTER
    ]
    return Review(person=person, kind=kind, commit=commit, comment=words[-1] if words else "", at=at)
