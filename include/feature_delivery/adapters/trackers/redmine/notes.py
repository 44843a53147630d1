"""Our notes on an issue: known again by an unseen mark at their end, and only when our user wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.trackers.redmine.answers import IssueBox
from feature_delivery.adapters.trackers.redmine.client import path
from feature_delivery.adapters.trackers.texts import plain
from feature_delivery.adapters.trackers.unseen import carries, marked
from feature_delivery.domain.errors import NotFound, Refused

if TYPE_CHECKING:
    from feature_delivery.adapters.trackers.redmine.answers import Issue, Journal
    from feature_delivery.adapters.trackers.redmine.client import RedmineClient

LONGEST = 60_000
"""Room in the smallest of the databases that Redmine runs on."""

ADD = "Add notes"


def write(client: RedmineClient, issue: Issue, text: str, *, marker: str, what: str, replace: bool) -> None:
    """Write a note once.

    Args:
        client: Redmine.
        issue: With its journals.
        text: What to say; cut where it is too long.
        marker: Stands for the note.
        what: The issue, for sentences.
        replace: Bring a note that is there up to date. Where we may not edit our notes (Redmine before 5.0 cannot be
            asked to, later ones have a permission for it) a new one is written for each new text.

    Raises:
        Refused: Our role may not add notes.
    """
    note = marked(plain(text), marker, limit=LONGEST)
    ours = _ours(client, issue, marker)
    if ours and (not replace or _same(ours[-1].notes, note) or _edit(client, ours[-1], note, what)):
        return
    doing = f"comment on {what}"
    where = path("issues", issue.id)
    client.change(where, {"issue": {"notes": note}}, doing=doing, right=ADD)
    after = client.read(where, IssueBox, doing=doing, query={"include": "journals"}).issue
    if len(_ours(client, after, marker)) <= len(ours):
        raise Refused(
            f"Could not {doing} in {client.shown}: Redmine left the note out, without a word. "
            f"Give our user {client.me.login!r} a role with the permission {ADD!r}."
        )


def _ours(client: RedmineClient, issue: Issue, marker: str) -> list[Journal]:
    return [one for one in issue.journals if one.user and one.user.id == client.me.id and carries(one.notes, marker)]


def _same(one: str, other: str) -> bool:
    return one.rstrip() == other.rstrip()


def _edit(client: RedmineClient, journal: Journal, note: str, what: str) -> bool:
    try:
        client.change(path("journals", journal.id), {"journal": {"notes": note}}, doing=f"edit a note on {what}")
    except (NotFound, Refused):
        return False
    return True
