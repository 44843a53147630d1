"""Whose work an attempt is: people of the project by name, and marks of others who may turn out to be people of it.

Who somebody is can be unknown at the moment their commit is seen: the login service does not answer, they join a group
later, or their address is added to the project file later. So marks that mean nobody are kept and asked about anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_delivery.domain.names import PersonName
    from feature_delivery.domain.people import People
    from feature_delivery.domain.records import Attempt, Feature

MACHINES = ("noreply@github.com", "[bot]", "[bot]@users.noreply.github.com")
"""How marks of nobody end: commits made on GitHub's pages have its own address besides their author's, and no person's
login there has brackets."""

LONGEST_MARK = 320
"""No address and no login is longer; whatever else commits hold there is not kept."""


def note(people: People, attempt: Attempt, marks: Iterable[str] = (), *, names: Iterable[PersonName] = ()) -> None:
    """Take in who else wrote, pushed or opened the attempt, and who the unknown of before are by now.

    Once known, somebody stays an author, whatever becomes of their account or address; and nothing of them is kept but
    the name.

    Args:
        people: As they are known now.
        attempt: Whose authors.
        marks: E-mail addresses and logins.
        names: People of the project.
    """
    known, strangers = _told_apart(people, {*attempt.strangers, *marks})
    authors = sorted({*attempt.authors, *known, *names})
    if authors != [*attempt.authors]:
        attempt.authors = authors
    if strangers != [*attempt.strangers]:
        attempt.strangers = strangers


def note_pushers(people: People, feature: Feature, logins: Iterable[str]) -> None:
    """Take in who pushed to the feature's branch, in the order in which it was told."""
    known, strangers = _told_apart(people, {*feature.strangers, *logins})
    if new := sorted(known - set(feature.pushers)):
        feature.pushers = [*feature.pushers, *new]
    if strangers != [*feature.strangers]:
        feature.strangers = strangers


def _told_apart(people: People, marks: Iterable[str]) -> tuple[frozenset[PersonName], list[str]]:
    """Return whom ``marks`` mean, and those that mean nobody."""
    usable = {mark for mark in marks if 0 < len(mark) <= LONGEST_MARK}
    unknown = (mark for mark in usable if not people.meant_by([mark]))
    return people.meant_by(usable), sorted(mark for mark in unknown if not mark.casefold().endswith(MACHINES))
