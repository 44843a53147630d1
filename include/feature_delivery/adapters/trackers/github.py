"""``GitHubTracker``: the issues of one repository on GitHub. Issue 42 is ``SHOP-42``; pull requests are no issues.

GitHub knows open and closed only. Whether somebody works on an open issue is told by a label, whose name a project
may choose (``tracker.states``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from github.Issue import Issue as GitHubIssue
from github.PaginatedList import PaginatedList

from feature_delivery.adapters.git_hosts.github import limits
from feature_delivery.adapters.git_hosts.github.access import entry
from feature_delivery.adapters.git_hosts.github.client import Client
from feature_delivery.adapters.git_hosts.github.examination import (
    ISSUE_EVENTS,
    look_at_repository,
    look_at_rights,
    look_at_webhook,
)
from feature_delivery.adapters.git_hosts.github.failures import said
from feature_delivery.adapters.git_hosts.github.mapping import login_of
from feature_delivery.adapters.git_hosts.github.opening import LABEL_COLOUR
from feature_delivery.adapters.markers import carries, hidden, marked
from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import feature_key
from feature_delivery.ports.tracker import Issue, IssueState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import FeatureKey
    from feature_delivery.domain.project import TrackerConfig

READ, WRITE = "Issues: read", "Issues: write"
SECONDS = "%Y-%m-%dT%H:%M:%SZ"
IN_PROGRESS = "in progress"
"""The label of an issue that somebody works on, where the project names none."""

_ASKED = hidden("requested-by")
"""Below it stands who asked for an issue that we created: seen on its page, no part of the description."""


class GitHubTracker:
    """Implements ``Tracker``. Nothing is kept between calls but the login of the token."""

    def __init__(self, login: Login, *, config: TrackerConfig) -> None:
        """Check the Connection; ask nobody.

        Raises:
            Misconfigured: The Connection lacks something, or the project is no repository.
        """
        self._client = Client(entry(login, config.project))
        self._config = config
        words = {IssueState.IN_PROGRESS.value: (IN_PROGRESS,), **{k: v for k, v in config.states.items() if v}}
        self._labels = {state: words.get(state.value, ()) for state in IssueState}

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when GitHub shows the repository and no such issue in it.

        Raises:
            NotFound: There is no such repository, or the token may not see it.
        """
        found = self._find(key, f"look for issue {key}")
        return self._as_issue(found) if found is not None else None

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:  # noqa: ARG002
        """Find the issue: GitHub counts its issues itself.

        Raises:
            Refused: There is no such issue.
        """
        found = self.find(key)
        if found is None:
            raise Refused(
                f"Could not create {key}: GitHub numbers its issues itself, and {self._client.entry.full_name} has no "
                "such issue. Create one there, or let us create one without naming a key."
            )
        return found

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:
        """Create an issue; it says below the description who asked for it, for its author is the token's account.

        Raises:
            Refused: Issues are switched off, or the right is missing.
        """
        asked = f"\n\n{_ASKED} Requested by {reporter}." if reporter else ""
        body = limits.shortened(description, limits.BODY) + asked
        with self._client.doing(f"create an issue in {self._client.entry.full_name}", right=WRITE):
            return self._as_issue(self._client.repository.create_issue(limits.shortened(title, limits.TITLE), body))

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
        """Open or close the issue and set the label of ``state``, taking away those of other states.

        Raises:
            NotFound: There is no such issue.
            Refused: The right is missing. GitHub itself then answers as if it had done it.
        """
        doing = f"move {key} to {state.value!r}"
        issue = self._known(key, doing)
        with self._client.doing(doing, right=WRITE):
            closed = state is IssueState.DONE
            if (issue.state == "closed") != closed:
                issue.edit(state="closed" if closed else "open", state_reason="completed" if closed else "reopened")
            self._verify((issue.state == "closed") == closed, doing)
            self._relabel(issue, state)

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        """Give the issue to ``person`` alone, or to nobody.

        Raises:
            NotFound: There is no such issue, or GitHub lets it be given to no such login.
        """
        doing = f"assign {key} to {person!r}" if person else f"take {key} from whoever has it"
        issue = self._known(key, doing)
        wanted = [person] if person else []
        with self._client.doing(doing, right=WRITE):
            if [one.login.lower() for one in issue.assignees] == [one.lower() for one in wanted]:
                return self._as_issue(issue)
            if person and not self._client.repository.has_in_assignees(person):
                raise NotFound(
                    f"Could not {doing}: GitHub knows nobody of that login who may be given issues of "
                    f"{self._client.entry.full_name}. Correct the login, or give them access."
                )
            issue.edit(assignees=[*wanted])
            self._verify(len(issue.assignees) == len(wanted), doing)
            return self._as_issue(issue)

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        """Return every issue changed since then, newest change first."""
        found: dict[int, GitHubIssue] = {}
        with self._client.doing("list the changed issues", right=READ):
            earliest = since.astimezone(UTC).replace(microsecond=0)
            asked = {"state": "all", "sort": "updated", "direction": "desc", "since": earliest.strftime(SECONDS)}
            pages = PaginatedList(
                GitHubIssue,
                self._client.wire,
                f"{self._client.repository.url}/issues",
                dict(asked),
                # What an answer lacks PyGithub asks for, issue by issue; only pull requests have this.
                attributesTransformer=lambda one: {"pull_request": None, **one},
            )
            for one in pages:
                if one.pull_request is None:
                    found.setdefault(one.number, one)  # once, although pages may overlap
            return tuple(self._as_issue(one) for one in found.values())

    def examine(self) -> tuple[Finding, ...]:
        """Look at token, rights, repository and webhook; raises nothing."""
        return tuple(self._examine())

    def _examine(self) -> Iterator[Finding]:
        findings, repository = look_at_repository(self._client)
        yield from findings
        if repository is None:
            return
        if not repository.get("has_issues", True):
            sentence = f"{self._client.entry.full_name} has its issues switched off. Tick 'Issues' in its settings."
            yield Finding("issues", well=False, sentence=sentence)
        yield look_at_rights(self._client, repository, {"issues": "Issues"})
        yield look_at_webhook(self._client, ISSUE_EVENTS)

    def _number(self, key: FeatureKey) -> int | None:
        match = re.fullmatch(rf"{re.escape(self._config.prefix)}-([1-9][0-9]*)", key)
        return int(match[1]) if match else None

    def _find(self, key: FeatureKey, doing: str) -> GitHubIssue | None:
        number = self._number(key)
        if number is None:
            return None  # another prefix: nothing that could be here
        try:
            with self._client.doing(doing, right=READ):
                issue = self._client.repository.get_issue(number)
                is_here = issue.number == number and self._is_in_repository(issue)
                return issue if issue.pull_request is None and is_here else None
        except NotFound as error:
            words = said(error)
            if words is not None and words.mentions("disabled"):
                raise Refused(
                    f"Could not {doing} on GitHub: {self._client.entry.full_name} has its issues switched off."
                ) from error
            # GitHub says 404 to a token that may not see the repository, too: that would not mean there is none.
            with self._client.doing(doing, right=READ):
                self._client.get(self._client.repository.url)
            return None

    def _is_in_repository(self, issue: GitHubIssue) -> bool:
        """Say whether an issue is of this repository: GitHub leads from one that was transferred to the new place."""
        name = "/".join(issue.raw_data["repository_url"].rsplit("/", 2)[-2:])
        if name.lower() == self._client.entry.full_name.lower():
            return True
        _, repository = self._client.get(self._client.repository.url)  # renamed, or is it the issue that has moved?
        return bool(str(repository["full_name"]).lower() == name.lower())

    def _known(self, key: FeatureKey, doing: str) -> GitHubIssue:
        found = self._find(key, doing)
        if found is None:
            raise NotFound(
                f"Could not {doing}: {self._client.entry.full_name} on GitHub has no issue {key}. Correct the key."
            )
        return found

    def _write(self, key: FeatureKey, text: str, *, marker: str, replace: bool) -> None:
        doing = f"comment on {key}"
        issue = self._known(key, doing)
        body = marked(text, marker, limit=limits.BODY)
        with self._client.doing(doing, right=WRITE):
            for comment in issue.get_comments():
                if carries(comment.body, marker) and login_of(comment.user) == self._client.me:
                    if replace and comment.body.replace("\r\n", "\n") != body:
                        comment.edit(body)
                    return
            issue.create_comment(body)

    def _relabel(self, issue: GitHubIssue, state: IssueState) -> None:
        """Set the label of ``state``, one by one: people may change others at the same time."""
        wanted = self._labels[state]
        recognised = {name.lower() for name in wanted}
        others = {name.lower() for words in self._labels.values() for name in words} - recognised
        held = [label.name for label in issue.labels]
        if wanted and not any(name.lower() in recognised for name in held):
            known = {label.name.lower() for label in self._client.repository.get_labels()}
            if wanted[0].lower() not in known:
                self._client.repository.create_label(wanted[0], LABEL_COLOUR)
            self._client.add_labels(issue.number, wanted[0])
        for name in held:
            if name.lower() in others:
                issue.remove_from_labels(name)

    def _verify(self, done: bool, doing: str) -> None:  # noqa: FBT001 - says itself what it is
        if not done:
            connection = self._client.entry.connection
            raise Refused(
                f"Could not {doing} on GitHub: it left that out without a word, as it does when the token of "
                f"{connection!r} lacks the right '{WRITE}'. Give it to the token or the App."
            )

    def _state(self, issue: GitHubIssue) -> IssueState:
        if issue.state == "closed":
            return IssueState.DONE
        working = {name.lower() for name in self._labels[IssueState.IN_PROGRESS]}
        return (
            IssueState.IN_PROGRESS if any(label.name.lower() in working for label in issue.labels) else IssueState.OPEN
        )

    def _as_issue(self, issue: GitHubIssue) -> Issue:
        return Issue(
            key=feature_key(self._config.key_of(str(issue.number))),
            title=issue.title,
            description=_description(issue.body or ""),
            state=self._state(issue),
            assignee=issue.assignees[0].login if issue.assignees else None,
            reporter=login_of(issue.user),
            url=issue.html_url,
        )


def _description(body: str) -> str:
    before, marker, _ = body.partition(_ASKED)
    return before.rstrip() if marker else body
