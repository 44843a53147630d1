"""What differs between Jira Cloud and Jira Data Center: how people are named, texts are written and issues searched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from feature_delivery.adapters.trackers.jira import adf, wiki
from feature_delivery.adapters.trackers.jira.answers import Issue, NumberedPage, TokenPage, User
from feature_delivery.adapters.trackers.jira.client import PAGE, path
from feature_delivery.adapters.trackers.texts import plain
from feature_delivery.domain.errors import NotFound, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.adapters.trackers.jira.client import JiraClient


LONGEST = 32_000
"""Jira takes 32,767 characters, and counts what stands for others, too."""


def fitted(deployment: Deployment, text: str, *, mark: str = "") -> Any:
    """Return ``text`` as a description or comment that Jira takes, cut where it is too long; ``mark`` ends it."""
    text = plain(text)
    while True:
        body = deployment.written(text + mark)
        size = len(body) if isinstance(body, str) else len(json.dumps(body, ensure_ascii=False))
        if size <= LONGEST:
            return body
        text = text[: len(text) * 3 // 4].rstrip("…") + "…"


class Deployment(Protocol):
    """One kind of Jira."""

    def written(self, text: str) -> Any:
        """Return a plain text as a description or comment there."""

    def text(self, body: Any) -> str:
        """Return the plain text of a description or comment."""

    def login(self, user: User | None) -> str:
        """Return what the project file calls the person; empty for nobody."""

    def named(self, login: str | None) -> dict[str, Any]:
        """Return a person, or nobody, as a field's value."""

    def person(self, name: str, *, project: str, doing: str) -> str:
        """Return the login of somebody who may be given issues.

        Raises:
            NotFound: There is nobody of that name.
        """

    def search(self, jql: str, fields: str, *, doing: str) -> Iterator[Issue]:
        """Return every issue found."""


class Cloud:
    """People have account ids, texts are documents, searches are turned over by tokens."""

    def __init__(self, client: JiraClient) -> None:
        """Ask through ``client``."""
        self._client = client

    def written(self, text: str) -> Any:
        """See ``Deployment``."""
        return adf.document(text)

    def text(self, body: Any) -> str:
        """See ``Deployment``."""
        return adf.text_of(body)

    def login(self, user: User | None) -> str:
        """Return the account id: e-mail addresses are shown to some and not to others."""
        return user.account if user else ""

    def named(self, login: str | None) -> dict[str, Any]:
        """See ``Deployment``."""
        return {"accountId": login}

    def person(self, name: str, *, project: str, doing: str) -> str:
        """Return the account id of an account id, an e-mail address or a whole name.

        Jira finds e-mail addresses that it does not show: the one account found by a whole address is it.
        """
        if "@" not in name:
            found = self._found({"accountId": name}, project, doing)
            if any(user.account == name for user in found):
                return name
        found = self._found({"query": name}, project, doing)
        wanted = name.casefold()
        same = [user for user in found if wanted in {user.email.casefold(), user.shown.casefold()}]
        same = same or [user for user in found if "@" in name and not user.email]
        if len(same) == 1:
            return same[0].account
        how = "several people are" if same else "nobody who may be given issues of the project is"
        raise NotFound(
            f"Could not {doing} in {self._client.shown}: {how} called {name[:80]!r}. Write the account id (the last "
            "part of the address of the person's profile) into the project file."
        )

    def search(self, jql: str, fields: str, *, doing: str) -> Iterator[Issue]:
        """See ``Deployment``."""
        used: set[str] = set()

        def ask(before: TokenPage | None, _number: int) -> TokenPage | None:
            query = {"jql": jql, "fields": fields, "maxResults": PAGE}
            if before is not None:
                if not before.next_token or before.last:
                    return None
                if before.next_token in used:
                    raise Unavailable(f"Could not {doing} in {self._client.shown}: its pages go round in a circle.")
                used.add(before.next_token)
                query["nextPageToken"] = before.next_token
            return self._client.read(
                path("search", "jql"), TokenPage, doing=doing, query=query, right="Browse projects"
            )

        for page in self._client.walk(ask, doing=doing):
            yield from page.issues

    def _found(self, query: dict[str, str], project: str, doing: str) -> list[User]:
        where = path("user", "assignable", "search")
        asked = {**query, "project": project, "maxResults": PAGE}
        return self._client.members(where, User, doing=doing, query=asked)


class DataCenter:
    """People have user names, texts are wiki texts, searches are turned over by numbers."""

    def __init__(self, client: JiraClient) -> None:
        """Ask through ``client``."""
        self._client = client

    def written(self, text: str) -> Any:
        """See ``Deployment``."""
        return wiki.escaped(text)

    def text(self, body: Any) -> str:
        """See ``Deployment``."""
        return wiki.unescaped(body) if isinstance(body, str) else ""

    def login(self, user: User | None) -> str:
        """Return the user name."""
        return user.name if user else ""

    def named(self, login: str | None) -> dict[str, Any]:
        """See ``Deployment``."""
        return {"name": login}

    def person(self, name: str, *, project: str, doing: str) -> str:  # noqa: ARG002 - Cloud's
        """Return the user name as Jira writes it."""
        try:
            user = self._client.read(path("user"), User, doing=doing, query={"username": name}, right="Browse users")
        except NotFound as error:
            raise NotFound(
                f"Could not {doing} in {self._client.shown}: there is no user {name[:80]!r}. "
                "Correct the login in the project file."
            ) from error
        except Refused:
            # Who may not look people up may still give them issues.
            return name
        return user.name or name

    def search(self, jql: str, fields: str, *, doing: str) -> Iterator[Issue]:
        """See ``Deployment``."""
        count = 0

        def ask(before: NumberedPage | None, _number: int) -> NumberedPage | None:
            nonlocal count
            if before is not None:
                count += len(before.issues)
                if not before.issues or count >= before.total:
                    return None
            query = {"jql": jql, "fields": fields, "startAt": count, "maxResults": PAGE}
            return self._client.read(path("search"), NumberedPage, doing=doing, query=query, right="Browse projects")

        for page in self._client.walk(ask, doing=doing):
            yield from page.issues
