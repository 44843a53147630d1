"""Comments and labels: requests are issues there, so that the Git host and the tracker do the same with both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitea.answers import Comment, Label
from feature_delivery.adapters.git_hosts.gitea.client import path
from feature_delivery.adapters.markers import hidden, is_marked, marked
from feature_delivery.domain.errors import NotFound, Refused

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitea.client import GiteaClient

LONGEST_TEXT = 60_000
"""Characters of a comment or a body; MySQL's smallest column for them holds 65,535 bytes."""

COLOUR = "#5b8def"


def comments(client: GiteaClient, number: int, *, what: str, since: str | None = None) -> list[Comment]:
    """Return the comments on ``what`` (``request 7``), ours too, oldest first; ``since``: changed since then.

    Raises:
        NotFound: There is no such issue or request.
    """
    where = client.in_repository("issues", number, "comments")
    query = {"since": since} if since else None
    return sorted(client.listing(where, Comment, doing=f"read the comments on {what}", query=query), key=lambda c: c.id)


def is_ours(client: GiteaClient, comment: Comment) -> bool:
    """Say whether we wrote the comment: our account did, and it ends with a marker.

    The account alone does not say so: a person may have lent us theirs. Nor does a marker in the middle: people quote.
    """
    return is_marked(comment.body) and comment.body.rstrip().endswith("-->") and client.is_me(comment.user)


def write(client: GiteaClient, number: int, text: str, *, marker: str, what: str, replace: bool) -> None:
    """Write our comment known by ``marker`` once; with ``replace`` the same comment takes a new text.

    Raises:
        NotFound: There is no such issue or request.
    """
    ours = [
        one
        for one in comments(client, number, what=what)
        if one.body.rstrip().endswith(hidden(marker)) and is_ours(client, one)
    ]
    body, doing = marked(text, marker, limit=LONGEST_TEXT), f"comment on {what}"
    needs = "the right to comment (write access, where the conversation is locked)"
    if not ours:
        where = client.in_repository("issues", number, "comments")
        client.ask("POST", where, doing=doing, body={"body": body}, needs=needs)
    elif replace and ours[0].body != body:
        where = client.in_repository("issues", "comments", ours[0].id)
        client.ask("PATCH", where, doing=doing, body={"body": body}, needs=needs)


def labels_named(client: GiteaClient, names: Iterable[str], *, create: bool) -> dict[str, Label]:
    """Return labels by the names asked for; those of the repository go before those of its organisation.

    Args:
        client: Of the repository.
        names: What they are called, regardless of case.
        create: Make those that are missing; one that we may not make is left out of the answer.
    """
    wanted = {name.strip().casefold(): name for name in names if name.strip()}
    if not wanted:
        return {}
    found: dict[str, Label] = {}
    for label in [*_of_organisation(client), *_of_repository(client)]:
        name = wanted.get(label.name.casefold())
        if name is not None:
            found[name] = label
    for name in wanted.values():
        if create and name not in found and (made := _made(client, name)):
            found[name] = made
    return found


def _of_repository(client: GiteaClient) -> Sequence[Label]:
    return client.listing(client.in_repository("labels"), Label, doing="read the labels")


def _of_organisation(client: GiteaClient) -> Sequence[Label]:
    """Return the labels of the owner, when that is an organisation, and the token may see them."""
    try:
        return client.listing(path("orgs", client.owner, "labels"), Label, doing="read the organisation's labels")
    except (NotFound, Refused):
        return ()


def _made(client: GiteaClient, name: str) -> Label | None:
    body = {"name": name.strip()[:50], "color": COLOUR}
    try:
        return client.send("POST", client.in_repository("labels"), body, Label, doing=f"create the label {name!r}")
    except Refused:
        return None
