"""Issues of Gitea and Forgejo as a tracker.

A key is the project's prefix and the issue's number. *In progress* is a label on an open issue, *done* is a closed
issue; the project file may name other labels, for the other states too.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitea import threads
from feature_delivery.adapters.git_hosts.gitea.answers import Issue as IssueAnswer
from feature_delivery.adapters.git_hosts.gitea.answers import User
from feature_delivery.adapters.git_hosts.gitea.client import TIMEOUT, GiteaClient, path
from feature_delivery.adapters.git_hosts.gitea.examination import examine_issues
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.names import feature_key
from feature_delivery.ports.tracker import Issue, IssueState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import httpx

    from feature_delivery.adapters.git_hosts.gitea.answers import Label
    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import FeatureKey
    from feature_delivery.domain.project import TrackerConfig

DEFAULT_LABELS: Mapping[IssueState, tuple[str, ...]] = {IssueState.IN_PROGRESS: ("in progress",)}
NEEDS_WRITE = "write access to the repository's issues"
LONGEST_TITLE = 255

_REPORTED = re.compile(r"\n\n\*Reported by (?P<who>[^\n*]{1,80})\.\* <!-- feature-delivery:reporter -->\s*\Z")


class GiteaTracker:
    """``Tracker`` for the issues of one repository; its requests are none of them."""

    def __init__(self, login: Login, *, config: TrackerConfig, timeout: httpx.Timeout = TIMEOUT) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: As that of the Git host; the scopes ``write:issue`` and ``read:user`` suffice.
            config: ``project`` is the repository; ``prefix`` stands before the number in keys; ``states`` are labels.
            timeout: For each request.

        Raises:
            Misconfigured: Address, token, repository or prefix is none.
        """
        if not config.prefix:
            raise Misconfigured("Issues of gitea have plain numbers. Say as 'tracker.prefix' what stands before them.")
        self._client = GiteaClient(login, config.project, timeout=timeout)
        self._config = config
        configured = {state: tuple(config.states[state]) for state in IssueState if config.states.get(state)}
        self._labels = {**DEFAULT_LABELS, **configured}

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when there is none: a request of that number is none."""
        found = self._found(key)
        return self._as_issue(found) if found else None

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:  # noqa: ARG002 - the port's
        """Find the issue.

        Raises:
            Refused: There is none: Gitea gives out the numbers itself.
        """
        found = self.find(key)
        if found is None:
            raise Refused(
                f"Could not create {key} in {self._client.shown}: Gitea gives out the numbers itself. "
                "Create the issue there and name its key."
            )
        return found

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:
        """Create an issue under the next number. Its author there is the token's user; its text names ``reporter``."""
        who = re.sub(r"[^\w.@ -]", "", reporter)[:80].strip()
        told = f"\n\n*Reported by {who}.* <!-- feature-delivery:reporter -->" if who else ""
        body = {"title": title[:LONGEST_TITLE], "body": description[: threads.LONGEST_TEXT] + told}
        where = self._client.in_repository("issues")
        return self._as_issue(
            self._client.send("POST", where, body, IssueAnswer, doing="create an issue", needs=NEEDS_WRITE)
        )

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """Write a comment once: the same ``marker`` again changes nothing.

        Raises:
            NotFound: There is no such issue.
        """
        self._write(key, text, marker=marker, replace=False)

    def link(self, key: FeatureKey, *, url: str, title: str, marker: str) -> None:
        """Show a link as a comment; the same ``marker`` again replaces it.

        Raises:
            NotFound: There is no such issue.
        """
        self._write(key, f"{title}: {url}", marker=f"link:{marker}", replace=True)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """Bring the issue to ``state``: close or reopen it, and change its labels; being there is done.

        Raises:
            NotFound: There is no such issue.
            Refused: We may not, or the label of the state is missing and we may not create it.
        """
        issue = self._there(key)
        closed = state is IssueState.DONE
        if closed and issue.state != "closed":
            self._change(key, {"state": "closed"}, doing=f"close {key}")
        # Labels before reopening, so that the issue is never seen in a state that nobody chose.
        self._relabel(key, issue, state)
        if not closed and issue.state == "closed":
            self._change(key, {"state": "open"}, doing=f"reopen {key}")

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        """Give the issue to the login ``person``, or to nobody.

        Raises:
            NotFound: There is no such issue, or no such login.
            Refused: The person may not be given issues of this repository.
        """
        self._there(key)
        doing = f"give {key} to {person or 'nobody'}"
        if person is not None:
            try:
                self._client.ask("GET", path("users", person), doing=doing)
            except NotFound as error:
                raise NotFound(
                    f"Could not {doing}: {self._client.url.netloc.decode('ascii')} knows no such person. "
                    "Write the login they have there."
                ) from error
        try:
            changed = self._change(key, {"assignees": [person] if person else []}, doing=doing)
        except (Unavailable, Refused) as error:
            # For a person without access, the server answers what it answers when it is out of order.
            if person is not None and not self._is_assignable(person, doing):
                raise _not_assignable(doing, self._client) from error
            raise
        given = {user.login.casefold() for user in changed.assignees}
        if given != ({person.casefold()} if person else set()):
            raise _not_assignable(doing, self._client)
        return self._as_issue(changed)

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        """Return every issue changed since then, newest change first; complete, page by page.

        The server knows time to the second: what was changed within that of ``since`` is there.
        """
        at = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"type": "issues", "state": "all", "since": at, "sort": "recentupdate"}
        where = self._client.in_repository("issues")
        found = self._client.listing(where, IssueAnswer, doing="list the changed issues", query=query)
        newest = sorted(found, key=lambda one: (one.updated_at, one.number), reverse=True)
        return tuple(self._as_issue(one) for one in newest if one.pull_request is None)

    def examine(self) -> tuple[Finding, ...]:
        """Look whether token and rights are as deliveries need them; raises nothing."""
        return examine_issues(self._client)

    def _is_assignable(self, person: str, doing: str) -> bool:
        listed = self._client.listing(self._client.in_repository("assignees"), User, doing=doing)
        return person.casefold() in {user.login.casefold() for user in listed}

    def _number(self, key: FeatureKey) -> int | None:
        prefix, _, number = key.rpartition("-")
        return int(number) if prefix == self._config.prefix and number.isascii() and number.isdigit() else None

    def _found(self, key: FeatureKey) -> IssueAnswer | None:
        number = self._number(key)
        if number is None:
            return None
        where = self._client.in_repository("issues", number)
        try:
            found = self._client.read(where, IssueAnswer, doing=f"read {key}")
        except NotFound:
            self._check_repository(key)
            return None
        return found if found.pull_request is None else None

    def _check_repository(self, key: FeatureKey) -> None:
        """Raise ``Misconfigured`` where a 404 says nothing of an issue: we do not see the repository itself."""
        try:
            self._client.ask("GET", self._client.in_repository(), doing=f"read {key}")
        except NotFound as error:
            raise Misconfigured(
                f"Could not read {key}: {self._client.shown} is not there, or the token's user may not see it. "
                "Correct 'tracker.project', or make the user a collaborator."
            ) from error

    def _there(self, key: FeatureKey) -> IssueAnswer:
        found = self._found(key)
        if found is None:
            raise NotFound(f"There is no issue {key} in {self._client.shown}. Correct the key.")
        return found

    def _write(self, key: FeatureKey, text: str, *, marker: str, replace: bool) -> None:
        number = self._there(key).number
        threads.write(self._client, number, text, marker=marker, what=key, replace=replace)

    def _change(self, key: FeatureKey, body: Mapping[str, object], *, doing: str) -> IssueAnswer:
        where = self._client.in_repository("issues", self._number(key) or 0)
        return self._client.send("PATCH", where, body, IssueAnswer, doing=doing, needs=NEEDS_WRITE)

    def _relabel(self, key: FeatureKey, issue: IssueAnswer, state: IssueState) -> None:
        """Take the labels of other states away, and add the first one of ``state`` when it has none of them."""
        where = self._client.in_repository("issues", issue.number, "labels")
        wanted = self._labels.get(state, ())
        doing = f"move {key} to {state}"
        if wanted and not any(_is_one_of(label, wanted) for label in issue.labels):
            label = threads.labels_named(self._client, wanted[:1], create=True).get(wanted[0])
            if label is None:
                raise Refused(
                    f"Could not {doing} ({self._client.shown}): there is no label {wanted[0]!r}, and we may not "
                    "create it. Create it there."
                )
            self._client.ask("POST", where, doing=doing, body={"labels": [label.id]}, needs=NEEDS_WRITE)
        others = [name for other, names in self._labels.items() if other is not state for name in names]
        for label in issue.labels:
            if _is_one_of(label, others) and not _is_one_of(label, wanted):
                # 404: somebody else has just taken it away.
                one = f"{where}{path(label.id)}"
                self._client.ask("DELETE", one, doing=doing, needs=NEEDS_WRITE, accept={404})

    def _as_issue(self, issue: IssueAnswer) -> Issue:
        reporter, text = issue.user.login if issue.user else "", issue.body
        told = _REPORTED.search(text)
        if told and self._client.is_me(issue.user):
            reporter, text = told["who"], text[: told.start()]
        assignee = issue.assignee or next(iter(issue.assignees), None)
        return Issue(
            key=feature_key(self._config.key_of(str(issue.number))),
            title=issue.title,
            description=text,
            state=self._state(issue),
            assignee=assignee.login if assignee else None,
            reporter=reporter,
            url=issue.html_url,
        )

    def _state(self, issue: IssueAnswer) -> IssueState:
        if issue.state == "closed":
            return IssueState.DONE
        started = self._labels.get(IssueState.IN_PROGRESS, ())
        return IssueState.IN_PROGRESS if any(_is_one_of(one, started) for one in issue.labels) else IssueState.OPEN


def _not_assignable(doing: str, client: GiteaClient) -> Refused:
    return Refused(
        f"Could not {doing} ({client.shown}): issues of the repository are not given to this person. "
        "Make them a collaborator with write access."
    )


def _is_one_of(label: Label, names: tuple[str, ...] | list[str]) -> bool:
    return label.name.casefold() in {name.strip().casefold() for name in names}
