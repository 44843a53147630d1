"""Any notifier of Airflow's: made anew for each message, given the message as what its templates may say."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.messengers.posts import Sent
from feature_delivery.domain.errors import Error, Unavailable
from feature_delivery.domain.records import now

if TYPE_CHECKING:
    from feature_delivery.adapters.messengers.posts import Posts
    from feature_delivery.ports.messenger import Message

Notify = Callable[[dict[str, Any]], None]
"""Sends one message; given the context of the templates."""


class NotifierMessenger:
    """``Messenger`` by one notifier. A message whose sending was not noted (a crash) is sent again.

    Notifiers have no time limit of their own, and nothing ends one: the outbox gives up one that hangs, whose message
    may have arrived, and sends the next one.
    """

    def __init__(self, make: Callable[[], Notify], *, name: str, posts: Posts) -> None:
        """``make`` returns a new notifier: rendering changes it. ``name``: the channel's, for records and sentences."""
        self._make = make
        self._name = name
        self._posts = posts

    def send(self, message: Message) -> None:
        """Send it."""
        known = self._posts.find(message.project, self._name, message.id)
        if known is not None and known.place:
            return
        self._posts.intend(message.project, self._name, message.id)
        self._call(self._make(), context(message))
        sent = Sent(place=self._name, ts="", digest="", settled=True, at=now())
        self._posts.keep(message.project, self._name, message.id, sent)

    def update(self, message: Message) -> None:
        """Leave it: what a notifier has sent cannot be changed."""

    def _call(self, notify: Notify, about: dict[str, Any]) -> None:
        try:
            notify(about)
        except Error:
            raise
        except Exception as error:
            # Its own words may hold addresses and secrets: the API server's log has them, as far as it masks them.
            raise Unavailable(
                f"The notifier {self._name!r} could not send a message: {type(error).__name__}. Look at its Connection "
                "and at 'messages.notifiers'."
            ) from error


NAME = "delivery"


def context(message: Message) -> dict[str, Any]:
    """Return what templates may say, all of it under one name: a notifier adds its own fields by theirs.

    Values are data: nothing in them is rendered once more. ``text`` is plain, ``html`` the whole message as harmless
    HTML; ``title`` and ``subject`` are one line each, so that they can stand in a header.
    """
    lines = [message.text, *message.facts, *message.details]
    lines += [f"{one.title}: {one.url}" for one in (*message.links, *message.home)]
    first = message.text.splitlines()[0] if message.text.strip() else ""
    said = {
        "id": message.id,
        "project": str(message.project),
        "key": str(message.key or ""),
        "title": " ".join(message.title.split()),
        "kind": message.kind.value,
        "to": ", ".join(message.to),
        "people": list(message.to),
        "subject": " ".join(first.split())[:150],
        "text": "\n".join(lines),
        "html": "<br>\n".join(html.escape(line) for line in lines),
        "link": next((one.url for one in (*message.home, *message.links)), ""),
    }
    return {NAME: said}
