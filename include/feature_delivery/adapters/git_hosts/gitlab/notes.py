"""Comments of ours on merge requests and issues: known by their marker, written once or replaced."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitlab.answers import Note
from feature_delivery.adapters.git_hosts.gitlab.limits import TEXT, harmless
from feature_delivery.adapters.markers import hidden, is_marked, marked

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitlab.answers import User
    from feature_delivery.adapters.git_hosts.gitlab.client import Client

_PROGRAM = re.compile(r"((project|group)_\d+_bot|service_account_)|(ghost|support-bot|alert-bot|GitLabDuo)\Z")
"""Accounts that GitLab makes for tokens and for itself."""


def is_program(user: User) -> bool:
    """Say whether it is an account that no person writes by."""
    return _PROGRAM.match(user.username) is not None


def is_ours(client: Client, note: Note) -> bool:
    """Say whether we wrote it: our account did, and it ends with a marker.

    The account alone does not say so: a person may have lent us theirs. Nor does a marker in the middle: people quote.
    """
    ends = is_marked(note.body) and note.body.rstrip().endswith("-->")
    return ends and note.author is not None and note.author.id == client.me.id


def is_of_a_person(client: Client, note: Note) -> bool:
    """Say whether a person wrote it: no record of GitLab's, no program, not us."""
    return not note.system and note.author is not None and not is_program(note.author) and not is_ours(client, note)


def write(client: Client, where: str, text: str, *, marker: str, replace: bool) -> None:
    """Write our note known by ``marker``; when it is there, give it the new text (``replace``) or leave it.

    Only what we wrote ourselves is touched: with the role of a maintainer others' words could be changed. Inside
    ``doing``.

    Args:
        client: Of the project.
        where: Path of the notes, made by ``client.project``.
        text: Markdown; what would be a quick action in it is none.
        marker: Not seen by readers.
        replace: Whether a new text takes the place of the old one.
    """
    body = marked(harmless(text), marker, limit=TEXT)
    comments = client.walk(where, Note, sort="asc", order_by="created_at", activity_filter="only_comments")
    for note in comments:
        if note.body.rstrip().endswith(hidden(marker)) and is_ours(client, note):
            if replace and note.body.replace("\r\n", "\n").rstrip() != body.rstrip():
                client.put(f"{where}/{note.id}", Note, body=body)
            return
    client.post(where, Note, body=body)
