"""Who is who: people of the project as Slack accounts, and the other way round."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

from feature_delivery.adapters.messengers.slack.text import escaped
from feature_delivery.domain.errors import NotFound, Permanent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feature_delivery.adapters.messengers.slack.client import Api
    from feature_delivery.domain.messages import MessagesConfig
    from feature_delivery.domain.names import PersonName
    from feature_delivery.domain.people import People
    from feature_delivery.domain.process import Who

USER = re.compile(r"[UW][A-Z0-9]{2,20}\Z")
GROUP = re.compile(r"S[A-Z0-9]{2,20}\Z")
KEPT_SECONDS = 3600.0


class Accounts:
    """Accounts by e-mail address, asked for once an hour; shared by all messengers of a process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds that only grow."""
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, str]] = {}
        self._homes: dict[str, tuple[float, frozenset[str]]] = {}

    def find(self, api: Api, connection: str, email: str) -> str:
        """Return the account of an address; empty when there is none, or when the app may not ask.

        Raises:
            Temporary: Slack could not be asked.
        """
        with self._lock:
            at, user = self._known.get((connection, email), (-KEPT_SECONDS, ""))
        if self._clock() - at < KEPT_SECONDS:
            return user
        try:
            found = api.ask("users.lookupByEmail", "look up a person", email=email)
            user = str((found.get("user") or {}).get("id", ""))
        except Permanent:
            user = ""  # a person is named without a mention: a message is worth more than that
        user = user if USER.match(user) else ""
        with self._lock:
            self._known[connection, email] = (self._clock(), user)
        return user

    def home(self, api: Api, connection: str) -> frozenset[str]:
        """Return the app's own workspace, and the organisation it belongs to if there is one.

        Raises:
            Error: Slack could not be asked.
        """
        with self._lock:
            at, found = self._homes.get(connection, (-KEPT_SECONDS, frozenset()))
        if not found or self._clock() - at >= KEPT_SECONDS:
            said = api.ask("auth.test", "log in")
            found = frozenset(str(said[name]) for name in ("team_id", "enterprise_id") if said.get(name))
            with self._lock:
                self._homes[connection] = (self._clock(), found)
        return found


class Directory:
    """The people of one project, in Slack."""

    def __init__(self, api: Api, config: MessagesConfig, people: People, accounts: Accounts) -> None:
        """Ask ``api`` for what ``config`` does not say."""
        self._api = api
        self._config = config
        self._people = people
        self._accounts = accounts

    def mentions(self, to: Sequence[PersonName], roles: Sequence[Who]) -> list[str]:
        """Return who is meant as markup: groups where all of a role are meant and it has one, else persons.

        Raises:
            Temporary: Slack could not be asked.
        """
        groups = [self._config.groups[role] for role in roles if role in self._config.groups]
        grouped = {name for role in roles if role in self._config.groups for name in self._people.with_role(role)}
        return [
            *(f"<!subteam^{group}>" for group in groups),
            *(self._mention(name) for name in to if name not in grouped),
        ]

    def _mention(self, name: PersonName) -> str:
        user = self.account(name)
        return f"<@{user}>" if user else escaped(name)

    def account(self, name: PersonName) -> str:
        """Return a person's account, empty when none is known.

        Raises:
            Temporary: Slack could not be asked.
        """
        called = self._config.mentions.get(name, "")
        if called and "@" not in called:
            return called
        person = self._people.persons.get(name)
        emails = [called] if called else sorted(person.emails) if person is not None else []
        found = (self._accounts.find(self._api, self._config.connection, email) for email in emails)
        return next((user for user in found if user), "")

    def emails_of(self, user: str) -> tuple[str, ...]:
        """Return the address of an account; none when it is unknown, no person, hides it, or is from elsewhere.

        In a shared channel, another organisation's owner says which addresses its accounts have.

        Raises:
            Error: Slack could not be asked.
        """
        if not USER.match(user):
            return ()
        try:
            found = self._api.ask("users.info", "look up who pressed a button", user=user).get("user") or {}
        except NotFound:
            return ()
        if found.get("is_bot") or found.get("deleted") or found.get("is_stranger"):
            return ()
        places = {str(found.get("team_id", "")), str((found.get("enterprise_user") or {}).get("enterprise_id", ""))}
        if not places & self._accounts.home(self._api, self._config.connection):
            return ()
        email = (found.get("profile") or {}).get("email")
        return (str(email),) if email else ()
