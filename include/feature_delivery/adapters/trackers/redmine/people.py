"""Logins and the numbers that Redmine has for people: its issues tell numbers and full names only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.trackers.redmine.answers import Memberships, UserBox, Users
from feature_delivery.adapters.trackers.redmine.client import path
from feature_delivery.domain.errors import NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.adapters.trackers.redmine.answers import Named
    from feature_delivery.adapters.trackers.redmine.client import RedmineClient


class People:
    """Who is who; what was asked once is remembered as long as the client lives."""

    def __init__(self, client: RedmineClient) -> None:
        """Ask through ``client``."""
        self._client = client
        self._logins: dict[int, str] = {}

    def login(self, person: Named | None) -> str:
        """Return a person's login, or the name shown where Redmine tells no login (groups, locked people)."""
        if person is None:
            return ""
        if person.id not in self._logins:
            self._logins[person.id] = self._asked(person.id)
        return self._logins[person.id] or person.name

    def number(self, login: str, *, doing: str) -> int:
        """Return the number of the member with this login; logins are told apart regardless of case there.

        Raises:
            NotFound: No member of the project has it.
        """
        wanted = login.casefold()
        for number in self._candidates(login):
            if number not in self._logins:
                self._logins[number] = self._asked(number)
            if self._logins[number].casefold() == wanted:
                return number
        raise NotFound(
            f"Could not {doing} in {self._client.shown}: no member of {self._client.project.identifier!r} has the "
            f"login {login[:80]!r}. Make the person a member, or correct the login in the project file."
        )

    def _candidates(self, login: str) -> Iterator[int]:
        if self._client.me.login.casefold() == login.casefold():
            yield self._client.me.id
        yield from (number for number, known in list(self._logins.items()) if known.casefold() == login.casefold())
        if self._client.me.admin:
            # Only administrators may search; with many members that is one request in place of hundreds.
            found = self._client.read(path("users"), Users, doing="find a person", query={"name": login})
            yield from (user.id for user in found.users)
        pages = self._client.pages(
            path("projects", self._client.project.id, "memberships"),
            Memberships,
            lambda page: (len(page.memberships), page.total_count),
            doing="list the members",
            right="View members",
        )
        for page in pages:
            yield from (one.user.id for one in page.memberships if one.user is not None)

    def _asked(self, number: int) -> str:
        if number == self._client.me.id:
            return self._client.me.login
        try:
            return self._client.read(path("users", number), UserBox, doing="read a person").user.login
        except (NotFound, Refused):
            return ""
